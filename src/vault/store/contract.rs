//! What every store has to do, as one suite that each of them runs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{LONGEST_KEY, LONGEST_VALUE, Scanned, StoreBatch, StoreError, Stored, VaultStore};

/// Runs the suite. `fresh` makes a new place to keep things and gives what opens it; opening
/// again, after the former store was dropped, must find what was committed.
pub(super) fn holds<O>(fresh: impl Fn() -> O)
where
    O: Fn() -> Box<dyn VaultStore>,
{
    a_commit_can_be_read_and_outlives_the_store(&fresh());
    versions_are_compared_before_anything_changes(&fresh());
    a_removal_leaves_nothing(&fresh());
    a_scan_is_ordered_and_knows_its_prefix(&fresh());
    values_of_every_length_come_back(&fresh());
    what_is_too_large_is_refused_whole(&fresh());
    a_key_that_is_too_long_is_refused(&fresh());
    a_large_batch_is_applied_whole(&fresh());
    a_compaction_changes_nothing_that_can_be_seen(&fresh());
    a_compaction_keeps_what_is_committed_meanwhile(&fresh());
    random_commits_agree_with_a_map(&fresh());
}

pub(super) fn stored(version: u64, value: &[u8]) -> Stored {
    Stored { version, value: value.to_vec() }
}

pub(super) fn put(
    store: &mut dyn VaultStore,
    key: &[u8],
    expect: Option<u64>,
    to: Stored,
) -> Result<(), StoreError> {
    let mut batch = StoreBatch::default();
    batch.write(key.to_vec(), expect, Some(to));
    store.commit(&batch)
}

pub(crate) fn everything(store: &dyn VaultStore, prefix: &[u8]) -> Vec<(Vec<u8>, Stored)> {
    let mut seen = Vec::new();
    let mut see = |key: &[u8], found: Scanned| {
        assert_eq!(found.damage, None);
        seen.push((key.to_vec(), found.stored));
        ControlFlow::Continue(())
    };
    store.scan(prefix, None, &mut see).expect("a scan");
    seen
}

fn a_commit_can_be_read_and_outlives_the_store(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    assert_eq!(store.read(b"k").expect("a read"), None);
    put(&mut *store, b"k", None, stored(1, b"v")).expect("a commit");
    assert_eq!(store.read(b"k").expect("a read"), Some(stored(1, b"v")));
    drop(store);
    let mut store = open();
    assert_eq!(store.read(b"k").expect("a read"), Some(stored(1, b"v")));
    store.health().expect("health");
}

fn versions_are_compared_before_anything_changes(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    put(&mut *store, b"a", None, stored(1, b"one")).expect("a commit");
    for wrong in [None, Some(2)] {
        let mut batch = StoreBatch::default();
        batch.write(b"b".to_vec(), None, Some(stored(2, b"new")));
        batch.write(b"a".to_vec(), wrong, Some(stored(2, b"two")));
        assert_eq!(store.commit(&batch), Err(StoreError::Conflict));
    }
    assert_eq!(everything(&*store, b""), [(b"a".to_vec(), stored(1, b"one"))]);
    put(&mut *store, b"a", Some(1), stored(2, b"two")).expect("the right version");
}

fn a_removal_leaves_nothing(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    put(&mut *store, b"k", None, stored(1, &vec![7; 50_000])).expect("a commit");
    let mut batch = StoreBatch::default();
    batch.write(b"k".to_vec(), Some(1), None);
    batch.write(b"never there".to_vec(), None, None);
    store.commit(&batch).expect("a removal");
    assert_eq!(store.read(b"k").expect("a read"), None);
    drop(store);
    assert_eq!(everything(&*open(), b""), []);
}

