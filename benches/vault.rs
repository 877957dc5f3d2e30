//! What the vault costs over its floor: durable writes over the barrier of the disk and over sled
//! alone, reading over sled alone, opening over opening sled.
//!
//! `cargo bench --bench vault` prints, for each row, the floor, the vault, and the ratio. The rounds
//! of both alternate, so that a disk or a machine that changes its mind changes it for both.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokenward::clock::Sources;
use tokenward::identity::UserId;
use tokenward::supervision::{EventBus, Supervisor};
use tokenward::vault::{
    Batch, Engine, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultHandle,
};
use zeroize::Zeroizing;

/// The bytes of a record: a credential with its tokens.
const PAYLOAD: usize = 1024;

/// What sealing adds to a record, and an index entry beside it, so that the floor writes as much.
const INDEX_ENTRY: usize = 350;

const WRITERS: u32 = 256;
const RECORDS: u32 = 100_000;

/// How often the writers write, by turns with the floor, and how much each writes then.
const ROUNDS: u32 = 20;
const WRITES: u32 = 20;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("{:44} {:>12} {:>12} {:>7}", "", "floor", "vault", "ratio");
    for engine in [Engine::Sled, Engine::Redb] {
        let directory = tempfile::tempdir_in(".").expect("a directory on a real disk");
        runtime.block_on(single_writes(directory.path(), engine));
        runtime.block_on(many_writers(directory.path(), engine));
    }
    let directory = tempfile::tempdir_in(".").expect("a directory on a real disk");
    runtime.block_on(reading_and_opening(directory.path()));
}

fn row(name: &str, unit: &str, floor: f64, vault: f64) {
    let [floor_text, vault_text] = [floor, vault].map(|value| format!("{value:.1} {unit}"));
    println!("{name:44} {floor_text:>12} {vault_text:>12} {:>7.2}", vault / floor);
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

async fn open(path: &Path, engine: Engine) -> (Supervisor, VaultHandle) {
    let sources = Sources::system();
    let events = EventBus::new(sources.clone());
    let root = Supervisor::start("root", sources.clone(), events.clone()).await.expect("a root");
    let vault = Vault::open(path).engine(engine).master_key(MasterKey::from_bytes([7; 32]));
    let vault = VaultHandle::start(vault, &root, sources, events).await.expect("a vault");
    (root, vault)
}

async fn close(root: Supervisor) {
    let unfinished = root.drain(Duration::from_mins(1)).await;
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

fn key(number: u32) -> RecordKey {
    let user = UserId::new(&format!("user-{}", number / 4)).expect("a name");
    RecordKey::new(RecordKind::Credential, user, number.to_string())
}

fn put(number: u32) -> Batch {
    let payload = Zeroizing::new(vec![7; PAYLOAD]);
    Batch::new().put(key(number), payload, Expect::Anything, Tags::default())
}

/// sled as it would be used without a vault: batches, a flush, and a barrier of one's own.
struct Bare {
    db: sled::Db,
    file: File,
}

impl Bare {
    fn open(path: &Path) -> Self {
        let config = sled::Config::new().path(path).cache_capacity(64 * 1024 * 1024);
        let db = config.open().expect("sled");
        let file = OpenOptions::new().write(true).open(path.join("db")).expect("its file");
        Self { db, file }
    }

    /// As many items and bytes as the vault writes for `numbers`: record, index entry, and head.
    fn commit(&self, numbers: impl Iterator<Item = u32>) {
        let mut batch = sled::Batch::default();
        for number in numbers {
            batch.insert(&bare_key(b'r', number)[..], vec![7; PAYLOAD + INDEX_ENTRY]);
            batch.insert(&bare_key(b'i', number)[..], vec![7; INDEX_ENTRY]);
        }
        batch.insert(b"h", vec![7; 150]);
        self.db.apply_batch(batch).expect("applied");
        self.db.flush().expect("flushed");
        self.file.sync_data().expect("a barrier");
    }
}

/// As long as a blinded name, and as scattered.
fn bare_key(kind: u8, number: u32) -> Vec<u8> {
    let scattered = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    [&[kind], &scattered.to_be_bytes()[..], &scattered.to_le_bytes()].concat()
}

async fn single_writes(directory: &Path, engine: Engine) {
    let (root, vault) = open(&directory.join("single"), engine).await;
    let mut plain = File::create(directory.join("plain")).expect("a file");
    let bare = Bare::open(&directory.join("single-bare"));
    let (mut barriers, mut bares, mut vaults) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..1_500 {
        let began = now();
        plain.write_all(&[7; 4096]).expect("written");
        plain.sync_data().expect("a barrier");
        barriers.push(began.elapsed());
        let began = now();
        bare.commit(std::iter::once(number % 500));
        bares.push(began.elapsed());
        let batch = put(number % 500);
        let began = now();
        vault.commit(batch).await.expect("durable");
        vaults.push(began.elapsed());
    }
    close(root).await;
    let vault = median(vaults);
    row(&format!("{engine}: one durable write, over fdatasync"), "us", median(barriers), vault);
    row(&format!("{engine}: one durable write, over bare sled"), "us", median(bares), vault);
}

async fn many_writers(directory: &Path, engine: Engine) {
    let (root, vault) = open(&directory.join("many"), engine).await;
    let bare = Bare::open(&directory.join("many-bare"));
    let (mut bare_time, mut vault_time) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let began = now();
        for _ in 0..WRITES {
            bare.commit(0..WRITERS);
        }
        bare_time += began.elapsed();
        let writers = (0..WRITERS).map(|writer| {
            let vault = vault.clone();
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    vault.commit(put(writer)).await.expect("durable");
                }
            })
        });
        let began = now();
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("it ends");
        }
        vault_time += began.elapsed();
    }
    close(root).await;
    let writes = f64::from(ROUNDS * WRITES * WRITERS);
    let [bare, vault] = [bare_time, vault_time].map(|time| writes / time.as_secs_f64() / 1e3);
    row(&format!("{engine}: {WRITERS} writers, over bare sled"), "k/s", bare, vault);
}

