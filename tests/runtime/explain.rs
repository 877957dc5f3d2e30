//! R7: which credential would be used, and why the others would not.

use std::time::Duration;

use tokenward::identity::{Label, Method};
use tokenward::runtime::{Choice, Why};
use tokenward::testing::{Endpoint, Fault};

use crate::fallback::{lose_the_sign_in, signed_in_twice};
use crate::host::Host;

/// Why each credential would be used or not, by its provider and method.
fn told(choice: &Choice) -> Vec<(&str, Method, Why)> {
    let of = |candidate: &'_ tokenward::runtime::Candidate| candidate.why;
    let named = choice.candidates.iter().map(|it| {
        let id = it.credential.id();
        (id.provider.as_str(), id.method, of(it))
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

#[tokio::test]
async fn a_token_that_is_over_is_renewed_first_and_that_is_told() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    host.openai.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));
    host.clock.advance(Duration::from_hours(2));
    session.acquire().await.expect_err("the provider is down");

    let choice = session.explain().await.expect("explained");

    let own = &choice.candidates[0];
    assert_eq!(own.why, Why::OwnOnceRenewed);
    assert!(own.credential.reason().is_some_and(|reason| reason.contains("503")), "{choice}");
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
    assert!(choice.to_string().contains("sign in"), "{choice}");

    let ada = host.runtime.user("ada");
    ada.allow_fallback("openai", &Label::default()).await.expect("there is a key");
    let choice = session.explain().await.expect("explained");
    assert_eq!(choice.candidates[1].why, Why::StandsIn);
    assert_eq!(choice.used().expect("the key").credential.id().method, Method::ApiKey);
    assert_eq!(host.openai.counters(), requests, "nobody was asked");
}

#[tokio::test]
async fn what_was_signed_out_of_is_told_as_the_sessions_own() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    host.runtime.user("ada").sign_out("openai").await.expect("signed out");

    let choice = session.explain().await.expect("explained");

    assert_eq!(told(&choice), [("openai", Method::AuthorizationCode, Why::OwnIsSignedOut)]);
}

#[tokio::test]
async fn to_explain_is_no_activity_and_a_session_that_is_over_explains_nothing() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let before = session.last_activity();
    host.clock.advance(Duration::from_mins(10));
    session.explain().await.expect("explained");
    assert_eq!(session.last_activity(), before);

    session.close().await.expect("closed");
    assert!(session.explain().await.expect_err("gone").is_not_found());
}
