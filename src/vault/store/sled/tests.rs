//! The embedded store, beyond what every store has to do.

use super::parts::LONGEST_PART;
use super::*;
use crate::vault::store::directory::copy_all;

fn write(store: &mut SledStore, key: &[u8], expect: Option<u64>, to: Option<Stored>) {
    let mut batch = StoreBatch::default();
    batch.write(key.to_vec(), expect, to);
    store.commit(&batch).expect("a commit");
}

impl SledStore {
    /// Loses the second part of a value, and all but a few bytes of one that has no second part.
    pub(crate) fn tear(data: &Path, key: &[u8]) {
        let store = Self::open(data).expect("a store");
        if store.db.remove(other_part_key(key, 1)).expect("removed").is_none() {
            store.db.insert(first_part_key(key), &[1, 2, 3]).expect("written");
        }
        store.make_durable().expect("durable");
    }
}

#[test]
fn shorter_values_leave_no_old_parts_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = SledStore::open(&directory.path().join("store")).expect("a store");
    let long = Stored { version: 1, value: vec![7; 5 * LONGEST_PART] };
    write(&mut store, b"k", None, Some(long));
    assert_eq!(store.db.len(), 5 + 1, "and the number of the commit");
    let short = Stored { version: 2, value: vec![7; LONGEST_PART + 1] };
    write(&mut store, b"k", Some(1), Some(short));
    assert_eq!(store.db.len(), 2 + 1);
    write(&mut store, b"k", Some(2), None);
    assert_eq!(store.db.len(), 1);
}

#[test]
fn no_blob_file_is_ever_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = SledStore::open(&directory.path().join("store")).expect("a store");
    for round in 0..4 {
        for length in [LONGEST_PART, 7_000, 9_000, 20_000, 100 * 1024, 1024 * 1024] {
            let key = length.to_be_bytes();
            let expect = (round > 0).then_some(round);
            let value = vec![7; length];
            write(&mut store, &key, expect, Some(Stored { version: round + 1, value }));
        }
    }
    assert_eq!(store.blob_files().expect("a directory"), 0);
    assert!(store.health().expect("health").warnings.is_empty());
}

#[test]
fn a_snapshot_that_a_kill_left_half_written_does_not_matter() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = SledStore::open(&directory.path().join("store")).expect("a store");
    write(&mut store, b"k", None, Some(Stored { version: 1, value: b"v".to_vec() }));
    drop(store);
    let leftover = directory.path().join("store").join("snap.0000000000000001.generating");
    fs::write(&leftover, b"half").expect("a file");
    let store = SledStore::open(&directory.path().join("store")).expect("it opens");
    assert!(!leftover.exists());
    assert!(store.read(b"k").expect("a read").is_some());
}

#[test]
fn a_number_of_commits_that_nobody_counted_to_is_damage() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = SledStore::open(&directory.path().join("store")).expect("a store");
    store.db.insert([COMMITS], &u64::MAX.to_be_bytes()).expect("written");
    store.count_commits().expect("it is a number");
    let mut batch = StoreBatch::default();
    batch.write(b"k".to_vec(), None, Some(Stored { version: 1, value: Vec::new() }));
    assert!(matches!(store.commit(&batch), Err(StoreError::Damaged(_))));
}

#[test]
fn nothing_is_acknowledged_after_a_failed_barrier() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = SledStore::open(&directory.path().join("store")).expect("a store");
    store.poisoned = Some("the barrier failed".to_owned());
    let mut batch = StoreBatch::default();
    batch.write(b"k".to_vec(), None, Some(Stored { version: 1, value: Vec::new() }));
    assert!(matches!(store.commit(&batch), Err(StoreError::Poisoned(_))));
}

/// What a store that was opened after an edit of its file may show.
fn shows_all_or_says_so(path: &Path, expected: &[Stored]) -> bool {
    let store = match SledStore::open(path) {
        Ok(store) => store,
        Err(StoreError::Damaged(_)) => return false,
        Err(other) => panic!("{other}"),
    };
    for (key, expected) in (0_u8..).zip(expected) {
        match store.read(&[key]) {
            Ok(found) => assert_eq!(found.as_ref(), Some(expected)),
            Err(StoreError::Damaged(_)) => return false,
            Err(other) => panic!("{other}"),
        }
    }
    true
}

