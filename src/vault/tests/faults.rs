//! A store that fails: what it does to the vault is visible, nothing that was acknowledged is lost,
//! and the vault comes back by itself.

use proptest::prelude::*;

use super::*;
use crate::testing::{VaultFault, VaultFaults};

/// A vault over a store with faults, on simulated time.
struct Stage {
    running: Running,
    faults: VaultFaults,
    clock: Arc<ManualClock>,
}

impl Stage {
    async fn set() -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let (vault, faults) = VaultFaults::over(Vault::in_memory());
        let running = Running::start_with(vault, clock.sources()).await.expect("a vault");
        Self { running, faults, clock }
    }

    async fn put(&self, record: &str, payload: &[u8]) -> Result<(), VaultError> {
        self.running.vault.commit(put(&key("ada", record), payload, Expect::Anything)).await
    }

    async fn degraded(&mut self) {
        self.running.event(|kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    }

    /// Lets time pass until the vault works again.
    async fn recovered(&mut self) {
        let time = tokio::spawn(pass_time(Arc::clone(&self.clock)));
        self.running.event(|kind| *kind == EventKind::VaultRecovered).await;
        time.abort();
    }
}

#[tokio::test]
async fn after_any_fault_the_vault_comes_back_by_itself_with_everything_acknowledged() {
    for fault in [
        VaultFault::Full,
        VaultFault::NoRoom,
        VaultFault::ReadOnly,
        VaultFault::Broken,
        VaultFault::Vanished,
    ] {
        let mut stage = Stage::set().await;
        stage.put("one", b"1").await.expect("durable");
        stage.faults.set(fault);
        let failed = stage.put("one", b"2").await.expect_err("it can not be durable");
        assert!(failed.is_unavailable(), "{fault:?}: {failed}");
        stage.degraded().await;
        // Far longer than a vault that is damaged would be tried.
        for _ in 0..40 {
            stage.clock.until_waits(1).await;
            stage.clock.advance(Duration::from_secs(11));
            assert!(stage.put("two", b"2").await.is_err(), "{fault:?}");
        }
        stage.faults.heal();
        stage.recovered().await;
        assert_eq!(payload(&stage.running.vault, &key("ada", "one")).await, Some(b"1".to_vec()));
        stage.put("one", b"4").await.expect("durable");
        assert!(!stage.running.vault.inspect().await.expect("an inspection").refuses_writes);
        stage.running.stop().await;
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_when_the_vault_is_opened_again() {
    let mut stage = Stage::set().await;
    stage.put("one", b"1").await.expect("durable");
    stage.faults.after(0, VaultFault::LostAnswer);
    assert!(stage.put("one", b"2").await.is_err_and(|error| error.is_unavailable()));
    stage.degraded().await;
    stage.recovered().await;
    assert_eq!(payload(&stage.running.vault, &key("ada", "one")).await, Some(b"2".to_vec()));
    stage.running.stop().await;
}

#[tokio::test]
async fn on_a_full_disk_reads_go_on_and_the_inspection_says_so() {
    let mut stage = Stage::set().await;
    stage.put("one", b"1").await.expect("durable");
    stage.faults.set(VaultFault::Full);
    let failed = stage.put("one", b"2").await.expect_err("no room");
    assert!(failed.is_full());
    stage.degraded().await;
    stage.clock.until_waits(1).await;
    assert_eq!(payload(&stage.running.vault, &key("ada", "one")).await, Some(b"1".to_vec()));
    let inspection = stage.running.vault.inspect().await.expect("an inspection");
    assert!(inspection.refuses_writes);
    assert!(inspection.warnings.iter().any(|warning| warning.contains("full")));
    let refused = stage.put("two", b"2").await.expect_err("no room");
    assert!(refused.is_full());
    stage.faults.heal();
    stage.put("two", b"2").await.expect("there is room, and the write is the first to find out");
    stage.recovered().await;
    stage.running.stop().await;
}

#[tokio::test]
async fn an_erasure_that_finds_no_room_leaves_the_vault_open() {
    let mut stage = Stage::set().await;
    stage.put("one", b"1").await.expect("durable");
    stage.faults.set(VaultFault::NoRoom);
    // No engine opens on a full disk, so a vault that was closed now might stay closed.
    let refused = stage.running.vault.erase_user(&user("ada")).await.expect_err("no room");
    assert!(refused.is_full());
    assert_eq!(payload(&stage.running.vault, &key("ada", "one")).await, Some(b"1".to_vec()));
    stage.degraded().await;
    assert!(stage.running.vault.inspect().await.expect("an inspection").refuses_writes);
    stage.faults.heal();
    assert_eq!(stage.running.vault.erase_user(&user("ada")).await.expect("erased"), 1);
    stage.recovered().await;
    stage.running.stop().await;
}

#[tokio::test]
async fn a_vault_that_has_no_room_from_the_start_can_be_read() {
    let (vault, faults) = VaultFaults::over(Vault::in_memory());
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let running = Running::start_with(vault.clone(), clock.sources()).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent)).await.expect("durable");
    running.stop().await;
    faults.set(VaultFault::NoRoom);
    let mut running = Running::start_with(vault, clock.sources()).await.expect("a vault");
    running.event(|kind| matches!(kind, EventKind::VaultWarning { .. })).await;
    running.event(|kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    assert_eq!(payload(&running.vault, &key("ada", "one")).await, Some(b"1".to_vec()));
    running.stop().await;
}

#[tokio::test]
async fn damage_that_time_does_not_heal_is_escalated() {
    let directory = tempfile::tempdir().expect("a directory");
    let (vault, faults) = VaultFaults::over(on_disk(directory.path()));
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let running = Running::start_with(vault, clock.sources()).await.expect("a vault");
    let mut escalation = running.root.escalation();
    faults.after(0, VaultFault::Broken);
    let failing = running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent));
    std::fs::write(directory.path().join("agent.vault/current"), "nonsense").expect("written");
    assert!(failing.await.is_err());
    let time = tokio::spawn(pass_time(clock));
    let error = escalation.wait_for(Option::is_some).await.expect("a root").clone();
    time.abort();
    assert!(error.expect("an error").to_string().contains("damaged"));
}

