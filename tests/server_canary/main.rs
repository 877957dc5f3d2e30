//! A canary in what clients send to an authorization server, and its own secrets: whatever goes wrong, they
//! are in no log line at any level, no answer but the one that gives them, no error, no `Debug`, no entry of
//! the audit trail, and in no byte of the vault's files.

#[path = "../canary/capture.rs"]
#[allow(dead_code, reason = "each test uses its own part of this")]
mod capture;
#[path = "../server/host.rs"]
#[allow(dead_code, reason = "each test uses its own part of this")]
mod host;
#[path = "../common/search.rs"]
mod search;
mod secrets;

use std::time::Duration;

use serde_json::{Value, json};
use tokenward::Secret;
use tokenward::server::{
    ApplicationSpec, Capability, GrantType, Registered, ServerSettings, TokenRefused,
};
use tokenward::testing::VaultFault;
use tokenward::vault::audit::AuditQuery;

use crate::capture::Capture;
use crate::host::{AUDIENCE, Answer, FORM, Host, ISSUER, JSON, basic, basic_of};
use crate::secrets::{Secrets, files};

/// Stands in everything that a client sends and that is none of the server's making.
const CANARY: &str = "Canary-7c40d9e1";

/// What people call an application, which nobody must find in the files of the vault.
const NAME: &str = "zweitkonto-im-garten";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_the_server_gets_out() {
    let capture = Capture::start();
    let mut house = House::open(capture).await;
    house.everything_is_done().await;
    house.clients_are_wrong().await;
    for fault in [
        VaultFault::LostAnswer,
        VaultFault::NoRoom,
        VaultFault::Full,
        VaultFault::ReadOnly,
        VaultFault::Broken,
        VaultFault::Vanished,
    ] {
        house.the_disk_fails(fault).await;
    }
    house.actors_crash().await;
    house.host.restart().await;
    house.everything_is_done().await;
    house.everything_is_shown().await;
    let while_open = files(&house.host);
    house.host.runtime.shutdown(Duration::from_secs(10)).await;

    house.it_was_all_there();
    let needles = house.secrets.needles();
    for (place, text) in [("log", house.capture.logged()), ("output", house.capture.shown())] {
        let found = needles.find(text.as_bytes());
        assert!(found.is_empty(), "in the {place}: {}", house.secrets.names(&found));
    }
    let sealed =
        house.secrets.with_names(&[NAME, "memories:read", house.client.application.id().as_str()]);
    let mut searched = 0;
    for (path, bytes) in while_open.into_iter().chain(files(&house.host)) {
        searched += bytes.len();
        let found = sealed.find(&bytes);
        assert!(found.is_empty(), "in {}: {}", path.display(), house.secrets.names(&found));
        assert!(!house.secrets.stand_raw_in(&bytes), "in {}", path.display());
    }
    house.capture.tell_how_much(searched);
}

/// A server, its clients, and all that was secret about them.
struct House {
    capture: Capture,
    host: Host,
    secrets: Secrets,
    client: Registered,
    admin: Registered,
}

impl House {
    async fn open(capture: Capture) -> Self {
        let settings = ServerSettings::new(ISSUER, AUDIENCE).metrics_permission("metrics:read");
        capture.show(&settings.clone().without(Capability::Health));
        let host = Host::with(settings).await;
        capture.follow(host.runtime.events());
        let spec = ApplicationSpec::new(NAME)
            .permissions("memories:read metrics:read".parse().expect("a scope"))
            .grants(GrantType::ALL)
            .secret(Secret::new(&format!("the-secret-{CANARY}")));
        capture.show(&spec);
        let client = host.server.issuer().register(spec).await.expect("registered");
        let admin = host.register("admin tokens:introspect").await;
        let mut secrets = Secrets::new(CANARY);
        secrets.add(admin.secret.expose());
        capture.show(&client);
        Self { capture, host, secrets, client, admin }
    }

