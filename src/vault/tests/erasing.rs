//! Erasing a user: afterwards nothing of the user can be found in any file, and everybody else's
//! records are as they were.

use super::*;
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;
use crate::vault::store::contract::files_with;

fn open(vault: &Vault) -> OpenVault {
    OpenVault::open(vault, Sources::system(), Arc::new(|_| {})).expect("a vault")
}

fn commit(vault: &mut OpenVault, batch: Batch) {
    vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
}

#[test]
fn nothing_of_an_erased_user_is_left_in_any_file() {
    let engines = [
        Engine::Sled,
        #[cfg(feature = "redb")]
        Engine::Redb,
    ];
    for engine in engines {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.vault");
        let settings = on_disk(directory.path()).engine(engine);
        let mut vault = open(&settings);
        let mut sealed = Vec::new();
        for round in 0..3_u8 {
            for who in ["ada", "bob"] {
                for name in ["one", "two"] {
                    let record = key(who, name);
                    commit(&mut vault, put(&record, &[round; 600], Expect::Anything));
                    let name = BlindName::new(&vault.keys.name_key, &record);
                    for stored in [name.record_key(), name.entry_key()] {
                        let value =
                            vault.store.read(&stored).expect("a read").expect("stored").value;
                        sealed.push((who, value[value.len() - 40..].to_vec()));
                    }
                }
            }
        }
        let name =
            |who| BlindName::new(&vault.keys.name_key, &key(who, "one")).as_bytes()[..16].to_vec();
        let (ada, bob) = (name("ada"), name("bob"));
        assert!(files_with(&path, &ada) > 0, "it can be found before");
        assert!(sealed.iter().any(|(_, bytes)| files_with(&path, bytes) > 0));
        // What somebody set aside of a damaged store holds the user, too.
        let data = if engine == Engine::Sled { "store" } else { "store.redb" };
        std::fs::write(path.join(format!("{data}.damaged")), &ada).expect("a file");

        assert_eq!(vault.erase_user(&user("ada")).expect("erased"), 2);
        for opened_again in [false, true] {
            if opened_again {
                drop(vault);
                vault = open(&settings);
            }
            assert_eq!(vault.list(&Query::all(RecordKind::Credential)).len(), 2);
            assert_eq!(vault.live(), vault.digest);
            assert!(vault.read(&key("ada", "one")).expect("a read").is_none());
            let kept = vault.read(&key("bob", "two")).expect("a read").expect("a record");
            assert_eq!(*kept.payload, vec![2; 600]);
        }
        assert_eq!(files_with(&path, &ada), 0, "{engine}");
        assert!(files_with(&path, &bob) > 0);
        for (who, bytes) in &sealed {
            assert!(*who == "bob" || files_with(&path, bytes) == 0, "{engine}");
        }
        commit(&mut vault, put(&key("ada", "one"), b"again", Expect::Absent));
    }
}

#[tokio::test]
async fn an_erasure_that_a_crash_interrupts_is_finished_by_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.vault");
    let settings = on_disk(directory.path());
    let mut vault = open(&settings);
    for who in ["ada", "bob"] {
        commit(&mut vault, put(&key(who, "one"), &[1; 600], Expect::Absent));
    }
    let name =
        |who| BlindName::new(&vault.keys.name_key, &key(who, "one")).as_bytes()[..16].to_vec();
    let (ada, bob) = (name("ada"), name("bob"));
    vault.delete_user(&user("ada")).expect("deleted");
    drop(vault);
    assert!(files_with(&path, &ada) > 0, "a log-structured store remembers");
    let running = Running::start(settings).await.expect("a vault");
    assert_eq!(files_with(&path, &ada), 0);
    assert!(files_with(&path, &bob) > 0);
    assert_eq!(payload(&running.vault, &key("bob", "one")).await, Some(vec![1; 600]));
    running.stop().await;
    assert!(path.join("store-2").exists());
    Running::start(on_disk(directory.path())).await.expect("a vault").stop().await;
    assert!(path.join("store-2").exists(), "nothing is rewritten a second time");
}

#[tokio::test]
async fn an_erasure_that_can_not_be_finished_keeps_no_vault_from_being_opened() {
    let (settings, faults) = crate::testing::VaultFaults::over(Vault::in_memory());
    let mut vault = open(&settings);
    commit(&mut vault, put(&key("bob", "one"), b"1", Expect::Absent));
    vault.delete_user(&user("ada")).expect("deleted");
    drop(vault);
    faults.set(crate::testing::VaultFault::ReadOnly);
    assert!(Running::start(settings.clone()).await.is_err(), "such a store does not open at all");
    faults.set(crate::testing::VaultFault::NoRoom);
    let running = Running::start(settings).await.expect("a vault");
    assert_eq!(payload(&running.vault, &key("bob", "one")).await, Some(b"1".to_vec()));
    running.stop().await;
}

#[test]
fn records_that_do_not_open_are_erased_too() {
    let settings = Vault::in_memory();
    let mut vault = open(&settings);
    for name in ["one", "two"] {
        commit(&mut vault, put(&key("ada", name), b"x", Expect::Absent));
    }
    let name = BlindName::new(&vault.keys.name_key, &key("ada", "one"));
    for stored in [name.record_key(), name.entry_key()] {
        let mut damaged = vault.store.read(&stored).expect("a read").expect("stored");
        damaged.value[60] ^= 1;
        let mut batch = StoreBatch::default();
        batch.write(stored, Some(damaged.version), Some(damaged));
        vault.store.commit(&batch).expect("a commit");
    }
    drop(vault);
    let mut vault = open(&settings);
    assert_eq!(vault.inspect().expect("an inspection").quarantined, 1);
    assert_eq!(vault.erase_user(&user("ada")).expect("erased"), 2);
    drop(vault);
    let inspection = open(&settings).inspect().expect("an inspection");
    assert_eq!((inspection.quarantined, inspection.records), (0, 0));
}

#[tokio::test]
async fn a_user_without_records_is_erased_and_others_can_write_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    assert_eq!(running.vault.erase_user(&user("nobody")).await.expect("erased"), 0);
    let writes = (0..20_u8).map(|number| {
        running.vault.commit(put(&key("bob", &number.to_string()), b"x", Expect::Absent))
    });
    let ada = user("ada");
    let erased = running.vault.erase_user(&ada);
    let (erased, written) = tokio::join!(erased, futures_util::future::join_all(writes));
    erased.expect("erased");
    for outcome in written {
        outcome.expect("durable");
    }
    running.stop().await;
}