#[tokio::test]
async fn a_directory_that_vanished_is_waited_for_and_never_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.vault");
    let (vault, faults) = VaultFaults::over(on_disk(directory.path()));
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let mut running = Running::start_with(vault.clone(), clock.sources()).await.expect("a vault");
    let record = key("ada", "one");
    running.vault.commit(put(&record, b"1", Expect::Absent)).await.expect("durable");
    faults.hold();
    let write = running.vault.commit(put(&record, b"2", Expect::Anything));
    let vanish = async {
        faults.until_held().await;
        faults.after(0, VaultFault::Broken);
        std::fs::rename(&path, directory.path().join("unmounted")).expect("renamed");
        faults.release();
    };
    let (written, ()) = tokio::join!(write, vanish);
    assert!(written.is_err());
    running.event(|kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    for _ in 0..20 {
        clock.until_waits(1).await;
        clock.advance(Duration::from_secs(11));
        assert!(running.vault.read(&record).await.is_err(), "never taken for absent");
    }
    assert!(!path.exists(), "no new vault was made");
    std::fs::rename(directory.path().join("unmounted"), &path).expect("renamed");
    let time = tokio::spawn(pass_time(clock));
    running.event(|kind| *kind == EventKind::VaultRecovered).await;
    time.abort();
    assert_eq!(payload(&running.vault, &record).await, Some(b"1".to_vec()));
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_is_slow_lets_requests_queue_where_that_is_seen_and_loses_none() {
    let (vault, faults) = VaultFaults::over(Vault::in_memory());
    let running = Running::start(vault).await.expect("a vault");
    faults.hold();
    let write = |number: u8| {
        let (vault, key) = (running.vault.clone(), key("ada", &number.to_string()));
        tokio::spawn(async move { vault.commit(put(&key, &[number], Expect::Absent)).await })
    };
    let first = write(0);
    faults.until_held().await;
    let rest: Vec<_> = (1..40).map(write).collect();
    while running.vault.messages().waiting() < 40 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished() && rest.iter().all(|write| !write.is_finished()));

    faults.release();

    for (number, write) in [first].into_iter().chain(rest).enumerate() {
        write.await.expect("no panic").expect("durable");
        let number = u8::try_from(number).expect("a few");
        let found = payload(&running.vault, &key("ada", &number.to_string())).await;
        assert_eq!(found, Some(vec![number]));
    }
    assert_eq!(running.vault.messages().waiting(), 0);
    running.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever call fails, and how: each acknowledged write is there, each failed one is there or
    /// not, and never anything else.
    #[test]
    fn a_fault_at_any_call_loses_nothing_that_was_acknowledged(
        call in 0..60_u64,
        fault in prop_oneof![
            Just(VaultFault::Full),
            Just(VaultFault::ReadOnly),
            Just(VaultFault::Broken),
            Just(VaultFault::Vanished),
            Just(VaultFault::LostAnswer),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let stage = Stage::set().await;
            let time = tokio::spawn(pass_time(Arc::clone(&stage.clock)));
            stage.faults.after(call, fault);
            let mut acknowledged = 0;
            for number in 1..=20_u8 {
                let mut tried = acknowledged;
                while acknowledged < number {
                    tried = number;
                    match stage.put("one", &[number]).await {
                        Ok(()) => acknowledged = number,
                        Err(error) => assert!(error.is_unavailable(), "{error}"),
                    }
                    tokio::task::yield_now().await;
                }
                if let Ok(record) = stage.running.vault.read(&key("ada", "one")).await {
                    let there = record.map_or(0, |record| record.payload[0]);
                    assert!((acknowledged..=tried).contains(&there), "{there} of {acknowledged}");
                }
            }
            time.abort();
            stage.running.stop().await;
        });
    }
}
