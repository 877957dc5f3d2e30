//! Every recorded answer by which a provider refuses, over real HTTP, and what it means for the
//! credential: one row for each, by name.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokenward::oauth::Transport;
use tokenward::provider::{ErrorTable, Failure, FailureClass, Provider, ProviderSpec, Renewal};
use tokenward::testing::ManualClock;
use tokenward::{Method, Secret, catalog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use FailureClass::{Misconfigured, ReauthorizationRequired as SignIn, Unlisted};

const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };
const LIMITED: FailureClass = FailureClass::RateLimited { retry_after: None };
const LIMITED_FOR_7_S: FailureClass =
    FailureClass::RateLimited { retry_after: Some(Duration::from_secs(7)) };

/// A name, the status with headers, the body, and what it means.
type Row = (&'static str, &'static str, &'static str, FailureClass);

/// Answers a token request with exactly this, and says what the provider's table makes of it.
async fn renewed(spec: &ProviderSpec, head: &str, body: &str) -> Failure {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let answer = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 16 * 1024];
        let _ = stream.read(&mut request).await.expect("a request");
        stream.write_all(answer.as_bytes()).await.expect("written");
        stream.shutdown().await.expect("closed");
        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
    });
    let endpoint = format!("http://127.0.0.1:{port}/token");
    let spec = spec.clone().client("client").client_secret(Secret::new("client-secret"));
    let spec = spec.token_endpoint(endpoint.parse().expect("a url"));
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let transport = Transport::new(clock.sources()).expect("a transport");
    let refresh_token = Secret::new("refresh");
    let needs_no_user = spec.methods.contains(&Method::ClientCredentials);
    let (method, refresh_token) = if needs_no_user {
        (Method::ClientCredentials, None)
    } else {
        (Method::AuthorizationCode, Some(&refresh_token))
    };
    let renewal = Renewal::new(method, refresh_token, None);
    let failure = spec.renew(&transport, renewal).await.expect_err("a refusal");
    server.await.expect("served");
    failure
}

async fn check(spec: &ProviderSpec, rows: &[Row]) {
    for (name, head, body, class) in rows {
        let failure = renewed(spec, head, body).await;
        assert_eq!(failure.class, *class, "{}, {name}: {failure}", spec.id);
    }
}

