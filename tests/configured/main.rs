//! A provider that the crate has never heard of, added by a file alone: its endpoints named, or read
//! from its metadata document. And an API key of the environment beside a stored sign-in.

mod acme;
mod discovery;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use acme::{Acme, SECRET};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokenward::config::Origin;
use tokenward::runtime::KeyChoice;
use tokenward::testing::ManualClock;
use tokenward::{CredentialState, Error, Login, Runtime, Settings};

/// How Acme speaks, whichever way its endpoints are known.
const MANNERS: &str = r#"
    [vault]
    path = "vault"
    key = { file = "key", create_if_missing = true }

    [providers.acme]
    methods = ["authorization-code"]
    base_url = "ACME/api"
    headers.token = [["x-acme-token", "{secret}"], ["user-agent", "{user_agent}"]]

    [providers.acme.oauth]
    client_id = "acme-client"
    client_secret = { env = "ACME_SECRET" }
    scopes = ["read", "write"]
    scope_separator = ","
    parameters.audience = "acme-api"
    exchange.encoding = "json"
    token_fields.access_token = ["result", "token"]
    token_fields.refresh_token = ["result", "renewal"]
    token_fields.expires_in = ["lives", "seconds"]
"#;

const ENDPOINTS: &str = r#"
    authorization_endpoint = "ACME/authorize"
    token_endpoint = "ACME/token"
    revocation_endpoint = "ACME/revoke"
"#;

const METADATA: &str = "metadata = \"ACME\"\n";

