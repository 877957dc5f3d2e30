//! The audit trail: every event is recorded with its change, found again, exported, verified; and
//! whoever edits the files is found out.

use std::time::Duration;

use serde_json::Value;
use tokenward::event::EventKind;
use tokenward::identity::{Label, Method, ProviderId, UserId};
use tokenward::testing::{Endpoint, Fault};
use tokenward::vault::audit::{AuditKind, AuditProblem, AuditQuery, AuditRecord, AuditRetention};

use crate::host::{Host, edit_files, until};

async fn entries(host: &Host, query: AuditQuery) -> Vec<AuditRecord> {
    let page = host.runtime.audit().entries(query.limit(1_000)).await.expect("a page");
    assert_eq!((page.next, page.unreadable), (None, Vec::new()));
    page.entries
}

async fn kinds(host: &Host, query: AuditQuery) -> Vec<AuditKind> {
    entries(host, query).await.into_iter().map(|entry| entry.kind).collect()
}

pub(crate) async fn finding(host: &Host) -> Option<(u64, AuditProblem)> {
    let report = host.runtime.audit().verify().await.expect("a verification");
    report.finding.map(|finding| (finding.number, finding.problem))
}

fn user(name: &str) -> AuditQuery {
    AuditQuery::all().of_user(UserId::new(name).expect("a name"))
}

#[tokio::test]
async fn what_a_user_does_is_recorded_in_its_order_and_survives_a_restart() {
    let mut host = Host::start().await;
    let ada = host.runtime.user("ada");
    let key = host.anthropic.issue_api_key();
    ada.sign_in("anthropic").label("work").with_api_key(key).await.expect("signed in");
    let credential = host.sign_in_openai("ada").await;
    credential.refresh().await.expect("renewed");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    session.use_provider("openai").await.expect("it is already");
    session.use_provider("anthropic").await.expect("signed in");
    session.close().await.expect("closed");
    ada.sign_out("openai").await.expect("signed out");

    let expected = [
        AuditKind::SignedIn,
        AuditKind::SignedIn,
        AuditKind::TokenGenerated,
        AuditKind::Refreshed,
        AuditKind::SessionOpened,
        AuditKind::SessionSwitched,
        AuditKind::SessionSwitched,
        AuditKind::SessionClosed,
        AuditKind::SignedOut,
        AuditKind::Revoked,
    ];
    assert_eq!(kinds(&host, AuditQuery::all()).await, expected);
    host.restart().await;
    assert_eq!(kinds(&host, user("ada")).await, expected);
    assert_eq!(kinds(&host, user("bob")).await, []);
    assert_eq!(finding(&host).await, None);

    let first = entries(&host, AuditQuery::all().limit(1)).await.remove(0);
    assert_eq!(first.provider, Some(ProviderId::new("anthropic").expect("a name")));
    assert_eq!(first.method, Some(Method::ApiKey));
    assert_eq!(first.label, Some(Label::new("work").expect("a name")));
    let of_openai = AuditQuery::all().for_provider(ProviderId::new("openai").expect("a name"));
    let refreshed = entries(&host, of_openai.of_kind(AuditKind::Refreshed)).await;
    assert_eq!(refreshed.len(), 1);
    let switched = AuditQuery::all().of_kind(AuditKind::SessionSwitched).newest_first().limit(1);
    let page = host.runtime.audit().entries(switched).await.expect("a page");
    assert_eq!(page.entries[0].session, Some(session.id()));
    assert_eq!(
        page.entries[0].provider.as_ref().map(ToString::to_string).as_deref(),
        Some("anthropic")
    );
    assert!(page.next.is_some(), "there is another before it");
}

