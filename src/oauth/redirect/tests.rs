//! The loopback listener over real sockets.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

mod strangers;

use super::*;
use crate::clock::Sources;
use crate::secret::Secret;

const PATH: &str = "/auth/callback";

/// A listener whose owner knows the state `xyz`.
struct Site {
    port: u16,
    seen: Arc<Mutex<Vec<AuthorizationResponse>>>,
    listening: Listening,
}

async fn site(host: &str) -> Site {
    site_with(host, &Sources::system()).await
}

async fn site_with(host: &str, sources: &Sources) -> Site {
    let loopback = Loopback::bind(host, PATH, &[]).await.expect("a free port");
    let loopback = loopback.application(Some("Atlas".into()));
    let uri = url::Url::parse(&loopback.redirect_uri()).expect("a url");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink: Sink = {
        let seen = Arc::clone(&seen);
        Arc::new(move |response: AuthorizationResponse| {
            let known = response.state == Some(Secret::new("xyz"));
            seen.lock().expect("no panic").push(response);
            async move { if known { Page::SignedIn } else { Page::WrongState } }.boxed()
        })
    };
    let listening = loopback.serve(sources, sink);
    Site { port: uri.port().expect("a port"), seen, listening }
}

impl Site {
    /// Sends `request`, in which `LISTENER` stands for the listener, and returns the whole answer.
    async fn send(&self, request: &str) -> String {
        let request = request.replace("LISTENER", &format!("localhost:{}", self.port));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // A server that refuses a long head closes while some of it is still unread.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("text")
    }

    async fn get(&self, target: &str) -> String {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: LISTENER\r\n\r\n")).await
    }

