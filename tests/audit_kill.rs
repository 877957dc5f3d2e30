//! The audit trail and processes that die: after a `kill -9` at any moment the chain verifies, and
//! each change that is there has its entry, and no entry is without its change.
//!
//! The other process is this test binary itself, which finds its role in an environment variable.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokenward::clock::Sources;
use tokenward::identity::{Label, UserId};
use tokenward::supervision::{EventBus, Supervisor};
use tokenward::vault::audit::{Audit, AuditEntry, AuditKind, AuditQuery};
use tokenward::vault::{
    Batch, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use zeroize::Zeroizing;

/// Where the child finds the vault.
const VAULT: &str = "TOKENWARD_TEST_VAULT";

const ROUNDS: u32 = 15;
const WRITERS: u8 = 4;

async fn open(path: &Path) -> Result<(Supervisor, VaultHandle), VaultError> {
    let sources = Sources::system();
    let events = EventBus::new(sources.clone());
    let root = Supervisor::start("root", sources.clone(), events.clone()).await.expect("a root");
    let vault = Vault::open(path).master_key(MasterKey::from_bytes([7; 32]));
    let vault = VaultHandle::start(vault, &root, sources, events).await?;
    Ok((root, vault))
}

fn user(writer: u8) -> UserId {
    UserId::new(&format!("user {writer}")).expect("a name")
}

fn key(writer: u8) -> RecordKey {
    RecordKey::new(RecordKind::Credential, user(writer), "the one")
}

async fn number(vault: &VaultHandle, writer: u8) -> u64 {
    let record = vault.read(&key(writer)).await.expect("it opens");
    record.map_or(0, |it| u64::from_be_bytes(*it.payload.first_chunk().expect("eight bytes")))
}

/// Change `number` of a writer, and the entry that tells of it.
fn change(writer: u8, number: u64) -> Batch {
    let payload = Zeroizing::new(number.to_be_bytes().to_vec());
    let label = Label::new(&number.to_string()).expect("a name");
    let entry = AuditEntry::new(AuditKind::Refreshed).user(&user(writer)).label(&label);
    Batch::new().put(key(writer), payload, Expect::Anything, Tags::default()).record(entry)
}

/// Commits without end, and prints each acknowledgement. The parent kills it.
async fn write_until_killed(path: &Path) {
    let (_root, vault) = open(path).await.expect("a vault");
    let writers = (0..WRITERS).map(|writer| {
        let vault = vault.clone();
        async move {
            let mut done = number(&vault, writer).await;
            loop {
                done += 1;
                vault.commit(change(writer, done)).await.expect("durable");
                let noted = AuditEntry::new(AuditKind::AccessDenied).user(&user(writer));
                vault.note(noted.because("somebody tried"));
                // One write call, so that a kill does not tear a line.
                let line = format!("ack {writer} {done}\n");
                std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "each_change_has_its_entry_after_every_kill", "--nocapture"])
        .env(VAULT, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// Lets a child write until it has acknowledged so much, kills it, and returns the last number that
/// it acknowledged for each writer.
fn kill_after(path: &Path, acknowledgements: usize) -> [u64; WRITERS as usize] {
    let mut child = spawn(path);
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut acknowledged, mut seen) = ([0; WRITERS as usize], 0);
    if acknowledgements == 0 {
        child.kill().expect("killed");
    }
    for line in lines {
        let line = line.expect("text");
        let Some(words) = line.strip_prefix("ack ") else { continue };
        let (writer, number) = words.split_once(' ').expect("two numbers");
        acknowledged[writer.parse::<usize>().expect("a number")] = number.parse().expect("one");
        seen += 1;
        if seen == acknowledgements {
            child.kill().expect("killed");
        }
    }
    assert!(!child.wait().expect("it ended").success(), "it writes until it is killed");
    acknowledged
}

/// The numbers of the changes of a writer that are recorded.
async fn recorded(audit: &Audit, writer: u8) -> Vec<u64> {
    let query = AuditQuery::all().of_user(user(writer)).of_kind(AuditKind::Refreshed);
    let (mut numbers, mut next) = (Vec::new(), Some(query));
    while let Some(query) = next.take() {
        let page = audit.entries(query.clone().limit(1_000)).await.expect("a page");
        assert_eq!(page.unreadable, Vec::<u64>::new());
        let labels = page.entries.iter().filter_map(|entry| entry.label.as_ref());
        numbers.extend(labels.map(|label| label.as_str().parse::<u64>().expect("a number")));
        next = page.next.map(|at| query.starting_at(at));
    }
    numbers
}

#[tokio::test]
async fn each_change_has_its_entry_after_every_kill() {
    if let Some(path) = std::env::var_os(VAULT) {
        return write_until_killed(Path::new(&path)).await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.vault");
    let mut mark = None;
    for round in 0..ROUNDS {
        // From a kill while it starts to one in the middle of many groups.
        let acknowledgements = usize::try_from(round * 29 % 120).expect("small");
        let acknowledged = kill_after(&path, acknowledgements);
        let (root, vault) = open(&path).await.expect("it opens after every kill");
        let audit = Audit::new(vault.clone());
        let report = match mark {
            Some(mark) => audit.verify_against(mark).await.expect("a verification"),
            None => audit.verify().await.expect("a verification"),
        };
        assert_eq!(report.finding, None, "round {round}");
        mark = Some(report.verified);
        for writer in 0..WRITERS {
            let stored = number(&vault, writer).await;
            assert!(stored >= acknowledged[usize::from(writer)], "round {round}");
            let expected: Vec<u64> = (1..=stored).collect();
            assert_eq!(recorded(&audit, writer).await, expected, "round {round}, {writer}");
        }
        assert_eq!(root.drain(Duration::from_secs(10)).await, Vec::<String>::new());
    }
}
