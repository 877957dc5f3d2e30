//! The way to a token endpoint on the wire: what breaks, and what is known of a request after it.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::{Recorder, Reply};
use tokenward::clock::Sources;
use tokenward::identity::Method;
use tokenward::oauth::{Limits, Transport};
use tokenward::provider::{Failure, FailureClass, Grant, Provider, ProviderSpec, Renewal, catalog};
use tokenward::secret::Secret;
use url::Url;

const GRANTED: &str = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":3600}"#;
const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };

fn transport(limits: Limits) -> Transport {
    Transport::with_limits(Sources::system(), limits).expect("a transport")
}

fn spending(url: Url) -> ProviderSpec {
    catalog::anthropic().client("client").token_endpoint(url)
}

fn spending_nothing(url: Url) -> ProviderSpec {
    catalog::orange().client("client").client_secret("canary-secret").token_endpoint(url)
}

async fn refresh(spec: &ProviderSpec, transport: &Transport) -> Result<Grant, Failure> {
    let token = Secret::new("canary-token");
    let renewal =
        Renewal { method: Method::AuthorizationCode, refresh_token: Some(&token), in_force: None };
    spec.renew(transport, renewal).await
}

async fn ask_again(spec: &ProviderSpec, transport: &Transport) -> Result<Grant, Failure> {
    let renewal =
        Renewal { method: Method::ClientCredentials, refresh_token: None, in_force: None };
    spec.renew(transport, renewal).await
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_a_spent_token_uncertain_and_nothing_else() {
    let cut = [
        Reply::Slam,
        Reply::raw(""),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-le"),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
        Reply::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{GRANTED}")),
        Reply::raw(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n80\r\n{GRANTED}")),
        Reply::raw("no http at all\r\n\r\n"),
    ];
    let transport = transport(Limits::default());
    for reply in cut {
        let recorder = Recorder::start([reply.clone(), reply.clone()]).await;
        let failure = refresh(&spending(recorder.url("/")), &transport).await.expect_err("cut");
        assert_eq!(failure.class, FailureClass::Uncertain, "{reply:?}: {}", failure.reason);
        let failure =
            ask_again(&spending_nothing(recorder.url("/")), &transport).await.expect_err("cut");
        assert_eq!(failure.class, TRANSIENT, "{reply:?}: {}", failure.reason);
    }
}

#[tokio::test]
async fn a_body_that_drips_does_not_hold_a_call_beyond_its_deadline() {
    let recorder = Recorder::start([Reply::Drip]).await;
    let limits = Limits { deadline: Duration::from_millis(200), ..Limits::default() };
    let failure =
        refresh(&spending(recorder.url("/")), &transport(limits)).await.expect_err("too slow");
    assert_eq!(failure.class, FailureClass::Uncertain);
    assert!(failure.reason.contains("within 200ms"), "{}", failure.reason);
}

#[tokio::test]
async fn a_request_that_was_not_received_is_transient_and_spends_nothing() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let url = Url::parse(&format!("http://{address}/")).expect("a url");
    let transport = transport(Limits::default());
    let failure = refresh(&spending(url), &transport).await.expect_err("nobody listens");
    assert_eq!(failure.class, TRANSIENT, "{}", failure.reason);
    assert!(failure.reason.starts_with("can not reach 127.0.0.1"), "{}", failure.reason);
}

#[tokio::test]
async fn a_server_without_tls_never_sees_a_token() {
    let recorder = Recorder::start([Reply::raw("HTTP/1.1 400 Bad\r\n\r\n")]).await;
    let mut url = recorder.url("/");
    url.set_scheme("https").expect("a scheme");
    let failure = refresh(&spending(url), &transport(Limits::default())).await.expect_err("no tls");
    // Where the platform has no trusted roots, nothing is sent at all.
    let expected = [TRANSIENT, FailureClass::Misconfigured];
    assert!(expected.contains(&failure.class), "{failure:?}");
    assert!(!format!("{:?}", recorder.requests()).contains("canary"));
}

#[tokio::test]
async fn plain_text_beyond_loopback_is_refused_before_anything_is_sent() {
    let url = Url::parse("http://tokens.example/token").expect("a url");
    let failure =
        refresh(&spending(url), &transport(Limits::default())).await.expect_err("plain text");
    assert_eq!(failure.class, FailureClass::Misconfigured);
    assert!(failure.reason.contains("use an https endpoint"), "{}", failure.reason);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Recorder::start([]).await;
    let location = format!("location: {}\r\n", elsewhere.url("/steal"));
    for status in [301, 302, 303, 307, 308] {
        let recorder = Recorder::start([Reply::with_headers(status, &location, "{}")]).await;
        let spec = spending(recorder.url("/"));
        let failure = refresh(&spec, &transport(Limits::default())).await.expect_err("moved");
        assert_eq!(failure.class, FailureClass::Protocol, "{status}");
        assert!(failure.reason.contains("redirects"), "{}", failure.reason);
        assert_eq!(recorder.requests().len(), 1);
    }
    assert_eq!(elsewhere.requests(), []);
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_not_read_to_its_end() {
    let huge = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(10 * 1024 * 1024));
    let recorder = Recorder::start([Reply::json(200, &huge)]).await;
    let failure = refresh(&spending(recorder.url("/")), &transport(Limits::default()))
        .await
        .expect_err("too long");
    assert_eq!(failure.class, FailureClass::Protocol);
    assert_eq!(failure.reason, "the answer is too long");
}

#[tokio::test]
async fn each_request_has_a_connection_of_its_own() {
    // The server offers to keep the connection, and answers once on each.
    let length = GRANTED.len();
    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{GRANTED}");
    let recorder = Recorder::start(vec![Reply::Keep(reply.into_bytes()); 2]).await;
    let limits = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
    let (spec, transport) = (spending(recorder.url("/")), transport(limits));
    for _ in 0..2 {
        refresh(&spec, &transport).await.expect("a grant");
    }
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn failures_hold_neither_secret_nor_body() {
    let echo = r#"{"error":"canary-token","error_description":"canary-token canary-secret"}"#;
    let recorder = Recorder::start(vec![Reply::json(400, echo); 2]).await;
    let transport = transport(Limits::default());
    let spent = refresh(&spending(recorder.url("/")), &transport).await;
    let asked = ask_again(&spending_nothing(recorder.url("/")), &transport).await;
    for shown in [format!("{spent:?}"), format!("{asked:?}"), format!("{transport:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}
