//! Erasing a user: afterwards nothing of the user can be found in any file, and everybody else's
//! records are as they were.

use super::*;
use crate::vault::audit::{AuditEntry, AuditKind, AuditQuery, AuditUser};
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
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let mut running = Running::start_with(settings, clock.sources()).await.expect("a vault");
    running.event(is_unfinished_erasure).await;
    assert_eq!(payload(&running.vault, &key("bob", "one")).await, Some(b"1".to_vec()));
    assert!(says_unfinished(&running.vault).await);
    faults.heal();
    assert!(says_unfinished(&running.vault).await, "it is not tried all the time");
    clock.advance(Duration::from_mins(1));
    until_finished(&running.vault).await;
    running.stop().await;
}

fn is_unfinished_erasure(event: &EventKind) -> bool {
    matches!(event, EventKind::VaultWarning { warning } if warning.contains("erased"))
}

async fn says_unfinished(vault: &VaultHandle) -> bool {
    let warnings = vault.inspect().await.expect("an inspection").warnings;
    warnings.iter().any(|warning| warning.contains("erased"))
}

async fn until_finished(vault: &VaultHandle) {
    // Each request lets the vault's thread do a part of what it owes.
    for _ in 0..100 {
        if !says_unfinished(vault).await {
            return;
        }
    }
    panic!("it is still owed");
}

/// How many calls of the store it takes to erase a user with one record.
async fn calls_of_an_erasure() -> u64 {
    let (settings, faults) = crate::testing::VaultFaults::over(Vault::in_memory());
    let running = Running::start(settings).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent)).await.expect("durable");
    let before = faults.calls();
    running.vault.erase_user(&user("ada")).await.expect("erased");
    let calls = faults.calls() - before;
    running.stop().await;
    calls
}

#[tokio::test]
async fn files_that_could_not_be_rewritten_are_tried_again_and_no_write_is_refused_for_them() {
    let (settings, faults) = crate::testing::VaultFaults::over(Vault::in_memory());
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let mut running = Running::start_with(settings, clock.sources()).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent)).await.expect("durable");
    // The last call removes the mark, the one before it rewrites.
    faults.after(calls_of_an_erasure().await - 2, crate::testing::VaultFault::NoRoom);

    let error = running.vault.erase_user(&user("ada")).await.expect_err("no room for a copy");

    assert!(error.is_full());
    running.event(is_unfinished_erasure).await;
    assert!(says_unfinished(&running.vault).await);
    assert_eq!(payload(&running.vault, &key("ada", "one")).await, None, "it is deleted");
    let bob = put(&key("bob", "one"), b"1", Expect::Absent);
    running.vault.commit(bob).await.expect("there is room for a write");
    assert!(says_unfinished(&running.vault).await);
    clock.advance(Duration::from_mins(1));
    until_finished(&running.vault).await;
    assert!(!running.has_told(|kind| matches!(kind, EventKind::VaultDegraded { .. })));
    running.stop().await;
}

#[tokio::test]
async fn an_erasure_whose_answer_is_lost_is_finished_without_being_asked_for_again() {
    let mut lost = 0;
    for call in 0..calls_of_an_erasure().await {
        let (settings, faults) = crate::testing::VaultFaults::over(Vault::in_memory());
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let mut running = Running::start_with(settings, clock.sources()).await.expect("a vault");
        let one = put(&key("ada", "one"), b"1", Expect::Absent);
        running.vault.commit(one).await.expect("durable");
        // What is asked of the store takes effect, and only its word of that is lost.
        faults.after(call, crate::testing::VaultFault::LostAnswer);

        let erased = running.vault.erase_user(&user("ada")).await;

        faults.heal();
        if erased.is_err() {
            lost += 1;
            running.event(|kind| matches!(kind, EventKind::VaultRecovered)).await;
            if payload(&running.vault, &key("ada", "one")).await.is_some() {
                continue;
            }
            assert!(says_unfinished(&running.vault).await, "call {call}");
            clock.advance(Duration::from_mins(2));
            until_finished(&running.vault).await;
            let writes = running.vault.commit(put(&key("bob", "one"), b"1", Expect::Absent));
            writes.await.expect("durable");
            until_finished(&running.vault).await;
        }
        assert_eq!(payload(&running.vault, &key("ada", "one")).await, None, "it is deleted");
        running.stop().await;
    }
    assert!(lost > 0, "some of these calls are writes");
}

#[tokio::test]
async fn a_crash_of_the_actor_in_the_middle_erases_nobody_twice() {
    let (settings, faults) = crate::testing::VaultFaults::over(Vault::in_memory());
    let running = Running::start(settings).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent)).await.expect("durable");
    faults.hold();
    let ada = user("ada");
    let crash = async {
        faults.until_held().await;
        assert!(running.root.crash_child("vault").await);
        faults.release();
    };
    let (erased, ()) = tokio::join!(running.vault.erase_user(&ada), crash);
    assert_eq!(erased.expect("the answer is not lost with the actor"), 1);
    let trail = running.vault.read_audit(AuditQuery::all().of_kind(AuditKind::UserErased)).await;
    assert_eq!(trail.expect("a page").entries.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn what_was_noted_before_a_deletion_brings_no_name_back_after_it() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let vault = Vault::in_memory();
    let running = Running::start_with(vault, clock.sources()).await.expect("a vault");
    let denied = || AuditEntry::new(AuditKind::AccessDenied).user(&user("ada"));
    running.vault.note(denied());
    running.vault.write_notes().await.expect("durable");
    // An equal one is held back for a while, so it waits as the user is deleted.
    running.vault.note(denied());
    let erase = |reply| VaultMessage::EraseUser { user: user("ada"), reply };
    running.vault.messages().ask(erase).await.expect("an answer").expect("erased");
    clock.advance(Duration::from_mins(2));
    running.vault.write_notes().await.expect("durable");
    let trail = running.vault.read_audit(AuditQuery::all()).await.expect("a page").entries;
    let told = trail.iter().map(|entry| (entry.kind, entry.user.clone()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (AuditKind::AccessDenied, AuditUser::Erased),
            (AuditKind::UserErased, AuditUser::Erased),
            (AuditKind::AccessDenied, AuditUser::Nobody),
        ]
    );
    let identities = Query::all(RecordKind::AuditIdentity).of_user(user("ada"));
    assert_eq!(running.vault.list(identities).await.expect("a list"), []);
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
