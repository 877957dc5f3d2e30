//! Sessions: independent, isolated, kept over restarts, over when nobody uses them.

use std::time::Duration;

use tokenward::event::EventKind;

use crate::host::{Host, until};

#[tokio::test]
async fn sessions_of_one_user_are_independent() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    host.sign_in_openai("ada").await;
    host.sign_in_by_code("ada", &host.anthropic).await;
    let (one, two) =
        (ada.open_session().await.expect("one"), ada.open_session().await.expect("two"));

    one.use_provider("openai").await.expect("signed in");
    two.use_provider("anthropic").await.expect("signed in");

    let name = |session: &tokenward::runtime::Session| {
        session.active().expect("open").expect("active").provider.to_string()
    };
    assert_eq!((name(&one), name(&two)), ("openai".to_owned(), "anthropic".to_owned()));
}

#[tokio::test]
async fn a_session_of_another_user_is_answered_as_if_it_did_not_exist() {
    let host = Host::start().await;
    let of_ada = host.runtime.user("ada").open_session().await.expect("a session");
    let eve = host.runtime.user("eve");
    let stolen = eve.session(&of_ada.id()).await.expect_err("not hers");
    let invented = "A".repeat(43).parse().expect("an id");
    let missing = eve.session(&invented).await.expect_err("nobody's");
    assert!(stolen.is_not_found());
    assert_eq!(stolen.to_string(), missing.to_string());
}

#[tokio::test]
async fn a_session_survives_the_manager_and_the_process() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let id = session.id();

    assert!(host.runtime.crash_actor("sessions").await);
    session.touch().await.expect("the manager is back");
    host.restart().await;

    let session = host.runtime.user("ada").session(&id).await.expect("still there");
    let active = session.active().expect("open").expect("active");
    assert_eq!(active.provider.to_string(), "openai");
    session.client().get("/v1/models").send().await.expect("an answer");
}

/// As on a machine whose clock is set by the network, some time after its start.
#[tokio::test]
async fn a_clock_that_is_put_right_after_the_start_ends_no_session() {
    let mut host = Host::start().await;
    let id = host.runtime.user("ada").open_session().await.expect("a session").id();
    let behind = Duration::from_hours(48);
    host.clock.step_wall_back(behind);
    host.restart().await;
    host.runtime.user("ada").session(&id).await.expect("it is there");

    host.clock.step_wall_forward(behind);
    host.clock.advance(Duration::from_mins(2));
    let session = host.runtime.user("ada").session(&id).await.expect("it is there still");
    session.touch().await.expect("in use");

    host.clock.advance(Duration::from_hours(25));
    session.touch().await.expect_err("over, as any that nobody uses");
}

#[tokio::test]
async fn a_session_that_nobody_uses_for_a_day_is_over() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let ada = host.runtime.user("ada");
    let (idle, used) =
        (ada.open_session().await.expect("idle"), ada.open_session().await.expect("used"));

    host.clock.advance(Duration::from_hours(23));
    used.touch().await.expect("open");
    host.clock.advance(Duration::from_hours(2));
    until(&mut events, |kind| matches!(kind, EventKind::SessionExpired { .. })).await;

    assert!(idle.active().expect_err("over").is_expired());
    assert!(used.active().is_ok());
    assert_eq!(ada.sessions().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_closed_session_is_gone_and_its_user_still_signed_in() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let ada = host.runtime.user("ada");
    let session = ada.open_session().await.expect("a session");
    session.close().await.expect("closed");
    assert!(session.touch().await.expect_err("closed").is_not_found());
    assert!(ada.sessions().await.expect("a list").is_empty());
    assert_eq!(ada.credentials().await.expect("a list").len(), 1);
}

/// What is gone need not be ended.
#[tokio::test]
async fn a_user_is_erased_also_when_somebody_else_ends_the_sessions_meanwhile() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    for _ in 0..3 {
        ada.open_session().await.expect("a session");
    }
    let (one, other) = tokio::join!(ada.erase(), ada.erase());
    one.expect("erased");
    other.expect("erased");
    assert!(ada.sessions().await.expect("a list").is_empty());
}
