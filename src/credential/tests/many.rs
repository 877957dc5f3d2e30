//! Many stored credentials that nobody uses.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::shell::{id, start};
use crate::credential::horizon::AHEAD;
use crate::testing::{ManualClock, SimulatedProvider};
use crate::vault::{Batch, Expect, RecordKey, RecordKind, Tags, Vault, VaultHandle};

const CREDENTIALS: u64 = 10_000;

/// Stores what the index needs to know: the first is due at `due`, and each of the others a second
/// after the one before it.
async fn store_many(vault: &VaultHandle, due: SystemTime) {
    for first in (0..CREDENTIALS).step_by(250) {
        let mut batch = Batch::new();
        for number in first..first + 250 {
            let id = id(&format!("user-{number}"));
            let due = Some(due + Duration::from_secs(number));
            let tags = Tags { provider: Some(id.provider.clone()), due };
            let name = id.name_within_user();
            let key = RecordKey::new(RecordKind::Credential, id.user, name);
            batch = batch.put(key, Zeroizing::new(Vec::new()), Expect::Absent, tags);
        }
        vault.commit(batch).await.expect("stored");
    }
}

#[tokio::test]
async fn ten_thousand_that_are_due_tomorrow_take_no_alarm_until_they_are_due_before_long() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let openai = SimulatedProvider::openai().sources(clock.sources()).start();
    let openai = openai.await.expect("a port");
    let vault = Vault::in_memory();
    let runtime = start(&clock, &openai, &vault).await;
    let early = runtime.providers()[0].refresh_policy().threshold * 2;
    let tomorrow = Duration::from_hours(24);
    store_many(runtime.vault(), clock.sources().now().wall + tomorrow).await;
    runtime.shutdown(Duration::from_secs(10)).await;

    let runtime = start(&clock, &openai, &vault).await;
    assert_eq!(runtime.credentials().alarms(), 0);

    let a_minute = Duration::from_mins(1);
    clock.advance((tomorrow + a_minute).saturating_sub(early + AHEAD));
    while runtime.credentials().alarms() <= 60 {
        tokio::task::yield_now().await;
    }
    // The index was asked once more by then, and nobody else was found.
    runtime.user("nobody").credentials().await.expect("a list");
    assert_eq!(runtime.credentials().alarms(), 61, "those of the minute");
}
