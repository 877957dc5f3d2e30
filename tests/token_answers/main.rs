//! Generated answers of token endpoints, good, odd and hostile, against the reader of them: no panic,
//! no read without end, nobody signed out who must not be, and each refusal with a meaning
//! (C-RESP-1 to C-RESP-5, C-EXP-1, C-ERR-1). The fuzz target `token_answer` asks the same oracle.

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod oracle;

use answers::{Answer, CAP, answers};
use common::{Recorder, Reply};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tokenward::clock::{Moment, Sources};
use tokenward::identity::Method;
use tokenward::oauth::{Limits, Transport};
use tokenward::provider::{Failure, FailureClass, Grant, Provider as _, Renewal};
use tokenward::secret::Secret;
use tokenward::{ProviderSpec, catalog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn providers() -> Vec<ProviderSpec> {
    [catalog::anthropic(), catalog::openai(), catalog::google()]
        .into_iter()
        .map(|spec| spec.client("a-client"))
        .collect()
}

fn read(provider: &ProviderSpec, answer: &Answer, now: Moment) -> Result<Grant, Failure> {
    let status = StatusCode::from_u16(answer.status).expect("a status");
    provider.read_token_answer(status, &HeaderMap::new(), &answer.body, now)
}

fn check(provider: &ProviderSpec, answer: &Answer, read: &Result<Grant, Failure>) {
    let status = StatusCode::from_u16(answer.status).expect("a status");
    oracle::check(provider, status, &answer.body, read);
}

proptest! {
    #![proptest_config(Config { cases: 1000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_generated_answer_never_panics_and_never_signs_out_who_must_not_be(answer in answers()) {
        let now = Sources::system().now();
        for provider in &providers() {
            check(provider, &answer, &read(provider, &answer, now));
        }
    }
}

/// The same thousand each time, over the socket: what the whole way makes of an answer is what the
/// reader makes of it, and an answer that is longer than the limit makes no sense.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_answers_over_http_mean_what_they_mean_to_the_reader() {
    let mut runner = TestRunner::deterministic();
    let answers: Vec<Answer> =
        (0..1000).map(|_| answers().new_tree(&mut runner).expect("an answer").current()).collect();
    let replies = answers.iter().map(|answer| {
        let Answer { status, body } = answer;
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Reply::raw([head.as_bytes(), body].concat())
    });
    let endpoint = Recorder::start(replies).await;
    let limits = Limits { body: CAP, ..Limits::default() };
    let transport = Transport::with_limits(Sources::system(), limits).expect("a transport");
    let providers = providers();
    let (mut granted, mut ended, mut too_long) = (0, 0, 0);
    for (number, answer) in answers.iter().enumerate() {
        let mut provider = providers[number % providers.len()].clone();
        provider.oauth.token_endpoint = Some(endpoint.url("/token"));
        let outcome = renew(&provider, &transport).await;
        if answer.body.len() > CAP {
            let failure = outcome.expect_err("too long");
            assert_eq!(failure.class, FailureClass::Protocol, "{number}: {failure}");
            too_long += 1;
            continue;
        }
        check(&provider, answer, &outcome);
        match (&outcome, read(&provider, answer, Sources::system().now())) {
            (Ok(over_http), Ok(read)) => {
                assert_eq!(over_http.access_token, read.access_token, "{number}");
                assert_eq!(over_http.refresh_token, read.refresh_token, "{number}");
                assert_eq!(over_http.lifetime, read.lifetime, "{number}");
                assert_eq!(over_http.scopes, read.scopes, "{number}");
                granted += 1;
            }
            (Err(over_http), Err(read)) => {
                assert_eq!(*over_http, read, "{number}");
                ended += u32::from(read.class == FailureClass::ReauthorizationRequired);
            }
            (over_http, read) => panic!("{number}: {over_http:?} over http, {read:?} else"),
        }
    }
    // Each kind is among them, so that none of this is true of nothing.
    assert!(granted >= 20, "{granted} grants");
    assert!(ended >= 20, "{ended} ended sign-ins");
    assert!(too_long >= 5, "{too_long} that are too long");
}

/// The server never stops. It sees its client leave once the limit is reached.
#[tokio::test]
async fn an_answer_without_an_end_is_read_to_the_limit_and_no_further() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/token", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 4096]).await;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.expect("written");
        let chunk = format!("1000\r\n{}\r\n", "[".repeat(0x1000));
        let mut sent = 0;
        while sent < 512 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let mut provider = catalog::openai().client("a-client");
    provider.oauth.token_endpoint = Some(url.parse().expect("a url"));
    let transport = Transport::new(Sources::system()).expect("a transport");

    let failure = renew(&provider, &transport).await.expect_err("without an end");

    assert_eq!(failure.class, FailureClass::Protocol, "{failure}");
    let sent = server.await.expect("the server ends");
    assert!(sent < 512 << 20, "{sent} bytes were taken");
}

async fn renew(provider: &ProviderSpec, transport: &Transport) -> Result<Grant, Failure> {
    let refresh_token = Secret::new("rt-0");
    let renewal = Renewal::new(Method::AuthorizationCode, Some(&refresh_token), None);
    provider.renew(transport, renewal).await
}
