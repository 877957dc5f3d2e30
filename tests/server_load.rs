//! The authorization server at full load, as a program, on a vault in memory and on one that writes to the
//! disk: its memory stays flat, nothing fails, and what is more than an application may ask for, or than
//! the server can have under way, is refused at once instead of being queued.
//!
//! `TOKENWARD_SOAK_SECONDS` is how long the load lasts: two, unless set.

#[path = "common/program.rs"]
#[allow(dead_code, reason = "this program is ended and not waited for")]
mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use program::command;

const SECONDS: &str = "TOKENWARD_SOAK_SECONDS";

/// Connections at a time.
const CONNECTIONS: usize = 16;

/// What the memory may grow by after the first quarter of the load, in KiB, however long that is. An entry of the
/// audit trail for each rotation would be three times as much within two minutes.
const MOST_GROWTH: u64 = 4 * 1024;

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
    /// On a vault in memory.
    fn start() -> Self {
        Self::configured("", "\"client_credentials\"")
    }

    /// On a vault on the disk, with these settings besides, and refresh tokens.
    fn on_disk(settings: &str) -> Self {
        let settings = format!("vault = 'vault'\nkey_file = 'key'\n{settings}");
        Self::configured(&settings, "\"client_credentials\", \"refresh_token\"")
    }

    fn configured(settings: &str, grants: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("host.toml");
        let (id, secret) = CREDENTIALS.split_once(':').expect("both");
        let text = format!(
            "listen = \"127.0.0.1:0\"\n{settings}\n[[applications]]\nname = \"tester\"\nid = \
             \"{id}\"\nsecret = \"{secret}\"\npermissions = \"admin memories:read\"\n\
             grants = [{grants}]\n"
        );
        std::fs::write(&config, text).expect("written");
        let mut program = command("agent_host");
        let program = program.arg("--config").arg(&config).current_dir(folder.path());
        let child = program.stderr(Stdio::inherit()).spawn();
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
        let token = member(&body, "access_token");
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
    form("/auth/token", "grant_type=client_credentials")
}

/// A request by the application.
fn form(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: host\r\nauthorization: Basic {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        STANDARD.encode(CREDENTIALS),
        body.len()
    )
}

/// A text of an answer.
fn member(body: &str, name: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).expect("json");
    body[name].as_str().expect("a text").to_owned()
}

/// Asks for tokens by the client's own credentials, over and over.
fn credentials() -> impl FnMut(&mut TcpStream) -> Answer {
    let request = token_request();
    move |stream| exchange(stream, &request)
}

/// Uses a refresh token, then asks about what came of it, over and over, with a family of its own. A token
/// whose use is refused for now is used again.
fn rotation() -> impl FnMut(&mut TcpStream) -> Answer {
    let (mut tokens, mut looks): (Option<[String; 2]>, usize) = (None, 0);
    move |stream| {
        let Some([access, refresh]) = &tokens else {
            let answer = exchange(stream, &token_request());
            tokens = (answer.0 == 200).then(|| tokens_of(&answer.1));
            return answer;
        };
        if looks > 0 {
            let token = if looks == 1 { access } else { refresh };
            let answer = exchange(stream, &form("/auth/introspect", &format!("token={token}")));
            assert!(answer.0 != 200 || answer.1.contains("\"active\":true"), "{}", answer.1);
            looks -= usize::from(answer.0 == 200);
            return answer;
        }
        let body = format!("grant_type=refresh_token&refresh_token={refresh}");
        let answer = exchange(stream, &form("/auth/token", &body));
        if answer.0 == 200 {
            (tokens, looks) = (Some(tokens_of(&answer.1)), 2);
        }
        answer
    }
}

fn tokens_of(body: &str) -> [String; 2] {
    ["access_token", "refresh_token"].map(|name| member(body, name))
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

/// How many requests were answered, and how many refused for now; and the slowest refusal.
#[derive(Default)]
struct Load {
    answered: AtomicU64,
    refused: AtomicU64,
    slowest_refusal: Mutex<Duration>,
}

/// Lets so many `connections` do what each `worker` does, until `until`.
fn load<W: FnMut(&mut TcpStream) -> Answer>(
    host: &Host,
    until: Instant,
    connections: usize,
    worker: impl Fn() -> W + Sync,
) -> Load {
    let load = Load::default();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let (mut stream, mut work) = (host.connect(), worker());
                while now() < until {
                    let began = now();
                    let (status, body) = work(&mut stream);
                    match status {
                        200 => drop(load.answered.fetch_add(1, Ordering::Relaxed)),
                        503 => {
                            load.refused.fetch_add(1, Ordering::Relaxed);
                            let mut slowest = load.slowest_refusal.lock().expect("whole");
                            *slowest = slowest.max(began.elapsed());
                        }
                        _ => panic!("{status}: {body}"),
                    }
                }
            });
        }
    });
    load
}

fn seconds() -> u64 {
    std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// Loads `host` for as long as is wanted, and looks at its memory after a quarter and at the end.
fn stays_flat<W: FnMut(&mut TcpStream) -> Answer>(host: &Host, worker: impl Fn() -> W + Sync) {
    host.allow(0);
    let quarter = Duration::from_secs(seconds()) / 4;
    let begun = load(host, now() + quarter, CONNECTIONS, &worker);
    let before = host.memory();
    let rest = load(host, now() + 3 * quarter, CONNECTIONS, &worker);
    let after = host.memory();
    let [begun, rest] = [begun, rest].map(|it| (it.answered.into_inner(), it.refused.into_inner()));
    println!(
        "{} requests answered in {} s; resident after a quarter {before:?} KiB, at the end {after:?} KiB",
        begun.0 + rest.0,
        seconds()
    );
    assert!(begun.0 + rest.0 > 0, "it answers");
    assert_eq!(begun.1 + rest.1, 0, "and nothing is refused");
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after <= before + MOST_GROWTH, "{before} KiB became {after} KiB");
    }
}

#[test]
fn the_memory_of_a_server_at_full_load_stays_flat() {
    stays_flat(&Host::start(), credentials);
}

#[test]
fn the_memory_of_a_server_that_rotates_at_full_load_stays_flat() {
    stays_flat(&Host::configured("", "\"client_credentials\", \"refresh_token\""), rotation);
}

#[test]
fn the_memory_of_a_server_that_rotates_on_disk_at_full_load_stays_flat() {
    stays_flat(&Host::on_disk(""), rotation);
}

#[test]
fn what_is_more_than_the_server_can_have_under_way_is_refused_at_once() {
    let host = Host::on_disk("most_requests = 2\n");
    host.allow(0);
    let load = load(&host, now() + Duration::from_secs(2), 4 * CONNECTIONS, rotation);
    let slowest = load.slowest_refusal.into_inner().expect("whole");
    let (answered, refused) = (load.answered.into_inner(), load.refused.into_inner());
    println!("{answered} requests answered, {refused} refused, the slowest after {slowest:?}");
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
    // What waits for its turn would wait for as long as the load lasts.
    assert!(slowest < Duration::from_secs(5), "the slowest refusal took {slowest:?}");
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
