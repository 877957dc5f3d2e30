//! Providers that fail: nobody is signed out by a fault that is not theirs, nothing that is good is
//! dropped, nothing loops.

use std::time::Duration;

use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::Generation;
use tokenward::testing::{Endpoint, Fault};

use crate::host::{Host, until, until_state};

/// Faults of the token endpoint in which nothing was carried out.
fn outages() -> Vec<Fault> {
    vec![
        Fault::Status(503, String::new()),
        Fault::Status(500, "oops".to_owned()),
        Fault::ServerErrorInvalidGrant,
        Fault::RateLimited { retry_after: None },
        Fault::Status(403, "<html>blocked by the firewall</html>".to_owned()),
    ]
}

#[tokio::test]
async fn an_outage_keeps_the_user_signed_in_and_the_token_in_use() {
    for fault in outages() {
        let host = Host::start().await;
        let mut events = host.runtime.events();
        let credential = host.sign_in_openai("ada").await;
        host.openai.faults().on(Endpoint::Token).always(fault.clone());

        host.clock.advance(Duration::from_mins(56));
        until_state(&mut events, CredentialState::Degraded).await;
        let served = credential.acquire().await.expect("the old token lives");
        assert_eq!(served.generation(), Generation(1), "{fault}");

        host.clock.advance(Duration::from_mins(5));
        let error = credential.acquire().await.expect_err("expired");
        assert!(!error.needs_reauthorization(), "{fault}: {error}");

        host.openai.faults().clear();
        host.clock.advance(Duration::from_hours(1));
        let renewed = credential.acquire().await.expect("renewed after the outage");
        assert_eq!(renewed.generation(), Generation(2), "{fault}");
        assert_eq!(host.openai.reused_refresh_tokens(), 0, "{fault}");
    }
}

#[tokio::test]
async fn a_provider_that_can_not_be_reached_costs_nothing() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    host.openai.stop().await.expect("stopped");
    host.clock.advance(Duration::from_hours(2));

    let error = credential.acquire().await.expect_err("no provider");
    assert!(error.is_transient(), "{error}");
    assert!(error.retry_after().is_some(), "{error}");

    host.openai.restart().await.expect("back");
    host.clock.advance(Duration::from_mins(10));
    assert_eq!(credential.acquire().await.expect("renewed").generation(), Generation(2));
}

#[tokio::test]
async fn during_an_outage_requests_are_bounded() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let before = host.openai.token_requests();
    host.openai.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));
    host.clock.advance(Duration::from_hours(2));

    let mut answered = 0;
    for _ in 0..600 {
        host.clock.advance(Duration::from_secs(1));
        answered += usize::from(credential.acquire().await.is_err());
    }

    assert_eq!(answered, 600, "nobody waits for an outage to end");
    let requests = host.openai.token_requests() - before;
    assert!((2..60).contains(&requests), "{requests} requests in ten minutes");
}

#[tokio::test]
async fn a_rate_limit_is_honoured_to_the_second() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let faults = host.openai.faults().on(Endpoint::Token);
    faults.next(1, Fault::RateLimited { retry_after: Some(Duration::from_mins(30)) });
    host.clock.advance(Duration::from_hours(2));

    let error = credential.acquire().await.expect_err("limited");
    assert_eq!(error.retry_after(), Some(Duration::from_mins(30)));
    let before = host.openai.token_requests();
    host.clock.advance(Duration::from_mins(29));
    credential.acquire().await.expect_err("still limited");
    assert_eq!(host.openai.token_requests(), before);
    host.clock.advance(Duration::from_mins(1));
    credential.acquire().await.expect("renewed");
}

#[tokio::test]
async fn a_revoked_grant_needs_the_user_and_asks_the_provider_once() {
    let mut host = Host::start().await;
    let mut events = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;
    host.openai.revoke_everything();
    host.clock.advance(Duration::from_mins(56));
    until_state(&mut events, CredentialState::ReauthorizationRequired).await;
    let asked = host.openai.token_requests();

    host.clock.advance(Duration::from_hours(2));
    assert!(credential.acquire().await.expect_err("revoked").needs_reauthorization());
    host.restart().await;
    let credential =
        host.runtime.user("ada").preferred_credential("openai").await.expect("a credential");
    assert!(credential.acquire().await.expect_err("revoked").needs_reauthorization());

    assert_eq!(host.openai.token_requests(), asked, "a refusal is remembered over a restart");
    let again = host.sign_in_openai("ada").await;
    assert_eq!(again.acquire().await.expect("signed in again").state(), CredentialState::Valid);
}

