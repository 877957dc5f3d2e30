//! The vault on disk and processes that die: whatever was acknowledged before a `kill -9` is there
//! afterwards, whole, the audit trail verifies, and a vault that another process has open says so.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how often it is killed on each engine; without it, a few times.

#[path = "common/killing.rs"]
mod killing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenward::identity::UserId;
use tokenward::supervision::Supervisor;
use tokenward::vault::audit::{Audit, AuditEntry, AuditKind};
use tokenward::vault::{
    Batch, Engine, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use zeroize::Zeroizing;

/// How often a child is killed on each engine, unless the environment says so.
const ROUNDS: usize = 12;

/// How often before there is a new vault: what makes one can be killed, too, and the trail of an old one
/// is long.
const ROUNDS_OF_A_VAULT: usize = 50;

const ENGINES: [Engine; 2] = [Engine::Sled, Engine::Redb];
const WRITERS: u8 = 8;

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

fn key(writer: u8, half: &str) -> RecordKey {
    let user = UserId::new(&format!("user {writer}")).expect("a name");
    RecordKey::new(RecordKind::Credential, user, half)
}

/// A payload that says its number, of a length that depends on it: from a few bytes to 20 KiB.
fn payload(number: u64) -> Zeroizing<Vec<u8>> {
    let length = usize::try_from(number * 7_919 % 20_480).expect("small");
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(8 + length, number.to_le_bytes()[0]);
    Zeroizing::new(bytes)
}

/// The number that a writer's two records hold, after checking that both are whole and agree.
async fn number(vault: &VaultHandle, writer: u8) -> u64 {
    let [one, two] = [key(writer, "one"), key(writer, "two")];
    let one = vault.read(&one).await.expect("it opens");
    let two = vault.read(&two).await.expect("it opens");
    let number = one.as_ref().map_or(0, |record| {
        u64::from_be_bytes(*record.payload.first_chunk().expect("eight bytes"))
    });
    for record in [&one, &two].into_iter().flatten() {
        assert!(record.payload == payload(number), "writer {writer}: record {number} is whole");
    }
    assert_eq!(one.map(|record| record.version), two.map(|record| record.version));
    number
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
                let put = |batch: Batch, half| {
                    let (key, payload) = (key(writer, half), payload(done));
                    batch.put(key, payload, Expect::Anything, Tags::default())
                };
                let entry = AuditEntry::new(AuditKind::Refreshed).user(&key(writer, "one").user);
                let both = put(put(Batch::new(), "one"), "two");
                vault.commit(both.record(entry)).await.expect("durable");
                killing::acknowledge(format_args!("{writer} {done}"));
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

fn orders(path: &Path, engine: usize) -> Orders {
    Orders { vault: path.to_owned(), engine }
}

/// Lets a child write until it has acknowledged `acknowledgements`, kills it, and returns the last
/// number that it acknowledged for each writer.
fn kill_after(orders: &Orders, acknowledgements: usize) -> BTreeMap<u8, u64> {
    let child = killing::child("what_was_acknowledged_survives_a_kill", orders);
    let acknowledged = killing::kill_after(child, acknowledgements);
    let numbers = acknowledged.iter().map(|what| {
        let (writer, number) = what.split_once(' ').expect("two numbers");
        (writer.parse().expect("a number"), number.parse().expect("a number"))
    });
    numbers.collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(orders) = killing::orders() {
        return write_until_killed(orders).await;
    }
    for engine in 0..ENGINES.len() {
        let mut left = killing::rounds(ROUNDS);
        while left > 0 {
            let rounds = left.min(ROUNDS_OF_A_VAULT);
            kill_again_and_again(engine, rounds).await;
            left -= rounds;
        }
    }
}

/// Kills a child that writes, `rounds` times, and looks into the vault after each.
async fn kill_again_and_again(engine: usize, rounds: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let orders = orders(&directory.path().join("agent.vault"), engine);
    let engine = ENGINES[engine];
    let (mut writes, mut ahead, mut mark) = (0, 0, None);
    for round in 0..rounds {
        // From a kill while it starts to one in the middle of many groups.
        let acknowledgements = round * 37 % 200;
        let acknowledged = kill_after(&orders, acknowledgements);
        writes += acknowledgements;
        let (root, vault) = orders.open().await.expect("it opens after every kill");
        for writer in 0..WRITERS {
            let stored = number(&vault, writer).await;
            let promised = acknowledged.get(&writer).copied().unwrap_or_default();
            assert!(
                stored >= promised,
                "{engine}, round {round}: {promised} was promised, {stored} is there"
            );
            assert!(
                promised == 0 || stored <= promised + 1,
                "{engine}, round {round}: {stored} is too new"
            );
            ahead += u32::from(promised > 0 && stored > promised);
        }
        let audit = Audit::new(vault.clone());
        let report = match mark {
            Some(mark) => audit.verify_against(mark).await.expect("a verification"),
            None => audit.verify().await.expect("a verification"),
        };
        assert_eq!(report.finding, None, "{engine}, round {round}");
        mark = Some(report.verified);
        let inspection = vault.inspect().await.expect("an inspection");
        assert_eq!((inspection.quarantined, inspection.refuses_writes), (0, false));
        killing::close(root).await;
    }
    println!(
        "{engine}: {rounds} kills, {writes} acknowledged writes: 0 lost, 0 failed openings, \
         the audit trail verified each time, {ahead} writes were durable and not acknowledged yet"
    );
}

/// C-RT-3: the vault is the lock across processes.
#[tokio::test]
async fn a_vault_that_another_process_has_open_says_so() {
    if let Some(orders) = killing::orders::<Orders>() {
        let opened = orders.open().await;
        assert!(opened.is_err_and(|error| error.is_in_use()), "the parent has it open");
        println!("refused");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let orders = orders(&directory.path().join("agent.vault"), 0);
    let (root, _vault) = orders.open().await.expect("a vault");
    let mut child = killing::child("a_vault_that_another_process_has_open_says_so", &orders);
    let output = child.output().expect("it ended");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused"));
    killing::close(root).await;
}