struct Host {
    acme: Acme,
    clock: Arc<ManualClock>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Host {
    /// A runtime that is started from a file and variables, and from nothing else.
    async fn start(acme: Acme, endpoints: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("tokenward.toml");
        let text = format!("{MANNERS}{endpoints}").replace("ACME/", &acme.url("/"));
        let text = text.replace("\"ACME\"", &format!("\"{}\"", acme.url("")));
        std::fs::write(&file, text).expect("a file");
        let settings = Settings::new()
            .with_file(&file)
            .with_variables(|name| (name == "ACME_SECRET").then(|| SECRET.to_owned()));
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let builder = Runtime::builder().sources(clock.sources()).settings(settings);
        let runtime = builder.start().await.expect("a runtime");
        Self { acme, clock, runtime, _folder: folder }
    }

    async fn begin(&self) -> Result<Login, Error> {
        self.runtime.user("ada").sign_in("acme").in_browser().await
    }

    /// What the API answers to a call of ada's.
    async fn call(&self) -> (u16, String) {
        let session = self.runtime.user("ada").open_session().await.expect("a session");
        session.use_provider("acme").await.expect("signed in");
        let reply = session.client().get("/whoami").send().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }

    async fn sign_in_call_expire_renew_and_sign_out(&self) {
        let login = self.begin().await.expect("a sign-in");
        let callback = browse(login.url()).await.1.expect("acme sends the browser back");
        assert_eq!(browse(&callback).await.0, 200);
        login.finished().await.expect("signed in");
        assert_eq!(self.call().await, (200, r#"{"token":"at-1"}"#.to_owned()));

        self.clock.advance(Duration::from_hours(2));
        assert_eq!(self.call().await, (200, r#"{"token":"at-2"}"#.to_owned()));

        let ada = self.runtime.user("ada");
        ada.sign_out("acme").await.expect("signed out");
        let credentials = ada.credentials().await.expect("a list");
        assert!(credentials.iter().all(|it| it.state() == CredentialState::Absent));
        assert_eq!(self.acme.with(|acme| acme.revoked.clone()), ["rt-2"]);
    }
}

/// Opens a page as a browser would: its status, and where it leads.
async fn browse(url: &str) -> (u16, Option<String>) {
    let connector = hyper_util::client::legacy::connect::HttpConnector::new();
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build(connector);
    let reply = client.get(url.parse().expect("a url")).await.expect("an answer");
    let location = reply.headers().get("location").and_then(|to| to.to_str().ok());
    let seen = (reply.status().as_u16(), location.map(str::to_owned));
    reply.into_body().collect().await.expect("a body");
    seen
}

#[tokio::test]
async fn a_provider_from_a_file_alone_does_all_that_a_built_in_one_does() {
    let host = Host::start(Acme::start().await, ENDPOINTS).await;
    host.sign_in_call_expire_renew_and_sign_out().await;
    let origin = host.runtime.settings().origin("providers.acme.oauth.scopes");
    assert!(matches!(origin, Some(Origin::File { line: 14, .. })), "{origin:?}");
}

#[tokio::test]
async fn a_provider_from_its_metadata_document_does_so_too() {
    let acme = Acme::start().await;
    acme.announce(|_| {});
    let host = Host::start(acme, METADATA).await;
    assert_eq!(host.acme.with(|acme| acme.metadata_read), 0, "nothing is read before it is needed");
    host.sign_in_call_expire_renew_and_sign_out().await;
    let read = host.acme.with(|acme| acme.metadata_read);
    assert_eq!(read, 2, "once for the sign-in, and once more two hours later");
}

#[tokio::test]
async fn c_pkce_1_a_server_without_s256_stops_the_sign_in() {
    let acme = Acme::start().await;
    acme.announce(|it| it["code_challenge_methods_supported"] = serde_json::json!(["plain"]));
    let host = Host::start(acme, METADATA).await;
    let error = host.begin().await.expect_err("no S256");
    assert!(error.to_string().contains("oauth.pkce"), "{error}");
}

#[tokio::test]
async fn a_server_that_knows_no_pkce_is_spoken_to_without_it_when_the_file_says_so() {
    let acme = Acme::start().await;
    acme.with(|acme| acme.without_pkce = true);
    acme.announce(|it| it["code_challenge_methods_supported"] = serde_json::json!([]));
    let host = Host::start(acme, &format!("{METADATA}pkce = false\n")).await;
    host.sign_in_call_expire_renew_and_sign_out().await;
}

/// Without PKCE a bare code would be bound to nothing: an attacker's could be pasted as well.
#[tokio::test]
async fn without_pkce_a_code_alone_is_not_taken() {
    let acme = Acme::start().await;
    acme.with(|acme| acme.without_pkce = true);
    let host = Host::start(acme, &format!("{ENDPOINTS}pkce = false\n")).await;
    let login = host.begin().await.expect("a sign-in");
    let address = browse(login.url()).await.1.expect("acme sends the browser back");
    let parsed = url::Url::parse(&address).expect("a url");
    let code = parsed.query_pairs().find_map(|(name, value)| (name == "code").then_some(value));

    let error = login.paste(&code.expect("a code")).await.expect_err("bound to nothing");
    assert!(error.is_invalid_input() && error.to_string().contains("copy the whole"), "{error}");
    assert_eq!(host.acme.with(|acme| acme.in_force.clone()), None, "it was not sent");
    login.paste(&address).await.expect("the address has the state");
    login.finished().await.expect("signed in");
}

#[tokio::test]
async fn c_iss_1_an_answer_that_names_another_issuer_sends_no_code_anywhere() {
    let acme = Acme::start().await;
    acme.announce(|_| {});
    let host = Host::start(acme, METADATA).await;
    let login = host.begin().await.expect("a sign-in");
    host.acme.with(|acme| acme.names_itself = Some("https://another.example".to_owned()));
    browse(&browse(login.url()).await.1.expect("a redirect")).await;
    login.finished().await.expect_err("a mix-up");
    assert_eq!(host.acme.with(|acme| acme.in_force.clone()), None);
}

#[tokio::test]
async fn a_key_of_the_environment_never_replaces_a_stored_sign_in() {
    let folder = TempDir::new().expect("a folder");
    let text = "[vault]\npath = \"vault\"\nkey = { file = \"key\", create_if_missing = true }\n\
                [providers.openai]\n";
    let file = folder.path().join("tokenward.toml");
    std::fs::write(&file, text).expect("a file");
    let settings = Settings::new()
        .with_file(&file)
        .with_variables(|name| (name == "OPENAI_API_KEY").then(|| "sk-offered".to_owned()));
    let runtime = Runtime::builder().settings(settings).start().await.expect("a runtime");
    let variable = Origin::Variable("OPENAI_API_KEY".to_owned());

    let ada = runtime.user("ada");
    assert!(ada.credentials().await.expect("a list").is_empty(), "an offer signs nobody in");
    let choice = ada.sign_in("openai").with_offered_key().await.expect("stored");
    assert!(matches!(choice, KeyChoice::Stored { ref from, .. } if *from == variable));

    let bob = runtime.user("bob");
    bob.sign_in("openai").with_api_key("sk-of-bob").await.expect("stored");
    let choice = bob.sign_in("openai").with_offered_key().await.expect("an answer");
    assert!(matches!(choice, KeyChoice::Kept { ref offered, .. } if *offered == variable));
    assert!(choice.to_string().contains("OPENAI_API_KEY") && !choice.to_string().contains("sk-"));
    let session = bob.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let used = session.authentication().await.expect("a credential").headers;
    assert_eq!(used["authorization"], "Bearer sk-of-bob");
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_in_a_file_that_others_can_open_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().expect("a folder");
    let (file, secret) = (folder.path().join("tokenward.toml"), folder.path().join("secret"));
    let text = "[vault]\npath = \"vault\"\nkey = { file = \"key\", create_if_missing = true }\n\
                [providers.google.oauth]\nclient_id = \"g\"\nclient_secret = { file = \"secret\" }\n";
    std::fs::write(&file, text).expect("a file");
    std::fs::write(&secret, "canary\n").expect("a file");
    let start = async |mode| {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let settings = Settings::new().with_file(&file).with_variables(|_| None);
        Runtime::builder().settings(settings).start().await
    };
    let error = start(0o644).await.expect_err("others can read it");
    assert!(error.is_configuration());
    for told in ["providers.google.oauth.client_secret", "mode 644", "chmod 600"] {
        assert!(error.to_string().contains(told), "{error}");
    }
    assert!(!error.to_string().contains("canary"));
    start(0o600).await.expect("ours alone");
}

#[tokio::test]
async fn c_err_1_a_server_that_ends_grants_with_403_is_understood_when_the_file_says_so() {
    for (statuses, state) in [
        ("", CredentialState::Expired),
        (
            "[providers.acme.errors]\nreauthorization_statuses = [400, 401, 403]\n",
            CredentialState::ReauthorizationRequired,
        ),
    ] {
        let host = Host::start(Acme::start().await, &format!("{ENDPOINTS}{statuses}")).await;
        let login = host.begin().await.expect("a sign-in");
        browse(&browse(login.url()).await.1.expect("a redirect")).await;
        let credential = login.finished().await.expect("signed in");
        host.acme.with(|acme| acme.refuses_with = 403);
        host.clock.advance(Duration::from_hours(2));
        let credential = host.runtime.credential(&credential).await.expect("a credential");
        let error = credential.acquire().await.expect_err("403 invalid_grant");
        assert_eq!(credential.snapshot().state(), state, "{error}");
        assert_eq!(
            error.needs_reauthorization(),
            state == CredentialState::ReauthorizationRequired
        );
        if !error.needs_reauthorization() {
            assert!(error.to_string().contains("reauthorization_statuses"), "{error}");
        }
    }
}

#[tokio::test]
async fn everything_wrong_is_told_before_anything_starts() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("tokenward.toml");
    let vault = folder.path().join("vault");
    let text = "[vault]\npath = \"vault\"\n[providers.openai]\nmethods = []\ncolor = 1\n";
    std::fs::write(&file, text).expect("a file");
    let settings = Settings::new().with_file(&file).with_variables(|_| None);
    let error = Runtime::builder().settings(settings).start().await.expect_err("three problems");
    assert!(error.is_configuration());
    for told in ["vault.key", "providers.openai.methods", "providers.openai.color", ":5)"] {
        assert!(error.to_string().contains(told), "{error}");
    }
    assert!(!vault.exists());
}
