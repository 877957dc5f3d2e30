//! How requests to an authorization server go out, whichever they are.

use std::net::TcpListener;
use std::time::Duration;

use tokenward::oauth::Limits;
use tokenward::provider::FailureClass;
use url::Url;

use crate::calls::{Call, transport, with_limits};
use crate::common::{Recorder, Reply};

const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };

/// C-TOK-4: what is sent to an authorization server is for that server.
#[tokio::test]
async fn no_request_follows_a_redirect() {
    let transport = transport();
    let elsewhere = Recorder::start([]).await;
    let location = format!("location: {}\r\n", elsewhere.url("/steal"));
    for call in Call::ALL {
        for status in [301, 302, 303, 307, 308] {
            // The document has two places, and either may say that it has moved.
            let reply = Reply::with_headers(status, &location, "{}");
            let recorder = Recorder::start(vec![reply; 2]).await;
            let failure = call.at(&transport, &recorder).await.expect_err("moved");
            assert_eq!(failure.class, call.nonsense(), "{call:?} {status}: {}", failure.reason);
        }
    }
    assert_eq!(elsewhere.requests(), []);
}

/// C-TOK-4: the deadline is for all of the answer, however steadily it drips.
#[tokio::test]
async fn no_answer_that_drips_holds_a_request_beyond_its_deadline() {
    let limits = Limits { deadline: Duration::from_millis(150), ..Limits::default() };
    let transport = with_limits(limits);
    for call in Call::ALL {
        let recorder = Recorder::start([Reply::Drip]).await;
        let failure = call.at(&transport, &recorder).await.expect_err("too slow");
        assert_eq!(failure.class, call.lost(), "{call:?}: {}", failure.reason);
        assert!(failure.reason.contains("within 150ms"), "{call:?}: {}", failure.reason);
    }
}

/// C-TOK-4: TLS is never given up, and plain text is for loopback alone.
#[tokio::test]
async fn nothing_is_sent_in_plain_text_beyond_loopback_or_to_a_server_without_tls() {
    let transport = transport();
    let beyond = Url::parse("http://tokens.example").expect("a url");
    for call in Call::ALL {
        let failure = call.to(&transport, &beyond).await.expect_err("plain text");
        assert_eq!(failure.class, FailureClass::Misconfigured, "{call:?}: {}", failure.reason);

        let recorder = Recorder::start([Reply::raw("HTTP/1.1 400 Bad\r\n\r\n")]).await;
        let mut url = recorder.url("");
        url.set_scheme("https").expect("a scheme");
        let failure = call.to(&transport, &url).await.expect_err("no tls");
        // Where the platform has no trusted roots, nothing is sent at all.
        let expected = [TRANSIENT, FailureClass::Misconfigured];
        assert!(expected.contains(&failure.class), "{call:?}: {failure:?}");
        assert!(!format!("{:?}", recorder.requests()).contains("canary"), "{call:?}");
    }
}

/// C-TOK-3 and C-TOK-4: JSON is asked for, and no encoding that would have to be unpacked.
#[tokio::test]
async fn every_request_asks_for_json_and_for_no_encoding() {
    let transport = transport();
    for call in Call::ALL {
        let recorder = Recorder::start([]).await;
        call.at(&transport, &recorder).await.expect_err("500");
        let request = recorder.only_request();
        assert_eq!(request.header("accept"), Some("application/json"), "{call:?}");
        assert_eq!(request.header("accept-encoding"), None, "{call:?}");
    }
}

/// C-TOK-2: the client authenticates in one way. C-TOK-4: and nothing secret is in the address.
#[tokio::test]
async fn the_client_authenticates_once_and_never_in_the_address() {
    let transport = transport();
    for call in Call::ALL.into_iter().filter(|call| *call != Call::Metadata) {
        let recorder = Recorder::start([]).await;
        call.at(&transport, &recorder).await.expect_err("500");
        let request = recorder.only_request();
        let secrets = request.body.matches("client_secret=canary-secret").count();
        // Issuing a device code needs no authentication (RFC 8628 §3.1 names the client alone).
        assert_eq!(secrets, usize::from(call != Call::DeviceCode), "{call:?}: {}", request.body);
        assert_eq!(request.header("authorization"), None, "{call:?}");
        assert!(!request.line.contains("canary"), "{}", request.line);
    }
}

/// C-TOK-5: nothing is sent again once it may have left, and a code and a refresh token least of all.
#[tokio::test]
async fn what_may_have_left_is_not_sent_again() {
    let transport = transport();
    for call in Call::ALL {
        for reply in [Reply::Slam, Reply::raw(""), Reply::json(503, "{}"), Reply::json(408, "{}")] {
            // A second request would be answered well.
            let recorder = Recorder::start([reply.clone()]).await;
            recorder.then(Reply::json(200, &format!("{{{}}}", call.members(&recorder))));
            call.at(&transport, &recorder).await.expect_err("it failed");
            let seen = usize::from(!matches!(reply, Reply::Slam));
            assert_eq!(recorder.requests().len(), seen, "{call:?} {reply:?}");
        }
    }
}

/// C-TOK-5: a connection that can not be had has cost nothing, and may be tried again.
#[tokio::test]
async fn what_can_not_have_left_may_be_sent_again() {
    let transport = transport();
    let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let url = Url::parse(&format!("http://{address}")).expect("a url");
    for call in Call::ALL {
        let failure = call.to(&transport, &url).await.expect_err("nobody listens");
        assert_eq!(failure.class, TRANSIENT, "{call:?}: {}", failure.reason);
        assert!(!failure.sent || !call.spends(), "{call:?}: {}", failure.reason);
    }
}

/// C-TOK-6: no request goes out on a connection that sat idle, since none is kept.
#[tokio::test]
async fn every_request_has_a_connection_of_its_own() {
    let transport = transport();
    for call in Call::ALL {
        let recorder = Recorder::start([]).await;
        let body = format!("{{{}}}", call.members(&recorder));
        let length = body.len();
        // The server offers to keep the connection, and answers once on each.
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        for _ in 0..2 {
            recorder.then(Reply::Keep(reply.clone().into_bytes()));
            call.at(&transport, &recorder).await.expect("an answer");
        }
        assert_eq!(recorder.requests().len(), 2, "{call:?}");
    }
}

/// C-SEC-1: an answer that repeats what it was sent gets nothing of it into a failure.
#[tokio::test]
async fn no_failure_holds_what_was_sent_or_answered() {
    let transport = transport();
    for call in Call::ALL {
        for status in [200, 400, 401, 500] {
            let echo = "canary-code canary-refresh canary-secret canary-device canary.e30.sig";
            let body = format!(r#"{{"error":"{echo}","error_description":"{echo}"}}"#);
            let recorder = Recorder::start(vec![Reply::json(status, &body); 2]).await;
            if let Err(failure) = call.at(&transport, &recorder).await {
                let shown = format!("{failure:?} {failure}");
                assert!(!shown.contains("canary"), "{call:?}: {shown}");
                assert_ne!(failure.class, FailureClass::ReauthorizationRequired, "{call:?}");
            }
        }
    }
}
