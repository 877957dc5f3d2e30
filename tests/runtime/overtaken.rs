//! P13 where a sign-in, a sign-out and the erasure of a user cross: the one that was asked for last
//! has the last word.

use std::time::Duration;

use tokenward::Login;
use tokenward::credential::CredentialHandle;
use tokenward::event::CredentialState;
use tokenward::identity::{Label, Method};
use tokenward::testing::VaultFault;
use tokio::task::JoinHandle;

use crate::host::Host;
use crate::patience::until;

/// A sign-in whose grant waits for the vault.
async fn storing(host: &Host) -> (Login, JoinHandle<Result<(), tokenward::Error>>) {
    let login = host.runtime.user("ada").sign_in("openai").by_paste().await.expect("a sign-in");
    let callback = host.openai.approve(login.url()).expect("approved");
    host.disk.hold();
    let pasting = login.clone();
    let pasting = tokio::spawn(async move { pasting.paste(&callback).await });
    host.disk.until_held().await;
    (login, pasting)
}

async fn by_code(host: &Host) -> CredentialHandle {
    let (ada, label) = (host.runtime.user("ada"), Label::default());
    ada.credential("openai", Method::AuthorizationCode, &label).await.expect("a credential")
}

/// Lets time pass until `task` has ended.
async fn ended<T>(host: &Host, task: JoinHandle<T>) -> T {
    until(|| {
        host.clock.advance(Duration::from_millis(50));
        task.is_finished()
    })
    .await;
    task.await.expect("no panic")
}

#[tokio::test]
async fn a_sign_out_during_the_storing_is_not_undone_by_another_try_to_store() {
    let host = Host::start().await;
    let credential = by_code(&host).await;
    credential.inspect().await.expect("read");
    let (login, pasting) = storing(&host).await;
    let signing_out = tokio::spawn({
        let credential = credential.clone();
        async move { credential.sign_out().await }
    });
    // The sign-out is the next generation.
    until(|| credential.snapshot().generation().0 > 0).await;
    host.disk.release();

    let error = ended(&host, pasting).await.expect_err("overtaken");
    assert!(error.is_expired() && !error.is_transient(), "{error}");
    login.finished().await.expect_err("overtaken");
    signing_out.await.expect("no panic").expect("signed out");
    assert_eq!(credential.snapshot().state(), CredentialState::Absent);
    assert!(host.openai.counters().revocation_requests > 0, "what was granted is given back");
}

#[tokio::test]
async fn a_user_that_is_erased_while_a_grant_is_stored_has_nothing_afterwards() {
    let mut host = Host::start().await;
    let (login, pasting) = storing(&host).await;
    let erasing = tokio::spawn({
        let ada = host.runtime.user("ada");
        async move { ada.erase().await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    host.disk.release();
    let _ = ended(&host, pasting).await;
    erasing.await.expect("no panic").expect("erased");
    assert!(login.is_over());
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
    host.restart().await;
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_permission_ends_with_its_key_although_the_vault_could_not_erase_it_then() {
    let mut host = Host::start().await;
    let (ada, label) = (host.runtime.user("ada"), Label::default());
    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    ada.allow_fallback("openai", &label).await.expect("allowed");
    let key = ada.credential("openai", Method::ApiKey, &label).await.expect("a credential");
    host.disk.set(VaultFault::NoRoom);
    key.sign_out().await.expect_err("not erased yet");
    host.disk.heal();
    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    assert!(!key.snapshot().may_stand_in());

    host.restart().await;
    let ada = host.runtime.user("ada");
    let key = ada.credential("openai", Method::ApiKey, &label).await.expect("a credential");
    assert!(!key.inspect().await.expect("read").may_stand_in(), "it was signed out of");
}