async fn reading_and_opening(directory: &Path) {
    for engine in [Engine::Sled, Engine::Redb] {
        let path = directory.join(engine.as_str());
        let bare_path = directory.join(format!("{engine}-bare"));
        let (root, vault) = open(&path, engine).await;
        let bare = Bare::open(&bare_path);
        for first in (0..RECORDS).step_by(250) {
            let mut batch = Batch::new();
            for number in first..first + 250 {
                let payload = Zeroizing::new(vec![7; PAYLOAD]);
                batch = batch.put(key(number), payload, Expect::Absent, Tags::default());
            }
            vault.commit(batch).await.expect("durable");
            bare.commit(first..first + 250);
        }
        let (mut bares, mut vaults) = (Vec::new(), Vec::new());
        for number in (0..RECORDS).step_by(17) {
            let began = now();
            let found = bare.db.get(bare_key(b'r', number)).expect("a read");
            bares.push(began.elapsed());
            assert!(found.is_some());
            let key = key(number);
            let began = now();
            let found = vault.read(&key).await.expect("a read");
            vaults.push(began.elapsed());
            assert!(found.is_some());
        }
        row(&format!("{engine}: one read, over bare sled"), "us", median(bares), median(vaults));
        close(root).await;
        drop(bare);

        let (mut bares, mut vaults) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let began = now();
            let bare = Bare::open(&bare_path);
            bares.push(began.elapsed());
            drop(bare);
            let began = now();
            let (root, vault) = open(&path, engine).await;
            let found = vault.read(&key(3)).await.expect("a read");
            vaults.push(began.elapsed());
            assert!(found.is_some());
            close(root).await;
        }
        let name = format!("{engine}: opening {RECORDS}, over opening bare sled");
        row(&name, "ms", median(bares) / 1e3, median(vaults) / 1e3);
    }
}