    /// Sends a form as a client, and keeps what is answered when nothing in it is a token.
    async fn form(&mut self, path: &str, authorization: &str, body: &str) -> Answer {
        let answer = self.host.post(path, &[&FORM, &("authorization", authorization)], body).await;
        let body = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
        for name in ["access_token", "refresh_token"] {
            if let Some(token) = body[name].as_str() {
                self.secrets.add(token);
            }
        }
        if body.get("access_token").is_none() {
            self.capture.show(&answer);
        }
        answer
    }

    /// The access token and the refresh token of a grant to the client.
    async fn tokens(&mut self, body: &str) -> Option<(String, String)> {
        let authorization = basic(&self.client);
        let answer = self.form("/auth/token", &authorization, body).await;
        let body = serde_json::from_str::<Value>(&answer.body).ok()?;
        let text = |name: &str| Some(body[name].as_str()?.to_owned());
        Some((text("access_token")?, text("refresh_token")?))
    }

    /// Sends a request with a bearer token, and keeps what is answered but for a new secret.
    async fn bearing(&mut self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers = [JSON, ("authorization", authorization.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.host.send(method, path, &headers, &body).await;
        let told = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
        match told["client_secret"].as_str() {
            Some(secret) => self.secrets.add(secret),
            None => self.capture.show(&answer),
        }
        answer
    }

    /// What clients and administrators do in a day. What fails of it fails for want of a disk.
    async fn everything_is_done(&mut self) {
        let authorization = basic(&self.client);
        if let Some((access, first)) = self.tokens("grant_type=client_credentials").await {
            self.bearing(&access, "GET", "/memories", &Value::Null).await;
            self.bearing(&access, "GET", "/both", &Value::Null).await;
            self.bearing(&access, "GET", "/metrics", &Value::Null).await;
            self.capture.show(&self.host.server.verify(&access).expect("it is good"));
            for token in [&access, &first] {
                self.form("/auth/introspect", &authorization, &format!("token={token}")).await;
            }
            let refresh = format!("grant_type=refresh_token&refresh_token={first}");
            if let Some((access, second)) = self.tokens(&refresh).await {
                // Used twice: the family ends.
                self.tokens(&refresh).await;
                for token in [&access, &second] {
                    self.form("/auth/revoke", &authorization, &format!("token={token}")).await;
                }
                let refused: Result<_, TokenRefused> = self.host.server.verify(&access);
                self.capture.result(&refused);
            }
        }
        let asked =
            self.form("/auth/token", &basic(&self.admin), "grant_type=client_credentials").await;
        let admin = serde_json::from_str::<Value>(&asked.body).unwrap_or_default();
        let Some(admin) = admin["access_token"].as_str().map(str::to_owned) else { return };
        let made = json!({ "name": "made by hand", "permissions": "memories:read" });
        let made = self.bearing(&admin, "POST", "/admin/applications", &made).await;
        let made = serde_json::from_str::<Value>(&made.body).unwrap_or_default();
        let id = made["client_id"].as_str().unwrap_or("app_none").to_owned();
        let one = format!("/admin/applications/{id}");
        self.bearing(&admin, "POST", &format!("{one}/secret"), &json!({ "overlap": 60 })).await;
        self.bearing(&admin, "PATCH", &one, &json!({ "enabled": false })).await;
        for path in ["/admin/applications", "/admin/breakers"] {
            self.bearing(&admin, "GET", path, &Value::Null).await;
        }
        self.bearing(&admin, "DELETE", &one, &Value::Null).await;
        self.bearing(&admin, "POST", "/admin/signing-key", &Value::Null).await;
        for path in ["/health", "/health/ready", "/.well-known/jwks.json"] {
            self.capture.show(&self.host.get(path, &[]).await);
        }
    }

    /// Whatever a client can get wrong, with the canary in it.
    async fn clients_are_wrong(&mut self) {
        let id = self.client.application.id().as_str().to_owned();
        let right = basic(&self.client);
        let (_, refresh) = self.tokens("grant_type=client_credentials").await.expect("tokens");
        let torn = &refresh[..refresh.len() - 1];
        let in_body = format!("client_id={id}&client_secret={CANARY}");
        for authorization in [
            basic_of(&id, CANARY),
            basic_of(CANARY, "x"),
            format!("Basic {CANARY}"),
            format!("Bearer {CANARY}"),
            format!("{CANARY} {CANARY}"),
            right,
        ] {
            for body in [
                CANARY.to_owned(),
                format!("grant_type={CANARY}"),
                format!("{CANARY}=a&{CANARY}=b"),
                format!("grant_type=client_credentials&scope={CANARY}"),
                format!("grant_type=refresh_token&refresh_token={CANARY}"),
                format!("grant_type=refresh_token&refresh_token={torn}"),
                format!("grant_type=client_credentials&{in_body}"),
                format!("token={CANARY}&token_type_hint={CANARY}"),
            ] {
                for path in ["/auth/token", "/auth/revoke", "/auth/introspect"] {
                    self.form(path, &authorization, &body).await;
                }
            }
            let answer = self.host.post("/auth/token", &[&FORM], &in_body).await;
            self.capture.show(&answer);
            // No failure is counted from before.
            self.host.clock.advance(Duration::from_mins(2));
        }
        for text in [CANARY.to_owned(), format!("{{\"{CANARY}\":\"{CANARY}\",\"{CANARY}\":1}}")] {
            for path in ["/auth/token", "/admin/applications", "/admin/breakers"] {
                let answer = self.host.post(path, &[&JSON], &text).await;
                self.capture.show(&answer);
            }
        }
        for token in [CANARY.to_owned(), format!("a.{CANARY}.b"), refresh] {
            self.bearing(&token, "GET", "/memories", &Value::Null).await;
            self.bearing(&token, "GET", "/admin/applications", &Value::Null).await;
            let address = format!("/memories?access_token={token}");
            self.capture.show(&self.host.get(&address, &[]).await);
        }
        self.host.exchange(&format!("{CANARY} {CANARY}\r\n\r\n")).await;
    }

    /// The disk fails at each of the next steps, with everything under way.
    async fn the_disk_fails(&mut self, fault: VaultFault) {
        for step in 0..4 {
            self.host.disk.after(step, fault);
            self.everything_is_done().await;
            self.host.disk.set(fault);
            self.everything_is_done().await;
            self.host.disk.heal();
            for _ in 0..100 {
                self.host.clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        }
    }

    async fn actors_crash(&mut self) {
        for path in ["token-issuer", "vault", "timekeeper"] {
            self.host.runtime.crash_actor(path).await;
            self.everything_is_done().await;
            self.host.clock.advance(Duration::from_mins(2));
        }
    }

    /// What a debugger, a metric and the audit trail show.
    async fn everything_is_shown(&mut self) {
        let server = &self.host.server;
        self.capture.show(server);
        self.capture.show(server.issuer());
        self.capture.show(&server.issuer().applications());
        self.capture.note(self.host.runtime.metrics().encode());
        let vault = self.host.runtime.vault();
        vault.write_notes().await.expect("durable");
        let mut from = Some(0);
        while let Some(number) = from {
            let query = AuditQuery::all().starting_at(number);
            let page = vault.read_audit(query).await.expect("a page");
            for entry in &page.entries {
                self.capture.show(entry);
                self.capture.note(entry.to_json());
            }
            from = page.next;
        }
    }

    /// The secrets were sent, and the capture saw how it was done: what is not found afterwards is not there
    /// because it was kept out.
    fn it_was_all_there(&self) {
        assert!(self.secrets.count() > 60, "{} secrets", self.secrets.count());
        let (logged, shown) = (self.capture.logged(), self.capture.shown());
        let id = self.client.application.id().as_str();
        for seen in [
            "a request was refused",
            "a token was refused",
            "TRACE",
            "sled::",
            "actor restarted",
            id,
        ] {
            assert!(logged.contains(seen), "{seen} is in the log");
        }
        for seen in [
            "invalid_client",
            "invalid_grant",
            "temporarily_unavailable",
            "access-denied",
            "[redacted]",
        ] {
            assert!(shown.contains(seen), "{seen} is in the output");
        }
        let stored: usize = files(&self.host).iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(stored > 10_000, "{stored} bytes are in the vault");
    }
}
