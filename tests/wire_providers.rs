//! The built-in providers on the wire: exact URLs, exact bodies, exact header order on the socket.

mod common;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{Recorded, Recorder, Reply, http_client};
use tokenward::clock::Sources;
use tokenward::identity::Method;
use tokenward::oauth::Transport;
use tokenward::provider::{
    AuthorizationRequest, CodeExchange, Failure, FailureClass, Grant, Provider, ProviderSpec,
    Renewal, Revocation, RevocationOutcome, TokenInForce, catalog,
};
use tokenward::secret::Secret;

const GRANTED: &str =
    r#"{"access_token":"at-1","token_type":"Bearer","expires_in":3600,"refresh_token":"rt-1"}"#;
const VERSION: &str = env!("CARGO_PKG_VERSION");
const OPENAI_REDIRECT: &str = "http://localhost:1455/auth/callback";

fn transport() -> Transport {
    Transport::new(Sources::system()).expect("a transport")
}

fn openai() -> ProviderSpec {
    catalog::openai().client(catalog::OPENAI_PUBLIC_CLIENT_ID)
}

fn anthropic() -> ProviderSpec {
    catalog::anthropic().client("operator-client")
}

fn orange() -> ProviderSpec {
    catalog::orange().client("orange-id").client_secret("orange-secret")
}

fn authorization_url(spec: &ProviderSpec, redirect_uri: &str) -> String {
    let state = Secret::new("the-state");
    let request = AuthorizationRequest::new(redirect_uri, "the-challenge", &state);
    spec.authorization_url(&request).expect("a url")
}

async fn exchange(spec: &ProviderSpec, redirect_uri: &str) -> Result<Grant, Failure> {
    let (code, state, code_verifier) =
        (Secret::new("the-code"), Secret::new("the-state"), Secret::new("the-verifier"));
    let exchange = CodeExchange::new(&code, &state, redirect_uri, &code_verifier);
    spec.exchange_code(&transport(), exchange).await
}

async fn refresh(spec: &ProviderSpec) -> Result<Grant, Failure> {
    let token = Secret::new("rt-0");
    let renewal = Renewal::new(Method::AuthorizationCode, Some(&token), None);
    spec.renew(&transport(), renewal).await
}

/// As [`refresh`], for a credential whose access token lives for ten minutes more.
async fn refresh_in_force(spec: &ProviderSpec) -> Result<Grant, Failure> {
    let (refresh, access_token) = (Secret::new("rt-0"), Secret::new("at-0"));
    let expires_at = Some(Sources::system().now().after(Duration::from_mins(10)));
    let in_force = TokenInForce::new(&access_token, expires_at);
    let renewal = Renewal::new(Method::AuthorizationCode, Some(&refresh), Some(in_force));
    spec.renew(&transport(), renewal).await
}

async fn renew_client_credentials(spec: &ProviderSpec) -> Result<Grant, Failure> {
    let renewal = Renewal::new(Method::ClientCredentials, None, None);
    spec.renew(&transport(), renewal).await
}

async fn get(spec: &ProviderSpec, method: Method, secret: &str) -> Recorded {
    let recorder = Recorder::start([Reply::json(200, "{}")]).await;
    let headers = spec.headers(method, &Secret::new(secret)).expect("headers");
    let url = recorder.url("/v1/models");
    http_client().get(url).headers(headers).send().await.expect("an answer");
    let mut request = recorder.only_request();
    let host = request.headers.pop().expect("a host header, which the connection appends");
    assert_eq!(host, ("host".to_owned(), format!("127.0.0.1:{}", recorder.port())));
    request
}