#[test]
fn a_changed_byte_in_the_data_file_is_found_or_does_not_matter() {
    let directory = tempfile::tempdir().expect("a directory");
    let original = directory.path().join("original");
    let mut expected = vec![Stored { version: 0, value: Vec::new() }; 20];
    let mut store = SledStore::open(&original).expect("a store");
    for version in 1..=100_u8 {
        let key = version % 20;
        let expect = (version > 20).then(|| expected[usize::from(key)].version);
        let to = Stored { version: u64::from(version), value: vec![version; 3_000] };
        write(&mut store, &[key], expect, Some(to.clone()));
        expected[usize::from(key)] = to;
    }
    drop(store);
    assert!(shows_all_or_says_so(&original, &expected), "without an edit everything is there");

    let length = fs::metadata(original.join("db")).expect("a file").len();
    let mut found = 0;
    for place in 0..40 {
        let edited = directory.path().join(place.to_string());
        copy_all(&original, &edited).expect("a copy");
        fs::copy(tally_path(&original), tally_path(&edited)).expect("a copy");
        let file = edited.join("db");
        let mut bytes = fs::read(&file).expect("a file");
        let at = usize::try_from(length * place / 40 + place * 131).expect("small");
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).expect("written");
        found += u32::from(!shows_all_or_says_so(&edited, &expected));
        fs::remove_dir_all(edited).expect("removed");
    }
    assert!(found > 0, "some bytes matter");
}

#[test]
fn a_damaged_snapshot_does_not_matter_and_the_damage_is_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = SledStore::open(&directory.path().join("store")).expect("a store");
    write(&mut store, b"k", None, Some(Stored { version: 1, value: b"v".to_vec() }));
    drop(store);
    let snapshot = "snap.0000000000000001";
    fs::write(directory.path().join("store").join(snapshot), [7; 100]).expect("written");
    let store = SledStore::open(&directory.path().join("store")).expect("it opens");
    assert!(store.read(b"k").expect("a read").is_some());
    let aside = directory.path().join("store.damaged");
    assert_eq!(fs::read(aside.join(snapshot)).expect("a copy"), [7; 100]);
}

/// The copy is what there is left of the store when the opening went wrong: all of it, or none.
#[cfg(unix)]
#[test]
fn a_power_cut_while_the_damage_is_set_aside_leaves_no_half_of_a_copy() {
    use crate::vault::store::power_cut::{Noise, cut_at_every_step};
    let content = |folder: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names.into_iter().map(|name| (fs::read(folder.join(&name)).ok(), name)).collect()
    };
    let mut copies_found = 0;
    for round in 0..3 {
        let folder = tempfile::tempdir().expect("a folder");
        let live = folder.path().join("live");
        let store = live.join("store");
        fs::create_dir(&live).expect("a folder");
        let mut opened = SledStore::open(&store).expect("a store");
        write(&mut opened, b"k", None, Some(Stored { version: 1, value: vec![round; 20_000] }));
        drop(opened);
        fs::write(store.join("snap.0000000000000001"), [7; 10_000]).expect("written");
        // What was left by a copy that was cut off before.
        fs::create_dir(live.join("store.damaged.new")).expect("a folder");
        fs::write(live.join("store.damaged.new").join("db"), "half").expect("written");
        let damaged = content(&store);

        let copies = folder.path().join("copies");
        let cuts = cut_at_every_step(&live, &copies, &mut Noise::new(), |_| {
            drop(open_or_recover(&store).expect("it opens without its snapshot"));
        });
        for cut in &cuts {
            let aside = cut.path.join("store.damaged");
            if aside.exists() {
                assert!(content(&aside) == damaged, "after {}", cut.step);
                copies_found += 1;
            }
        }
        assert!(content(&live.join("store.damaged")) == damaged);
        assert!(!live.join("store.damaged.new").exists());
    }
    assert!(copies_found > 0);
}
