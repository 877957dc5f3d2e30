//! An agent host that knows the other server by TOML alone, on a vault in a folder of its own, and
//! on a clock that moves when a test says so. The server keeps real time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tempfile::TempDir;
use tokenward::clock::Clock as _;
use tokenward::testing::ManualClock;
use tokenward::{DeviceLogin, Error, Runtime, Settings, User};

use crate::server::{OidcProvider, within};

/// All that the host is told about the server.
const CONFIGURATION: &str = r#"
    [vault]
    path = "vault"
    key = { file = "key", create_if_missing = true }

    [providers.elsewhere]
    methods = ["authorization-code", "device-code"]
    base_url = "ISSUER"

    [providers.elsewhere.oauth]
    metadata = "ISSUER"
    client_id = "desktop"
    scopes = ["openid", "offline_access"]
    parameters.prompt = "consent"

    [providers.by-basic]
    methods = ["client-credentials"]
    base_url = "ISSUER"

    [providers.by-basic.oauth]
    metadata = "ISSUER"
    client_id = "machine:basic"
    client_secret = { env = "SECRET" }
    client_authentication = "basic"
    scopes = ["calendar"]

    [providers.by-post]
    methods = ["client-credentials"]
    base_url = "ISSUER"

    [providers.by-post.oauth]
    metadata = "ISSUER"
    client_id = "machine:post"
    client_secret = { env = "SECRET" }
    client_authentication = "post"
"#;

/// As it stands in `oidc-provider/server.mjs`.
const SECRET: &str = "s p+a%c:e/&=~ of 32 characters or more";

pub(crate) struct Host {
    pub(crate) server: OidcProvider,
    pub(crate) clock: Arc<ManualClock>,
    runtime: Runtime,
    change: String,
    folder: TempDir,
}

impl Host {
    pub(crate) async fn start(server: OidcProvider) -> Self {
        Self::configured(server, "").await
    }

    /// A host with `change`, lines of TOML below `[providers]`, to its configuration.
    pub(crate) async fn configured(server: OidcProvider, change: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let text = CONFIGURATION.replace("ISSUER", &server.issuer);
        std::fs::write(folder.path().join("tokenward.toml"), text).expect("a file");
        let change = format!("[providers]\n{change}");
        let runtime = runtime(&clock, folder.path(), &change).await;
        Self { server, clock, runtime, change, folder }
    }

    /// Stops the runtime in good order.
    pub(crate) async fn stop(&self) {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new(), "everything ends in time");
    }

    /// Starts another runtime on the vault as it is now.
    pub(crate) async fn restart(&mut self) {
        self.runtime = runtime(&self.clock, self.folder.path(), &self.change).await;
    }

    /// Puts a copy of the folder `from` at `to`, in place of what is there. For while it is stopped.
    pub(crate) fn copy_vault(&self, from: &str, to: &str) {
        let (from, to) = (self.folder.path().join(from), self.folder.path().join(to));
        if to.exists() {
            std::fs::remove_dir_all(&to).expect("removed");
        }
        copy(&from, &to);
    }

    pub(crate) fn ada(&self) -> User {
        self.runtime.user("ada")
    }

    /// Ends the process of the server.
    pub(crate) async fn kill_server(&mut self) {
        self.server.kill().await;
    }

    /// What the server says of the user whose token it is sent.
    pub(crate) async fn whoami(&self) -> (u16, String) {
        let reply = self.call().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }

    /// Why a call of ada's can not be made.
    pub(crate) async fn refusal(&self) -> Error {
        self.call().await.expect_err("no token")
    }

    async fn call(&self) -> Result<reqwest::Response, Error> {
        let session = self.ada().open_session().await.expect("a session");
        session.use_provider("elsewhere").await.expect("known");
        within(session.client().get("/me").send()).await
    }

    /// What ada's requests to a provider carry now.
    pub(crate) async fn headers(&self, provider: &str) -> HeaderMap {
        let session = self.ada().open_session().await.expect("a session");
        session.use_provider(provider).await.expect("signed in");
        within(session.authentication()).await.expect("a token").headers
    }

    /// Asks the server for a page without the crate's help: the status of the answer.
    pub(crate) async fn ask(&self, path: &str, headers: HeaderMap) -> u16 {
        let url = format!("{}{path}", self.server.issuer);
        let request = crate::common::http_client().get(url).headers(headers);
        request.send().await.expect("an answer").status().as_u16()
    }

    /// Whether the server calls the token in `headers` active (RFC 7662).
    pub(crate) async fn is_active(&self, headers: &HeaderMap) -> bool {
        let token = headers.get(AUTHORIZATION).map(HeaderValue::to_str);
        let token = token.expect("a header").expect("text").strip_prefix("Bearer ");
        let form = [
            ("token", token.expect("a token")),
            ("client_id", "machine:post"),
            ("client_secret", SECRET),
        ];
        let url = format!("{}/token/introspection", self.server.issuer);
        let answer = crate::common::http_client().post(url).form(&form).send().await;
        let answer: serde_json::Value =
            answer.expect("an answer").json().await.expect("an answer of RFC 7662");
        answer["active"].as_bool().expect("RFC 7662 §2.2")
    }

    /// Lets the time pass until the next poll, and the poll be answered. How long that took.
    pub(crate) async fn next_poll(&self, login: &DeviceLogin) -> Duration {
        let mut progress = login.progress();
        let waits = within(progress.wait_for(|it| it.next_poll.is_some())).await;
        let before = *waits.expect("it is pending");
        let at = before.next_poll.expect("it waits for this");
        let wait = at.duration_since(self.clock.now().wall).expect("to come");
        self.clock.advance(wait);
        within(progress.wait_for(|it| it.polls > before.polls)).await.expect("a poll");
        wait
    }
}

async fn runtime(clock: &Arc<ManualClock>, folder: &Path, change: &str) -> Runtime {
    let settings = Settings::new()
        .with_file(folder.join("tokenward.toml"))
        .with_toml("change.toml", change)
        .with_variables(|name| match name {
            "SECRET" => Some(SECRET.to_owned()),
            "WRONG" => Some("not the secret".to_owned()),
            _ => None,
        });
    let builder = Runtime::builder().sources(clock.sources()).settings(settings);
    builder.start().await.expect("a runtime")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).expect("a copy");
        }
    }
}
