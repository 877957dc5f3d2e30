use std::time::Duration;

use super::*;
use crate::identity::Method;
use crate::provider::{AuthorizationRequest, Provider as _};
use crate::secret::Secret;

fn all() -> [ProviderSpec; 6] {
    let bank = memory_bank(url("https://memory.example/bank/"));
    [anthropic(), openai(), google(), orange(), github_copilot(), bank]
}

#[test]
fn the_tokens_of_a_memory_bank_are_issued_beneath_its_address() {
    for (base, tokens) in [
        ("https://memory.example", "https://memory.example/auth/token"),
        ("https://memory.example/bank/", "https://memory.example/bank/auth/token"),
    ] {
        let spec = memory_bank(url(base)).client("id").client_secret("secret");
        assert_eq!(spec.oauth.token_endpoint, Some(url(tokens)));
        assert!(spec.problems().is_empty(), "{:?}", spec.problems());
    }
}

#[test]
fn the_default_method_respects_the_vendors_terms() {
    for spec in [anthropic(), openai(), google()] {
        assert_eq!(spec.methods().first(), Some(&Method::ApiKey), "{}", spec.id);
    }
    assert_eq!(orange().methods(), [Method::ClientCredentials]);
}

#[test]
fn no_client_is_preset_and_nobody_is_impersonated() {
    for spec in all() {
        assert_eq!(spec.oauth.client_id, None, "{}", spec.id);
        assert_eq!(spec.user_agent, concat!("tokenward/", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_browser_sign_in_without_a_client_id_says_what_is_missing() {
    let state = Secret::new("state");
    let request = AuthorizationRequest {
        redirect_uri: "http://localhost/callback",
        code_challenge: "challenge",
        state: &state,
    };
    for spec in [anthropic(), openai(), google()] {
        let error = spec.authorization_url(&request).expect_err("no client id");
        assert!(error.is_configuration());
        assert!(error.to_string().contains("client id"), "{error}");
    }
    assert!(orange().authorization_url(&request).expect_err("no browser").is_invalid_input());
}

#[test]
fn api_keys_are_checked_for_their_shape() {
    let key = |text: &str| Secret::new(text);
    assert!(anthropic().check_api_key(&key("sk-ant-api03-abc")).is_ok());
    assert!(openai().check_api_key(&key("sk-proj-abc")).is_ok());
    assert!(google().check_api_key(&key("AIzaSyA-1")).is_ok());
    for (spec, wrong) in vec![
        (anthropic(), "sk-ant-oat01-abc"),
        (anthropic(), "sk-abc"),
        (anthropic(), "sk-ant-api"),
        (openai(), "sk-ant-api03-abc"),
        (openai(), "abc"),
        (google(), ""),
        (google(), "two words"),
        (google(), "line\nbreak"),
        (google(), "schlüssel"),
        (orange(), "anything"),
    ] {
        let error = spec.check_api_key(&key(wrong)).expect_err(wrong);
        assert!(error.is_invalid_input());
        let prefix = spec.api_key.prefix.as_str();
        let shown = !wrong.is_empty() && wrong != prefix && error.to_string().contains(wrong);
        assert!(!shown, "{error}");
    }
}

#[test]
fn orange_renews_early_and_stops_using_a_token_before_its_end() {
    let policy = orange().refresh_policy();
    assert_eq!(policy.threshold, Duration::from_mins(10));
    assert_eq!(policy.unusable_before_expiry, Duration::from_mins(5));
}

#[test]
fn a_spec_reads_back_what_it_writes_except_the_client_secret() {
    for spec in all() {
        let spec = spec.client("id");
        let text = serde_json::to_string(&spec).expect("a spec is plain data");
        assert_eq!(serde_json::from_str::<ProviderSpec>(&text).ok(), Some(spec.clone()));

        let text = serde_json::to_string(&spec.client_secret("canary")).expect("plain data");
        assert!(!text.contains("canary"));
    }
}

#[test]
fn an_ordinary_provider_needs_no_rust() {
    let spec: ProviderSpec = toml::from_str(
        r#"
        id = "example"
        methods = ["authorization-code"]
        base_url = "https://api.example.com"
        [headers]
        token = [["authorization", "Bearer {secret}"], ["accept", "application/json"]]
        [oauth]
        authorization_endpoint = "https://example.com/authorize"
        token_endpoint = "https://example.com/token"
        client_id = "mine"
        client_secret = "secret"
        client_authentication = "post"
        scopes = ["read", "write"]
        redirect = { host = "127.0.0.1", path = "/callback" }
        [refresh]
        threshold = "2m"
        "#,
    )
    .expect("a spec");
    assert_eq!(spec.problems(), []);
    assert_eq!(spec.refresh.threshold, Duration::from_mins(2));
    let headers = spec.headers(Method::AuthorizationCode, &Secret::new("at")).expect("headers");
    assert!(headers["authorization"].is_sensitive());
    assert_eq!(headers["authorization"], "Bearer at");
}

#[test]
fn a_secret_that_breaks_a_header_is_refused_and_not_repeated() {
    let error = anthropic()
        .headers(Method::ApiKey, &Secret::new("canary\r\nx-evil: 1"))
        .expect_err("a line break");
    assert!(!error.to_string().contains("canary"));
}