fn pairs(request: &Recorded) -> Vec<(&str, &str)> {
    request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn openai_authorizes_with_exactly_the_documented_url() {
    assert_eq!(
        authorization_url(&openai(), OPENAI_REDIRECT),
        "https://auth.openai.com/oauth/authorize\
         ?response_type=code\
         &client_id=app_EMoamEEZ73f0CkXaXp7hrann\
         &redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback\
         &scope=openid%20profile%20email%20offline_access\
         &code_challenge=the-challenge\
         &code_challenge_method=S256\
         &id_token_add_organizations=true\
         &codex_cli_simplified_flow=true\
         &state=the-state\
         &originator=tokenward"
    );
    assert_eq!(
        authorization_url(&openai().without_extra_parameters(), OPENAI_REDIRECT),
        "https://auth.openai.com/oauth/authorize\
         ?response_type=code\
         &client_id=app_EMoamEEZ73f0CkXaXp7hrann\
         &redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback\
         &scope=openid%20profile%20email%20offline_access\
         &code_challenge=the-challenge\
         &code_challenge_method=S256\
         &state=the-state"
    );
}

#[test]
fn anthropic_authorizes_with_exactly_the_documented_url() {
    let manual = "https://platform.claude.com/oauth/code/callback";
    assert_eq!(
        authorization_url(&anthropic(), manual),
        "https://claude.ai/oauth/authorize\
         ?code=true\
         &client_id=operator-client\
         &response_type=code\
         &redirect_uri=https%3A%2F%2Fplatform.claude.com%2Foauth%2Fcode%2Fcallback\
         &scope=org%3Acreate_api_key%20user%3Aprofile%20user%3Ainference\
         &code_challenge=the-challenge\
         &code_challenge_method=S256\
         &state=the-state"
    );
}

#[test]
fn google_asks_for_offline_access_and_consent() {
    let url = authorization_url(&catalog::google().client("desktop"), "http://127.0.0.1:9/x");
    assert!(url.starts_with("https://accounts.google.com/o/oauth2/v2/auth?response_type=code"));
    assert!(url.ends_with("&state=the-state&access_type=offline&prompt=consent"), "{url}");
}

#[tokio::test]
async fn openai_and_anthropic_exchange_the_same_code_in_their_own_ways() {
    let recorder = Recorder::start([Reply::json(200, GRANTED), Reply::json(200, GRANTED)]).await;
    let token_endpoint = recorder.url("/oauth/token");

    let openai = openai().token_endpoint(token_endpoint.clone());
    let anthropic = anthropic().token_endpoint(token_endpoint);
    let by_form = exchange(&openai, OPENAI_REDIRECT).await.expect("a grant");
    let by_json = exchange(&anthropic, "http://localhost:7/callback").await.expect("a grant");

    let requests = recorder.requests();
    let [form, json] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(form.line, "POST /oauth/token HTTP/1.1");
    assert_eq!(form.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        form.body,
        "grant_type=authorization_code&code=the-code\
         &redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback\
         &client_id=app_EMoamEEZ73f0CkXaXp7hrann&code_verifier=the-verifier"
    );
    assert_eq!(json.line, "POST /oauth/token HTTP/1.1");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(
        json.body,
        r#"{"code":"the-code","state":"the-state","grant_type":"authorization_code","client_id":"operator-client","redirect_uri":"http://localhost:7/callback","code_verifier":"the-verifier"}"#
    );
    for request in [form, json] {
        assert_eq!(request.header("accept"), Some("application/json"));
        assert_eq!(request.header("user-agent"), Some(&*format!("tokenward/{VERSION}")));
        assert_eq!(request.header("authorization"), None, "a public client has no secret");
        assert_eq!(request.header("accept-encoding"), None);
    }
    for grant in [by_form, by_json] {
        assert_eq!(grant.access_token, Secret::new("at-1"));
        assert_eq!(grant.refresh_token, Some(Secret::new("rt-1")));
        assert_eq!(grant.lifetime, Some(Duration::from_hours(1)));
    }
}

#[tokio::test]
async fn refreshes_are_written_as_each_provider_wants_them() {
    let replies = vec![Reply::json(200, GRANTED); 3];
    let recorder = Recorder::start(replies).await;
    let url = recorder.url("/token");
    let google = catalog::google().client("desktop").client_secret("shh");
    refresh(&openai().token_endpoint(url.clone())).await.expect("a grant");
    refresh(&anthropic().token_endpoint(url.clone())).await.expect("a grant");
    refresh(&google.token_endpoint(url)).await.expect("a grant");

    let bodies: Vec<_> = recorder.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(
        bodies,
        [
            "grant_type=refresh_token&refresh_token=rt-0&client_id=app_EMoamEEZ73f0CkXaXp7hrann",
            r#"{"grant_type":"refresh_token","refresh_token":"rt-0","client_id":"operator-client"}"#,
            "grant_type=refresh_token&refresh_token=rt-0&client_id=desktop&client_secret=shh",
        ]
    );
}

#[tokio::test]
async fn orange_authenticates_by_basic_and_asks_for_its_scope() {
    let body = "\n{\"token_type\":\"Bearer\",\"access_token\":\"eyJ.e30.sig\",\"expires_in\":\"7776000\",\
                \"refresh_token\":\"stray\"}   ";
    let recorder = Recorder::start([Reply::json(200, body), Reply::json(200, body)]).await;
    let spec = orange().token_endpoint(recorder.url("/oauth/v3/token"));
    let grant = renew_client_credentials(&spec).await.expect("a grant");
    renew_client_credentials(&spec.scopes(["sms", "mail"])).await.expect("a grant");

    let requests = recorder.requests();
    let basic = format!("Basic {}", STANDARD.encode("orange-id:orange-secret"));
    for request in &requests {
        assert_eq!(request.line, "POST /oauth/v3/token HTTP/1.1");
        assert_eq!(request.header("authorization"), Some(basic.as_str()));
        assert_eq!(request.header("accept"), Some("application/json"));
    }
    let bodies: Vec<_> = requests.iter().map(|request| request.body.as_str()).collect();
    assert_eq!(
        bodies,
        ["grant_type=client_credentials", "grant_type=client_credentials&scope=sms+mail"]
    );
    assert_eq!(grant.lifetime, Some(Duration::from_hours(24 * 90)));
    assert_eq!(grant.refresh_token, None, "client credentials have none to spend");
}

#[tokio::test]
async fn anthropic_requests_carry_exactly_its_headers_with_an_api_key() {
    let request = get(&anthropic(), Method::ApiKey, "sk-ant-api03-key").await;
    assert_eq!(
        pairs(&request),
        [
            ("x-api-key", "sk-ant-api03-key"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "messages-2023-12-15"),
            ("user-agent", &format!("tokenward/{VERSION}")),
            ("accept", "application/json"),
            ("x-client-version", VERSION),
        ]
    );
}

#[tokio::test]
async fn anthropic_requests_carry_exactly_its_headers_with_oauth() {
    let spec = anthropic().user_agent("my-agent/2");
    let request = get(&spec, Method::AuthorizationCode, "sk-ant-oat01-token").await;
    assert_eq!(
        pairs(&request),
        [
            ("authorization", "Bearer sk-ant-oat01-token"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "oauth-2025-04-20"),
            ("user-agent", "my-agent/2"),
            ("accept", "application/json"),
            ("x-client-version", VERSION),
        ]
    );
}

#[tokio::test]
async fn the_other_providers_carry_their_own_headers() {
    let openai = get(&openai(), Method::ApiKey, "sk-key").await;
    assert_eq!(openai.header("authorization"), Some("Bearer sk-key"));
    let google = catalog::google();
    let by_key = get(&google, Method::ApiKey, "AIza-key").await;
    assert_eq!(by_key.header("x-goog-api-key"), Some("AIza-key"));
    assert_eq!(by_key.header("authorization"), None);
    let billed = google.token_header("x-goog-user-project", "my-project");
    let by_token = get(&billed, Method::AuthorizationCode, "ya29.token").await;
    assert_eq!(by_token.header("authorization"), Some("Bearer ya29.token"));
    assert_eq!(by_token.header("x-goog-user-project"), Some("my-project"));
    let orange = get(&orange(), Method::ClientCredentials, "eyJ.e30.sig").await;
    assert_eq!(orange.header("authorization"), Some("Bearer eyJ.e30.sig"));
    assert_eq!(orange.header("accept"), Some("application/json"));
}

/// C-ID-1 and where it is left: the one thing that is read from an access token.
#[tokio::test]
async fn a_lifetime_that_openai_leaves_out_is_read_from_the_token() {
    // The server's clock is years ahead of ours: its own date counts.
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"exp":4102448400}"#));
    let account =
        URL_SAFE_NO_PAD.encode(r#"{"https://api.openai.com/auth":{"chatgpt_account_id":"acc-7"}}"#);
    let body = format!(
        r#"{{"access_token":"{token}","refresh_token":"rt-1","id_token":"e30.{account}.c2ln"}}"#
    );
    let date = "date: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    let recorder = Recorder::start([Reply::with_headers(200, date, &body)]).await;
    let spec = openai().token_endpoint(recorder.url("/token"));
    let grant = exchange(&spec, OPENAI_REDIRECT).await.expect("a grant");
    assert_eq!(grant.lifetime, Some(Duration::from_hours(1)));
    assert_eq!(grant.account.as_deref(), Some("acc-7"));
    let date = httpdate::parse_http_date("Fri, 01 Jan 2100 00:00:00 GMT").expect("a date");
    assert_eq!(grant.server_date, Some(date));
}

#[tokio::test]
async fn a_token_that_says_nothing_of_its_life_has_none() {
    let body = r#"{"access_token":"opaque","token_type":"Bearer"}"#;
    let recorder = Recorder::start([Reply::json(200, body)]).await;
    let grant = refresh(&openai().token_endpoint(recorder.url("/"))).await.expect("a grant");
    assert_eq!(grant.lifetime, None);
    assert_eq!(grant.refresh_token, None, "the old one stays in force");
    assert_eq!(grant.account, None);
}

#[tokio::test]
async fn revocations_are_written_as_each_provider_wants_them() {
    let recorder = Recorder::start(vec![Reply::raw("HTTP/1.1 200 OK\r\n\r\n"); 2]).await;
    let url = recorder.url("/revoke");
    let (access_token, refresh_token) = (Secret::new("at-1"), Secret::new("rt-1"));
    let method = Method::AuthorizationCode;
    let revocation = Revocation::new(method, &access_token, Some(&refresh_token));
    let google = catalog::google().client("desktop").client_secret("shh");
    for spec in [openai(), google] {
        let spec = spec.revocation_endpoint(url.clone());
        let outcome = spec.revoke(&transport(), revocation).await;
        assert_eq!(outcome, Ok(RevocationOutcome::Revoked));
    }
    let bodies: Vec<_> = recorder.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(
        bodies,
        [
            r#"{"token":"rt-1","token_type_hint":"refresh_token","client_id":"app_EMoamEEZ73f0CkXaXp7hrann"}"#,
            "token=rt-1",
        ]
    );
}

#[tokio::test]
async fn what_a_provider_can_not_revoke_is_not_tried() {
    let access_token = Secret::new("at-1");
    let revocation = Revocation::new(Method::ApiKey, &access_token, None);
    for spec in [openai(), anthropic(), orange()] {
        let outcome = spec.revoke(&transport(), revocation).await;
        assert_eq!(outcome, Ok(RevocationOutcome::NotOffered));
    }
}

#[tokio::test]
async fn a_failed_revocation_says_so() {
    let recorder = Recorder::start([Reply::with_headers(503, "retry-after: 9\r\n", "")]).await;
    let access_token = Secret::new("at-1");
    let revocation = Revocation::new(Method::AuthorizationCode, &access_token, None);
    let spec = openai().revocation_endpoint(recorder.url("/"));
    let failure = spec.revoke(&transport(), revocation).await.expect_err("503");
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(9)));
    assert!(
        recorder.only_request().body.contains(r#""token":"at-1","token_type_hint":"access_token""#)
    );
}

