//! Power cuts in the commits of a store: the files as they were after each barrier are kept, and each
//! state between two of them has to open, with every acknowledged commit whole and the next one whole
//! or not there at all. What was written twice between two barriers is seen once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::contract::everything;
use super::super::directory::remove;
use super::super::{DiskOptions, DiskStore, Engine, StoreBatch, Stored, VaultStore};
use super::{Noise, Tear, rounds};

/// How many different cuts are made between two barriers.
const CUTS: usize = 3;

/// What stands on the disk: the content of each file.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What the store should keep.
type Model = BTreeMap<Vec<u8>, Stored>;

fn open(path: &Path, engine: Engine) -> DiskStore {
    let options = DiskOptions { engine, create: true, reserve: Some(0) };
    DiskStore::open(path, options).unwrap_or_else(|error| panic!("it opens every time: {error}"))
}

fn read(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(content) = fs::read(&path) {
                let path = path.strip_prefix(directory).expect("below it").to_owned();
                files.insert(path, content);
            }
        }
    }
    files
}

fn write(directory: &Path, files: &Files) {
    for (path, content) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("written");
    }
}

/// The files of `before`, with some of the pages that differ as they are in `after`.
fn cut(before: &Files, after: &Files, noise: &mut Noise) -> Files {
    let tear = Tear::random(noise);
    let mut files = before.clone();
    for (path, new) in after {
        // Its number is written after the barrier, and never synced: it is old.
        if path.to_string_lossy().ends_with(".commits") {
            continue;
        }
        let old = before.get(path).map(Vec::as_slice).unwrap_or_default();
        if old != new {
            files.insert(path.clone(), tear.apply(old, new, noise));
        }
    }
    files
}

fn random_batch(model: &Model, version: u64, noise: &mut Noise) -> StoreBatch {
    let mut batch = StoreBatch::default();
    for number in 0..=noise.below(6) {
        let key = [number.to_be_bytes()[7], noise.below(8).to_be_bytes()[7]].to_vec();
        let standing = model.get(&key).map(|stored| stored.version);
        let value = vec![version.to_be_bytes()[7]; noise.below(9_000)];
        let to = (noise.below(5) > 0).then_some(Stored { version, value });
        batch.write(key, standing, to);
    }
    batch
}

fn apply(model: &mut Model, batch: &StoreBatch) {
    for write in &batch.writes {
        match &write.to {
            Some(to) => model.insert(write.key.clone(), to.clone()),
            None => model.remove(&write.key),
        };
    }
}

fn replay(engine: Engine) {
    let rounds = rounds(12);
    let directory = tempfile::tempdir().expect("a directory");
    let live = directory.path().join("live");
    let mut noise = Noise::new();
    let mut store = open(&live, engine);
    let mut model = Model::new();
    let mut before = read(&live);
    let (mut cuts, mut went_on) = (0, 0);
    for version in 1..=u64::try_from(rounds).expect("small") {
        let batch = random_batch(&model, version, &mut noise);
        let acknowledged = model.clone();
        store.commit(&batch).expect("a commit");
        apply(&mut model, &batch);
        let after = read(&live);
        for _ in 0..CUTS {
            let torn = directory.path().join("torn");
            write(&torn, &cut(&before, &after, &mut noise));
            let mut store = open(&torn, engine);
            let found: Model = everything(&store, b"").into_iter().collect();
            assert!(found == acknowledged || found == model, "{engine}: cut in commit {version}");
            went_on += usize::from(found == model && found != acknowledged);
            let next = random_batch(&found, version + 1, &mut noise);
            store.commit(&next).expect("it goes on");
            drop(store);
            remove(&torn).expect("removed");
            cuts += 1;
        }
        before = after;
    }
    println!(
        "{engine}: {cuts} power cuts in {rounds} commits: 0 acknowledged commits lost, all opened, \
         {went_on} with the commit that was cut"
    );
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged_on_sled() {
    replay(Engine::Sled);
}

#[cfg(feature = "redb")]
#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged_on_redb() {
    replay(Engine::Redb);
}
