//! R6: who does not read the events slows nobody, is told how much was missed, and reads on from there. And
//! the event that tells of a damaged audit trail.

use std::time::Duration;

use tokenward::event::{Event, EventKind};
use tokenward::supervision::{Events, Notice};
use tokenward::testing::{SimulatedProvider, VaultFault};
use tokenward::vault::audit::AuditQuery;
use tokenward::{Runtime, Vault};

use crate::audit::{finding, with_entries};
use crate::host::{Host, edit_files, until};
use crate::patience::{in_time, while_time_passes};

/// More than are kept for a reader, by the three of each round.
const ROUNDS: usize = 700;

/// Everything that is told until the session with the last word, `ShuttingDown`.
async fn read_to_the_end(mut events: Events) -> Vec<Notice> {
    let mut read = Vec::new();
    while let Some(notice) = events.next().await {
        let is_last = matches!(&notice, Notice::Event(it) if it.kind == EventKind::ShuttingDown);
        read.push(notice);
        if is_last {
            break;
        }
    }
    read
}

/// What `notice` tells, which nobody missed.
fn told(notice: &Notice) -> &Event {
    match notice {
        Notice::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_never_reads_holds_nobody_up_and_is_told_how_much_was_missed() {
    // On the clock of the machine, and with nothing that waits for time: whoever waited for the one that
    // does not read would wait for ever.
    let openai = SimulatedProvider::openai().start().await.expect("a port");
    let builder = Runtime::builder().vault(Vault::in_memory());
    let runtime = builder.provider(openai.spec()).start().await.expect("a runtime");
    let ada = runtime.user("ada");
    ada.sign_in("openai").with_api_key(openai.issue_api_key()).await.expect("signed in");
    let mut unread = runtime.events();
    let attentive = tokio::spawn(read_to_the_end(runtime.events()));

    for _ in 0..ROUNDS {
        let session = in_time(ada.open_session()).await.expect("a session");
        in_time(session.use_provider("openai")).await.expect("signed in");
        in_time(session.close()).await.expect("closed");
    }
    assert!(ada.sessions().await.expect("a list").is_empty(), "each of them was carried out");

    // The first notice is how much is gone; what follows is what came last, in its order.
    let Some(Notice::Missed(missed)) = unread.next().await else { panic!("some are gone") };
    let Some(Notice::Event(first)) = unread.next().await else { panic!("and some are there") };
    // From here on it reads, and misses nothing any more.
    let reading = tokio::spawn(read_to_the_end(unread));
    for _ in 0..3 {
        in_time(ada.open_session()).await.expect("a session");
    }
    assert!(in_time(runtime.shutdown(Duration::from_secs(10))).await.is_empty());

    let all = in_time(attentive).await.expect("no panic");
    let left = in_time(reading).await.expect("no panic");
    let missed = usize::try_from(missed).expect("a number");
    assert!(all.len() > 3 * ROUNDS, "{} events, of which none was lost to who reads", all.len());
    assert!(missed > ROUNDS, "{missed} of them were missed by who does not");
    assert_eq!(missed + 1 + left.len(), all.len(), "none is counted twice, and none left out");
    let mut expected = all[missed..].iter().map(told);
    assert_eq!(expected.next(), Some(&*first));
    assert!(left.iter().map(told).eq(expected), "it goes on with what came next");
}

/// Removes the newest entry from the files of a vault that is closed, and gives its number.
async fn cut_off_the_end(host: &Host) -> u64 {
    let mut newest = None;
    edit_files(host, |db| {
        let (key, _) = db.scan_prefix([0, b'a']).last().expect("entries").expect("a read");
        db.remove(&key).expect("a write");
        newest = key.last_chunk().copied().map(u64::from_be_bytes);
    })
    .await;
    newest.expect("a number")
}

/// Opening looks at the end of the trail: while the vault was closed, somebody cut it off.
#[tokio::test]
async fn a_trail_that_was_cut_off_while_the_vault_was_closed_is_told_by_an_event() {
    let host = with_entries().await;
    let mut events = host.runtime.events();
    host.disk.set(VaultFault::Broken);
    host.runtime.user("ada").open_session().await.expect_err("the disk is broken");
    until(&mut events, |kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    let newest = cut_off_the_end(&host).await;

    host.disk.heal();
    let damaged = |kind: &EventKind| matches!(kind, EventKind::AuditTrailDamaged { .. });
    let told = while_time_passes(&host.clock, until(&mut events, damaged)).await;

    let EventKind::AuditTrailDamaged { entry, problem, .. } = told else { panic!("{told:?}") };
    assert_eq!(entry, newest);
    assert!(problem.contains("is missing"), "{problem}");
}

/// An opening at the start of a runtime is before anybody can subscribe: the doctor tells it afterwards.
#[tokio::test]
async fn a_trail_that_was_cut_off_before_the_start_is_told_for_as_long_as_the_runtime_runs() {
    let mut host: Host = with_entries().await;
    assert!(host.runtime.shutdown(Duration::from_secs(10)).await.is_empty());
    let newest = cut_off_the_end(&host).await;
    host.restart().await;
    // What is written after it does not hide it.
    host.runtime.user("eve").open_session().await.expect("a session");

    let inspection = host.runtime.inspect_vault().await.expect("it is open");
    let missing = format!("entry {newest} is missing");
    let warning = inspection.warnings.iter().find(|warning| warning.contains(&missing));
    let warning = warning.unwrap_or_else(|| panic!("{:?}", inspection.warnings));
    let diagnosis = in_time(host.runtime.doctor()).await;
    assert!(diagnosis.to_string().contains(&format!("vault store: doubtful, {warning}")));
    assert_eq!(finding(&host).await.map(|it| it.0), Some(newest), "and a verification finds it");
    let page = host.runtime.audit().entries(AuditQuery::all()).await.expect("a page");
    assert!(page.entries.len() > 5, "what is left can be read");
}
