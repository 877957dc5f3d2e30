//! R7: which credential would be used, and why the others would not.

use std::time::Duration;

use tokenward::clock::Clock as _;
use tokenward::identity::{Label, Method};
use tokenward::runtime::{Choice, Why};
use tokenward::testing::{Endpoint, Fault};

use crate::fallback::{lose_the_sign_in, signed_in_twice};
use crate::host::Host;
use crate::patience::in_time;

/// Why each credential would be used or not, by its provider and method.
fn told(choice: &Choice) -> Vec<(&str, Method, Why)> {
    let named = choice.candidates.iter().map(|it| {
        let id = it.credential.id();
        (id.provider.as_str(), id.method, it.why)
    });
    named.collect()
}

#[tokio::test]
async fn a_session_says_which_credential_it_would_use_and_why_no_other() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let ada = host.runtime.user("ada");
    let key = host.anthropic.issue_api_key();
    ada.sign_in("anthropic").with_api_key(key).await.expect("signed in");
    let (code, api_key) = (Method::AuthorizationCode, Method::ApiKey);

    let choice = session.explain().await.expect("explained");

    assert_eq!(
        told(&choice),
        [
            ("openai", code, Why::Own),
            ("anthropic", api_key, Why::OtherProvider),
            ("openai", api_key, Why::OtherAccount),
        ]
    );
    let used = choice.used().expect("one").credential.id().clone();
    assert_eq!(used, *session.acquire().await.expect("usable").id(), "and so it is");
    let text = choice.to_string();
    assert!(text.starts_with("openai authorization-code default: used, "), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");

    let fresh = ada.open_session().await.expect("a session");
    let nothing = fresh.explain().await.expect("explained");
    assert!(nothing.used().is_none() && nothing.provider.is_none());
    assert!(nothing.candidates.iter().all(|candidate| candidate.why == Why::NoProvider));
}

/// What is explained is what happens: a request with a credential that is not used fails, else it goes out
/// with the one that is.
async fn holds(session: &tokenward::Session, choice: &Choice) {
    match (choice.used(), in_time(session.acquire()).await) {
        (Some(used), Ok(snapshot)) => assert_eq!(used.credential.id(), snapshot.id(), "{choice}"),
        (None, Err(_)) => {}
        (used, outcome) => panic!("{used:?} was told, and it came to {outcome:?}"),
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_renewed_first_and_held_back_while_its_provider_is_down() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let code = Method::AuthorizationCode;
    let ada = host.runtime.user("ada");
    let own = ada.credential("openai", code, &Label::default()).await.expect("a credential");
    own.invalidate().await.expect("there is one");
    let choice = session.explain().await.expect("explained");
    assert_eq!(choice.candidates[0].why, Why::OwnOnceRenewed, "{choice}");
    holds(&session, &choice).await;

    host.openai.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));
    host.clock.advance(Duration::from_hours(2));
    in_time(session.acquire()).await.expect_err("the provider is down");
    let choice = session.explain().await.expect("explained");
    let own = &choice.candidates[0];
    assert_eq!(own.why, Why::OwnHeldBack, "{choice}");
    assert!(own.credential.reason().is_some_and(|reason| reason.contains("503")), "{choice}");
    assert!(choice.to_string().contains("503"), "the reason is told: {choice}");
    holds(&session, &choice).await;
}

#[tokio::test]
async fn a_token_that_is_refused_right_after_it_was_renewed_for_that_is_told_so_and_until_when() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    host.openai.faults().on(Endpoint::Resource).always(Fault::Status(401, String::new()));
    let call = async || {
        let reply = in_time(session.client().get("/v1/models").send()).await.expect("an answer");
        (reply.status().as_u16(), host.openai.refreshes())
    };
    let code = Method::AuthorizationCode;
    let ada = host.runtime.user("ada");
    let own = ada.credential("openai", code, &Label::default()).await.expect("a credential");
    assert_eq!(own.snapshot().kept_until(), None, "nobody has refused it");
    let since = host.clock.now().wall;

    assert_eq!(call().await, (401, 1), "renewed, and refused once more");
    assert!(own.snapshot().kept_until().is_some(), "the call has told before it returned");
    let choice = session.explain().await.expect("explained");
    let first = &choice.candidates[0];
    assert_eq!(first.why, Why::OwnRefusedTwice, "{choice}");
    let kept = first.credential.kept_until().expect("until when");
    assert_eq!(kept, since + Duration::from_secs(30));
    let time = humantime::format_rfc3339_millis(kept).to_string();
    assert!(first.told().starts_with("used, ") && first.told().contains(&time), "{choice}");
    assert!(choice.to_string().contains(&first.told()), "{choice}");
    // So it is: the same token is used, and nothing is renewed.
    holds(&session, &choice).await;
    let used = session.acquire().await.expect("usable").generation();
    assert_eq!(used, first.credential.generation());
    host.clock.advance(Duration::from_secs(29));
    assert_eq!(call().await, (401, 1));
    assert_eq!(session.explain().await.expect("explained").candidates[0].why, first.why);

    host.clock.advance(Duration::from_secs(1));
    let choice = session.explain().await.expect("explained");
    assert_eq!(choice.candidates[0].why, Why::Own, "{choice}");
    holds(&session, &choice).await;
    assert_eq!(call().await, (401, 2), "and the next refusal renews it");
}

