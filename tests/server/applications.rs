//! Applications, managed by methods and by messages; what becomes of their secrets, and what is
//! recorded.

use std::num::NonZeroU32;
use std::time::Duration;

use tokenward::Secret;
use tokenward::server::{
    ApplicationChange, ApplicationSpec, IssuerMessage, RateLimit, RefreshPolicy,
};
use tokenward::vault::audit::{AuditKind, AuditQuery, AuditUser};

use crate::host::{FORM, Host, basic, basic_of};
use crate::refresh::{refresh, register, tokens};

#[tokio::test]
async fn s_auth_11_both_secrets_are_good_during_an_exchange_and_only_the_new_one_after_it() {
    let mut host = Host::start().await;
    let registered = host.register("memories:read").await;
    let id = registered.application.id();
    let ask = async |host: &Host, secret: &str| {
        let authorization = basic_of(id.as_str(), secret);
        let headers = [&FORM, &("authorization", authorization.as_str())];
        host.post("/auth/token", &headers, "grant_type=client_credentials").await.status
    };
    let overlap = Duration::from_hours(1);
    let second = host.server.issuer().rotate_secret(id, overlap).await.expect("a secret");
    assert_eq!(ask(&host, registered.secret.expose()).await, 200);
    assert_eq!(ask(&host, second.expose()).await, 200);
    host.restart().await;
    host.clock.advance(overlap);
    assert_eq!(ask(&host, registered.secret.expose()).await, 401);
    assert_eq!(ask(&host, second.expose()).await, 200);
    let third = host.server.issuer().rotate_secret(id, Duration::ZERO).await.expect("a secret");
    assert_eq!(ask(&host, second.expose()).await, 401, "at once, when that was asked for");
    assert_eq!(ask(&host, third.expose()).await, 200);
    let for_ever = host.server.issuer().rotate_secret(id, Duration::MAX).await;
    assert!(for_ever.expect_err("too long").is_invalid_input());
}

#[tokio::test]
async fn messages_do_what_the_methods_do() {
    let host = Host::start().await;
    let issuer = host.server.issuer();
    let messages = issuer.messages();
    let spec = Box::new(ApplicationSpec::new("by message"));
    let registered = messages.ask(|reply| IssuerMessage::Register { spec, reply }).await;
    let registered = registered.expect("asked").expect("registered");
    let id = registered.application.id().clone();
    let change = Box::new(ApplicationChange::new().name("renamed"));
    let message = |reply| IssuerMessage::Change { id: id.clone(), change, reply };
    messages.ask(message).await.expect("asked").expect("changed");
    assert_eq!(issuer.application(&id).expect("there").name(), "renamed");
    let message = |reply| IssuerMessage::Remove { id: id.clone(), reply };
    messages.ask(message).await.expect("asked").expect("removed");
    assert!(issuer.application(&id).is_none());
    let again = messages.ask(|reply| IssuerMessage::Remove { id: id.clone(), reply }).await;
    assert!(again.expect("asked").expect_err("gone").is_not_found());
}

#[tokio::test]
async fn s_auth_11_a_host_that_does_not_take_a_secret_holds_the_next_exchange_up_for_a_second() {
    let host = Host::start().await;
    let registered = host.register("memories:read").await;
    let (issuer, id) = (host.server.issuer(), registered.application.id().clone());
    // Far longer than the time that passes here.
    let overlap = Duration::from_hours(30 * 24);
    let rotate = |reply| IssuerMessage::RotateSecret { id: id.clone(), overlap, reply };
    let first = issuer.messages().ask(rotate).await.expect("asked").expect("a secret");
    let second = async {
        tokio::select! {
            second = issuer.rotate_secret(&id, overlap) => second.expect("a secret"),
            () = async {
                loop {
                    host.clock.advance(Duration::from_millis(100));
                    tokio::task::yield_now().await;
                }
            } => unreachable!(),
        }
    };
    let second = tokio::time::timeout(Duration::from_mins(1), second).await.expect("in time");
    for secret in [first.take(), second] {
        let authorization = basic_of(id.as_str(), secret.expose());
        let headers = [&FORM, &("authorization", authorization.as_str())];
        let asked = host.post("/auth/token", &headers, "grant_type=client_credentials").await;
        assert_eq!(asked.status, 200, "it was on its way, and not lost");
    }
}

#[tokio::test]
async fn a_removed_application_is_gone_with_its_tokens() {
    let mut host = Host::start().await;
    let registered = host.register("memories:read").await;
    let token = host.token(&registered).await;
    host.server.issuer().remove(registered.application.id()).await.expect("removed");
    assert_eq!(host.call(&token).await.status, 401);
    host.restart().await;
    assert_eq!(host.call(&token).await.status, 401);
    assert!(host.server.issuer().applications().is_empty());
}

