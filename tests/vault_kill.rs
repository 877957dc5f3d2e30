//! The vault on disk and processes that die: whatever was acknowledged before a `kill -9` is there
//! afterwards, whole, the audit trail verifies, and a vault that another process has open says so.
//!
//! The other process is this test binary itself, which finds its role in an environment variable.
//! `TOKENWARD_SOAK_ROUNDS` is how often it is killed on each engine; without it, a few times.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokenward::clock::Sources;
use tokenward::identity::UserId;
use tokenward::supervision::{EventBus, Supervisor};
use tokenward::vault::audit::{Audit, AuditEntry, AuditKind};
use tokenward::vault::{
    Batch, Engine, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use zeroize::Zeroizing;

/// Where the child finds the vault.
const VAULT: &str = "TOKENWARD_TEST_VAULT";

/// Which engine the child is to use.
const ENGINE: &str = "TOKENWARD_TEST_ENGINE";

/// How often a child is killed on each engine, unless the environment says so.
const ROUNDS: u32 = 12;

const ENGINES: [Engine; 2] = [Engine::Sled, Engine::Redb];
const WRITERS: u8 = 8;

async fn open(path: &Path, engine: Engine) -> Result<(Supervisor, VaultHandle), VaultError> {
    let sources = Sources::system();
    let events = EventBus::new(sources.clone());
    let root = Supervisor::start("root", sources.clone(), events.clone()).await.expect("a root");
    let vault = Vault::open(path).engine(engine).master_key(MasterKey::from_bytes([7; 32]));
    let vault = VaultHandle::start(vault, &root, sources, events).await?;
    Ok((root, vault))
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
async fn write_until_killed(path: &Path) {
    let (_root, vault) = open(path, engine_of_child()).await.expect("a vault");
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
                // One write call, so that a kill does not tear a line.
                let line = format!("ack {writer} {done}\n");
                std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

fn engine_of_child() -> Engine {
    let wanted = std::env::var(ENGINE).expect("the parent says");
    ENGINES.into_iter().find(|engine| engine.as_str() == wanted).expect("an engine")
}

fn spawn(test: &str, path: &Path, engine: Engine) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--nocapture"])
        .env(VAULT, path)
        .env(ENGINE, engine.as_str())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// Lets a child write until it has acknowledged `acknowledgements`, kills it, and returns the last
/// number that it acknowledged for each writer.
fn kill_after(path: &Path, engine: Engine, acknowledgements: usize) -> BTreeMap<u8, u64> {
    let mut child = spawn("what_was_acknowledged_survives_a_kill", path, engine);
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut acknowledged = BTreeMap::new();
    let mut seen = 0;
    if acknowledgements == 0 {
        child.kill().expect("killed");
    }
    for line in lines {
        let line = line.expect("text");
        let Some(words) = line.strip_prefix("ack ") else { continue };
        let (writer, number) = words.split_once(' ').expect("two numbers");
        let number: u64 = number.parse().expect("a number");
        acknowledged.insert(writer.parse().expect("a number"), number);
        seen += 1;
        if seen == acknowledgements {
            child.kill().expect("killed");
        }
    }
    let status = child.wait().expect("it ended");
    assert!(!status.success(), "it writes until it is killed");
    assert!(seen >= acknowledgements);
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(VAULT) {
        return write_until_killed(Path::new(&path)).await;
    }
    let rounds = std::env::var("TOKENWARD_SOAK_ROUNDS").ok().and_then(|text| text.parse().ok());
    for engine in ENGINES {
        kill_again_and_again(engine, rounds.unwrap_or(ROUNDS)).await;
    }
}

/// Kills a child that writes, `rounds` times, and looks into the vault after each.
async fn kill_again_and_again(engine: Engine, rounds: u32) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.vault");
    let (mut writes, mut ahead, mut mark) = (0, 0, None);
    for round in 0..rounds {
        // From a kill while it starts to one in the middle of many groups.
        let acknowledgements = usize::try_from(round * 37 % 200).expect("small");
        let acknowledged = kill_after(&path, engine, acknowledgements);
        writes += acknowledgements;
        let (root, vault) = open(&path, engine).await.expect("it opens after every kill");
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
        assert_eq!(root.drain(Duration::from_secs(10)).await, Vec::<String>::new());
    }
    println!(
        "{engine}: {rounds} kills, {writes} acknowledged writes: 0 lost, 0 failed openings, \
         the audit trail verified each time, {ahead} writes were durable and not acknowledged yet"
    );
}

/// C-RT-3: the vault is the lock across processes.
#[tokio::test]
async fn a_vault_that_another_process_has_open_says_so() {
    if let Some(path) = std::env::var_os(VAULT) {
        let opened = open(Path::new(&path), engine_of_child()).await;
        assert!(opened.is_err_and(|error| error.is_in_use()), "the parent has it open");
        println!("refused");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.vault");
    let (root, _vault) = open(&path, Engine::Sled).await.expect("a vault");
    let child = spawn("a_vault_that_another_process_has_open_says_so", &path, Engine::Sled);
    let output = child.wait_with_output().expect("it ended");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused"));
    root.drain(Duration::from_secs(10)).await;
}