#[tokio::test]
async fn a_token_that_is_refused_right_after_the_one_before_it_was_invalidated_is_not_told_as_two()
{
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let ada = host.runtime.user("ada");
    let code = Method::AuthorizationCode;
    let own = ada.credential("openai", code, &Label::default()).await.expect("a credential");
    own.invalidate().await.expect("taken");
    session.acquire().await.expect("renewed");
    host.openai.faults().on(Endpoint::Resource).always(Fault::Status(401, String::new()));
    let since = host.clock.now().wall;

    let reply = in_time(session.client().get("/v1/models").send()).await.expect("an answer");
    assert_eq!((reply.status().as_u16(), host.openai.refreshes()), (401, 1), "it is kept");
    let choice = session.explain().await.expect("explained");
    let first = &choice.candidates[0];
    assert_eq!(first.why, Why::OwnRefusedOnce, "{choice}");
    assert_eq!(first.credential.kept_until(), Some(since + Duration::from_secs(30)));
    holds(&session, &choice).await;

    own.invalidate().await.expect("taken");
    let choice = session.explain().await.expect("explained");
    assert_eq!(choice.candidates[0].why, Why::OwnOnceRenewed, "{choice}");
    assert_eq!(choice.candidates[0].credential.kept_until(), None, "it is out of use");
}

#[tokio::test]
async fn a_host_with_a_client_of_its_own_reports_the_second_refusal_itself() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let why = async || session.explain().await.expect("explained").candidates[0].why;
    let first = session.authentication().await.expect("signed in");
    let renewed = first.after_refusal().await.expect("a newer token");
    assert_eq!(why().await, Why::Own, "what it sends is its own matter");

    renewed.refused_again().await;
    assert_eq!(why().await, Why::OwnRefusedTwice);
    assert!(renewed.after_refusal().await.is_none(), "there is no other one");
    assert_eq!(host.openai.refreshes(), 1);

    // A report renews nothing, also where a refusal would.
    host.clock.advance(Duration::from_secs(30));
    renewed.refused_again().await;
    assert_eq!((why().await, host.openai.refreshes()), (Why::Own, 1));
}

#[tokio::test]
async fn a_key_that_stands_in_is_told_apart_from_one_that_may_not() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    lose_the_sign_in(&host).await;
    let requests = host.openai.counters();

    let choice = session.explain().await.expect("explained");
    assert!(choice.used().is_none(), "{choice}");
    let [own, key] = &choice.candidates[..] else { panic!("two: {choice}") };
    assert_eq!((own.why, key.why), (Why::OwnNeedsUser, Why::NotAllowed));
    let reason = own.credential.reason().expect("why it is over").to_owned();
    assert!(choice.to_string().contains(&reason), "{choice}");
    holds(&session, &choice).await;

    let ada = host.runtime.user("ada");
    ada.allow_fallback("openai", &Label::default()).await.expect("there is a key");
    let choice = session.explain().await.expect("explained");
    assert_eq!(choice.candidates[1].why, Why::StandsIn);
    assert_eq!(choice.used().expect("the key").credential.id().method, Method::ApiKey);
    assert_eq!(host.openai.counters(), requests, "nobody was asked");
    holds(&session, &choice).await;
}

#[tokio::test]
async fn what_was_signed_out_of_is_told_as_the_sessions_own() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    host.runtime.user("ada").sign_out("openai").await.expect("signed out");

    let choice = session.explain().await.expect("explained");

    assert_eq!(told(&choice), [("openai", Method::AuthorizationCode, Why::OwnIsSignedOut)]);
    holds(&session, &choice).await;
}

#[tokio::test]
async fn to_explain_is_no_activity_and_a_session_that_is_over_explains_nothing() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let before = session.last_activity();
    host.clock.advance(Duration::from_mins(10));
    session.explain().await.expect("explained");
    assert_eq!(session.last_activity(), before);

    let other = host.runtime.user("ada").open_session().await.expect("a session");
    other.close().await.expect("closed");
    assert!(other.explain().await.expect_err("gone").is_not_found());
    host.clock.advance(Duration::from_hours(25));
    assert!(session.explain().await.expect_err("over").is_expired());
}
