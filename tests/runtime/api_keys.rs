//! API keys that are checked at the provider before they are stored.

use std::time::Duration;

use tokenward::event::EventKind;
use tokenward::testing::{Endpoint, Fault};

use crate::host::{Host, until};

#[tokio::test]
async fn a_key_that_the_provider_takes_is_stored() {
    let host = Host::start().await;
    for (provider, path, query) in [
        (&host.anthropic, "/v1/models", Some("limit=1")),
        (&host.openai, "/v1/models", None),
        (&host.google, "/v1beta/models", Some("pageSize=1")),
    ] {
        let key = provider.issue_api_key();
        let ada = host.runtime.user("ada");
        let id = ada.sign_in(provider.name()).with_verified_api_key(key).await;
        let credential = host.runtime.credential(&id.expect("stored")).await.expect("there");
        credential.acquire().await.expect("usable");
        let asked = provider.requests_at(Endpoint::Resource);
        assert_eq!(asked.len(), 1, "one look");
        assert_eq!((asked[0].path.as_str(), asked[0].query.as_deref()), (path, query));
        assert_eq!(asked[0].method, "GET");
        assert!(asked[0].body.is_empty() && asked[0].header("content-length").is_none());
    }
    let asked = host.anthropic.requests_at(Endpoint::Resource).pop().expect("a look");
    let names = asked.header_names();
    assert_eq!(names[..3], ["x-api-key", "anthropic-version", "anthropic-beta"]);
}

/// Google says 400 where the others say 401.
#[tokio::test]
async fn a_key_that_the_provider_does_not_take_is_not_stored() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    for (provider, key) in
        [("anthropic", "sk-ant-api03-canary"), ("openai", "sk-canary"), ("google", "AIza-canary")]
    {
        let error = ada.sign_in(provider).with_verified_api_key(key).await.expect_err("refused");
        assert!(error.is_invalid_input(), "{provider}: {error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    assert!(ada.credentials().await.expect("a list").is_empty());

    let error = ada.sign_in("anthropic").with_verified_api_key("hunter2").await;
    assert!(error.expect_err("no key").is_invalid_input());
    assert_eq!(host.anthropic.counters().resource_requests, 1, "its shape was enough");
}

#[tokio::test]
async fn a_key_about_which_the_provider_says_nothing_is_not_stored() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let key = host.openai.issue_api_key();
    let faults = host.openai.faults().on(Endpoint::Resource);
    let wait = Some(Duration::from_secs(40));
    for (fault, transient, retry_after) in [
        (Fault::Status(503, String::new()), true, None),
        (Fault::LostAnswer, true, None),
        (Fault::RateLimited { retry_after: wait }, true, wait),
        (Fault::Status(403, String::new()), false, None),
        (Fault::Status(404, String::new()), false, None),
    ] {
        faults.next(1, fault.clone());
        let error = ada.sign_in("openai").with_verified_api_key(key.clone()).await;
        let error = error.expect_err("no word on the key");
        assert_eq!(error.is_transient(), transient, "{fault}: {error}");
        assert_eq!(error.retry_after(), retry_after, "{fault}");
        assert!(!error.is_invalid_input(), "{fault}: it is not the key's fault");
    }
    assert!(ada.credentials().await.expect("a list").is_empty());
    ada.sign_in("openai").with_verified_api_key(key).await.expect("stored");
}

/// Also by client credentials, which need no user either.
#[tokio::test]
async fn a_sign_in_that_fails_is_told_and_counted_once() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let mut events = host.runtime.events();
    let key = "sk-ant-api03-canary";
    let misshapen = "hunter2-canary";
    ada.sign_in("anthropic").with_api_key(misshapen).await.expect_err("no key");
    ada.sign_in("anthropic").with_verified_api_key(misshapen).await.expect_err("no key");
    ada.sign_in("anthropic").with_verified_api_key(key).await.expect_err("it is not taken");
    host.orange.faults().on(Endpoint::Token).next(1, Fault::Status(503, String::new()));
    ada.sign_in("orange").with_client_credentials().await.expect_err("it fails for now");

    for expected in [
        "ada/anthropic/api-key",
        "ada/anthropic/api-key",
        "ada/anthropic/api-key",
        "ada/orange/client-credentials",
    ] {
        let failed = |kind: &EventKind| matches!(kind, EventKind::SignInFailed { .. });
        let EventKind::SignInFailed { credential, reason, .. } = until(&mut events, failed).await
        else {
            unreachable!("it was looked for");
        };
        assert_eq!(credential.to_string(), expected);
        assert!(!reason.is_empty() && !reason.contains("canary"), "{reason}");
    }
    let metrics = host.runtime.metrics().encode();
    for (provider, failures) in [("anthropic", 3), ("orange", 1)] {
        let sample = format!(
            "tokenward_sign_ins_total{{provider=\"{provider}\",outcome=\"failed\"}} {failures}\n"
        );
        assert!(metrics.contains(&sample), "{sample}{metrics}");
    }
}
