//! The vault on each engine, and moving from one to the other.

use super::*;
use crate::vault::audit::{AuditKind, AuditQuery};

fn on(engine: Engine, path: &Path) -> Vault {
    on_disk(path).engine(engine)
}

#[tokio::test]
async fn a_vault_is_moved_to_another_engine_and_back_by_one_call() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let lengths = [0, 100, 4 * 1024, 100 * 1024];
    let running = Running::start(on(Engine::Sled, path)).await.expect("a vault");
    for length in lengths {
        let record = key("ada", &length.to_string());
        running.vault.commit(put(&record, &vec![9; length], Expect::Absent)).await.expect("ok");
    }
    let in_use = on(Engine::Sled, path).move_to(Engine::Redb).await;
    assert!(in_use.is_err_and(|error| error.is_in_use()));
    running.stop().await;

    let mut vault = on(Engine::Sled, path);
    for engine in [Engine::Redb, Engine::Sled, Engine::Sled] {
        vault = vault.move_to(engine).await.expect("moved");
        let running = Running::start(vault.clone()).await.expect("a vault");
        let inspection = running.vault.inspect().await.expect("an inspection");
        assert!(inspection.store.starts_with(engine.as_str()), "{}", inspection.store);
        for length in lengths {
            let found = payload(&running.vault, &key("ada", &length.to_string())).await;
            assert_eq!(found, Some(vec![9; length]));
        }
        let record = key("bob", engine.as_str());
        running.vault.commit(put(&record, b"x", Expect::Anything)).await.expect("it goes on");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_move_is_told_by_the_audit_trail_once_with_the_next_opening() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut vault = on(Engine::Sled, directory.path());
    Running::start(vault.clone()).await.expect("a vault").stop().await;
    vault = vault.move_to(Engine::Redb).await.expect("moved");
    let told = async |vault: &Vault| {
        let running = Running::start(vault.clone()).await.expect("a vault");
        let moves = AuditQuery::all().of_kind(AuditKind::VaultMoved);
        let page = running.vault.read_audit(moves).await.expect("a page");
        running.stop().await;
        page.entries.into_iter().filter_map(|entry| entry.reason).collect::<Vec<_>>()
    };
    assert_eq!(vault.inspect().await.expect("a look").version.0, 0, "a look tells of nothing");
    for _ in 0..2 {
        assert_eq!(told(&vault).await, ["from sled to redb"]);
    }
    vault = vault.move_to(Engine::Sled).await.expect("moved");
    assert_eq!(told(&vault).await, ["from sled to redb", "from redb to sled"]);
}

#[tokio::test]
async fn opening_with_the_wrong_engine_says_which_one_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    Running::start(on(Engine::Redb, directory.path())).await.expect("a vault").stop().await;
    let error = Running::start(on(Engine::Sled, directory.path())).await.err().expect("an error");
    assert!(error.is_other_engine() && !error.is_damaged());
    assert!(error.to_string().contains("kept by redb"), "{error}");
    assert!(crate::Error::from(error).is_configuration());
}

#[tokio::test]
async fn a_vault_that_is_not_there_is_not_moved() {
    let directory = tempfile::tempdir().expect("a directory");
    let moved = on(Engine::Sled, directory.path()).move_to(Engine::Redb).await;
    assert!(moved.is_err_and(|error| error.is_absent()));
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
}
