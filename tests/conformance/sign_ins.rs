//! What a browser sign-in puts into its address, and what it does with the answer.

use std::collections::{HashMap, HashSet};

use tokenward::oauth::Pkce;
use tokenward::secret::Secret;
use tokenward::{Login, ProviderSpec, Runtime, Vault};
use url::{Url, form_urlencoded};

use crate::calls::spec;
use crate::common::{Recorder, Reply, http_client};

const GRANTED: &str = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":3600}"#;

async fn runtime(spec: ProviderSpec) -> Runtime {
    let builder = Runtime::builder().vault(Vault::in_memory()).provider(spec);
    builder.start().await.expect("a runtime")
}

async fn begin(runtime: &Runtime) -> Login {
    let login = runtime.user("ada").sign_in("example").in_browser().await;
    login.expect("a sign-in")
}

/// The parameters of the address that the user opens.
fn asked(login: &Login) -> HashMap<String, String> {
    let url = Url::parse(login.url()).expect("a url");
    url.query_pairs().into_owned().collect()
}

/// The browser comes back with these parameters: the status of the page it sees.
async fn come_back(login: &Login, answer: &[(&str, &str)]) -> u16 {
    let mut url = Url::parse(&asked(login)["redirect_uri"]).expect("a url");
    url.query_pairs_mut().extend_pairs(answer);
    http_client().get(url).send().await.expect("a page").status().as_u16()
}

/// C-PKCE-1, C-ST-1, C-LB-1 and C-TOK-1: what ties an exchange to its sign-in, and to no other.
#[tokio::test]
async fn every_sign_in_has_a_verifier_and_a_state_of_its_own_and_exchanges_with_them() {
    let recorder = Recorder::start(vec![Reply::json(200, GRANTED); 3]).await;
    let runtime = runtime(spec(&recorder.url(""))).await;
    let mut seen = HashSet::new();
    for round in 0..3 {
        let login = begin(&runtime).await;
        let asked = asked(&login);
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["redirect_uri"].starts_with("http://127.0.0.1:"), "{asked:?}");
        assert!(asked["state"].len() >= 22, "128 bits of base64url");
        assert_eq!(come_back(&login, &[("code", "c-1"), ("state", &asked["state"])]).await, 200);
        login.finished().await.expect("signed in");

        let request = recorder.requests().remove(round);
        let sent: HashMap<_, _> =
            form_urlencoded::parse(request.body.as_bytes()).into_owned().collect();
        assert_eq!(sent["redirect_uri"], asked["redirect_uri"]);
        assert_eq!((sent["client_id"].as_str(), sent["code"].as_str()), ("client", "c-1"));
        let verifier = Secret::new(&sent["code_verifier"]);
        assert_eq!(Pkce::of(verifier).challenge, asked["code_challenge"]);
        assert!(!sent.contains_key("state"), "RFC 6749 §4.1.3 has none");
        for secret in [&sent["code_verifier"], &asked["code_challenge"], &asked["state"]] {
            assert!(seen.insert(secret.clone()), "none is used twice, or for two purposes");
        }
    }
}

/// C-ISS-1 and C-CB-1: neither a code nor a refusal from another server is taken, and one with
/// another state ends nothing.
#[tokio::test]
async fn a_refusal_is_believed_only_from_the_server_that_was_asked() {
    let recorder = Recorder::start([]).await;
    let mut spec = spec(&recorder.url(""));
    spec.oauth.issuer = Some("https://issuer.example".to_owned());
    let runtime = runtime(spec).await;
    for outcome in ["code", "error"] {
        for issuer in ["https://issuer.example/", "https://another.example", ""] {
            let login = begin(&runtime).await;
            let state = asked(&login)["state"].clone();
            let stray = [(outcome, "access_denied"), ("state", "another"), ("iss", issuer)];
            assert_eq!(come_back(&login, &stray).await, 400);
            assert!(!login.is_over(), "{outcome}");
            let answer = [(outcome, "access_denied"), ("state", &state), ("iss", issuer)];
            come_back(&login, &answer).await;
            let error = login.finished().await.expect_err("a mix-up");
            assert!(error.to_string().contains("another server"), "{outcome} {issuer}: {error}");
        }
    }
    assert_eq!(recorder.requests(), []);
}
