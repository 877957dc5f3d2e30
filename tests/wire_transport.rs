//! What a provider that is written by hand sends by `Transport::send`, and what it learns where no
//! answer comes.

mod common;

use std::time::Duration;

use common::{Recorder, Refusing, Reply};
use http::{Request, StatusCode};
use tokenward::clock::Sources;
use tokenward::oauth::{Answer, Limits, Transport, TransportError};

/// Asks `url` within a second, for 4 KiB at most.
async fn asked(url: &str) -> Result<Answer, TransportError> {
    let limits = Limits { deadline: Duration::from_secs(1), body: 4096, ..Limits::default() };
    let transport = Transport::with_limits(Sources::system(), limits).expect("a transport");
    let request = Request::post(url).header("x-key", "brass").body(b"a ticket".to_vec());
    transport.send(request.expect("a request")).await
}

#[tokio::test]
async fn an_answer_of_any_status_is_given_whole_and_nothing_is_followed_or_sent_again() {
    let elsewhere = Recorder::start([]).await;
    let location = format!("location: {}\r\nretry-after: 7\r\n", elsewhere.url("/"));
    for status in [200, 307, 401, 429, 500, 503] {
        let recorder = Recorder::start([Reply::with_headers(status, &location, "whole")]).await;
        let answer = asked(recorder.url("/tickets").as_str()).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::from_u16(status).expect("a status"));
        assert_eq!(answer.body.as_slice(), b"whole");
        assert_eq!(answer.retry_after(), Some(Duration::from_secs(7)));
        assert!(!format!("{answer:?}").contains("whole"), "{answer:?}");
        let request = recorder.only_request();
        assert_eq!(
            (request.line.as_str(), request.body.as_str()),
            ("POST /tickets HTTP/1.1", "a ticket")
        );
        assert_eq!(request.header("x-key"), Some("brass"));
        assert!(request.header("user-agent").is_some_and(|name| name.starts_with("tokenward/")));
    }
    assert_eq!(elsewhere.requests(), []);
}

#[tokio::test]
async fn where_no_answer_comes_it_says_whether_the_request_may_have_been_sent() {
    let plain = asked("http://theatre.example/tickets").await.expect_err("plain text");
    assert!(matches!(plain, TransportError::Refused(_)), "{plain}");
    let nobody = Refusing::start();
    let unreached = asked(nobody.url("/").as_str()).await.expect_err("nobody listens");
    assert!(matches!(unreached, TransportError::Unreached(_)), "{unreached}");
    assert!(!plain.may_have_been_sent() && !unreached.may_have_been_sent());

    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    for reply in [Reply::raw(broken), Reply::raw(""), Reply::Drip] {
        let recorder = Recorder::start([reply.clone()]).await;
        let error = asked(recorder.url("/").as_str()).await.expect_err("no whole answer");
        assert!(matches!(error, TransportError::Ambiguous(_)), "{reply:?}: {error}");
        assert!(error.may_have_been_sent() && !error.to_string().contains("half"), "{error}");
    }
    let recorder = Recorder::start([Reply::Flood]).await;
    let error = asked(recorder.url("/").as_str()).await.expect_err("too long");
    assert!(error == TransportError::TooLong && error.may_have_been_sent(), "{error}");
}