#[tokio::test]
async fn a_lost_answer_leads_to_one_guarded_attempt_when_a_token_is_needed() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;
    host.openai.faults().on(Endpoint::Token).next(1, Fault::LostAnswer);

    host.clock.advance(Duration::from_mins(56));
    until_state(&mut events, CredentialState::Uncertain).await;
    let served = credential.acquire().await.expect("the old token lives");
    assert_eq!(served.generation(), Generation(1));
    assert_eq!(host.openai.reused_refresh_tokens(), 0, "no attempt while it is not needed");

    host.clock.advance(Duration::from_hours(1));
    let error = credential.acquire().await.expect_err("the provider revokes at reuse");
    assert!(error.needs_reauthorization(), "{error}");
    assert!(error.to_string().contains("answer of a renewal was lost"), "{error}");
    assert_eq!(host.openai.reused_refresh_tokens(), 1, "one attempt");
    host.clock.advance(Duration::from_hours(1));
    credential.acquire().await.expect_err("over");
    assert_eq!(host.openai.reused_refresh_tokens(), 1, "never a second one");
}

#[tokio::test]
async fn a_request_that_was_lost_on_the_way_is_made_good() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;
    host.openai.faults().on(Endpoint::Token).next(1, Fault::ResetBeforeHeaders);

    host.clock.advance(Duration::from_mins(56));
    until_state(&mut events, CredentialState::Uncertain).await;
    host.clock.advance(Duration::from_hours(1));

    assert_eq!(credential.acquire().await.expect("renewed").generation(), Generation(2));
    assert_eq!(credential.snapshot().state(), CredentialState::Valid);
}

#[tokio::test]
async fn garbage_from_the_provider_changes_nothing_that_is_stored() {
    for fault in [Fault::Html200, Fault::Huge, Fault::Status(200, "{}".to_owned())] {
        let mut host = Host::start().await;
        let mut events = host.runtime.events();
        host.sign_in_openai("ada").await;
        host.openai.faults().on(Endpoint::Token).next(1, fault.clone());
        host.clock.advance(Duration::from_mins(56));
        until(&mut events, |kind| matches!(kind, EventKind::RefreshFailed { .. })).await;

        host.restart().await;

        let user = host.runtime.user("ada");
        let credential = user.preferred_credential("openai").await.expect("a credential");
        let snapshot = credential.inspect().await.expect("readable");
        assert_eq!(snapshot.generation(), Generation(1), "{fault}");
        assert!(credential.acquire().await.is_ok(), "{fault}");
    }
}

#[tokio::test]
async fn a_renewal_without_a_new_refresh_token_keeps_the_old_one() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    host.openai.faults().on(Endpoint::Token).next(1, Fault::OmitRefreshToken);
    credential.refresh().await.expect("renewed");
    host.clock.advance(Duration::from_secs(2));
    credential.refresh().await.expect("renewed again with the same refresh token");
    assert_eq!(credential.snapshot().generation(), Generation(3));
}

#[tokio::test]
async fn a_renewal_without_a_new_access_token_keeps_the_old_one_and_the_new_refresh_token() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let first = credential.acquire().await.expect("a token");
    let partial = Fault::RemoveField("access_token".to_owned());
    host.openai.faults().on(Endpoint::Token).next(1, partial);

    let kept = credential.refresh().await.expect("the refresh token was renewed");
    assert_eq!(kept.generation(), Generation(2));
    assert_eq!(kept.expires_at(), first.expires_at(), "the same token lives no longer");
    let now = host.clock.sources().now();
    assert_eq!(kept.headers(now), first.headers(now));

    host.clock.advance(Duration::from_hours(2));
    let renewed = credential.acquire().await.expect("renewed with the new refresh token");
    assert_eq!(renewed.generation(), Generation(3));
    assert_ne!(renewed.expires_at(), first.expires_at());
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn a_renewal_for_another_account_is_refused() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    host.openai.reassign_grants("somebody-else");
    let error = credential.refresh().await.expect_err("another account");
    assert!(error.needs_reauthorization(), "{error}");
    assert!(error.to_string().contains("another account"), "{error}");
    host.openai.until(|counters| counters.revocation_requests == 1).await;
}

#[tokio::test]
async fn a_token_that_is_expired_when_it_comes_does_not_loop() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let before = host.openai.token_requests();
    let zero = Fault::SetField("expires_in".to_owned(), serde_json::json!(0));
    host.openai.faults().on(Endpoint::Token).always(zero);
    host.clock.advance(Duration::from_hours(2));

    for _ in 0..100 {
        credential.acquire().await.expect_err("expired when it came");
    }

    assert_eq!(host.openai.token_requests() - before, 1);
}
