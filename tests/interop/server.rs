//! The process of the other authorization server: started on a free port of loopback, its requests
//! read from its standard output, ended with its test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Set by `.ci/run`, which installs the package first: its absence is a failure then.
const REQUIRED: &str = "TOKENWARD_INTEROP_REQUIRED";

/// How long a test waits for another process before it gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// oidc-provider in a process of its own. It ends when this is dropped, also by a panic; and when the
/// test is killed its standard input closes, at which it ends by itself.
pub(crate) struct OidcProvider {
    pub(crate) issuer: String,
    log: tokio::io::Lines<BufReader<ChildStdout>>,
    process: Child,
    _input: ChildStdin,
}

/// A request that the server has answered.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Served {
    /// Method and path.
    pub(crate) request: String,
    /// The grant type of a token request.
    pub(crate) grant: Option<String>,
    pub(crate) status: u16,
    /// The error of its answer.
    pub(crate) error: Option<String>,
}

#[derive(Deserialize)]
struct Ready {
    issuer: String,
}

impl OidcProvider {
    /// Starts the server, or says loudly that there is none on this machine.
    pub(crate) async fn start() -> Option<Self> {
        Self::launch(&[]).await
    }

    /// One that answers 404 at `path`.
    pub(crate) async fn without(path: &str) -> Option<Self> {
        Self::launch(&[path]).await
    }

    async fn launch(arguments: &[&str]) -> Option<Self> {
        let package = installed();
        if !package.join("node_modules").is_dir() {
            return absent(&format!("oidc-provider is not installed in {}", package.display()));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/oidc-provider");
        let spawned = Command::new("node")
            .arg(script.join("server.mjs"))
            .arg(&package)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => return absent(&format!("node can not be started: {error}")),
        };
        let input = process.stdin.take().expect("piped");
        let mut log = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut complaints = process.stderr.take().expect("piped");
        let complaints = tokio::spawn(async move {
            let mut text = String::new();
            let _ = complaints.read_to_string(&mut text).await;
            text
        });
        let Some(line) = next(&mut log).await else {
            panic!("oidc-provider did not start: {}", complaints.await.unwrap_or_default());
        };
        let Ready { issuer } = serde_json::from_str(&line).expect("where it listens");
        Some(Self { issuer, log, process, _input: input })
    }

    /// Ends the process now.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("it ran");
    }

    /// All requests that were served since this was asked last.
    pub(crate) async fn served(&mut self) -> Vec<Served> {
        // The log is in the order of the answers: whatever stands before this one is all there is.
        let marker = "/.well-known/marker";
        let url = format!("{}{marker}", self.issuer);
        let answer = crate::common::http_client().get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 404);
        let mut served = Vec::new();
        loop {
            let line = next(&mut self.log).await.expect("it runs");
            let entry: Served = serde_json::from_str(&line).expect("a line of the log");
            if entry.request == format!("GET {marker}") {
                return served;
            }
            served.push(entry);
        }
    }

    /// The token requests since this was asked last: grant type, status, error.
    pub(crate) async fn token_requests(&mut self) -> Vec<(String, u16, Option<String>)> {
        let served = self.served().await;
        let posts = served.into_iter().filter(|it| it.request == "POST /token");
        posts.map(|it| (it.grant.unwrap_or_default(), it.status, it.error)).collect()
    }
}

/// The next line that `server.mjs` wrote; the package writes its own warnings between them.
async fn next(log: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> Option<String> {
    loop {
        match within(log.next_line()).await.expect("a pipe") {
            Some(line) if !line.starts_with('{') => {}
            end => return end,
        }
    }
}

/// What `future` comes to. The other process answers to no clock of ours, so this is real time.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the other side answers in a minute")
}

/// Where `.ci/run` installs the package: beside the folder for files of tests.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop").join("oidc-provider")
}

fn absent(reason: &str) -> Option<OidcProvider> {
    use std::io::Write as _;
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and {reason}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("NOT RUN: {test}: {reason}. docs/testing.md says how to install it\n");
    // Not by a macro, whose output the test harness keeps to itself when a test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}