fn a_scan_is_ordered_and_knows_its_prefix(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    let keys: [&[u8]; 7] = [b"b\xff\xff", b"a", b"b", b"c", b"b\0\x01", b"b\0", b"ba"];
    for key in keys {
        put(&mut *store, key, None, stored(1, &[3; 9_000])).expect("a commit");
    }
    let seen: Vec<Vec<u8>> = everything(&*store, b"b").into_iter().map(|(key, _)| key).collect();
    let sorted: [&[u8]; 5] = [b"b", b"b\0", b"b\0\x01", b"ba", b"b\xff\xff"];
    assert_eq!(seen, sorted);
    let mut pages = Vec::<Vec<u8>>::new();
    loop {
        let before = pages.len();
        let mut two = |key: &[u8], _: Scanned| {
            pages.push(key.to_vec());
            if pages.len() == before + 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let after = seen.get(before.wrapping_sub(1)).map(Vec::as_slice);
        store.scan(b"b", after, &mut two).expect("a scan");
        if pages.len() < before + 2 {
            break;
        }
    }
    assert_eq!(pages, seen, "page by page it is the same");
    for outside in [b"a".as_slice(), b"c"] {
        let mut first = None;
        let mut see = |key: &[u8], _: Scanned| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        };
        store.scan(b"b", Some(outside), &mut see).expect("a scan");
        assert_eq!(first.is_some(), outside < b"b".as_slice());
    }
}

fn values_of_every_length_come_back(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    let lengths = [0, 1, 100, 4_095, 4_096, 4_097, 8_192, 8_193, 100 * 1024, 1024 * 1024];
    for (version, length) in (1..).zip(lengths) {
        let value: Vec<u8> = (0..length).map(|at: usize| at.to_le_bytes()[0]).collect();
        let expect = (version > 1).then_some(version - 1);
        put(&mut *store, b"k", expect, stored(version, &value)).expect("a commit");
        assert_eq!(store.read(b"k").expect("a read"), Some(stored(version, &value)), "{length}");
    }
    drop(store);
    let last = open().read(b"k").expect("a read").expect("a value");
    assert_eq!(last.value.len(), 1024 * 1024);
}

fn what_is_too_large_is_refused_whole(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    let mut batch = StoreBatch::default();
    batch.write(b"small".to_vec(), None, Some(stored(1, b"v")));
    batch.write(b"large".to_vec(), None, Some(stored(1, &vec![0; LONGEST_VALUE + 1])));
    assert_eq!(store.commit(&batch), Err(StoreError::TooLarge));
    assert_eq!(everything(&*store, b""), []);
    put(&mut *store, b"small", None, stored(1, b"v")).expect("it goes on");
}

fn a_key_that_is_too_long_is_refused(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    put(&mut *store, &[b'k'; LONGEST_KEY], None, stored(1, b"v")).expect("the longest key");
    let refused = put(&mut *store, &[b'k'; LONGEST_KEY + 1], None, stored(1, b"v"));
    assert_eq!(refused, Err(StoreError::TooLarge));
    assert_eq!(everything(&*store, b"").len(), 1);
}

fn a_large_batch_is_applied_whole(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    let mut batch = StoreBatch::default();
    for number in 0..513_u32 {
        let value = vec![7; if number % 100 == 0 { 9_000 } else { 300 }];
        batch.write(number.to_be_bytes().to_vec(), None, Some(stored(1, &value)));
    }
    store.commit(&batch).expect("a commit");
    let keys: Vec<_> = everything(&*store, b"").into_iter().map(|(key, _)| key).collect();
    assert!(keys.iter().map(Vec::as_slice).eq(batch.writes.iter().map(|write| &*write.key)));
    drop(store);
    assert_eq!(everything(&*open(), b"").len(), 513);
}

/// What every store has to do when a value in it is damaged: `tear` damages what stands under a key
/// of the closed store.
pub(super) fn holds_with_a_torn_value(
    open: &dyn Fn() -> Box<dyn VaultStore>,
    tear: impl Fn(&[u8]),
) {
    let mut store = open();
    let keys: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    for key in keys {
        put(&mut *store, key, None, stored(7, &vec![3; 20_000])).expect("a commit");
    }
    drop(store);
    tear(b"b");
    tear(b"c");
    let mut store = open();
    for compacted in [false, true] {
        let mut found = Vec::new();
        let mut see = |key: &[u8], scanned: Scanned| {
            assert_eq!(store.version(key).expect("a version"), Some(scanned.stored.version));
            let is_whole = scanned.stored == stored(7, &vec![3; 20_000]);
            assert!(is_whole || compacted || scanned.damage.is_some());
            found.push((key.to_vec(), is_whole));
            ControlFlow::Continue(())
        };
        store.scan(b"", None, &mut see).expect("one damaged value does not end a scan");
        let all = keys.map(|key| (key.to_vec(), key != b"b" && key != b"c"));
        assert_eq!(found, all, "what is damaged is there and does not pass for whole");
        if !compacted {
            assert!(matches!(store.read(b"b"), Err(StoreError::Damaged(_))));
            while !store.compact_some().expect("a damaged value does not end a compaction") {}
        }
    }
    let version = store.version(b"b").expect("a version");
    put(&mut *store, b"b", version, stored(8, b"new")).expect("it can be replaced");
    let mut batch = StoreBatch::default();
    batch.write(b"c".to_vec(), store.version(b"c").expect("a version"), None);
    store.commit(&batch).expect("it can be removed");
    drop(store);
    let left: Vec<_> = everything(&*open(), b"").into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, [b"a", b"b", b"d"]);
}