#[tokio::test]
async fn refusals_are_told_apart_on_the_wire() {
    let reused = r#"{"error":{"message":"already been used","type":"invalid_request_error","param":null,"code":"refresh_token_reused"}}"#;
    let gone =
        r#"{"error":"invalid_grant","error_description":"Refresh token not found or invalid"}"#;
    let limited = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#;
    let wait = Some(Duration::from_secs(17));
    let transient = FailureClass::Transient { retry_after: None };
    let date =
        "date: Fri, 01 Jan 2100 00:00:00 GMT\r\nretry-after: Fri, 01 Jan 2100 00:00:17 GMT\r\n";
    let html = Reply::raw("HTTP/1.1 403 No\r\ncontent-type: text/html\r\n\r\n<html>blocked</html>");
    let cases = vec![
        (openai(), Reply::json(400, reused), FailureClass::ReauthorizationRequired),
        (anthropic(), Reply::json(400, gone), FailureClass::ReauthorizationRequired),
        (anthropic(), Reply::json(200, gone), FailureClass::ReauthorizationRequired),
        (anthropic(), Reply::json(503, gone), transient),
        (anthropic(), html, transient),
        (
            anthropic(),
            Reply::with_headers(429, "retry-after: 17\r\n", limited),
            FailureClass::RateLimited { retry_after: wait },
        ),
        (
            anthropic(),
            Reply::with_headers(503, date, "{}"),
            FailureClass::Transient { retry_after: wait },
        ),
        (anthropic(), Reply::with_headers(503, "retry-after: -5\r\n", "{}"), transient),
        (
            anthropic(),
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>hello</html>"),
            FailureClass::Protocol,
        ),
        (anthropic(), Reply::json(200, r#"{"access_token":"at-1""#), FailureClass::Protocol),
        (anthropic(), Reply::json(200, ""), FailureClass::Protocol),
    ];
    for (spec, reply, class) in cases {
        let recorder = Recorder::start([reply.clone()]).await;
        let failure = refresh(&spec.token_endpoint(recorder.url("/"))).await.expect_err("refused");
        assert_eq!(failure.class, class, "{reply:?}: {}", failure.reason);
    }

    let body = r#"{"error":"invalid_client","error_description":"no"}"#;
    let header = "www-authenticate: Basic realm=\"x\"\r\n";
    let recorder = Recorder::start([Reply::with_headers(401, header, body)]).await;
    let spec = orange().token_endpoint(recorder.url("/"));
    let failure = renew_client_credentials(&spec).await.expect_err("refused");
    assert_eq!(failure.class, FailureClass::Misconfigured);
}

#[tokio::test]
async fn openai_may_renew_the_refresh_token_alone() {
    let rotated = r#"{"refresh_token":"rt-2"}"#;
    let replies = [rotated, GRANTED, "{}"].map(|body| Reply::json(200, body));
    let recorder = Recorder::start(replies).await;
    let spec = openai().token_endpoint(recorder.url("/"));

    let grant = refresh_in_force(&spec).await.expect("a grant");
    assert_eq!(grant.access_token, Secret::new("at-0"), "it stays in force");
    assert_eq!(grant.refresh_token, Some(Secret::new("rt-2")), "and the new one is not lost");
    let left = grant.lifetime.expect("what is left of its life");
    assert!(left > Duration::from_mins(9) && left <= Duration::from_mins(10), "{left:?}");

    let grant = refresh_in_force(&spec).await.expect("a grant");
    assert_eq!(grant.access_token, Secret::new("at-1"));
    assert_eq!(grant.lifetime, Some(Duration::from_hours(1)));

    let failure = refresh_in_force(&spec).await.expect_err("nothing was granted");
    assert_eq!(failure.class, FailureClass::Protocol);
}

#[tokio::test]
async fn elsewhere_an_answer_without_an_access_token_makes_no_sense() {
    let rotated = r#"{"refresh_token":"rt-2","token_type":"Bearer"}"#;
    for spec in [anthropic(), catalog::google().client("desktop").client_secret("shh")] {
        let recorder = Recorder::start([Reply::json(200, rotated)]).await;
        let spec = spec.token_endpoint(recorder.url("/"));
        let failure = refresh_in_force(&spec).await.expect_err("no access token");
        assert_eq!(failure.class, FailureClass::Protocol, "{}", failure.reason);
    }
    let recorder = Recorder::start([Reply::json(200, rotated)]).await;
    let spec = openai().token_endpoint(recorder.url("/"));
    let failure = exchange(&spec, OPENAI_REDIRECT).await.expect_err("a sign-in needs one");
    assert_eq!(failure.class, FailureClass::Protocol, "{}", failure.reason);
}