    fn responses(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[tokio::test]
async fn the_answer_of_the_provider_reaches_the_sign_in() {
    let site = site("127.0.0.1").await;
    let answer = site.get("/auth/callback?code=abc&state=xyz&unknown=1").await;
    assert_eq!(status(&answer), "200");
    let response = site.seen.lock().expect("no panic").remove(0);
    assert_eq!(response.outcome, Ok(Secret::new("abc")));

    let (head, page) = answer.split_once("\r\n\r\n").expect("a head and a page");
    for field in [
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'",
        "frame-ancestors 'none'",
        "x-frame-options: DENY",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-resource-policy: same-origin",
        "permissions-policy: camera=()",
        "content-type: text/html; charset=utf-8",
        "connection: close",
    ] {
        assert!(head.contains(field), "{field} is missing in {head}");
    }
    assert!(page.contains("You are signed in"));
    assert!(page.contains("go back to Atlas"), "the application is named");
    assert!(!answer.contains("abc") && !answer.contains("xyz"), "nothing secret is repeated");
}

#[tokio::test]
async fn stray_requests_get_an_answer_and_end_nothing() {
    let site = site("127.0.0.1").await;
    for (target, expected) in [
        ("/", "404"),
        ("/favicon.ico", "404"),
        ("/auth/callback/", "404"),
        ("/auth//callback?code=abc&state=xyz", "404"),
        ("/AUTH/CALLBACK?code=abc&state=xyz", "404"),
        ("/auth/callback", "400"),
        ("/auth/callback?code=a&code=b&state=xyz", "400"),
        ("/auth/callback?code=a&error=b&state=xyz", "400"),
    ] {
        assert_eq!(status(&site.get(target).await), expected, "{target}");
    }
    assert_eq!(site.responses(), 0, "none of them is a plausible answer");
    assert_eq!(status(&site.get("/auth/callback?code=abc&state=other").await), "400");
    assert_eq!(status(&site.get("/auth/callback?code=abc&state=xyz").await), "200");
}

#[tokio::test]
async fn only_get_is_answered() {
    let site = site("127.0.0.1").await;
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "TRACE"] {
        let target = "/auth/callback?code=abc&state=xyz";
        let answer = site
            .send(&format!(
                "{method} {target} HTTP/1.1\r\nHost: LISTENER\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        assert_eq!(status(&answer), "405", "{method}");
        assert!(answer.contains("allow: GET"), "{method}");
    }
    assert_eq!(site.responses(), 0);
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let site = site("127.0.0.1").await;
    let target = "/auth/callback?code=abc&state=xyz";
    let port = site.port;
    for head in [
        format!("GET {target} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: localhost.evil.example:{port}\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: localhost:1\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example\r\n\r\n"),
        format!("GET http://evil.example{target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\n\r\n"),
    ] {
        assert_eq!(status(&site.send(&head).await), "400", "{head}");
    }
    assert_eq!(site.responses(), 0);
    for host in ["127.0.0.1", "LOCALHOST", "[::1]"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        assert_eq!(status(&site.send(&head).await), "200", "{host}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_request_are_answered_and_forgotten() {
    let site = site("127.0.0.1").await;
    assert_eq!(status(&site.send("hello\r\n\r\n").await), "400");
    let long = format!("GET / HTTP/1.1\r\nHost: LISTENER\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = site.send(&long).await;
    assert!(answer.is_empty() || status(&answer) == "431", "{answer}");
    let many = format!("GET / HTTP/1.1\r\nHost: LISTENER\r\n{}\r\n", "X: 1\r\n".repeat(100));
    assert_eq!(status(&site.send(&many).await), "431");
    assert_eq!(status(&site.get("/auth/callback?code=abc&state=xyz").await), "200");
}

#[tokio::test]
async fn the_port_is_free_again_when_the_sign_in_ends() {
    let Site { port, listening, .. } = site("127.0.0.1").await;
    drop(listening);
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    Loopback::bind("127.0.0.1", PATH, &[port]).await.expect("the port is free");
}

#[tokio::test]
async fn a_fixed_port_that_is_taken_gives_way_to_the_next() {
    let first = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let second = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ports = [&first, &second].map(|socket| socket.local_addr().expect("bound").port());
    let error = Loopback::bind("127.0.0.1", PATH, &ports).await.expect_err("both are taken");
    assert!(error.to_string().contains("paste the address"), "{error}");
    assert!(error.to_string().contains(&ports[0].to_string()), "{error}");

    drop(second);
    let loopback = Loopback::bind("127.0.0.1", PATH, &ports).await.expect("the second is free");
    assert_eq!(loopback.redirect_uri(), format!("http://127.0.0.1:{}{PATH}", ports[1]));
}

#[tokio::test]
async fn localhost_is_served_on_both_loopback_addresses() {
    let Ok(probe) = TcpListener::bind("[::1]:0").await else { return };
    drop(probe);
    let site = site("localhost").await;
    let mut stream = TcpStream::connect(("::1", site.port)).await.expect("a connection");
    let request = format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", site.port);
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(status(&answer), "404");
    assert_eq!(status(&site.get("/auth/callback?code=abc&state=xyz").await), "200");
}

#[tokio::test]
async fn a_port_that_another_program_has_on_one_loopback_address_is_taken() {
    let Ok(other) = TcpListener::bind("[::1]:0").await else { return };
    let port = other.local_addr().expect("bound").port();
    let bound = Loopback::bind("localhost", PATH, &[port]).await;
    assert!(matches!(bound, Err(BindError::PortsTaken { .. })), "{bound:?}");
}

#[tokio::test]
async fn only_loopback_hosts_and_whole_paths_are_bound() {
    for host in ["0.0.0.0", "192.168.1.7", "evil.example", ""] {
        let bound = Loopback::bind(host, PATH, &[]).await;
        assert_eq!(bound.map(|_| ()), Err(BindError::NotLoopback), "{host}");
    }
    for path in ["", "callback", "/callback?x=1", "/#"] {
        let bound = Loopback::bind("127.0.0.1", path, &[]).await;
        assert_eq!(bound.map(|_| ()), Err(BindError::BadPath), "{path}");
    }
}
