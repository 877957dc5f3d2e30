//! Applications and breakers, administered over HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokenward::server::{ApplicationChange, Registered, ServerSettings};
use tokenward::vault::audit::{AuditKind, AuditQuery};
use tokenward::vault::{Query, RecordKind};

use crate::host::{AUDIENCE, Answer, FORM, Host, ISSUER, JSON, basic_of};

const HOUR: Duration = Duration::from_hours(1);

/// An administrator with a token.
struct Admin<'a> {
    host: &'a Host,
    bearer: String,
}

impl<'a> Admin<'a> {
    async fn of(host: &'a Host) -> Self {
        Self::with(host, &host.register("admin").await).await
    }

    async fn with(host: &'a Host, registered: &Registered) -> Self {
        Self { host, bearer: format!("Bearer {}", host.token(registered).await) }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [JSON, ("authorization", self.bearer.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.host.send(method, path, &headers, &body).await
    }
}

async fn token_of(host: &Host, id: &str, secret: &str) -> Answer {
    let authorization = ("authorization", &*basic_of(id, secret));
    host.post("/auth/token", &[&FORM, &authorization], "grant_type=client_credentials").await
}

#[tokio::test]
async fn an_administrator_registers_changes_and_removes_an_application() {
    let host = Host::start().await;
    let admin = Admin::of(&host).await;
    let wanted = json!({
        "name": "reports", "permissions": "memories:read memories:write",
        "grant_types": ["client_credentials", "refresh_token"], "access_token_lifetime": 60,
        "refresh": { "idle": 3600, "absolute": 7200 }, "requests_per_minute": 30,
    });
    let registered = admin.send("POST", "/admin/applications", &wanted).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    let mut body = registered.json();
    let secret = body["client_secret"].take().as_str().expect("a secret").to_owned();
    let id = body["client_id"].as_str().expect("an id").to_owned();
    let expected = json!({
        "client_id": id, "name": "reports", "permissions": "memories:read memories:write",
        "grant_types": ["client_credentials", "refresh_token"], "access_token_lifetime": 60,
        "refresh": { "idle": 3600, "absolute": 7200, "grace": 0 }, "requests_per_minute": 30,
        "enabled": true, "created": 1_800_000_000_u64, "live_secrets": 1, "client_secret": null,
        "secrets": [{ "created": 1_800_000_000_u64, "ends": null, "last_used": null }],
    });
    assert_eq!(body, expected);
    let token = token_of(&host, &id, &secret).await.json();
    assert_eq!(token["expires_in"], 60);
    let token = token["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(host.call(&token).await.status, 200);

    let one = format!("/admin/applications/{id}");
    let shown = admin.send("GET", &one, &Value::Null).await;
    assert!(shown.status == 200 && !shown.body.contains(&secret), "{shown:?}");
    let listed = admin.send("GET", "/admin/applications", &Value::Null).await;
    assert_eq!(listed.json()["applications"].as_array().map(Vec::len), Some(2));
    assert!(!listed.body.contains(&secret));

    // A change is in force at once, also for tokens that are out; what is not named stays.
    let changed = admin.send("PATCH", &one, &json!({ "permissions": "memories:write" })).await;
    assert_eq!((changed.status, &changed.json()["access_token_lifetime"]), (200, &json!(60)));
    assert_eq!(host.call(&token).await.status, 403);

    let grace = json!({ "refresh": { "grace": 10 } });
    let refresh = admin.send("PATCH", &one, &grace).await.json()["refresh"].clone();
    assert_eq!(refresh, json!({ "idle": 3600, "absolute": 7200, "grace": 10 }));

    let secret_of = format!("{one}/secret");
    let rotated = admin.send("POST", &secret_of, &json!({ "overlap": 60 })).await;
    let fresh = rotated.json()["client_secret"].as_str().expect("a secret").to_owned();
    assert_ne!(fresh, secret);
    for secret in [&secret, &fresh] {
        assert_eq!(token_of(&host, &id, secret).await.status, 200);
    }

    assert_eq!(admin.send("DELETE", &one, &Value::Null).await.status, 200);
    assert_eq!(token_of(&host, &id, &fresh).await.status, 401);
    assert_eq!(admin.send("GET", &one, &Value::Null).await.status, 404);
    assert_eq!(admin.send("DELETE", &one, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_damaged_application_is_removed_by_its_id_and_registered_anew() {
    // It is found while its record is needed, or when the server starts.
    for restarts in [false, true] {
        let mut host = Host::start().await;
        let lost = host.register("memories:read").await;
        let id = lost.application.id().as_str();
        let administrator = host.register("admin").await;
        let records = host.records(RecordKind::Application).await;
        let record = records.iter().find(|record| record.name == id).expect("a record");
        host.damage(record).await;
        if restarts {
            host.restart().await;
        }
        let admin = Admin::with(&host, &administrator).await;
        let (one, all) = (format!("/admin/applications/{id}"), "/admin/applications");
        let wanted = json!({ "id": id, "name": "anew", "permissions": "memories:read" });
        // What is left of it is nobody's to overwrite, and how to give it up is told.
        for (method, path, body) in [
            ("PATCH", &*one, json!({ "enabled": false })),
            ("POST", &*format!("{one}/secret"), json!({ "overlap": 0 })),
            ("POST", all, wanted.clone()),
        ] {
            let refused = admin.send(method, path, &body).await;
            let told = (refused.status, refused.error());
            assert_eq!(told, (409, "vault_unreadable".to_owned()), "{method} {path}: {refused:?}");
            assert!(refused.body.contains("remove the application"), "{refused:?}");
        }
        assert_eq!(host.runtime.vault().quarantined().await.expect("a list").len(), 1);

        assert_eq!(admin.send("DELETE", &one, &Value::Null).await.status, 200);
        assert!(host.runtime.vault().quarantined().await.expect("a list").is_empty());
        assert_eq!(host.ask(&lost, "").await.error(), "invalid_client");
        assert_eq!(admin.send("DELETE", &one, &Value::Null).await.status, 404, "it is gone");

        let anew = admin.send("POST", all, &wanted).await;
        assert_eq!(anew.status, 201, "{anew:?}");
        let secret = anew.json()["client_secret"].as_str().expect("a secret").to_owned();
        assert_eq!(host.ask(&lost, "").await.error(), "invalid_client", "by the former secret");
        host.restart().await;
        assert_eq!(token_of(&host, id, &secret).await.status, 200);
        let query = AuditQuery::all().of_kind(AuditKind::ApplicationRemoved);
        let removed = host.runtime.vault().read_audit(query).await.expect("a page");
        assert_eq!(removed.entries.len(), 1, "and recorded");
    }
}

/// When each secret of an application was last used, as an administrator is told.
async fn last_used(admin: &Admin<'_>, id: &str) -> Vec<Value> {
    let shown = admin.send("GET", &format!("/admin/applications/{id}"), &Value::Null).await;
    let shown = shown.json();
    let secrets = shown["secrets"].as_array().expect("a list");
    secrets.iter().map(|secret| secret["last_used"].clone()).collect()
}

#[tokio::test]
async fn s_auth_11_the_last_use_of_each_secret_is_shown_and_survives_a_restart() {
    let mut host = Host::start().await;
    let (client, admin) = (host.register("memories:read").await, host.register("admin").await);
    let (id, begin) = (client.application.id().as_str(), 1_800_000_000_u64);
    let wrong = token_of(&host, id, "wrong").await;
    assert_eq!(wrong.status, 401);
    assert_eq!(last_used(&Admin::with(&host, &admin).await, id).await, [Value::Null]);
    for (passes, used) in [(10, 10), (500, 510), (90, 600)] {
        host.clock.advance(Duration::from_secs(passes));
        host.token(&client).await;
        assert_eq!(last_used(&Admin::with(&host, &admin).await, id).await, [begin + used]);
    }
    // The first use was written, and none of the ten minutes after it.
    host.restart().await;
    assert_eq!(last_used(&Admin::with(&host, &admin).await, id).await, [begin + 10]);
    host.clock.advance(Duration::from_secs(10));
    host.token(&client).await;
    // What was written before this is durable with it.
    let second = host.server.issuer().rotate_secret(client.application.id(), HOUR).await;
    host.restart().await;
    let admin = Admin::with(&host, &admin).await;
    assert_eq!(last_used(&admin, id).await, [json!(begin + 610), Value::Null]);
    assert_eq!(token_of(&host, id, second.expect("a secret").expose()).await.status, 200);
    assert_eq!(last_used(&admin, id).await, [begin + 610; 2]);
}

#[tokio::test]
async fn s_auth_11_many_uses_of_a_secret_are_written_once() {
    let host = Host::start().await;
    let client = host.register("memories:read").await;
    host.token(&client).await;
    // A change that changes nothing: answered when everything that was asked for before it is done.
    let settled = async || {
        let nothing = ApplicationChange::new();
        host.server.issuer().change(client.application.id(), nothing).await.expect("nothing");
        host.disk.calls()
    };
    let before = settled().await;
    for _ in 0..200 {
        host.token(&client).await;
    }
    assert_eq!(settled().await, before, "not one went to the disk");
}

#[tokio::test]
async fn s_auth_11_an_exchange_whose_answer_was_lost_is_done_again_and_locks_nobody_out() {
    let mut host = Host::start().await;
    let registered = host.register("memories:read").await;
    let administrator = host.register("admin").await;
    let (id, first) = (registered.application.id().as_str().to_owned(), registered.secret.expose());
    assert_eq!(token_of(&host, &id, first).await.status, 200, "it is in use");
    let path = format!("/admin/applications/{id}/secret");
    let rotate = async |host: &Host, overlap: u64| {
        let admin = Admin::with(host, &administrator).await;
        let rotated = admin.send("POST", &path, &json!({ "overlap": overlap })).await;
        rotated.json()["client_secret"].as_str().expect("a secret").to_owned()
    };
    // Nobody reads the first two answers.
    let lost = [rotate(&host, 3_600).await, rotate(&host, 3_600).await];
    host.restart().await;
    let second = rotate(&host, 7_200).await;
    for secret in &lost {
        assert_eq!(token_of(&host, &id, secret).await.status, 401, "it made room");
    }
    assert_eq!(token_of(&host, &id, first).await.status, 200, "it is in use still");
    host.clock.advance(HOUR);
    assert_eq!(token_of(&host, &id, first).await.status, 401, "no longer than was said at first");

    // Once the new one is used, the next exchange is from that one.
    assert_eq!(token_of(&host, &id, &second).await.status, 200);
    let third = rotate(&host, 3_600).await;
    assert_eq!(token_of(&host, &id, &second).await.status, 200);
    assert_eq!(token_of(&host, &id, &third).await.status, 200);
    let fourth = rotate(&host, 3_600).await;
    for (secret, status) in [(&second, 401), (&third, 200), (&fourth, 200)] {
        assert_eq!(token_of(&host, &id, secret).await.status, status, "the older one goes");
    }
    assert_eq!(token_of(&host, &id, &rotate(&host, 0).await).await.status, 200);
    for secret in [&third, &fourth] {
        assert_eq!(token_of(&host, &id, secret).await.status, 401, "at once, used or not");
    }
}

#[tokio::test]
async fn what_an_administrator_does_is_recorded_with_who_it_was() {
    let host = Host::start().await;
    let registered = host.register("admin").await;
    let admin = Admin::with(&host, &registered).await;
    let upstream = host.runtime.upstream("anthropic").expect("a provider").origin().to_owned();
    let held = json!({ "upstream": upstream, "state": "forced-open" });
    assert_eq!(admin.send("POST", "/admin/breakers", &held).await.status, 200);
    assert_eq!(admin.send("GET", "/admin/breakers", &Value::Null).await.status, 200);
    assert_eq!(
        admin.send("DELETE", "/admin/applications/app_none", &Value::Null).await.status,
        404
    );

    host.runtime.vault().write_notes().await.expect("durable");
    let query = AuditQuery::all().of_application(registered.application.id());
    let entries = host.runtime.vault().read_audit(query).await.expect("a page").entries;
    let told: Vec<_> = entries
        .iter()
        .filter(|entry| entry.origin.as_deref() == Some("administration"))
        .map(|entry| (entry.kind, entry.reason.as_deref().unwrap_or_default()))
        .collect();
    let expected = [
        (AuditKind::Administered, "POST /admin/breakers was answered 200"),
        (AuditKind::AccessDenied, "DELETE /admin/applications/{id} was answered 404"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_is_wrong_with_an_application_is_told_and_nothing_is_changed() {
    let host = Host::start().await;
    let admin = Admin::of(&host).await;
    let known = host.register("memories:read").await;
    let one = format!("/admin/applications/{}", known.application.id().as_str());
    let before = admin.send("GET", &one, &Value::Null).await.json();
    for (method, path, body, status) in [
        ("POST", "/admin/applications", json!({}), 400),
        ("POST", "/admin/applications", json!({ "name": "x", "secret": "of my own" }), 400),
        ("POST", "/admin/applications", json!({ "name": "x", "permission": "a" }), 400),
        ("POST", "/admin/applications", json!({ "name": "x", "id": "no prefix" }), 400),
        ("POST", "/admin/applications", json!({ "name": "" }), 400),
        ("POST", "/admin/applications", json!({ "name": 5 }), 400),
        ("POST", "/admin/applications", json!([]), 400),
        ("PATCH", &one, json!({ "access_token_lifetime": 601 }), 400),
        ("PATCH", &one, json!({ "grant_types": ["password"] }), 400),
        ("PATCH", &one, json!({ "permissions": "\u{e9}" }), 400),
        ("PATCH", &one, json!({ "id": "app_other" }), 400),
        ("PATCH", &one, json!({ "refresh": { "grace": 61 } }), 400),
        ("PATCH", "/admin/applications/app_none", json!({ "name": "x" }), 404),
        ("PATCH", "/admin/applications/nothing", json!({ "name": "x" }), 400),
        ("POST", &format!("{one}/secret"), json!({ "overlap": -1 }), 400),
        ("POST", &format!("{one}/secret"), json!({ "overlap": 31 * 24 * 3600 }), 400),
        ("PUT", &one, json!({}), 405),
    ] {
        let answer = admin.send(method, path, &body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
    }
    assert_eq!(admin.send("GET", &one, &Value::Null).await.json(), before);
    let listed = admin.send("GET", "/admin/applications", &Value::Null).await.json();
    assert_eq!(listed["applications"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn nobody_else_sees_or_changes_applications_and_breakers() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    let bearer = format!("Bearer {token}");
    for (method, path) in [
        ("GET", "/admin/applications"),
        ("POST", "/admin/applications"),
        ("GET", "/admin/applications/app_a"),
        ("PATCH", "/admin/applications/app_a"),
        ("DELETE", "/admin/applications/app_a"),
        ("POST", "/admin/applications/app_a/secret"),
        ("GET", "/admin/breakers"),
        ("POST", "/admin/breakers"),
    ] {
        assert_eq!(host.send(method, path, &[JSON], "{}").await.status, 401, "{method} {path}");
        let headers = [JSON, ("authorization", bearer.as_str())];
        assert_eq!(host.send(method, path, &headers, "{}").await.status, 403, "{method} {path}");
    }
    let other = ServerSettings::new(ISSUER, AUDIENCE).administration_permission("ops");
    let host = Host::with(other).await;
    let token = host.token(&host.register("admin").await).await;
    let bearer = format!("Bearer {token}");
    let refused = host.get("/admin/breakers", &[("authorization", &bearer)]).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn an_administrator_sees_the_breakers_and_holds_calls_back() {
    let host = Host::start().await;
    let admin = Admin::of(&host).await;
    let listed = admin.send("GET", "/admin/breakers", &Value::Null).await.json();
    let listed = listed["breakers"].as_array().expect("a list").clone();
    let upstream = host.runtime.upstream("anthropic").expect("a provider");
    let found = listed.iter().find(|found| found["upstream"] == upstream.origin());
    assert_eq!(found.expect("the upstream")["state"], "closed");
    assert!(listed.len() > 1, "and the one before renewals: {listed:?}");

    for state in ["forced-open", "disabled", "closed"] {
        let wanted = json!({ "upstream": upstream.origin(), "state": state });
        let set = admin.send("POST", "/admin/breakers", &wanted).await;
        assert_eq!((set.status, &set.json()["state"]), (200, &json!(state)));
        assert_eq!(upstream.status().state.as_str(), state);
    }
    for (upstream, state, status) in
        [("https://nowhere.example", "closed", 404), (upstream.origin(), "half-open", 400)]
    {
        let wanted = json!({ "upstream": upstream, "state": state });
        assert_eq!(admin.send("POST", "/admin/breakers", &wanted).await.status, status);
    }
}

/// Sends these requests of an administrator while the disk does not answer, lets it answer once all of them
/// are under way, and gives what they are answered with.
async fn at_once<const N: usize>(
    host: &Arc<Host>,
    bearer: &str,
    requests: [(&'static str, &str, Value); N],
) -> [Answer; N] {
    host.settle().await;
    host.disk.hold();
    let begun = host.begun();
    let mut answers = Vec::new();
    for (number, (method, path, body)) in requests.into_iter().enumerate() {
        let (host_of_it, bearer, path) = (Arc::clone(host), bearer.to_owned(), path.to_owned());
        answers.push(tokio::spawn(async move {
            let headers = [JSON, ("authorization", bearer.as_str())];
            host_of_it.send(method, &path, &headers, &body.to_string()).await
        }));
        host.until_under_way(begun + number + 1, number + 1).await;
        host.disk.until_held().await;
    }
    host.disk.release();
    let mut gathered = Vec::new();
    for answer in answers {
        gathered.push(answer.await.expect("answered"));
    }
    gathered.try_into().expect("as many")
}

#[tokio::test]
async fn of_two_changes_at_once_neither_takes_back_what_the_other_says() {
    let host = Arc::new(Host::start().await);
    let client = host.register("memories:read").await;
    let admin = Admin::of(&host).await;
    let path = format!("/admin/applications/{}", client.application.id().as_str());
    let changes = [
        ("PATCH", &*path, json!({ "refresh": { "idle": 3_600 } })),
        ("PATCH", &*path, json!({ "refresh": { "grace": 10 } })),
        ("PATCH", &*path, json!({ "refresh": { "absolute": 7_200 }, "name": "renamed" })),
    ];
    for answer in at_once(&host, &admin.bearer, changes).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let now = admin.send("GET", &path, &Value::Null).await.json();
    assert_eq!(now["refresh"], json!({ "idle": 3_600, "absolute": 7_200, "grace": 10 }));
    assert_eq!(now["name"], "renamed");
}

#[tokio::test]
async fn s_auth_11_both_secrets_of_two_exchanges_at_once_are_good() {
    let host = Arc::new(Host::start().await);
    // Nobody has used its secret, so that the newest of those that somebody has is the one that stays.
    let client = host.register("memories:read").await;
    let id = client.application.id().as_str();
    let admin = Admin::of(&host).await;
    let path = format!("/admin/applications/{id}/secret");
    let exchange = || ("POST", &*path, json!({ "overlap": 3_600 }));
    let answers = at_once(&host, &admin.bearer, [exchange(), exchange()]).await;
    for answer in answers {
        let secret = answer.json()["client_secret"].as_str().expect("a secret").to_owned();
        assert_eq!(token_of(&host, id, &secret).await.status, 200);
    }
    let first = token_of(&host, id, client.secret.expose()).await;
    assert_eq!(first.status, 401, "two at most");
}

#[tokio::test]
async fn s_auth_11_a_secret_whose_administrator_hung_up_takes_the_place_of_none() {
    let host = Arc::new(Host::start().await);
    // Nobody has used its secret yet, so that no use tells which one is deployed.
    let client = host.register("memories:read").await;
    let (id, first) = (client.application.id().as_str().to_owned(), client.secret.expose());
    let admin = Admin::of(&host).await.bearer;
    let (path, body) = (format!("/admin/applications/{id}/secret"), r#"{"overlap":3600}"#);
    host.hang_up_on(&path, &[&JSON, &("authorization", &admin)], body).await;
    let begun = host.begun();
    let again = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.post(&path, &[&JSON, &("authorization", &admin)], body).await }
    });
    // It waits behind the first one, which nobody will hear of.
    host.until_under_way(begun + 1, 1).await;
    host.disk.release();
    let second = again.await.expect("answered").json()["client_secret"].clone();
    for secret in [first, second.as_str().expect("a secret")] {
        assert_eq!(token_of(&host, &id, secret).await.status, 200);
    }
}

#[tokio::test]
async fn s_auth_11_nobody_waits_for_the_uses_of_secrets_to_be_written() {
    let mut host = Host::start().await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(host.register("memories:read").await);
    }
    host.settle().await;
    let records = async || {
        let all = host.runtime.vault().list(Query::all(RecordKind::Application)).await;
        let all = all.expect("a list").into_iter();
        all.map(|entry| (entry.key.name, entry.version)).collect::<BTreeSet<_>>()
    };
    let before = records().await;
    host.disk.hold();
    for client in &clients {
        host.token(client).await;
    }
    let issuer = host.server.issuer();
    let renamed = ApplicationChange::new().name("renamed");
    let mut change = Box::pin(issuer.change(clients[0].application.id(), renamed));
    tokio::select! {
        biased;
        _ = &mut change => panic!("the disk does not answer"),
        () = host.disk.until_held() => {}
    }
    host.disk.release();
    change.await.expect("changed");
    let after = records().await;
    let written = after.iter().filter(|record| !before.contains(record)).count();
    assert!(written < 100, "{written} records were written before the one that is waited for");

    host.restart().await;
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    for application in host.server.issuer().applications() {
        assert!(
            application.secrets(now).all(|secret| secret.last_used.is_some()),
            "all are durable"
        );
    }
}
