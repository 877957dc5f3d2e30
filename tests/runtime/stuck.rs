//! A provider that is written by hand and never answers: nobody waits for it for ever.

use std::time::{Duration, SystemTime};

use tokenward::credential::SignInWith;
use tokenward::testing::ManualClock;
use tokenward::vault::MasterKey;
use tokenward::{CredentialState, Runtime, Vault, catalog};

use crate::by_hand::{ByHand, Manner, Scene, credential_id, grant};
use crate::patience::in_time;

#[tokio::test]
async fn whoever_waits_for_a_renewal_without_an_end_is_answered_and_told_that_it_is_uncertain() {
    let scene = Scene::set(Manner::NeverAnswers).await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        let credential = scene.credential.clone();
        callers.push(tokio::spawn(async move { credential.refresh().await }));
    }
    for caller in callers {
        // The token lives longer than that.
        let error = scene.ended(caller).await.expect_err("no outcome");
        assert!(error.to_string().contains("no outcome within 10m"), "{error}");
    }
    assert_eq!(scene.credential.snapshot().state(), CredentialState::Uncertain);
    let served = in_time(scene.credential.acquire()).await;
    served.expect("the old token is served while it lives");
}

#[tokio::test]
async fn a_sign_in_without_an_end_is_given_up() {
    let scene = Scene::set(Manner::NeverAnswers).await;
    let sign_in = scene.runtime.user("ada").sign_in("google");
    let by_client = tokio::spawn(sign_in.clone().with_client_credentials());
    let error = scene.ended(by_client).await.expect_err("no outcome");
    assert!(error.to_string().contains("no outcome within 10m"), "{error}");
    let by_device = tokio::spawn(sign_in.with_device_code());
    let error = scene.ended(by_device).await.expect_err("no outcome");
    assert!(error.to_string().contains("no outcome within 10m"), "{error}");
}

/// P13: a sign-out is bounded in time, whatever the provider does.
#[tokio::test]
async fn a_sign_out_does_not_wait_for_a_revocation_without_an_end() {
    let scene = Scene::set(Manner::NeverAnswers).await;
    let credential = scene.credential.clone();
    let signing_out = tokio::spawn(async move { credential.sign_out().await });
    let signed_out = scene.ended(signing_out).await.expect("signed out");
    assert!(!signed_out.revoked);
    assert_eq!(scene.credential.snapshot().state(), CredentialState::Absent);
}

#[tokio::test]
async fn a_check_without_an_end_is_a_failed_check_and_another_one_can_begin() {
    let scene = Scene::set(Manner::NeverAnswers).await;
    for failures in 1..=2 {
        let runtime = scene.runtime.clone();
        let checking = tokio::spawn(async move { runtime.check_health("google").await });
        let error = scene.ended(checking).await.expect_err("no outcome");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("no outcome within 30s"), "{error}");
        let health = scene.runtime.health().of("google").expect("known");
        assert_eq!(health.consecutive_failures, failures);
    }
}

/// What data says is checked; what a provider that is written by hand says is taken as it is.
#[tokio::test]
async fn a_threshold_without_measure_does_not_keep_a_runtime_from_starting_again() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let folder = tempfile::TempDir::new().expect("a folder");
    let start =
        async || {
            let mut google = catalog::google().client("client").client_secret("secret");
            google.refresh.threshold = Duration::MAX;
            Runtime::builder()
                .sources(clock.sources())
                .vault(Vault::open(folder.path().join("vault")).master_key(
                    MasterKey::from_file(folder.path().join("key")).create_if_missing(),
                ))
                .provider(ByHand::new(google, Manner::NeverAnswers))
                .start()
                .await
                .expect("a runtime")
        };
    let first = start().await;
    let id = credential_id();
    let credential = first.credential(&id).await.expect("a credential");
    credential.sign_in(SignInWith::Grant(grant(&clock))).await.expect("signed in");
    first.shutdown(Duration::from_secs(10)).await;

    let second = start().await;
    let credential = second.credential(&id).await.expect("a credential");
    credential.acquire().await.expect("it is what it was");
}