#[tokio::test]
async fn what_fails_and_what_is_refused_is_recorded_with_its_reason() {
    let host = Host::start().await;
    let (ada, eve) = (host.runtime.user("ada"), host.runtime.user("eve"));
    ada.sign_in("anthropic").with_api_key("no key").await.expect_err("no key");
    host.orange.faults().on(Endpoint::Token).next(1, Fault::LostAnswer);
    ada.sign_in("orange").with_client_credentials().await.expect_err("an outage");

    let of_ada = ada.open_session().await.expect("a session");
    for _ in 0..3 {
        eve.session(&of_ada.id()).await.expect_err("not hers");
    }
    let login = ada.sign_in("openai").in_browser().await.expect("a sign-in");
    login.paste("a-code#the-state-of-another").await.expect_err("of another sign-in");
    login.cancel().await;
    login.finished().await.expect_err("cancelled");
    assert!(host.runtime.logins().find(eve.id().expect("a name"), login.id()).is_none());

    let credential = host.sign_in_openai("ada").await;
    credential.invalidate().await.expect("out of use");
    let mut events = host.runtime.events();
    host.openai.revoke_everything();
    credential.refresh().await.expect_err("the provider ended it");
    until(&mut events, |kind| matches!(kind, EventKind::RefreshFailed { .. })).await;
    host.runtime.user("ada").sign_out("openai").await.expect("signed out");
    // The three refusals were counted for a minute.
    host.clock.advance(Duration::from_secs(61));

    let all = entries(&host, AuditQuery::all()).await;
    let of = |kind: AuditKind| all.iter().filter(move |entry| entry.kind == kind);
    let denied: Vec<_> = of(AuditKind::AccessDenied).collect();
    let times = |name: &str| -> u64 {
        let theirs = |entry: &&&AuditRecord| {
            entry.user.name().is_some_and(|user| user.as_str() == name)
                && entry.origin.as_deref() == Some("sessions")
        };
        denied.iter().filter(theirs).map(|entry| entry.count).sum()
    };
    assert_eq!((times("eve"), times("ada")), (3, 0));
    assert!(denied.iter().any(|entry| {
        let reason = entry.reason.as_deref().unwrap_or_default();
        entry.origin.as_deref() == Some("logins") && reason.contains("state")
    }));
    assert!(of(AuditKind::SignInFailed).count() >= 2, "the key and the browser");
    assert!(of(AuditKind::GenerationFailed).count() >= 2, "at orange and at openai");
    assert_eq!(of(AuditKind::TokenCleared).count(), 1);
    assert!(of(AuditKind::GenerationFailed).all(|entry| entry.reason.is_some()));
    assert_eq!(finding(&host).await, None);
}

#[tokio::test]
async fn an_export_is_lines_of_json_that_anyone_can_read() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    host.runtime.user("bob").open_session().await.expect("a session");
    let mut file = Vec::new();
    let count = host.runtime.audit().export(&mut file, AuditQuery::all()).await.expect("written");
    let text = String::from_utf8(file).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(lines.len() as u64, count);
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().expect("text")).collect();
    assert_eq!(events, ["signed-in", "token-generated", "session-opened"]);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["number"], number);
        assert_eq!(line["outcome"], "done");
        assert!(line["at"].as_str().is_some_and(|at| at.ends_with('Z')));
        assert_eq!(line["hash"].as_str().map(str::len), Some(43));
    }
    assert_eq!((&lines[0]["user"], &lines[0]["provider"]), (&"ada".into(), &"openai".into()));
    assert_eq!((&lines[2]["user"], &lines[2]["provider"]), (&"bob".into(), &Value::Null));
}

#[tokio::test]
async fn old_entries_go_by_policy_and_the_rest_still_verifies() {
    let mut host = Host::start().await;
    let audit = host.runtime.audit();
    let ada = host.runtime.user("ada");
    for _ in 0..150 {
        ada.open_session().await.expect("a session").close().await.expect("closed");
    }
    let before = audit.verify().await.expect("a verification");
    host.clock.advance(Duration::from_hours(24 * 8));
    let week = Duration::from_hours(24 * 7);
    let policy = AuditRetention { keep: Some(week), at_least: 10 };
    let removal = audit.apply_retention(policy).await.expect("applied");
    assert_eq!((removal.removed, removal.blocked), (256, None));
    host.restart().await;
    let report = host.runtime.audit().verify_against(before.verified).await.expect("verified");
    assert_eq!((report.first, report.finding), (257, None));
    let oldest = entries(&host, AuditQuery::all()).await.remove(0);
    assert_eq!(oldest.mark.number(), 257);
}