fn a_compaction_changes_nothing_that_can_be_seen(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    for number in 0..20_u8 {
        put(&mut *store, &[number], None, stored(1, &[number; 5_000])).expect("a commit");
    }
    let mut batch = StoreBatch::default();
    batch.write(vec![3], Some(1), None);
    store.commit(&batch).expect("a removal");
    let before = everything(&*store, b"");
    while !store.compact_some().expect("a part of a compaction") {}
    assert_eq!(everything(&*store, b""), before);
    assert!(!store.health().expect("health").refuses_writes);
    put(&mut *store, b"next", None, stored(2, b"v")).expect("it goes on");
    drop(store);
    assert_eq!(everything(&*open(), b"").len(), 20);
}

fn a_compaction_keeps_what_is_committed_meanwhile(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut store = open();
    let mut batch = StoreBatch::default();
    for number in 0..1_000_u32 {
        batch.write(number.to_be_bytes().to_vec(), None, Some(stored(1, &[7; 100])));
    }
    store.commit(&batch).expect("a commit");
    let mut version = 1;
    while !store.compact_some().expect("a part of a compaction") {
        let mut batch = StoreBatch::default();
        for number in [1_u32, 900] {
            let expect = Some(version);
            let to = stored(version + 1, b"new");
            batch.write(number.to_be_bytes().to_vec(), expect, Some(to));
        }
        store.commit(&batch).expect("a commit between two parts");
        version += 1;
        assert_eq!(everything(&*store, b"").len(), 1_000);
    }
    let before = everything(&*store, b"");
    assert_eq!(before[900].1.version, version);
    drop(store);
    assert_eq!(everything(&*open(), b""), before);
}

/// How many files in and below `directory` contain `bytes`.
pub(crate) fn files_with(directory: &Path, bytes: &[u8]) -> usize {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let count = |path: PathBuf| {
        if path.is_dir() {
            return files_with(&path, bytes);
        }
        let content = std::fs::read(path).expect("a file");
        usize::from(content.windows(bytes.len()).any(|window| window == bytes))
    };
    paths.map(count).sum()
}

/// Three hundred small batches over few keys, some with wrong versions, reopened now and then.
fn random_commits_agree_with_a_map(open: &dyn Fn() -> Box<dyn VaultStore>) {
    let mut noise = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = move |below: u64| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise % below
    };
    let mut store = open();
    let mut model = std::collections::BTreeMap::<Vec<u8>, Stored>::new();
    for version in 1..=300 {
        let mut batch = StoreBatch::default();
        let mut right = true;
        for key in 0..5_u8 {
            if draw(2) == 0 {
                continue;
            }
            let standing = model.get([key].as_slice()).map(|stored| stored.version);
            let expect = if draw(20) == 0 { Some(version + 1) } else { standing };
            right &= expect == standing;
            let length = usize::try_from(draw(10_000)).expect("small");
            let to = (draw(4) > 0).then(|| stored(version, &vec![key; length]));
            batch.write(vec![key], expect, to);
        }
        let outcome = store.commit(&batch);
        assert_eq!(outcome.is_ok(), right);
        for write in batch.writes.iter().filter(|_| right) {
            match &write.to {
                Some(to) => model.insert(write.key.clone(), to.clone()),
                None => model.remove(&write.key),
            };
        }
        if draw(100) == 0 {
            drop(store);
            store = open();
        }
        let seen: std::collections::BTreeMap<_, _> = everything(&*store, b"").into_iter().collect();
        assert_eq!(seen, model, "after batch {version}");
    }
}
