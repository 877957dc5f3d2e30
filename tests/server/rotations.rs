//! What the audit trail has of rotations: each of them, in no more than an entry a minute.

use std::time::Duration;

use tokenward::server::{RefreshPolicy, Registered};
use tokenward::vault::audit::{AuditKind, AuditQuery};
use tokenward::vault::{Query, RecordKind};

use crate::host::{FORM, Host, basic};
use crate::refresh::{refresh, register, tokens};

/// Begins a family of an application, and rotates its token so often.
async fn rotated(host: &Host, by: &Registered, times: usize) -> String {
    let (_, mut token) = tokens(&host.ask(by, "").await);
    for _ in 0..times {
        token = tokens(&refresh(host, by, &token, "").await).1;
    }
    token
}

/// How many rotations each entry about an application tells of.
async fn told(host: &Host, of: &Registered) -> Vec<u64> {
    let query = AuditQuery::all().of_application(of.application.id());
    let query = query.of_kind(AuditKind::Refreshed).limit(1_000);
    let page = host.runtime.vault().read_audit(query).await.expect("a page");
    page.entries.iter().map(|entry| entry.count).collect()
}

#[tokio::test]
async fn o1_each_rotation_is_told_and_a_client_that_rotates_all_the_time_does_not_fill_the_trail() {
    let mut host = Host::start().await;
    let application = register(&host, "a", RefreshPolicy::new()).await;
    let mut token = rotated(&host, &application, 40).await;
    assert_eq!(told(&host, &application).await, [1], "the first at once, and 39 are counted");
    host.restart().await;
    for (passed, expected) in [(59, vec![1]), (1, vec![1, 41]), (60, vec![1, 41, 1])] {
        host.clock.advance(Duration::from_secs(passed));
        token = tokens(&refresh(&host, &application, &token, "").await).1;
        assert_eq!(told(&host, &application).await, expected, "the restart lost none");
    }
}

#[tokio::test]
async fn o1_what_a_family_has_not_told_yet_is_told_with_its_end() {
    let host = Host::start().await;
    let application = register(&host, "a", RefreshPolicy::new()).await;
    let token = rotated(&host, &application, 5).await;
    let body = format!("token={token}");
    let headers = [&FORM, &("authorization", &*basic(&application))];
    assert_eq!(host.post("/auth/revoke", &headers, &body).await.status, 200);
    assert_eq!(told(&host, &application).await, [1, 4], "given back");

    let spent = tokens(&host.ask(&application, "").await).1;
    let second = tokens(&refresh(&host, &application, &spent, "").await).1;
    tokens(&refresh(&host, &application, &second, "").await);
    assert_eq!(refresh(&host, &application, &spent, "").await.status, 400);
    assert_eq!(told(&host, &application).await, [1, 4, 1, 1], "used twice");
}

#[tokio::test]
async fn o1_what_a_family_has_not_told_yet_is_told_when_it_makes_room_or_is_swept() {
    let host = Host::start().await;
    let policy = RefreshPolicy::new().idle(Duration::from_hours(2));
    let application = register(&host, "a", policy).await;
    rotated(&host, &application, 3).await;
    for _ in 1..1_000 {
        rotated(&host, &application, 0).await;
    }
    assert_eq!(told(&host, &application).await, [1]);
    rotated(&host, &application, 4).await;
    assert_eq!(told(&host, &application).await, [1, 2, 1], "the first one made room");

    // The sweep comes every ten minutes, and takes its time.
    host.clock.advance(Duration::from_hours(3));
    let families = || host.runtime.vault().list(Query::all(RecordKind::TokenFamily));
    let swept = async {
        while !families().await.expect("a list").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), swept).await.expect("they are over");
    assert_eq!(told(&host, &application).await, [1, 2, 1, 3], "the last one is over");
}
