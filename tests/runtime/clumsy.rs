//! A provider that is written by hand and panics, or says of itself what makes no sense: it costs a
//! failure, and nobody hangs on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokenward::CredentialState;
use tokenward::credential::SignInWith;
use tokenward::event::EventKind;
use tokenward::provider::RefreshPolicy;

use crate::by_hand::{Manner, Scene, grant};
use crate::host::until;
use crate::patience;

#[tokio::test]
async fn a_sign_out_over_which_the_provider_panics_is_answered_and_reported() {
    let scene = Scene::set(Manner::Panics).await;
    let mut events = scene.runtime.events();
    let signed_out = scene.credential.sign_out().await.expect("erased all the same");
    assert!(!signed_out.revoked);
    until(&mut events, |kind| matches!(kind, EventKind::SignedOut { revoked: false, .. })).await;
    // What is owed to the provider is tried again, and is in nobody's way.
    scene.clock.advance(Duration::from_hours(1));
    let again = SignInWith::Grant(grant(&scene.clock));
    scene.credential.sign_in(again).await.expect("signed in");
    assert_eq!(scene.credential.snapshot().state(), CredentialState::Valid);
}

#[tokio::test]
async fn a_sign_out_whose_task_dies_is_answered_and_comes_to_its_end() {
    let forgetful = Arc::new(AtomicBool::new(false));
    let scene = Scene::set(Manner::ForgetsItsClient(forgetful.clone())).await;
    let mut events = scene.runtime.events();
    forgetful.store(true, Ordering::SeqCst);
    let error = scene.credential.sign_out().await.expect_err("it died half-way");
    assert!(error.is_interrupted(), "{error}");
    assert_eq!(scene.credential.snapshot().state(), CredentialState::Absent);

    forgetful.store(false, Ordering::SeqCst);
    scene.clock.advance(Duration::from_mins(1));
    until(&mut events, |kind| matches!(kind, EventKind::SignedOut { .. })).await;
}

#[tokio::test]
async fn a_renewal_over_which_the_provider_panics_is_answered() {
    let scene = Scene::set(Manner::Panics).await;
    let error = scene.credential.refresh().await.expect_err("no outcome");
    assert!(error.is_uncertain(), "{error}");
    scene.credential.acquire().await.expect("the old token is served while it lives");
}

/// C-DEV-2: a second at least, whatever it says.
#[tokio::test]
async fn a_provider_that_wants_to_be_polled_without_a_pause_is_polled_once_a_second() {
    let polls = Arc::new(AtomicUsize::new(0));
    let scene = Scene::set(Manner::PollsAtOnce(polls.clone())).await;
    let ada = scene.runtime.user("ada");
    let login = ada.sign_in("google").with_device_code().await.expect("a sign-in");
    for second in 1..=3 {
        scene.clock.advance(Duration::from_secs(1));
        patience::until(|| polls.load(Ordering::SeqCst) == second).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(polls.load(Ordering::SeqCst), second);
    }
    login.cancel().await;
}

/// A token that is not used in its last five minutes, and is not to be renewed before its end.
#[tokio::test]
async fn nobody_waits_for_a_renewal_that_is_planned_after_the_end_of_the_use() {
    let policy = RefreshPolicy {
        threshold: Duration::ZERO,
        unusable_before_expiry: Duration::from_mins(5),
        ..RefreshPolicy::default()
    };
    let scene = Scene::with_policy(Manner::Panics, policy).await;
    scene.clock.advance(Duration::from_mins(26));
    let answered = patience::in_time(scene.credential.acquire()).await;
    answered.expect_err("the renewal began at once, and failed");
}
