//! What credentials take in memory: live ones over a bare actor, idle ones over the index of the vault.

use std::path::Path;

use ractor::Actor;
use stats_alloc::Region;

use crate::bare::{Bare, BareStore};
use crate::scale::{Alone, MANY, SOME as LIVE, alone};
use crate::table::{Report, Row, thousands};
use crate::{ALLOCATOR, measure, stock, vault};

pub(crate) const ALONE: &[Alone] = &[
    ("bare-actors", bare_actors),
    ("live-actors", live_actors),
    ("idle-in-store", idle_in_store),
    ("idle-in-vault", idle_in_vault),
    ("idle-in-runtime", idle_in_runtime),
];

/// How many of many are in use.
const IN_USE: u32 = MANY / 100;

/// `live` is a vault with as many credentials.
pub(crate) fn of_live(report: &mut Report, live: &Path) {
    let [bare, bare_heap] = alone("bare-actors", live);
    let [actor, heap] = alone("live-actors", live);
    let name = format!(
        "memory of a live actor with its token, {} of them, over a bare actor",
        thousands(LIVE)
    );
    let row = Row::new(name, "B", actor).over(bare);
    report.add(row.at_most(10_000.0));
    report.add(Row::new("the same, of it on the heap", "B", heap).over(bare_heap));
}

/// `many` is a vault with as many credentials.
pub(crate) fn of_idle(report: &mut Report, many: &Path) {
    let [store, store_heap] = alone("idle-in-store", many);
    let [index, index_heap] = alone("idle-in-vault", many);
    let [idle, idle_heap, in_use, in_use_heap] = alone("idle-in-runtime", many);
    let name = format!(
        "memory of an idle credential, of {}, over the vault with its index",
        thousands(MANY)
    );
    report.add(Row::new(name, "B", idle).over(index).at_most(400.0));
    report.add(Row::new("the same, of it on the heap", "B", idle_heap).over(index_heap));
    let name = "of it the vault with its index, over the store that was read alone";
    report.add(Row::new(name, "B", index).over(store));
    report.add(Row::new("the same, of it on the heap", "B", index_heap).over(store_heap));
    let name = format!("what each of {} among them takes that are in use then", thousands(IN_USE));
    report.add(Row::new(name, "B", in_use));
    report.add(Row::new("the same, of it on the heap", "B", in_use_heap));
}

/// The memory of this process in bytes.
struct Memory<'a> {
    /// Whatever it has resident, where the system tells that.
    resident: Option<f64>,
    heap: Region<'a, std::alloc::System>,
}

impl Memory<'_> {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Self { resident: kibibytes.map(|count| count * 1024.0), heap: Region::new(ALLOCATOR) }
    }

    /// What was added since, for each of `count`: all of it, and what of it is on the heap. Where the
    /// system does not tell the first, it is the second.
    fn added(&self, count: u32) -> [f64; 2] {
        let change = self.heap.change();
        let heap = bytes(change.bytes_allocated) - bytes(change.bytes_deallocated);
        let resident = Self::now().resident.zip(self.resident).map(|(now, then)| now - then);
        [resident.unwrap_or(heap), heap].map(|added| added / f64::from(count))
    }
}

#[allow(clippy::cast_precision_loss, reason = "no machine has as much memory")]
fn bytes(count: usize) -> f64 {
    count as f64
}

fn bare_actors(_: &Path) -> Vec<f64> {
    measure::tokio().block_on(async {
        let before = Memory::now();
        let mut actors = Vec::new();
        for _ in 0..LIVE {
            actors.push(Actor::spawn(None, Bare, ()).await.expect("an actor"));
        }
        before.added(LIVE).to_vec()
    })
}

fn live_actors(path: &Path) -> Vec<f64> {
    measure::tokio().block_on(async {
        let (host, _provider) = stock::host(path).await;
        let before = Memory::now();
        stock::start_actors(&host, LIVE).await;
        let added = before.added(LIVE);
        stock::close(host).await;
        added.to_vec()
    })
}

fn idle_in_store(path: &Path) -> Vec<f64> {
    let before = Memory::now();
    let store = BareStore::of_vault(path);
    assert!(store.entries() > MANY as usize);
    before.added(MANY).to_vec()
}

fn idle_in_vault(path: &Path) -> Vec<f64> {
    measure::tokio().block_on(async {
        let before = Memory::now();
        let (root, _vault) = vault::open(path, tokenward::vault::Engine::Sled).await;
        let added = before.added(MANY);
        vault::close(root).await;
        added.to_vec()
    })
}

fn idle_in_runtime(path: &Path) -> Vec<f64> {
    measure::tokio().block_on(async {
        let before = Memory::now();
        let (host, _provider) = stock::host(path).await;
        let idle = before.added(MANY);
        let before = Memory::now();
        stock::start_actors(&host, IN_USE).await;
        let in_use = before.added(IN_USE);
        stock::close(host).await;
        [idle, in_use].concat()
    })
}
