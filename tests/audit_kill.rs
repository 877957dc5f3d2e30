//! The audit trail and processes that die: after a `kill -9` at any moment the chain verifies, and
//! each change that is there has its entry, and no entry is without its change.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how often a process is killed on each engine; without it, a few times.

#[path = "common/killing.rs"]
mod killing;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokenward::identity::{Label, UserId};
use tokenward::supervision::Supervisor;
use tokenward::vault::audit::{Audit, AuditEntry, AuditKind, AuditQuery};
use tokenward::vault::{
    Batch, Engine, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use zeroize::Zeroizing;

/// How often a child is killed on each engine, unless the environment says so.
const ROUNDS: usize = 8;

/// How often before there is a new vault: the whole trail is read after each kill.
const ROUNDS_OF_A_VAULT: usize = 50;

const ENGINES: [Engine; 2] = [Engine::Sled, Engine::Redb];
const WRITERS: u8 = 4;

/// Where the child finds the vault, and by which of the engines.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    vault: PathBuf,
    engine: usize,
}

impl Orders {
    async fn open(&self) -> Result<(Supervisor, VaultHandle), VaultError> {
        let vault = Vault::open(&self.vault).engine(ENGINES[self.engine]);
        killing::open(vault.master_key(MasterKey::from_bytes([7; 32]))).await
    }
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
async fn write_until_killed(orders: Orders) {
    let (_root, vault) = orders.open().await.expect("a vault");
    let writers = (0..WRITERS).map(|writer| {
        let vault = vault.clone();
        async move {
            let mut done = number(&vault, writer).await;
            loop {
                done += 1;
                vault.commit(change(writer, done)).await.expect("durable");
                let noted = AuditEntry::new(AuditKind::AccessDenied).user(&user(writer));
                vault.note(noted.because("somebody tried"));
                killing::acknowledge(format_args!("{writer} {done}"));
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

/// Lets a child write until it has acknowledged so much, kills it, and returns the last number that
/// it acknowledged for each writer.
fn kill_after(orders: &Orders, acknowledgements: usize) -> [u64; WRITERS as usize] {
    let child = killing::child("each_change_has_its_entry_after_every_kill", orders);
    let mut last = [0; WRITERS as usize];
    for what in killing::kill_after(child, acknowledgements) {
        let (writer, number) = what.split_once(' ').expect("two numbers");
        last[writer.parse::<usize>().expect("a number")] = number.parse().expect("a number");
    }
    last
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
    if let Some(orders) = killing::orders() {
        return write_until_killed(orders).await;
    }
    for (number, engine) in ENGINES.into_iter().enumerate() {
        let rounds = killing::rounds(ROUNDS);
        let (mut left, mut writes) = (rounds, 0);
        while left > 0 {
            println!("{engine}: {left} rounds are left");
            let times = ROUNDS_OF_A_VAULT.min(left);
            writes += kill_again_and_again(number, times).await;
            left -= times;
        }
        println!(
            "{engine}: {rounds} kills, {writes} acknowledged changes: 0 lost, 0 without their entry, 0 \
             entries without their change, the trail verified each time"
        );
    }
}

/// Kills a child that writes, `rounds` times, looks into the vault after each, and says how much was
/// acknowledged.
async fn kill_again_and_again(engine: usize, rounds: usize) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    let orders = Orders { vault: directory.path().join("agent.vault"), engine };
    let engine = ENGINES[engine];
    let (mut mark, mut writes) = (None, 0);
    for round in 0..rounds {
        // From a kill while it starts to one in the middle of many groups.
        let acknowledgements = round * 29 % 120;
        let acknowledged = kill_after(&orders, acknowledgements);
        writes += acknowledgements;
        let (root, vault) = orders.open().await.expect("it opens after every kill");
        let audit = Audit::new(vault.clone());
        let report = match mark {
            Some(mark) => audit.verify_against(mark).await.expect("a verification"),
            None => audit.verify().await.expect("a verification"),
        };
        assert_eq!(report.finding, None, "{engine}, round {round}");
        mark = Some(report.verified);
        for writer in 0..WRITERS {
            let stored = number(&vault, writer).await;
            let promised = acknowledged[usize::from(writer)];
            assert!(stored >= promised, "{engine}, round {round}: {promised} was promised");
            let expected: Vec<u64> = (1..=stored).collect();
            assert_eq!(
                recorded(&audit, writer).await,
                expected,
                "{engine}, round {round}, {writer}"
            );
        }
        killing::close(root).await;
    }
    writes
}