#[tokio::test]
async fn what_is_decided_is_recorded_with_the_application_it_is_about() {
    let host = Host::start().await;
    let registered = host.register("memories:write").await;
    let id = registered.application.id();
    let token = host.token(&registered).await;
    assert_eq!(host.call(&token).await.status, 403);
    host.server.issuer().rotate_secret(id, Duration::ZERO).await.expect("a secret");
    host.ask(&registered, "").await;
    host.server.issuer().remove(id).await.expect("removed");
    host.runtime.vault().write_notes().await.expect("written");

    let page = host.runtime.vault().read_audit(AuditQuery::all().of_application(id)).await;
    let entries = page.expect("a page").entries;
    let recorded: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    for kind in [
        AuditKind::ApplicationRegistered,
        AuditKind::TokenGenerated,
        AuditKind::AccessDenied,
        AuditKind::ApplicationChanged,
        AuditKind::ApplicationRemoved,
    ] {
        assert!(recorded.contains(&kind), "{kind} among {recorded:?}");
    }
    let of_nobody = host.runtime.vault().read_audit(AuditQuery::all()).await.expect("a page");
    for entry in entries.iter().chain(&of_nobody.entries) {
        let line = entry.to_json();
        for secret in [registered.secret.expose(), token.as_str()] {
            assert!(!line.contains(secret) && !format!("{entry:?}").contains(secret), "{line}");
        }
    }
}

#[tokio::test]
async fn every_refusal_and_every_introspection_is_recorded() {
    let host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    let spec = ApplicationSpec::new("slow").permissions("memories:write".parse().expect("a scope"));
    let once = RateLimit::PerMinute(NonZeroU32::new(3).expect("not zero"));
    let other = host.server.issuer().register(spec.rate_limit(once)).await.expect("registered");
    let (access, first) = tokens(&host.ask(&owner, "").await);
    refresh(&host, &owner, &first, "").await;
    let (good, _) = tokens(&host.ask(&owner, "").await);

    // Each of these is refused, or looks at a token.
    refresh(&host, &owner, &first, "").await;
    host.ask(&owner, "memories:delete").await;
    let mut wrong = owner.clone();
    wrong.secret = Secret::new("wrong");
    host.ask(&wrong, "").await;
    for by in [&owner, &other] {
        let body = format!("token={good}");
        host.post("/auth/introspect", &[&FORM, &("authorization", &basic(by))], &body).await;
    }
    host.call(&access).await;
    host.get("/memories", &[]).await;
    let of_other = host.token(&other).await;
    host.call(&of_other).await;
    for _ in 0..3 {
        host.ask(&other, "").await;
    }
    host.post("/auth/token", &[&FORM, &FORM], "").await;

    host.runtime.vault().write_notes().await.expect("written");
    let query = AuditQuery::all().of_kind(AuditKind::AccessDenied);
    let query = query.of_kind(AuditKind::TokenIntrospected);
    let page = host.runtime.vault().read_audit(query).await.expect("a page");
    let told: Vec<_> = page
        .entries
        .iter()
        .map(|entry| {
            let about = match &entry.user {
                AuditUser::Named(name)
                    if name.as_str().contains(owner.application.id().as_str()) =>
                {
                    "owner"
                }
                AuditUser::Named(_) => "other",
                _ => "nobody",
            };
            (entry.origin.as_deref().unwrap_or(""), about, entry.reason.as_deref().unwrap_or(""))
        })
        .collect();
    for expected in [
        ("token-endpoint", "owner", "the token is not good, or was issued to another client"),
        ("token-endpoint", "owner", "the scope is malformed or more than the client may have"),
        ("token-endpoint", "owner", "the client is unknown or its secret is wrong"),
        ("token-endpoint", "other", "too many requests, wait as long as the header says"),
        ("token-endpoint", "nobody", "there are two content types"),
        ("introspection-endpoint", "owner", ""),
        ("introspection-endpoint", "other", "the token is another application's"),
        ("guard", "owner", "the token was revoked"),
        ("guard", "other", "the token lacks a permission"),
        ("guard", "nobody", "there is no token"),
    ] {
        assert!(told.contains(&expected), "{expected:?} among {told:#?}");
    }
}

#[tokio::test]
async fn a_second_server_on_a_runtime_is_refused() {
    let host = Host::start().await;
    let settings = tokenward::server::ServerSettings::new("https://other.example", "api");
    assert!(tokenward::server::AuthorizationServer::start(&host.runtime, settings).await.is_err());
}

#[tokio::test]
async fn a_secret_from_a_configuration_is_taken_unless_it_is_too_short() {
    let host = Host::start().await;
    let spec = ApplicationSpec::new("configured")
        .id("app_configured".parse().expect("an id"))
        .permissions("memories:read".parse().expect("a scope"));
    let short = spec.clone().secret(Secret::new("fifteen-letters"));
    assert!(host.server.issuer().register(short).await.expect_err("short").is_invalid_input());
    let given = spec.secret(Secret::new("a-secret-of-a-file"));
    let registered = host.server.issuer().register(given).await.expect("registered");
    assert_eq!(registered.secret, Secret::new("a-secret-of-a-file"));
    assert_eq!(host.ask(&registered, "").await.status, 200);
}
