//! Vaults that an older release wrote: they open with everything in them and are upgraded in one
//! commit, or they are left as they were.

use std::path::PathBuf;

use super::rotation::Crashing;
use super::*;
use crate::vault::keys::{FORMAT, HEADER_KEY};
use crate::vault::store::contract::everything;

/// A copy of a vault in format 1; see `tests/fixtures/README.md`.
fn format_1() -> tempfile::TempDir {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vault-format-1");
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().join("agent.vault");
    std::fs::create_dir_all(to.join("store")).expect("a directory");
    for file in ["commits", "lock", "store/conf", "store/db"] {
        std::fs::copy(fixture.join(file), to.join(file)).expect("a copy");
    }
    directory
}

fn stored(directory: &Path) -> std::collections::BTreeMap<Vec<u8>, Stored> {
    let store = on_disk(directory).store()().expect("a store");
    everything(&*store, b"").into_iter().collect()
}

fn format(header: &Stored) -> u64 {
    let header: serde_json::Value = serde_json::from_slice(&header.value).expect("a header");
    header["format"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_vault_in_format_1_opens_with_everything_in_it_and_is_upgraded() {
    let directory = format_1();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for _ in 0..2 {
        let running = Running::start(on_disk(directory.path())).await.expect("it opens");
        let seen = running.vault.inspect().await.expect("an inspection");
        assert_eq!((seen.format, seen.records, seen.quarantined), (FORMAT, 5, 0));
        let records = [
            ("ada", RecordKind::Credential, "openai", 300),
            ("ada", RecordKind::Credential, "anthropic", 40),
            ("ada", RecordKind::Session, "one", 100),
            ("bob", RecordKind::Credential, "long", 20_000),
            ("bob", RecordKind::Rotation, "openai", 0),
        ];
        for (who, kind, name, length) in records {
            let record = running.vault.read(&RecordKey::new(kind, user(who), name)).await;
            let record = record.expect("it opens").expect("it is there");
            assert_eq!(*record.payload, vec![2; length], "{who} {name}");
            assert_eq!((record.created, record.updated), (at(1_700_000_000), at(1_700_003_600)));
        }
        let gone = RecordKey::new(RecordKind::Session, user("ada"), "gone");
        assert_eq!(running.vault.read(&gone).await.expect("a read"), None);
        let due = Query::all(RecordKind::Credential).due_before(at(1_800_000_030));
        let due = running.vault.list(due).await.expect("a list");
        assert_eq!(due.iter().map(|entry| entry.key.name.as_str()).collect::<Vec<_>>(), ["long"]);
        running.stop().await;
    }
    let header = &stored(directory.path())[HEADER_KEY];
    assert_eq!(format(header), u64::from(FORMAT));
}

#[tokio::test]
async fn a_look_at_a_vault_in_format_1_changes_nothing() {
    let directory = format_1();
    let vault = on_disk(directory.path());
    let files = || {
        let read = |name| std::fs::read(directory.path().join("agent.vault").join(name)).ok();
        ["current", "reserve", "lock"].map(read)
    };
    let (before, files_before) = (stored(directory.path()), files());
    let seen = vault.inspect().await.expect("an inspection");
    assert_eq!((seen.format, seen.records, seen.quarantined), (1, 5, 0));
    assert_eq!(files(), files_before);
    assert_eq!(stored(directory.path()), before);
}

#[tokio::test]
async fn a_vault_in_format_1_that_does_not_open_is_left_as_it_was() {
    let directory = format_1();
    let before = stored(directory.path());
    let wrong = on_disk(directory.path()).master_key(MasterKey::from_bytes([8; 32]));
    let error = Running::start(wrong).await.err().expect("refused");
    assert!(error.is_wrong_key());
    assert_eq!(stored(directory.path()), before);
}

#[test]
fn an_upgrade_that_is_cut_leaves_the_vault_as_it_was_or_upgraded() {
    let directory = format_1();
    let before = stored(directory.path());
    for (commits, torn, format_after) in [(0, false, 1), (1, true, 2), (1, false, 2)] {
        let mut store = Crashing::new(torn);
        let mut batch = StoreBatch::default();
        for (key, stored) in &before {
            batch.write(key.clone(), None, Some(stored.clone()));
        }
        store.commit(&batch).expect("a copy");
        store.allow(Some(commits));
        assert_eq!(store.open(7).is_ok(), commits == 1 && !torn);
        let header = store.read(HEADER_KEY).expect("a read").expect("a header");
        assert_eq!(format(&header), format_after);
        store.allow(None);
        let mut vault = store.open(7).expect("it opens");
        let record = vault.read(&key("ada", "openai")).expect("a read").expect("a record");
        assert_eq!(*record.payload, vec![2; 300]);
    }
}
