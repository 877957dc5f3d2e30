//! Signing in without a user, by an assertion that somebody else issues and replaces: Anthropic's
//! Workload Identity Federation, end to end.

use std::time::Duration;

use tokenward::credential::CredentialHandle;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{Generation, Method};
use tokenward::testing::{Endpoint, Fault};
use tokenward::{Error, Secret};

use crate::host::{ASSERTION, Host, until};

const TWO_HOURS: Duration = Duration::from_hours(2);

/// What the platform of the workload does from time to time.
fn issue(host: &Host, lifetime: Duration) -> Secret {
    let assertion = host.anthropic.issue_assertion(lifetime);
    write(host, &format!("{}\n", assertion.expose()));
    assertion
}

fn write(host: &Host, text: &str) {
    std::fs::write(host.folder.path().join(ASSERTION), text).expect("written");
}

async fn sign_in(host: &Host) -> Result<CredentialHandle, Error> {
    let id = host.runtime.user("ci").sign_in("anthropic").with_assertion().await?;
    host.runtime.credential(&id).await
}

fn last_exchange(host: &Host) -> serde_json::Value {
    host.anthropic.requests_at(Endpoint::Token).pop().expect("an exchange").json()
}

#[tokio::test]
async fn a_workload_signs_in_by_its_assertion_and_calls() {
    let host = Host::start().await;
    let assertion = issue(&host, TWO_HOURS);
    let credential = sign_in(&host).await.expect("signed in");

    assert_eq!(credential.id().method, Method::JwtBearer);
    let request = host.anthropic.requests_at(Endpoint::Token).pop().expect("an exchange");
    assert_eq!(
        request.text(),
        format!(
            r#"{{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","assertion":"{}","federation_rule_id":"fdrl_simulated","organization_id":"00000000-0000-4000-8000-000000000001","service_account_id":"svac_simulated"}}"#,
            assertion.expose()
        ),
        "no client, no scope, no workspace"
    );
    let session = host.runtime.user("ci").open_session().await.expect("a session");
    session.use_provider("anthropic").await.expect("signed in");
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    let sent = host.anthropic.requests_to("/v1/models").pop().expect("a request");
    assert_eq!(sent.header("x-api-key"), None);
    assert_eq!(sent.header("anthropic-beta"), Some("oauth-2025-04-20"));
}

/// P3: the assertion is read afresh from its source at each exchange, also after a restart.
#[tokio::test]
async fn a_renewal_exchanges_the_assertion_that_is_there_by_then() {
    let mut host = Host::start().await;
    issue(&host, TWO_HOURS);
    let credential = sign_in(&host).await.expect("signed in");
    let id = credential.id().clone();
    let mut events = host.runtime.events();
    let replaced = issue(&host, TWO_HOURS);

    host.clock.advance(Duration::from_mins(57));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
    assert_eq!(last_exchange(&host)["assertion"], replaced.expose());
    assert_eq!(credential.snapshot().generation(), Generation(2));

    host.restart().await;
    let latest = issue(&host, TWO_HOURS);
    let credential = host.runtime.credential(&id).await.expect("there");
    credential.refresh().await.expect("renewed");
    assert_eq!(last_exchange(&host)["assertion"], latest.expose());
    let counters = host.anthropic.counters();
    assert_eq!((counters.assertions, counters.refreshes), (3, 0));
    assert_eq!(counters.issued_refresh_tokens, 0);
}

/// C9: an assertion that is refused signs nobody out; a better one mends it without anyone's help.
#[tokio::test]
async fn an_assertion_that_has_expired_is_the_operators_matter_and_passes() {
    let host = Host::start().await;
    issue(&host, Duration::from_mins(30));
    let credential = sign_in(&host).await.expect("signed in");
    let mut events = host.runtime.events();
    host.clock.advance(Duration::from_mins(57));
    let failed = until(&mut events, |kind| matches!(kind, EventKind::RefreshFailed { .. })).await;
    let EventKind::RefreshFailed { reason, retry_in, .. } = failed else { panic!("{failed:?}") };
    assert!(reason.contains("refuses the assertion (400 invalid_grant)"), "{reason}");
    assert!(retry_in.is_some(), "it is tried again");
    assert_eq!(credential.snapshot().state(), CredentialState::Degraded);
    credential.acquire().await.expect("the token still lives");

    host.clock.advance(Duration::from_mins(10));
    let error = credential.acquire().await.expect_err("no token");
    assert!(error.is_configuration() && !error.needs_reauthorization(), "{error}");

    issue(&host, TWO_HOURS);
    host.clock.advance(error.retry_after().expect("it is tried again"));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
    assert_eq!(credential.snapshot().state(), CredentialState::Valid);
}

#[tokio::test]
async fn without_a_usable_assertion_nothing_is_sent_and_the_reason_is_told() {
    let host = Host::start().await;
    let error = sign_in(&host).await.expect_err("no file");
    assert!(error.is_configuration() && error.to_string().contains(ASSERTION), "{error}");
    write(&host, "canary with spaces");
    let error = sign_in(&host).await.expect_err("no assertion");
    assert!(error.is_configuration() && !error.to_string().contains("canary"), "{error}");
    assert_eq!(host.anthropic.token_requests(), 0);

    write(&host, "canary.canary.canary");
    let error = sign_in(&host).await.expect_err("nobody trusts it");
    assert!(error.is_configuration() && !error.to_string().contains("canary"), "{error}");
    assert!(host.runtime.user("ci").credentials().await.expect("a list").is_empty());

    let error = host.runtime.user("ci").sign_in("openai").with_assertion().await;
    assert!(error.expect_err("not offered").is_invalid_input());
}

/// Nothing is spent by an exchange, so one whose answer was lost is made again.
#[tokio::test]
async fn an_exchange_that_was_lost_is_transient() {
    let host = Host::start().await;
    issue(&host, TWO_HOURS);
    for fault in [Fault::LostAnswer, Fault::ServerErrorInvalidGrant, Fault::ResetMidBody] {
        host.anthropic.faults().on(Endpoint::Token).next(1, fault.clone());
        let error = sign_in(&host).await.expect_err("lost");
        assert!(error.is_transient(), "{fault}: {error}");
    }
    sign_in(&host).await.expect("signed in");
}
