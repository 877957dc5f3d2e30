//! What the vault costs: durable writes over the barrier of the disk and over sled alone, reading over sled
//! alone, opening over opening sled.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tokenward::clock::Sources;
use tokenward::identity::UserId;
use tokenward::supervision::{EventBus, Supervisor};
use tokenward::vault::{
    Batch, Engine, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultHandle,
};
use zeroize::Zeroizing;

use crate::bare::{BareStore, PAYLOAD};
use crate::measure::{by_turns, folder, micros, millis, now, timed_by_turns};
use crate::table::{Report, Row, thousands};

/// Turns of a single write each way.
const SINGLE: u32 = 1_000;

/// How many write at once, how often they write by turns with the floor, and how much each writes then.
const WRITERS: u32 = 256;
const ROUNDS: u32 = 20;
const WRITES: u32 = 20;

/// Records of a vault that is read and opened, turns of a read, and turns of an opening.
const RECORDS: u32 = 100_000;
const READS: u32 = 5_000;
const OPENINGS: u32 = 5;

pub(crate) fn run(report: &mut Report) {
    let runtime = crate::measure::tokio();
    for engine in [Engine::Sled, Engine::Redb] {
        let directory = folder();
        runtime.block_on(single_writes(report, directory.path(), engine));
        runtime.block_on(many_writers(report, directory.path(), engine));
        runtime.block_on(reading_and_opening(report, directory.path(), engine));
    }
}

/// The vault in the directory at `path`, and what it hangs beneath.
pub(crate) async fn open(path: &Path, engine: Engine) -> (Supervisor, VaultHandle) {
    let sources = Sources::system();
    let events = EventBus::new(sources.clone());
    let root = Supervisor::start("root", sources.clone(), events.clone()).await.expect("a root");
    let vault = Vault::open(path).engine(engine).master_key(master_key());
    let vault = VaultHandle::start(vault, &root, sources, events).await.expect("a vault");
    (root, vault)
}

pub(crate) fn master_key() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

pub(crate) async fn close(root: Supervisor) {
    let unfinished = root.drain(Duration::from_mins(1)).await;
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

fn key(number: u32) -> RecordKey {
    let user = UserId::new(&format!("user-{}", number / 4)).expect("a name");
    RecordKey::new(RecordKind::Credential, user, number.to_string())
}

fn put(batch: Batch, number: u32) -> Batch {
    let payload = Zeroizing::new(vec![7; PAYLOAD]);
    batch.put(key(number), payload, Expect::Anything, Tags::default())
}

/// Counts, and begins anew after `RECORDS`.
fn next(counter: &Cell<u32>) -> u32 {
    counter.replace((counter.get() + 1) % RECORDS)
}

async fn single_writes(report: &mut Report, directory: &Path, engine: Engine) {
    let (root, vault) = open(&directory.join("single"), engine).await;
    let plain = File::create(directory.join("plain")).expect("a file");
    let bare = BareStore::open(&directory.join("single-bare"));
    let (bares, vaults) = (Cell::new(0), Cell::new(0));
    let barrier = async || {
        (&plain).write_all(&[7; 4096]).expect("written");
        plain.sync_data().expect("a barrier");
    };
    let alone = async || bare.commit(std::iter::once(next(&bares) % 500));
    let commit = async || {
        let batch = put(Batch::new(), next(&vaults) % 500);
        vault.commit(batch).await.expect("durable");
    };
    let turns = report.turns(SINGLE);
    let [floor, figure] = by_turns(turns, 1, barrier, commit).await.map(micros);
    let name = format!("{engine}: one durable write, over `fdatasync`");
    report.add(Row::new(name, "µs", figure).over(floor).ratio_at_most(1.5));
    let [floor, figure] = by_turns(turns, 1, alone, commit).await.map(micros);
    let name = format!("{engine}: one durable write, over bare sled");
    report.add(Row::new(name, "µs", figure).over(floor));
    close(root).await;
}

async fn many_writers(report: &mut Report, directory: &Path, engine: Engine) {
    let (root, vault) = open(&directory.join("many"), engine).await;
    let bare = BareStore::open(&directory.join("many-bare"));
    let alone = async || (0..WRITES).for_each(|_| bare.commit(0..WRITERS));
    let together = async || {
        let writers = (0..WRITERS).map(|writer| {
            let vault = vault.clone();
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    vault.commit(put(Batch::new(), writer)).await.expect("durable");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("it ends");
        }
    };
    let times = by_turns(report.turns(ROUNDS), 1, alone, together).await;
    close(root).await;
    let rate = |time| f64::from(WRITES * WRITERS) / time / 1e3;
    let [floor, figure] = times.map(rate);
    let name = format!("{engine}: durable writes, {WRITERS} writers, over bare sled");
    report.add(Row::new(name, "k/s", figure).over(floor).ratio_at_least(0.8));
}

async fn reading_and_opening(report: &mut Report, directory: &Path, engine: Engine) {
    let (path, bare_path) = (directory.join("whole"), directory.join("whole-bare"));
    let (root, vault) = open(&path, engine).await;
    let bare = BareStore::open(&bare_path);
    for first in (0..RECORDS).step_by(250) {
        let batch = (first..first + 250).fold(Batch::new(), put);
        vault.commit(batch).await.expect("durable");
        bare.commit(first..first + 250);
    }
    let (bares, vaults) = (Cell::new(0), Cell::new(0));
    let alone = async || assert!(bare.holds(next(&bares) * 17 % RECORDS));
    let read = async || {
        let found = vault.read(&key(next(&vaults) * 17 % RECORDS)).await.expect("a read");
        assert!(found.is_some());
    };
    let [floor, figure] = by_turns(report.turns(READS), 1, alone, read).await.map(micros);
    let name = format!("{engine}: one read, over bare sled");
    report.add(Row::new(name, "µs", figure).over(floor));
    close(root).await;
    drop(bare);

    // Without what it takes to close them.
    let alone = async || {
        let began = now();
        let bare = BareStore::open(&bare_path);
        let took = began.elapsed().as_secs_f64();
        drop(bare);
        took
    };
    let answer = async || {
        let began = now();
        let (root, vault) = open(&path, engine).await;
        assert!(vault.read(&key(3)).await.expect("a read").is_some());
        let took = began.elapsed().as_secs_f64();
        close(root).await;
        took
    };
    let times = timed_by_turns(report.turns(OPENINGS), alone, answer).await;
    let [floor, figure] = times.map(millis);
    let name = format!(
        "{engine}: opening {number} records, over opening bare sled",
        number = thousands(RECORDS)
    );
    report.add(Row::new(name, "ms", figure).over(floor).ratio_at_most(3.0));
}
