//! `kill -9` at the named points of a renewal: what was acknowledged is there afterwards, no
//! refresh token is spent twice but by the one guarded attempt, and every interrupted rotation is
//! recognised and resolved.
//!
//! The process that is killed is this test binary itself. The provider lives in the parent,
//! survives, and is the judge: its refresh tokens can be used once. `TOKENWARD_SOAK_ROUNDS` is how
//! often it is killed at each point; without it, fifty times.

// A process that kills itself with SIGKILL: Windows has no such signal.
#![cfg(unix)]

mod child;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/killing.rs"]
mod killing;
mod scene;

use std::time::Duration;

use tokenward::event::CredentialState;

use crate::child::{Cause, LIFETIME, credential_of_ada, renew_until_killed};
use crate::killing::orders;
use crate::scene::{Found, Scene};

/// How often a child is killed at each point.
fn rounds() -> usize {
    killing::rounds(50)
}

#[tokio::test]
async fn killed_before_the_intent_a_renewal_has_not_begun() {
    if let Some(orders) = orders() {
        return renew_until_killed(orders).await;
    }
    let mut scene = Scene::new("killed_before_the_intent_a_renewal_has_not_begun").await;
    for round in 0..rounds() {
        // One that is due would be renewed as soon as the vault is open again.
        let found = scene.kill("before-intent", Cause::Asked).await;
        assert_eq!(found.refreshes_of_the_child(), 0);
        found.check(CredentialState::Valid, found.signed_in).await;
        scene.check_acknowledged(&found.runtime).await;
        assert_eq!(scene.provider.counters(), found.after, "nothing is in doubt");

        scene.clock.advance(LIFETIME);
        found.credential.acquire().await.expect("renewed");

        found.check(CredentialState::Valid, found.signed_in.next()).await;
        assert_eq!(scene.provider.refreshes(), found.after.refreshes + 1, "round {round}");
        scene.close(found.runtime).await;
    }
    assert_eq!(scene.provider.reused_refresh_tokens(), 0);
    scene.check_everybody().await;
}

#[tokio::test]
async fn killed_after_the_intent_a_renewal_is_in_doubt_and_one_attempt_makes_it_good() {
    if let Some(orders) = orders() {
        return renew_until_killed(orders).await;
    }
    let name = "killed_after_the_intent_a_renewal_is_in_doubt_and_one_attempt_makes_it_good";
    let mut scene = Scene::new(name).await;
    for cause in Cause::ALL.into_iter().cycle().take(rounds()) {
        let found = scene.kill("intent-durable", cause).await;
        assert_eq!(found.refreshes_of_the_child(), 0, "the provider never got it");
        check_doubt(&scene, &found).await;

        found.credential.acquire().await.expect("renewed");

        found.check(CredentialState::Valid, found.signed_in.next()).await;
        let now = scene.provider.counters();
        assert_eq!(now.token_requests, found.after.token_requests + 1, "one attempt");
        assert_eq!(now.refreshes, found.after.refreshes + 1);
        scene.close(found.runtime).await;
    }
    assert_eq!(scene.provider.reused_refresh_tokens(), 0);
    scene.check_everybody().await;
}

#[tokio::test]
async fn killed_with_the_answer_in_hand_one_attempt_tells_that_it_is_lost() {
    if let Some(orders) = orders() {
        return renew_until_killed(orders).await;
    }
    let name = "killed_with_the_answer_in_hand_one_attempt_tells_that_it_is_lost";
    let mut scene = Scene::new(name).await;
    for cause in Cause::ALL.into_iter().cycle().take(rounds()) {
        let found = scene.kill("response-received", cause).await;
        assert_eq!(found.refreshes_of_the_child(), 1);
        check_doubt(&scene, &found).await;

        let error = found.credential.acquire().await.expect_err("the successor died");

        assert!(error.needs_reauthorization(), "{error}");
        assert!(error.to_string().contains("the answer of a renewal was lost"), "{error}");
        let attempted = scene.provider.counters();
        assert_eq!(attempted.token_requests, found.after.token_requests + 1, "one attempt");
        assert_eq!(attempted.reused_refresh_tokens, found.after.reused_refresh_tokens + 1);

        // Never a second one: not later, not when asked to, not after a restart.
        scene.clock.advance(LIFETIME);
        found.credential.acquire().await.expect_err("over");
        found.credential.refresh().await.expect_err("over");
        scene.close(found.runtime).await;
        let runtime = scene.open().await;
        let credential = credential_of_ada(&runtime).await;
        let error = credential.acquire().await.expect_err("over");
        assert!(error.needs_reauthorization(), "{error}");
        let seen = credential.inspect().await.expect("readable");
        assert_eq!(seen.state(), CredentialState::ReauthorizationRequired);
        assert_eq!(scene.provider.counters(), attempted, "{cause:?}");
        scene.close(runtime).await;
    }
    assert_eq!(scene.provider.reused_refresh_tokens(), rounds());
    scene.check_everybody().await;
}

/// C-RT-4: durable before anybody sees it.
#[tokio::test]
async fn killed_after_the_commit_a_renewal_has_happened() {
    if let Some(orders) = orders() {
        return renew_until_killed(orders).await;
    }
    let name = "killed_after_the_commit_a_renewal_has_happened";
    check_that_it_happened(name, "commit-durable").await;
}

#[tokio::test]
async fn killed_before_the_publication_a_renewal_has_happened() {
    if let Some(orders) = orders() {
        return renew_until_killed(orders).await;
    }
    let name = "killed_before_the_publication_a_renewal_has_happened";
    check_that_it_happened(name, "before-publication").await;
}

/// The rotation is recognised as uncertain. While the old token lives, it is served and nothing is
/// tried; afterwards it has expired.
async fn check_doubt(scene: &Scene, found: &Found) {
    found.check(CredentialState::Uncertain, found.signed_in).await;
    scene.check_acknowledged(&found.runtime).await;
    if found.cause != Cause::Needed {
        let served = found.credential.acquire().await.expect("the old token lives");
        assert_eq!(served.generation(), found.signed_in);
        // Nor does a timer try, in the minutes in which a renewal would be due.
        scene.clock.advance(Duration::from_mins(59).saturating_sub(found.cause.age()));
        let served = found.credential.acquire().await.expect("the old token lives");
        assert_eq!(served.generation(), found.signed_in);
        assert_eq!(scene.provider.counters(), found.after, "{:?}", found.cause);
        scene.clock.advance(Duration::from_mins(2));
    }
    assert_eq!(scene.provider.counters(), found.after, "{:?}", found.cause);
}

async fn check_that_it_happened(test: &'static str, step: &str) {
    let mut scene = Scene::new(test).await;
    for cause in Cause::ALL.into_iter().cycle().take(rounds()) {
        let found = scene.kill(step, cause).await;
        assert_eq!(found.refreshes_of_the_child(), 1);
        found.check(CredentialState::Valid, found.signed_in.next()).await;
        scene.check_acknowledged(&found.runtime).await;
        let served = found.credential.acquire().await.expect("usable");
        assert_eq!(served.generation(), found.signed_in.next());
        assert_eq!(scene.provider.counters(), found.after, "nothing is asked for again");

        // What was stored is what renews it next.
        found.credential.refresh().await.expect("renewed");

        found.check(CredentialState::Valid, found.signed_in.next().next()).await;
        assert_eq!(scene.provider.refreshes(), found.after.refreshes + 1, "{cause:?}");
        scene.close(found.runtime).await;
    }
    assert_eq!(scene.provider.reused_refresh_tokens(), 0);
    scene.check_everybody().await;
}
