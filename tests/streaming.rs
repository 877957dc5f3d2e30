//! Bodies that are far larger than what the process may hold pass through `session.client()` both
//! ways, and its memory stays flat.
//!
//! The caller is a process of its own, so that its memory is that of nobody else: this test binary
//! itself, which finds its role in an environment variable. `TOKENWARD_SOAK_MEBIBYTES` is how large
//! each body is; without it, 64.

#[path = "common/program.rs"]
#[allow(dead_code, reason = "this program is the test itself")]
mod program;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::Body;
use tokenward::{Runtime, Session, Vault, catalog};
use tokio::net::TcpListener;

/// Where the caller finds its upstream.
const UPSTREAM: &str = "TOKENWARD_TEST_UPSTREAM";

/// How large a body is, in MiB.
const MEBIBYTES: &str = "TOKENWARD_SOAK_MEBIBYTES";

/// What the memory of the caller may grow by, in KiB, whatever the length of the bodies.
const MOST_GROWTH: u64 = 8 * 1024;

/// What a body is made of.
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];
const CHUNKS_IN_A_MEBIBYTE: u64 = 16;

fn mebibytes() -> u64 {
    std::env::var(MEBIBYTES).ok().and_then(|text| text.parse().ok()).unwrap_or(64)
}

fn chunks(mebibytes: u64) -> impl Iterator<Item = Bytes> {
    (0..mebibytes * CHUNKS_IN_A_MEBIBYTE).map(|_| Bytes::from_static(&CHUNK))
}

/// H1: streaming bodies and responses.
#[tokio::test]
async fn bodies_of_any_length_stream_both_ways_with_flat_memory() {
    if let Ok(upstream) = std::env::var(UPSTREAM) {
        return call(&upstream).await;
    }
    let upstream = serve().await;
    let caller = tokio::task::spawn_blocking(move || {
        program::run(
            Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "bodies_of_any_length_stream_both_ways_with_flat_memory"])
                .arg("--nocapture")
                .env(UPSTREAM, format!("http://{upstream}/"))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )
    });
    let output = caller.await.expect("it ends");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("both bodies passed"), "{told}");
    println!("{told}");
}

/// What the caller does: a small call each way, and then large ones.
async fn call(upstream: &str) {
    let runtime = Runtime::builder()
        .vault(Vault::in_memory())
        .provider(catalog::openai().base_url(upstream.parse().expect("a url")))
        .start()
        .await
        .expect("a runtime");
    let ada = runtime.user("ada");
    ada.sign_in("openai").with_api_key("sk-a-key-of-ada").await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    upload(&session, 1).await;
    download(&session, 1).await;
    let before = peak();
    upload(&session, mebibytes()).await;
    let after_upload = peak();
    download(&session, mebibytes()).await;
    let after_both = peak();
    if let (Some(before), Some(up), Some(both)) = (before, after_upload, after_both) {
        println!("{} MiB each way, peak in KiB: {before}, {up}, {both}", mebibytes());
        let growth = both - before;
        assert!(growth < MOST_GROWTH, "it grew by {growth} KiB");
    } else if cfg!(target_os = "linux") {
        panic!("/proc/self/status does not tell the peak");
    } else {
        println!("the memory is not checked on this system");
    }
    println!("both bodies passed");
}

async fn upload(session: &Session, mebibytes: u64) {
    let body = Body::wrap_stream(stream::iter(chunks(mebibytes).map(Ok::<_, Infallible>)));
    let call = session.client().put("/v1/files").body(body).send();
    let reply = call.await.expect("an answer").text().await.expect("a body");
    assert_eq!(reply, (mebibytes << 20).to_string(), "the upstream read all of it");
}

async fn download(session: &Session, mebibytes: u64) {
    let call = session.client().get("/v1/files").query("mebibytes", &mebibytes.to_string()).send();
    let mut reply = call.await.expect("an answer");
    let mut length = 0;
    while let Some(chunk) = reply.chunk().await.expect("more of it") {
        length += chunk.len() as u64;
    }
    assert_eq!(length, mebibytes << 20);
}

/// The most memory that this process had resident at once, in KiB, where the system tells it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// An upstream that tells how much it was sent, or sends as much as it is asked for.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    });
    address
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let asked = request.uri().query().and_then(|query| query.strip_prefix("mebibytes="));
    if let Some(mebibytes) = asked.and_then(|text| text.parse().ok()) {
        let frames = chunks(mebibytes).map(|chunk| Ok(Frame::data(chunk)));
        return Ok(Response::new(StreamBody::new(stream::iter(frames)).boxed()));
    }
    let (mut body, mut length) = (request.into_body(), 0);
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(Response::new(Full::from(length.to_string()).boxed()))
}
