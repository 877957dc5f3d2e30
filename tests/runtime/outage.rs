//! A token endpoint that is down: all credentials that are renewed there ask it together no more than
//! a few times, and all of them are renewed once it is back.

use std::time::Duration;

use tokenward::CredentialState;
use tokenward::resilience::State;
use tokenward::testing::{Endpoint, Fault};

use crate::host::Host;

const USERS: usize = 200;

/// B-3: what an outage is met with before anybody knows of it is bounded, too.
#[tokio::test]
async fn a_thousand_calls_for_a_thousand_credentials_ask_a_token_endpoint_that_is_down_a_few_times()
{
    const CALLERS: usize = 1_000;
    let host = Host::start().await;
    let mut sessions = Vec::new();
    for number in 0..CALLERS {
        let user = host.runtime.user(&format!("application {number}"));
        user.sign_in("orange").with_client_credentials().await.expect("signed in");
        let session = user.open_session().await.expect("a session");
        session.use_provider("orange").await.expect("signed in");
        sessions.push(session);
    }
    host.clock.advance(Duration::from_hours(2));
    let before = host.orange.token_requests();
    host.orange.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));

    let calls: tokio::task::JoinSet<_> =
        sessions.iter().map(|session| session.client().get("/").send()).collect();

    for answer in calls.join_all().await {
        let error = answer.expect_err("there is no token");
        assert!(error.is_transient() && !error.needs_reauthorization(), "{error}");
    }
    let asked = host.orange.token_requests() - before;
    // Ten failures are enough to know, and 31 others may be on their way by then.
    assert!((10..=41).contains(&asked), "asked {asked} times");
    assert_eq!(host.orange.requests_at(Endpoint::Resource).len(), 0, "nothing is sent without");
}

/// B-3: the token endpoint has a breaker of its own.
#[tokio::test]
async fn a_token_endpoint_that_is_down_is_asked_a_few_times_and_then_left_alone() {
    let host = Host::start().await;
    let mut credentials = Vec::new();
    for number in 0..USERS {
        credentials.push(host.sign_in_openai(&format!("user {number}")).await);
    }
    let asked = || host.openai.requests_at(Endpoint::Token).len() - USERS;
    host.openai.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));
    host.clock.advance(Duration::from_hours(2));

    for credential in &credentials {
        let error = credential.acquire().await.expect_err("the endpoint is down");
        assert!(error.is_transient() && !error.needs_reauthorization(), "{error}");
    }
    assert!(asked() <= 40, "asked {} times", asked());
    let error = credentials[USERS - 1].acquire().await.expect_err("held back");
    assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_mins(2)), "{error:?}");
    let before = asked();
    host.clock.advance(Duration::from_secs(37));
    for credential in &credentials {
        let _ = credential.acquire().await;
    }
    assert!(asked() - before <= 3, "{} probes", asked() - before);

    // It is back, and a user who signs in now is held back by nobody's renewals.
    host.openai.faults().clear();
    let newcomer = host.sign_in_openai("newcomer").await;
    assert_eq!(newcomer.snapshot().state(), CredentialState::Valid);
    for wait in [73, 20, 40] {
        host.clock.advance(Duration::from_secs(wait));
        for credential in &credentials {
            let _ = credential.acquire().await;
        }
    }
    for credential in &credentials {
        let snapshot = credential.acquire().await.expect("renewed, and nobody was signed out");
        assert_eq!(snapshot.state(), CredentialState::Valid);
    }
    assert_eq!(host.openai.refreshes(), USERS, "each once");
    let calls = host.runtime.upstream("openai").expect("the provider").status().state;
    assert_eq!(calls, State::Closed, "calls to the provider are another matter");
}

#[tokio::test]
async fn renewals_that_are_held_back_by_hand_say_so() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    for (name, breaker) in host.runtime.breakers() {
        if name.ends_with("(renewals)") {
            breaker.force_open();
        }
    }

    let error = credential.refresh().await.expect_err("held back");

    let told = error.to_string();
    assert!(told.contains("are held back by hand, close the breaker to go on"), "{told}");
    assert!(error.is_transient() && !error.needs_reauthorization(), "{told}");
    assert_eq!(host.openai.refreshes(), 0, "nothing was sent");
}