#[tokio::test]
async fn a_user_who_was_erased_is_named_nowhere_in_the_trail() {
    let mut host = Host::start().await;
    let (ada, eve) = (host.runtime.user("ada"), host.runtime.user("eve"));
    host.sign_in_openai("ada").await;
    let of_eve = eve.open_session().await.expect("a session");
    for _ in 0..3 {
        ada.session(&of_eve.id()).await.expect_err("not theirs");
        // The first is written, the others wait to be counted.
        assert_eq!(finding(&host).await, None);
    }
    let login = ada.sign_in("openai").in_browser().await.expect("a sign-in");
    ada.erase().await.expect("erased");
    login.finished().await.expect_err("cancelled");

    host.restart().await;
    let all = entries(&host, AuditQuery::all()).await;
    let names: Vec<_> = all.iter().filter_map(|entry| entry.user.name()).collect();
    assert!(names.iter().all(|name| name.as_str() == "eve"), "{names:?}");
    let denied = all.iter().filter(|entry| entry.kind == AuditKind::AccessDenied);
    assert_eq!(denied.map(|entry| entry.count).sum::<u64>(), 3, "it is counted all the same");
    assert!(all.iter().any(|entry| entry.kind == AuditKind::UserErased));
    assert_eq!(finding(&host).await, None);
}

/// Stops the runtime, lets `edit` change its files through sled, and starts it again.
async fn edit(host: &mut Host, edit: impl FnOnce(&sled::Db)) {
    let unfinished = host.runtime.shutdown(Duration::from_secs(10)).await;
    assert_eq!(unfinished, Vec::<String>::new());
    edit_files(host, edit).await;
    host.restart().await;
}

/// What entry `number` is kept under in sled.
fn key(number: u64) -> Vec<u8> {
    [&[0, b'a'], number.to_be_bytes().as_slice()].concat()
}

/// A host with six entries in its trail.
pub(crate) async fn with_entries() -> Host {
    let host = Host::start().await;
    for _ in 0..6 {
        host.runtime.user("ada").open_session().await.expect("a session");
    }
    assert_eq!(finding(&host).await, None);
    host
}

#[tokio::test]
async fn an_entry_that_was_edited_in_the_files_is_named() {
    let mut host = with_entries().await;
    edit(&mut host, |db| {
        let mut value = db.get(key(3)).expect("a read").expect("an entry").to_vec();
        let last = value.len() - 1;
        value[last] ^= 1;
        db.insert(key(3), value).expect("a write");
    })
    .await;
    assert_eq!(finding(&host).await, Some((3, AuditProblem::Edited)));
    let page = host.runtime.audit().entries(AuditQuery::all()).await.expect("a page");
    assert_eq!((page.entries.len(), page.unreadable), (5, vec![3]));
}

#[tokio::test]
async fn an_entry_that_was_removed_from_the_files_is_named() {
    let mut host = with_entries().await;
    edit(&mut host, |db| drop(db.remove(key(2)).expect("a write"))).await;
    assert_eq!(finding(&host).await, Some((2, AuditProblem::Missing)));
}

#[tokio::test]
async fn entries_that_were_swapped_in_the_files_are_named() {
    let mut host = with_entries().await;
    edit(&mut host, |db| {
        let [four, five] = [4, 5].map(|number| db.get(key(number)).expect("a read").expect("it"));
        db.insert(key(4), five).expect("a write");
        db.insert(key(5), four).expect("a write");
    })
    .await;
    assert_eq!(finding(&host).await, Some((4, AuditProblem::Edited)));
}

#[tokio::test]
async fn a_trail_that_was_cut_off_in_the_files_is_named() {
    let mut host = with_entries().await;
    edit(&mut host, |db| {
        for number in 5..=6 {
            db.remove(key(number)).expect("a write");
        }
    })
    .await;
    assert_eq!(finding(&host).await, Some((5, AuditProblem::Missing)));
    // The credentials and sessions are served all the same.
    assert_eq!(host.runtime.user("ada").sessions().await.expect("sessions").len(), 6);
}

#[tokio::test]
async fn an_end_that_comes_in_the_place_of_an_older_end_is_named() {
    let mut host = with_entries().await;
    let mut former = None;
    edit(&mut host, |db| former = db.get(key(6)).expect("a read")).await;
    let _ = host.runtime.user("ada").open_session().await.expect("a session");
    edit(&mut host, |db| {
        db.insert(key(7), former.expect("an entry")).expect("a write");
    })
    .await;
    assert_eq!(finding(&host).await, Some((7, AuditProblem::Edited)));
}
