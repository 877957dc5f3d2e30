//! The authorization server at full load, as a program: its memory stays flat, and what is more than an
//! application may ask for is refused at once instead of being queued.
//!
//! `TOKENWARD_SOAK_SECONDS` is how long the load lasts: two, unless set.

#[path = "common/program.rs"]
#[allow(dead_code, reason = "this program is ended and not waited for")]
mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use program::command;

const SECONDS: &str = "TOKENWARD_SOAK_SECONDS";

/// Connections at a time.
const CONNECTIONS: usize = 16;

/// What the memory may grow by after the first quarter of the load.
const MOST_GROWTH: u64 = 16 * 1024;

const CREDENTIALS: &str = "app_tester:the-secret-of-the-tester";

/// The example of a host, until it is dropped.
struct Host {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

/// An answer: its status and its text.
type Answer = (u16, String);

impl Host {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("host.toml");
        let (id, secret) = CREDENTIALS.split_once(':').expect("both");
        let text = format!(
            "listen = \"127.0.0.1:0\"\n\n[[applications]]\nname = \"tester\"\nid = \"{id}\"\n\
             secret = \"{secret}\"\npermissions = \"admin memories:read\"\n"
        );
        std::fs::write(&config, text).expect("written");
        let child =
            command("agent_host").arg("--config").arg(&config).stderr(Stdio::inherit()).spawn();
        let mut child = child.expect("the example starts");
        let output = child.stdout.take().expect("its output");
        let (read, line) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines();
            // The test may have given up; what follows is not looked at.
            let _ = read.send(lines.next());
            lines.for_each(drop);
        });
        let line = line.recv_timeout(Duration::from_mins(2)).expect("it starts in time");
        let line = line.expect("a line").expect("text");
        let address = line.strip_prefix("listening on http://").expect("an address").to_owned();
        Self { address, child, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a socket");
        stream
    }

    /// Lets the application ask so often in a minute; zero: as often as it likes.
    fn allow(&self, per_minute: u32) {
        let mut stream = self.connect();
        let (status, body) = exchange(&mut stream, &token_request());
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("json");
        let token = body["access_token"].as_str().expect("a token");
        let body = format!("{{\"requests_per_minute\":{per_minute}}}");
        let changed = format!(
            "PATCH /admin/applications/app_tester HTTP/1.1\r\nhost: host\r\nauthorization: Bearer \
             {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(exchange(&mut stream, &changed).0, 200);
    }

    /// How much memory it has resident, in KiB, where the system tells it.
    fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token_request() -> String {
    let body = "grant_type=client_credentials";
    format!(
        "POST /auth/token HTTP/1.1\r\nhost: host\r\nauthorization: Basic {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        STANDARD.encode(CREDENTIALS),
        body.len()
    )
}

fn exchange(stream: &mut TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).expect("sent");
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part).expect("an answer in time");
        assert!(read > 0, "the server closed");
        answer.extend_from_slice(&part[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end]).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        if answer.len() == end + 4 + length {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let body = String::from_utf8(answer[end + 4..].to_vec()).expect("text");
            return (status.expect("a status"), body);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the load lasts so long in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Lets each of several connections ask for tokens until `until`; counts the answers of each status.
fn load(host: &Host, until: Instant, statuses: [u16; 2]) -> [u64; 2] {
    let counts = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let (mut stream, request) = (host.connect(), token_request());
                while now() < until {
                    let (status, body) = exchange(&mut stream, &request);
                    let known = statuses.iter().position(|known| *known == status);
                    let known = known.unwrap_or_else(|| panic!("{status}: {body}"));
                    counts[known].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    counts.map(AtomicU64::into_inner)
}

#[test]
fn the_memory_of_a_server_at_full_load_stays_flat() {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let host = Host::start();
    host.allow(0);
    let quarter = Duration::from_secs(seconds) / 4;
    let [begun, _] = load(&host, now() + quarter, [200, 503]);
    let before = host.memory();
    let [issued, refused] = load(&host, now() + 3 * quarter, [200, 503]);
    let after = host.memory();
    println!(
        "{} tokens in {seconds} s, {refused} requests refused; resident after a quarter {before:?} \
         KiB, at the end {after:?} KiB",
        begun + issued
    );
    assert!(begun + issued > 0, "it answers");
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after <= before + MOST_GROWTH, "{before} KiB became {after} KiB");
    }
}

#[test]
fn more_than_an_application_may_ask_for_is_refused_at_once() {
    let host = Host::start();
    host.allow(60);
    let mut slowest = Duration::ZERO;
    let (mut stream, request) = (host.connect(), token_request());
    let mut refused = 0;
    for _ in 0..500 {
        let began = now();
        let (status, body) = exchange(&mut stream, &request);
        assert!(status == 200 || status == 429, "{status}: {body}");
        refused += u32::from(status == 429);
        slowest = slowest.max(began.elapsed());
    }
    println!("{refused} of 500 requests refused, the slowest answer after {slowest:?}");
    assert!(refused >= 400, "{refused} of 500");
    // What waits for its turn would wait for seconds.
    assert!(slowest < Duration::from_secs(5), "the slowest answer took {slowest:?}");
}
