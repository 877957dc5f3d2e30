//! What other programs and other pages can do to a listener on which a sign-in depends: nothing.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use super::*;
use crate::testing::ManualClock;

const ANSWER: &str = "/auth/callback?code=abc&state=xyz";

async fn connect(site: &Site, first_bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await.expect("a connection");
    stream.write_all(first_bytes.as_bytes()).await.expect("written");
    stream
}

/// Whether the listener still has its end. It sends nothing before a whole request.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 16]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test]
async fn connections_that_send_no_whole_request_are_closed_after_ten_seconds() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let site = site_with("127.0.0.1", &clock.sources()).await;
    let mut slow = Vec::new();
    for first_bytes in ["", "G", "GET /auth/callback HTTP/1.1\r\nHost: lo", "\r\n"] {
        slow.push(connect(&site, first_bytes).await);
    }
    clock.until_waits(slow.len()).await;
    clock.advance(Duration::from_secs(10));
    for connection in &mut slow {
        assert_eq!(connection.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed by the listener");
    }
    assert_eq!(status(&site.get(ANSWER).await), "200");
}

/// No second passes on the clock of the listener, so nothing but the bound makes room.
#[tokio::test]
async fn thousands_of_connections_that_are_held_open_do_not_keep_the_browser_out() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let site = site_with("127.0.0.1", &clock.sources()).await;
    let mut held = std::collections::VecDeque::new();
    for round in 0..3000 {
        let first_bytes = if round % 2 == 0 { "" } else { "GET / HTTP/1.1\r\nX: slow" };
        held.push_back(connect(&site, first_bytes).await);
        // This side has a limit of open files, too.
        if held.len() > 150 {
            held.pop_front();
        }
        if round % 250 == 249 {
            assert_eq!(status(&site.get(ANSWER).await), "200", "after {round}");
        }
    }
    let open = held.iter().filter(|stream| is_open(stream)).count();
    assert!((1..=64).contains(&open), "{open} connections are held");
}

#[tokio::test]
async fn a_form_that_another_page_posts_is_no_answer() {
    let site = site("127.0.0.1").await;
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
        let body = "code=abc&state=xyz";
        let length = body.len();
        for target in ["/auth/callback", ANSWER] {
            let answer = site
                .send(&format!(
                    "POST {target} HTTP/1.1\r\nHost: LISTENER\r\nOrigin: http://evil.example\r\n\
                     Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
                ))
                .await;
            assert_eq!(status(&answer), "405", "{kind}");
        }
    }
    assert_eq!(site.responses(), 0);
}

#[tokio::test]
async fn a_preflight_of_another_page_gets_no_leave() {
    let site = site("127.0.0.1").await;
    let answer = site
        .send(&format!(
            "OPTIONS {ANSWER} HTTP/1.1\r\nHost: LISTENER\r\nOrigin: http://evil.example\r\n\
             Access-Control-Request-Method: GET\r\n\
             Access-Control-Request-Private-Network: true\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&answer), "405");
    assert!(!answer.contains("access-control"), "{answer}");
}

#[tokio::test]
async fn a_request_line_of_any_length_is_answered_or_cut_off() {
    let site = site("127.0.0.1").await;
    for (length, expected) in [(13_000, &["400"][..]), (20_000, &["", "414", "431"])] {
        let target = format!("/auth/callback?state=xyz&code={}", "a".repeat(length));
        let answer = site.get(&target).await;
        assert!(expected.contains(&status(&answer)), "{length}: {answer}");
    }
    // Longer than the buffers of both sides, so that writing fails once the listener has left.
    let mut stream = connect(&site, "GET /auth/callback?code=").await;
    let chunk = vec![b'a'; 64 * 1024];
    let mut sent = 0;
    while sent < 64 * 1024 * 1024 && stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 64 * 1024 * 1024, "it read on without end");
    assert_eq!(site.responses(), 0);
    assert_eq!(status(&site.get(ANSWER).await), "200");
}

#[tokio::test]
async fn what_stands_in_the_address_is_never_repeated_in_a_page() {
    let site = site("127.0.0.1").await;
    for target in [
        "/auth/callback?code=CANARY&state=CANARY",
        "/auth/callback?code=CANARY&state=CANARY&CANARY=1&CANARY=2",
        "/auth/callback?state=%3Cscript%3ECANARY",
        "/CANARY%3Cscript%3E",
    ] {
        let answer = site.get(target).await;
        assert!(!answer.contains("CANARY"), "{target}: {answer}");
    }
}
