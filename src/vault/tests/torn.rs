//! A record of which the store lost a part: it is told of and left as it is, and nothing else stops
//! for it.

use super::*;
use crate::secret::Secret;
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;

const ENGINES: &[(Engine, &str)] = &[
    (Engine::Sled, "store"),
    #[cfg(feature = "redb")]
    (Engine::Redb, "store.redb"),
];

/// A closed vault with two records of each of two users, in which the store lost a part of one of
/// `ada`'s.
fn torn(path: &Path, engine: Engine, data: &str) -> Vault {
    let settings = on_disk(path).engine(engine);
    let open = OpenVault::open(&settings, Sources::system(), Arc::new(|_| {}));
    let mut vault = open.expect("a vault");
    for who in ["ada", "bob"] {
        for name in ["torn", "whole"] {
            let batch = put(&key(who, name), &vec![7; 20_000], Expect::Absent);
            vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
        }
    }
    let name = BlindName::new(&vault.keys.name_key, &key("ada", "torn"));
    drop(vault);
    engine.tear(&path.join("agent.vault").join(data), &name.record_key());
    settings
}

/// Everything but the torn record is there, and that one is not taken for absent.
async fn is_torn_in_one_place_only(vault: &VaultHandle) {
    for record in [key("ada", "whole"), key("bob", "torn"), key("bob", "whole")] {
        assert_eq!(payload(vault, &record).await, Some(vec![7; 20_000]));
    }
    let read = vault.read(&key("ada", "torn")).await;
    assert!(read.is_err_and(|error| error.is_quarantined()));
    let renewed = put(&key("ada", "torn"), b"x", Expect::Anything);
    assert!(vault.commit(renewed).await.is_err_and(|error| error.is_quarantined()));
    assert_eq!(vault.quarantined().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn another_user_is_erased_and_the_torn_record_stays() {
    for (engine, data) in ENGINES {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = torn(directory.path(), *engine, data);
        let running = Running::start(settings.clone()).await.expect("a vault");
        let erased = running.vault.erase_user(&user("carl")).await.expect("erased");
        assert_eq!(erased, 0);
        is_torn_in_one_place_only(&running.vault).await;
        running.stop().await;
        let running = Running::start(settings).await.expect("a vault");
        is_torn_in_one_place_only(&running.vault).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn the_user_with_the_torn_record_can_be_erased_also_before_it_was_found() {
    for (engine, data) in ENGINES {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = torn(directory.path(), *engine, data);
        let running = Running::start(settings.clone()).await.expect("a vault");
        assert_eq!(running.vault.erase_user(&user("ada")).await.expect("erased"), 2);
        assert!(running.vault.read(&key("ada", "torn")).await.expect("a read").is_none());
        assert_eq!(payload(&running.vault, &key("bob", "torn")).await, Some(vec![7; 20_000]));
        running.stop().await;
        let inspection = settings.inspect().await.expect("an inspection");
        assert_eq!((inspection.records, inspection.quarantined), (2, 0));
    }
}

#[tokio::test]
async fn a_backup_and_an_export_take_the_rest_with_them() {
    for (engine, data) in ENGINES {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        let running = Running::start(torn(directory.path(), *engine, data)).await.expect("a vault");
        running.vault.back_up(place("backup")).await.expect("backed up");
        let secret = || Secret::new("correct horse battery staple");
        let file = ExportFile::create(place("all.export"), secret(), &Sources::system()).await;
        let exported = running.vault.export(file.expect("a file")).await.expect("exported");
        assert_eq!((exported.records, exported.left_out), (3, 1));
        is_torn_in_one_place_only(&running.vault).await;
        running.stop().await;

        std::fs::rename(place("agent.vault"), place("former")).expect("moved away");
        let settings = on_disk(directory.path()).engine(*engine);
        settings.restore(place("backup")).await.expect("restored");
        let running = Running::start(settings.clone()).await.expect("a vault");
        is_torn_in_one_place_only(&running.vault).await;
        running.stop().await;

        std::fs::rename(place("agent.vault"), place("second")).expect("moved away");
        settings.import(place("all.export"), secret()).await.expect("imported");
        let running = Running::start(settings).await.expect("a vault");
        assert!(running.vault.read(&key("ada", "torn")).await.expect("a read").is_none());
        assert_eq!(payload(&running.vault, &key("bob", "torn")).await, Some(vec![7; 20_000]));
        running.stop().await;
    }
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_vault_with_a_torn_record_is_moved_to_another_engine() {
    for ((engine, data), to) in ENGINES.iter().zip([Engine::Redb, Engine::Sled]) {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = torn(directory.path(), *engine, data);
        let moved = settings.move_to(to).await.expect("moved");
        let running = Running::start(moved).await.expect("a vault");
        is_torn_in_one_place_only(&running.vault).await;
        running.stop().await;
    }
}