/// The rows that are the same at every provider (C-ERR-1).
async fn check_what_is_never_the_users(spec: &ProviderSpec) {
    check(
        spec,
        &[
            ("a 5xx", "500 Oops", r#"{"error":"server_error"}"#, TRANSIENT),
            ("a 5xx with invalid_grant", "503 Busy", r#"{"error":"invalid_grant"}"#, TRANSIENT),
            ("a time-out", "408 Late", r#"{"error":"invalid_grant"}"#, TRANSIENT),
            ("a rate limit", "429 Slow", r#"{"error":"invalid_grant"}"#, LIMITED),
            ("with its wait", "429 Slow\r\nretry-after: 7", "{}", LIMITED_FOR_7_S),
            ("a firewall's page", "403 No", "<html>blocked</html>", TRANSIENT),
            ("an unknown media type", "415 No", "{}", Misconfigured),
            ("no form that is accepted", "406 No", "{}", Misconfigured),
            ("invalid_request", "400 Bad", r#"{"error":"invalid_request"}"#, Misconfigured),
            ("invalid_scope", "400 Bad", r#"{"error":"invalid_scope"}"#, Misconfigured),
            ("unauthorized_client", "400 Bad", r#"{"error":"unauthorized_client"}"#, Misconfigured),
        ],
    )
    .await;
    for status in ["401 No", "400 Bad", "404 Gone", "302 Away\r\nlocation: /x"] {
        let failure = renewed(spec, status, "<html>sign in</html>").await;
        assert_ne!(failure.class, SignIn, "{}: a page, {status}", spec.id);
    }
}

#[tokio::test]
async fn openai() {
    let spec = catalog::openai();
    let reused = r#"{"error":{"message":"Your refresh token has already been used","type":"invalid_request_error","param":null,"code":"refresh_token_reused"}}"#;
    check(
        &spec,
        &[
            ("refresh_token_reused as recorded", "400 Bad", reused, SignIn),
            ("at 401", "401 No", reused, SignIn),
            ("at 403", "403 No", reused, SignIn),
            ("at 404", "404 No", reused, SignIn),
            ("at 200", "200 OK", reused, SignIn),
            (
                "refresh_token_expired as text",
                "400 Bad",
                r#"{"error":"refresh_token_expired"}"#,
                SignIn,
            ),
            (
                "invalidated, by a code at the top",
                "400 Bad",
                r#"{"code":"refresh_token_invalidated"}"#,
                SignIn,
            ),
            ("in capitals", "400 Bad", r#"{"error":{"code":"REFRESH_TOKEN_EXPIRED"}}"#, SignIn),
            ("any 401", "401 No", r#"{"error":{"code":"surprise"}}"#, SignIn),
            ("any 401 without a code", "401 No", "{}", SignIn),
            ("any 401 without a word", "401 No", "", SignIn),
            ("any 401, of the client as well", "401 No", r#"{"error":"invalid_client"}"#, SignIn),
            ("invalid_grant", "400 Bad", r#"{"error":"invalid_grant"}"#, SignIn),
            ("anything else", "400 Bad", r#"{"error":{"code":"surprise"}}"#, TRANSIENT),
            ("anything else at 403", "403 No", r#"{"error":"invalid_grant"}"#, TRANSIENT),
            ("a reused token in a 5xx", "500 Oops", reused, TRANSIENT),
        ],
    )
    .await;
    check_what_is_never_the_users(&spec).await;
    let told = renewed(&spec, "401 No", r#"{"error":"invalid_client"}"#).await.reason;
    assert!(told.contains("check the client id"), "{told}");

    let bad_key = br#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
    assert!(spec.refuses_credential(StatusCode::UNAUTHORIZED, bad_key));
    assert!(!spec.refuses_credential(StatusCode::BAD_REQUEST, bad_key));
}

#[tokio::test]
async fn anthropic() {
    let spec = catalog::anthropic();
    let over =
        r#"{"error":"invalid_grant","error_description":"Refresh token not found or invalid"}"#;
    let limited = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#;
    check(
        &spec,
        &[
            ("invalid_grant as recorded", "400 Bad", over, SignIn),
            ("rate_limit_error", "429 Slow", limited, LIMITED),
            (
                "rate_limit_error with its wait",
                "429 Slow\r\nretry-after: 7",
                limited,
                LIMITED_FOR_7_S,
            ),
            ("invalid_client", "401 No", r#"{"error":"invalid_client"}"#, Misconfigured),
            (
                "a 401 of another kind",
                "401 No",
                r#"{"type":"error","error":{"type":"authentication_error"}}"#,
                Unlisted,
            ),
        ],
    )
    .await;
    check_what_is_never_the_users(&spec).await;
    let refused = br#"{"type":"error","error":{"type":"authentication_error","message":"no"}}"#;
    assert!(spec.refuses_credential(StatusCode::UNAUTHORIZED, refused));
    assert!(!spec.refuses_credential(StatusCode::FORBIDDEN, refused));
}

#[tokio::test]
async fn google() {
    let spec = catalog::google();
    check(
        &spec,
        &[
            ("expired or revoked", "400 Bad", r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#, SignIn),
            ("invalid_grant, Bad Request", "400 Bad", r#"{"error":"invalid_grant","error_description":"Bad Request"}"#, SignIn),
            ("a rule of the workspace", "400 Bad", r#"{"error":"invalid_grant","error_description":"reauth related error (invalid_rapt)"}"#, SignIn),
            ("in capitals and under another code", "400 Bad", r#"{"error":"access_denied","error_description":"ReAuth required"}"#, SignIn),
            ("another description", "400 Bad", r#"{"error":"access_denied","error_description":"no"}"#, Unlisted),
            ("invalid_client", "401 No", r#"{"error":"invalid_client"}"#, Misconfigured),
        ],
    )
    .await;
    check_what_is_never_the_users(&spec).await;
    let bad_key = br#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    assert!(spec.body_may_refuse(StatusCode::BAD_REQUEST));
    assert!(spec.refuses_credential(StatusCode::BAD_REQUEST, bad_key));
    assert!(!spec.refuses_credential(StatusCode::BAD_REQUEST, br#"{"error":{"code":400}}"#));
}

#[tokio::test]
async fn orange() {
    let spec = catalog::orange();
    let client = r#"{"error":"invalid_client","error_description":"The client is unknown"}"#;
    check(&spec, &[("invalid_client", "401 No\r\nwww-authenticate: Basic", client, Misconfigured)])
        .await;
    check_what_is_never_the_users(&spec).await;
    // A token of an application that was given an access later is refused with 403 until it is
    // renewed, so each of these is worth one renewal.
    for (code, status, refused) in [
        (40, StatusCode::UNAUTHORIZED, true),
        (41, StatusCode::UNAUTHORIZED, true),
        (42, StatusCode::UNAUTHORIZED, true),
        (41, StatusCode::BAD_REQUEST, true),
        (42, StatusCode::BAD_REQUEST, true),
        (50, StatusCode::FORBIDDEN, true),
        (51, StatusCode::FORBIDDEN, true),
        (52, StatusCode::FORBIDDEN, true),
        (60, StatusCode::NOT_FOUND, false),
        (53, StatusCode::TOO_MANY_REQUESTS, false),
    ] {
        let body = format!(r#"{{"code":{code},"message":"m","description":"d"}}"#);
        assert_eq!(spec.refuses_credential(status, body.as_bytes()), refused, "{code}");
    }
    for (message, refused) in [("SVC0001", true), ("SVC0002", false)] {
        let sms =
            format!(r#"{{"requestError":{{"serviceException":{{"messageId":"{message}"}}}}}}"#);
        assert_eq!(spec.refuses_credential(StatusCode::BAD_REQUEST, sms.as_bytes()), refused);
    }
}

#[tokio::test]
async fn github_copilot() {
    let spec = catalog::github_copilot();
    check(
        &spec,
        &[
            ("an error with 200", "200 OK", r#"{"error":"incorrect_device_code"}"#, SignIn),
            ("the client", "200 OK", r#"{"error":"incorrect_client_credentials"}"#, Misconfigured),
            ("no device flow", "200 OK", r#"{"error":"device_flow_disabled"}"#, Misconfigured),
            ("slow_down", "200 OK", r#"{"error":"slow_down","interval":10}"#, LIMITED),
            (
                "what belongs to a pending sign-in",
                "200 OK",
                r#"{"error":"authorization_pending"}"#,
                Unlisted,
            ),
        ],
    )
    .await;
    check_what_is_never_the_users(&spec).await;
}

/// C-ERR-1: the default counts `invalid_grant` at 200, 400 and 401, and data can say otherwise.
#[tokio::test]
async fn any_other_provider_by_its_statuses() {
    let spec = ProviderSpec { errors: ErrorTable::default(), ..catalog::google() };
    let over = r#"{"error":"invalid_grant"}"#;
    let client = r#"{"error":"invalid_client"}"#;
    check(
        &spec,
        &[
            ("at 200", "200 OK", over, SignIn),
            ("at 400", "400 Bad", over, SignIn),
            ("at 401", "401 No", over, SignIn),
            ("at 403", "403 No", over, Unlisted),
            ("at 404", "404 No", over, Unlisted),
            ("at 422", "422 No", over, Unlisted),
            ("invalid_client", "401 No", client, Misconfigured),
        ],
    )
    .await;
    check_what_is_never_the_users(&spec).await;
    let told = renewed(&spec, "403 No", over).await.reason;
    assert!(told.contains("errors.reauthorization_statuses"), "{told}");

    let mut like_auth0 = spec;
    like_auth0.errors.reauthorization_statuses.extend([403, 500]);
    check(
        &like_auth0,
        &[
            ("at 403 where the table has it", "403 No", over, SignIn),
            ("never at a 5xx, whatever the table has", "500 Oops", over, TRANSIENT),
        ],
    )
    .await;
}
