//! What the tests on the wire share: a server on loopback that records the exact bytes it gets and
//! answers by script.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod patience;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenward::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// Listens on a free port of loopback until it is dropped. Each connection carries one request and
/// gets the next reply of the script; beyond the script there is 500.
#[derive(Debug)]
pub(crate) struct Recorder {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    server: JoinHandle<()>,
}

/// A port of loopback at which every connection is refused: it is taken, and nobody listens there.
#[derive(Debug)]
pub(crate) struct Refusing(TcpSocket);

impl Refusing {
    pub(crate) fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self(socket)
    }

    /// The URL of `path` there.
    pub(crate) fn url(&self, path: &str) -> Url {
        let address = self.0.local_addr().expect("an address");
        Url::parse(&format!("http://{address}{path}")).expect("a url")
    }

    /// From now on there is a server, which gives `replies` in their order.
    pub(crate) fn listen(self, replies: impl IntoIterator<Item = Reply>) -> Recorder {
        Recorder::on(self.0.listen(16).expect("nobody else has the port"), replies)
    }
}

/// What the recorder does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Sends exactly these bytes, then closes.
    Bytes(Vec<u8>),
    /// Sends exactly these bytes and keeps the connection open, answering nothing more on it.
    Keep(Vec<u8>),
    /// Closes as soon as the connection stands, without reading.
    Slam,
    /// Reads so much of the request and resets the connection.
    Reset(usize),
    /// Sends a head, then one byte of the body at a time, for as long as the client stays.
    Drip,
    /// Sends a head that names no length, then a body without end, for as long as the client stays.
    Flood,
}

/// One request as it stood on the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Method, target and version.
    pub(crate) line: String,
    /// Names and values, in the order of the socket.
    pub(crate) headers: Vec<(String, String)>,
    /// What came after the head.
    pub(crate) body: String,
}

impl Recorder {
    /// Starts a server that gives `replies` in their order.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        Self::on(listener, replies)
    }

    fn on(listener: TcpListener, replies: impl IntoIterator<Item = Reply>) -> Self {
        let address = listener.local_addr().expect("an address");
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(replies.into_iter().collect()));
        let server = tokio::spawn(serve(listener, Arc::clone(&recorded), Arc::clone(&script)));
        Self { address, recorded, script, server }
    }

    /// Adds a reply to the end of the script, for one that has to name the server's address.
    pub(crate) fn then(&self, reply: Reply) {
        self.script.lock().expect("no panic while recording").push_back(reply);
    }

    /// The URL of `path` on this server.
    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).expect("a url")
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far, one for each connection that sent any byte.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.recorded.lock().expect("no panic while recording").clone()
    }

    /// The one request there was.
    pub(crate) fn only_request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Reply {
    /// A JSON answer with `more` header lines, each ended by a line break.
    pub(crate) fn with_headers(status: u16, more: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(
            format!(
                "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{more}\
                 content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }

    /// A JSON answer.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::with_headers(status, "", body)
    }

    /// Exactly these bytes, be they HTTP or not.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl Recorded {
    /// The value of the only header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }

    /// The names of the headers in the order of the socket.
    pub(crate) fn header_names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The bytes of the socket; the end of the head may be missing when the client left.
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap_or((line, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { line, headers, body: body.to_owned() }
    }

    fn is_whole(bytes: &[u8]) -> bool {
        let request = Self::parse(bytes);
        let length = request.headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        bytes.windows(4).any(|four| four == b"\r\n\r\n") && request.body.len() >= length
    }
}

async fn serve(
    listener: TcpListener,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let next = script.lock().expect("no panic while recording").pop_front();
        let reply = next.unwrap_or_else(|| Reply::json(500, "{}"));
        // One after the other, so that the order of the record is the order of the requests.
        answer(stream, &recorded, reply).await;
    }
}

async fn answer(mut stream: TcpStream, recorded: &Mutex<Vec<Recorded>>, reply: Reply) {
    if matches!(reply, Reply::Slam) {
        return;
    }
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    // A client that does not speak HTTP, as one that begins TLS, is answered at its first bytes.
    let foreign = |bytes: &[u8]| bytes.first().is_some_and(|byte| !byte.is_ascii_uppercase());
    let most = if let Reply::Reset(read) = reply { read } else { usize::MAX };
    while !Recorded::is_whole(&bytes) && !foreign(&bytes) && bytes.len() < most {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    if !bytes.is_empty() {
        recorded.lock().expect("no panic while recording").push(Recorded::parse(&bytes));
    }
    match reply {
        Reply::Bytes(answer) => {
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
        Reply::Keep(answer) => {
            let _ = stream.write_all(&answer).await;
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        }
        Reply::Reset(_) => stream.set_zero_linger().expect("a socket"),
        Reply::Drip => drip(stream).await,
        Reply::Flood => flood(stream).await,
        Reply::Slam => {}
    }
}

async fn drip(mut stream: TcpStream) {
    let pace = SystemClock::new();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let mut went = stream.write_all(head.as_bytes()).await;
    while went.is_ok() {
        pace.wait(Duration::from_millis(5)).await;
        went = stream.write_all(b" ").await;
    }
}

async fn flood(mut stream: TcpStream) {
    let chunk = format!("{:x}\r\n{}\r\n", 16 * 1024, " ".repeat(16 * 1024));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut went = stream.write_all(head.as_bytes()).await;
    while went.is_ok() {
        went = stream.write_all(chunk.as_bytes()).await;
    }
}

/// A reqwest client as a host has one, for plain text to loopback.
pub(crate) fn http_client() -> reqwest::Client {
    http_client_builder().build().expect("a client")
}

/// The same with more to be said.
pub(crate) fn http_client_builder() -> reqwest::ClientBuilder {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring offers them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls)
}
