//! Assertions on the wire (RFC 7523): the exact bodies, and what each refusal means.

mod common;

use common::{Recorder, Reply};
use tokenward::clock::Sources;
use tokenward::identity::Method;
use tokenward::oauth::Transport;
use tokenward::provider::{
    AssertionSource, Failure, FailureClass, Grant, Provider, ProviderSpec, Renewal, catalog,
};
use tokenward::secret::Secret;

const GRANTED: &str = r#"{"access_token":"sk-ant-oat01-1","token_type":"Bearer","expires_in":3600,
    "scope":"user:inference","refresh_token":"stray"}"#;

fn assertion() -> AssertionSource {
    AssertionSource::function(|| async { Ok(Secret::new("canary.e30.sig")) })
}

fn anthropic() -> ProviderSpec {
    catalog::anthropic()
        .assertion(assertion())
        .assertion_parameter("federation_rule_id", "fdrl_1")
        .assertion_parameter("organization_id", "org-1")
        .assertion_parameter("service_account_id", "svac_1")
}

async fn exchange(spec: ProviderSpec, recorder: &Recorder) -> Result<Grant, Failure> {
    let mut spec = spec.token_endpoint(recorder.url("/v1/oauth/token"));
    spec.oauth.assertion.endpoint = None;
    let transport = Transport::new(Sources::system()).expect("a transport");
    spec.renew(&transport, Renewal::new(Method::JwtBearer, None, None)).await
}

#[tokio::test]
async fn anthropic_is_sent_exactly_what_it_documents() {
    let recorder = Recorder::start(vec![Reply::json(200, GRANTED); 2]).await;
    let grant = exchange(anthropic(), &recorder).await.expect("a grant");
    let named = anthropic().assertion_parameter("workspace_id", "wrkspc_1");
    exchange(named.client("operator-client"), &recorder).await.expect("a grant");

    let requests = recorder.requests();
    assert_eq!(requests[0].line, "POST /v1/oauth/token HTTP/1.1");
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].header("accept"), Some("application/json"));
    let urn = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let fields = format!(
        r#""grant_type":"{urn}","assertion":"canary.e30.sig","federation_rule_id":"fdrl_1","organization_id":"org-1","service_account_id":"svac_1""#
    );
    assert_eq!(requests[0].body, format!("{{{fields}}}"));
    assert_eq!(requests[1].body, format!(r#"{{{fields},"workspace_id":"wrkspc_1"}}"#));
    assert_eq!(grant.refresh_token, None, "there is none to spend");
    assert_eq!(grant.scopes, Some(vec!["user:inference".to_owned()]));
    let endpoint = anthropic().oauth.assertion.endpoint.expect("its own");
    assert_eq!(endpoint.as_str(), "https://api.anthropic.com/v1/oauth/token");
}

/// RFC 7523 §2.1 as it stands: a form, with the scope, and the client where there is one.
#[tokio::test]
async fn any_other_provider_takes_a_form() {
    let spec: ProviderSpec = toml::from_str(
        r#"
        id = "example"
        methods = ["jwt-bearer"]
        base_url = "https://api.example.com"
        headers.token = [["authorization", "Bearer {secret}"]]
        [oauth]
        token_endpoint = "https://example.com/token"
        scopes = ["read", "write"]
        assertion.source = { file = "token" }
        "#,
    )
    .expect("a spec");
    assert_eq!(spec.problems(), []);
    let spec = spec.assertion(assertion());
    let recorder = Recorder::start(vec![Reply::json(200, GRANTED); 2]).await;
    exchange(spec.clone(), &recorder).await.expect("a grant");
    exchange(spec.client("mine").client_secret("shh"), &recorder).await.expect("a grant");
    let bodies: Vec<_> = recorder.requests().into_iter().map(|request| request.body).collect();
    let anonymous = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer\
                     &assertion=canary.e30.sig&scope=read+write";
    assert_eq!(bodies[0], anonymous);
    assert_eq!(bodies[1], format!("{anonymous}&client_id=mine&client_secret=shh"));
}

/// C-ERR-1 where there is no user: what would sign one out is the operator's matter here.
#[tokio::test]
async fn refusals_are_told_apart_and_none_asks_for_a_sign_in() {
    let error = |code: &str| format!(r#"{{"error":"{code}","error_description":"canary"}}"#);
    let transient = FailureClass::Transient { retry_after: None };
    for (reply, class) in [
        (Reply::json(400, &error("invalid_grant")), FailureClass::Misconfigured),
        (Reply::json(401, &error("invalid_client")), FailureClass::Misconfigured),
        (Reply::json(400, &error("unsupported_grant_type")), FailureClass::Misconfigured),
        (Reply::json(500, &error("invalid_grant")), transient),
        (Reply::json(503, ""), transient),
        (Reply::Slam, transient),
        (Reply::json(429, ""), FailureClass::RateLimited { retry_after: None }),
        (Reply::json(200, "<html>"), FailureClass::Protocol),
    ] {
        let recorder = Recorder::start([reply.clone()]).await;
        let failure = exchange(anthropic(), &recorder).await.expect_err("refused");
        assert_eq!(failure.class, class, "{reply:?}: {}", failure.reason);
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named_before_anything_is_sent() {
    let recorder = Recorder::start([]).await;
    let without_rule = catalog::anthropic().assertion(assertion());
    let mut without_source = anthropic();
    without_source.oauth.assertion.source = None;
    for (spec, missing) in [(without_rule, "federation_rule_id"), (without_source, "source")] {
        let failure = exchange(spec, &recorder).await.expect_err("not configured");
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.reason.contains(missing), "{}", failure.reason);
    }
    assert_eq!(recorder.requests(), []);
}
