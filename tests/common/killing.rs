//! What the tests share that kill processes: the child is the test binary itself, with orders in an
//! environment variable. It dies at a step that it was told, or when its parent has seen enough.

#![allow(dead_code, reason = "each test file uses its own part of this")]

#[path = "rounds.rs"]
mod rounds;

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokenward::clock::Sources;
use tokenward::supervision::{EventBus, Supervisor};
use tokenward::vault::{Vault, VaultError, VaultHandle};

pub(crate) use self::rounds::rounds;

const ORDERS: &str = "TOKENWARD_TEST_ORDERS";

/// How long a child may say nothing. One that is stuck fails its test, and does not hold it up.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a test exits with that failed.
const FAILED: i32 = 101;

/// What this process is to do, if it is a child.
pub(crate) fn orders<T: DeserializeOwned>() -> Option<T> {
    let orders = std::env::var(ORDERS).ok()?;
    Some(serde_json::from_str(&orders).expect("orders"))
}

/// This binary once more, to run `test` alone under `orders`.
pub(crate) fn child(test: &str, orders: &impl Serialize) -> Command {
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child
        .args(["--exact", test, "--nocapture"])
        .env(ORDERS, serde_json::to_string(orders).expect("orders"))
        .stdout(Stdio::piped());
    child
}

/// Lets the parent know, in a child, that `what` was promised.
pub(crate) fn acknowledge(what: impl Display) {
    // One write call, so that a kill does not tear a line; the harness may have begun one.
    let line = format!("\nack {what}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
}

/// A child, and what it acknowledges. It is killed when this is dropped.
pub(crate) struct Watched {
    child: Child,
    acknowledged: Receiver<String>,
}

impl Watched {
    pub(crate) fn start(mut child: Command) -> Self {
        let mut child = child.spawn().expect("a child");
        let output = child.stdout.take().expect("a pipe");
        let (told, acknowledged) = channel();
        // It ends with the child, whose end of the pipe it reads.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let line = line.expect("text");
                if let Some(what) = line.strip_prefix("ack ") {
                    // Nobody listens any more when the test has failed.
                    let _ = told.send(what.to_owned());
                }
            }
        });
        Self { child, acknowledged }
    }

    /// What it acknowledges next; none at its end.
    pub(crate) fn next(&mut self) -> Option<String> {
        match self.acknowledged.recv_timeout(PATIENCE) {
            Ok(what) => Some(what),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the child is stuck"),
        }
    }

    /// What it acknowledges next, if that is within `time`.
    pub(crate) fn next_within(&mut self, time: Duration) -> Option<String> {
        self.acknowledged.recv_timeout(time).ok()
    }

    /// Kills it, and gives what it acknowledged before and was not read yet.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("killed");
        let rest: Vec<String> = std::iter::from_fn(|| self.next()).collect();
        assert_ne!(self.end().code(), Some(FAILED), "it failed before it was killed");
        rest
    }

    /// How it ended, after the end of what it acknowledges.
    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it ended")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a child go on until it has acknowledged so often, kills it, and gives everything that it
/// acknowledged, also after that.
pub(crate) fn kill_after(child: Command, acknowledgements: usize) -> Vec<String> {
    let mut child = Watched::start(child);
    let mut acknowledged = Vec::new();
    for _ in 0..acknowledgements {
        acknowledged.push(child.next().expect("it goes on until it is killed"));
    }
    acknowledged.extend(child.kill());
    acknowledged
}

/// Opens a vault without a runtime around it.
pub(crate) async fn open(vault: Vault) -> Result<(Supervisor, VaultHandle), VaultError> {
    let sources = Sources::system();
    let events = EventBus::new(sources.clone());
    let root = Supervisor::start("root", sources.clone(), events.clone()).await.expect("a root");
    let vault = VaultHandle::start(vault, &root, sources, events).await?;
    Ok((root, vault))
}

/// Closes what [`open`] opened.
pub(crate) async fn close(root: Supervisor) {
    assert_eq!(root.drain(Duration::from_secs(10)).await, Vec::<String>::new());
}

/// Processes that kill themselves with SIGKILL: Windows has no such signal.
#[cfg(unix)]
pub(crate) mod suicide {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};
    use tracing_subscriber::layer::{Context, SubscriberExt as _};

    use super::Watched;

    /// Lets a child run. Gives what it acknowledged, and whether it killed itself; it ends well
    /// otherwise.
    pub(crate) fn run(child: Command) -> (Vec<String>, bool) {
        let mut child = Watched::start(child);
        let acknowledged = std::iter::from_fn(|| child.next()).collect();
        let status = child.end();
        let killed = status.signal() == Some(9);
        assert!(killed || status.success(), "it neither died at the step nor came to its end");
        (acknowledged, killed)
    }

    /// From now on, this process kills itself when the crate says under `target` that it reached
    /// `step`, or any step if none is named, after it has passed it so often.
    pub(crate) fn die_at(target: &'static str, step: Option<&str>, passes: u32) {
        let step = step.map(str::to_owned);
        let dying =
            tracing_subscriber::registry().with(DieAt { target, step, passes: passes.into() });
        tracing::subscriber::set_global_default(dying).expect("the first one");
    }

    struct DieAt {
        target: &'static str,
        step: Option<String>,
        passes: AtomicU32,
    }

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for DieAt {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            if event.metadata().target() != self.target {
                return;
            }
            let mut reached = Reached { step: self.step.as_deref(), is_it: false };
            event.record(&mut reached);
            if reached.is_it && self.passes.fetch_sub(1, Ordering::SeqCst) == 0 {
                kill_process(getpid(), Signal::KILL).expect("one may kill oneself");
                unreachable!("SIGKILL is not survived");
            }
        }
    }

    struct Reached<'a> {
        step: Option<&'a str>,
        is_it: bool,
    }

    impl tracing::field::Visit for Reached<'_> {
        fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
            self.is_it |= field.name() == "step" && self.step.is_none_or(|step| step == value);
        }

        fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
    }
}
