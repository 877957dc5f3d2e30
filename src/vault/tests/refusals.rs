//! A vault on disk that does not open: each reason is an error of its own, with its own predicate and
//! its own text, and nothing is changed by it. Another process that has it open is in
//! `tests/vault_kill/`.

use std::collections::BTreeSet;

use super::*;
use crate::vault::keys::HEADER_KEY;

type Predicate = fn(&VaultError) -> bool;

const PREDICATES: [(&str, Predicate); 5] = [
    ("wrong key", VaultError::is_wrong_key),
    ("missing key", VaultError::is_missing_key),
    ("in use", VaultError::is_in_use),
    ("newer format", VaultError::is_newer_format),
    ("damaged", VaultError::is_damaged),
];

async fn refusal(vault: Vault) -> VaultError {
    Running::start(vault).await.err().expect("it does not open")
}

/// Lets the header on disk be `to`.
fn set_header(directory: &Path, to: &[u8]) -> Vec<u8> {
    let mut store = on_disk(directory).store()().expect("a store");
    let stored = store.read(HEADER_KEY).expect("a read").expect("a header");
    let mut batch = StoreBatch::default();
    let changed = Stored { version: stored.version, value: to.to_vec() };
    batch.write(HEADER_KEY.to_vec(), Some(stored.version), Some(changed));
    store.commit(&batch).expect("a commit");
    stored.value
}

#[tokio::test]
async fn the_five_reasons_why_a_vault_does_not_open_are_five_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = || on_disk(directory.path());
    let record = key("ada", "one");
    let running = Running::start(vault()).await.expect("a vault");
    running.vault.commit(put(&record, b"kept", Expect::Absent)).await.expect("durable");

    let in_use = refusal(vault()).await;
    running.stop().await;
    let wrong = refusal(vault().master_key(MasterKey::from_bytes([8; 32]))).await;
    let gone = MasterKey::from_file(directory.path().join("gone"));
    let missing = refusal(vault().master_key(gone)).await;
    let header = set_header(directory.path(), br#"{"format":9,"who":"knows"}"#);
    let newer = refusal(vault()).await;
    set_header(directory.path(), b"nonsense");
    let damaged = refusal(vault()).await;

    let mut texts = BTreeSet::new();
    for (reason, error) in [
        ("wrong key", &wrong),
        ("missing key", &missing),
        ("in use", &in_use),
        ("newer format", &newer),
        ("damaged", &damaged),
    ] {
        let holding = PREDICATES.iter().filter(|(_, holds)| holds(error)).map(|(name, _)| *name);
        assert_eq!(holding.collect::<Vec<_>>(), [reason], "{error}");
        texts.insert(error.to_string());
        // What the host of a runtime gets says the same, and leads here.
        let public = crate::Error::from(error.clone());
        assert_eq!(public.to_string(), error.to_string());
        let source = std::error::Error::source(&public).expect("a source");
        assert!(source.downcast_ref::<VaultError>().is_some());
    }
    assert_eq!(texts.len(), 5);
    set_header(directory.path(), &header);
    let running = Running::start(vault()).await.expect("nothing was changed");
    assert_eq!(payload(&running.vault, &record).await, Some(b"kept".to_vec()));
    running.stop().await;
}

#[tokio::test]
async fn a_vault_can_be_looked_at_without_a_runtime_and_is_not_created_by_that() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = on_disk(directory.path());
    assert!(vault.inspect().await.is_err_and(|error| error.is_absent()));
    let running = Running::start(vault.clone()).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent)).await.expect("durable");
    assert!(vault.inspect().await.is_err_and(|error| error.is_in_use()));
    running.stop().await;
    let seen = vault.inspect().await.expect("an inspection");
    assert_eq!((seen.records, seen.quarantined, seen.degraded), (1, 0, None));
    assert_eq!(seen.key_chain[0], "the host: used");
    assert_eq!((seen.data_keys.len(), seen.data_keys[0].records), (1, 1));
    assert!(seen.bytes_on_disk.is_some_and(|bytes| bytes > 0));
}
