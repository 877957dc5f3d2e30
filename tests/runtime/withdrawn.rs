//! A stored sign-in whose method the settings do not offer any more: it is not used, stands in
//! nobody's way, and can be got rid of.

use tokenward::identity::{Label, Method};
use tokenward::provider::ProviderSpec;

use crate::host::Host;

/// Settings by which API keys are all that is left.
fn keys_alone(mut spec: ProviderSpec) -> ProviderSpec {
    if spec.methods.contains(&Method::ApiKey) {
        spec.methods = vec![Method::ApiKey];
    }
    spec
}

/// Ada is signed in by code, and codes are offered no more.
async fn signed_in_by_what_is_not_offered() -> Host {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    host.restart_with(keys_alone).await;
    host
}

/// The former settings show that nothing was left.
async fn is_gone(mut host: Host) {
    assert_eq!(host.openai.counters().revocation_requests, 1, "it was revoked");
    host.restart().await;
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_user_can_be_erased_whose_sign_in_is_of_a_method_that_is_not_offered_any_more() {
    let host = signed_in_by_what_is_not_offered().await;
    host.runtime.user("ada").erase().await.expect("erased");
    is_gone(host).await;
}

#[tokio::test]
async fn a_sign_out_reaches_what_is_not_offered_any_more() {
    let host = signed_in_by_what_is_not_offered().await;
    let done = host.runtime.user("ada").sign_out("openai").await.expect("signed out");
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].0.method, Method::AuthorizationCode);
    assert!(done[0].1.revoked, "by the provider, which is still there");
    let again = host.runtime.user("ada").sign_out("openai").await.expect("nothing is left");
    assert!(again.is_empty());
    is_gone(host).await;
}

#[tokio::test]
async fn a_session_goes_on_by_what_is_offered_still() {
    let mut host = Host::start().await;
    let ada = host.runtime.user("ada");
    host.sign_in_openai("ada").await;
    let session = ada.open_session().await.expect("a session").id();
    let by_code = ada.session(&session).await.expect("open").use_provider("openai").await;
    assert_eq!(by_code.expect("signed in").method, Method::AuthorizationCode);
    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");

    host.restart_with(keys_alone).await;
    let ada = host.runtime.user("ada");
    let preferred = ada.preferred_credential("openai").await.expect("there is a key");
    assert_eq!(preferred.id().method, Method::ApiKey);
    let session = ada.session(&session).await.expect("still open");
    let by_key = session.use_provider("openai").await.expect("by what is left");
    assert_eq!(by_key.method, Method::ApiKey);
    session.client().get("/v1/models").send().await.expect("an answer");
}

#[tokio::test]
async fn whoever_is_signed_in_by_nothing_that_is_offered_is_told_to_sign_in() {
    let host = signed_in_by_what_is_not_offered().await;
    let ada = host.runtime.user("ada");
    let error = ada.preferred_credential("openai").await.expect_err("not by a code");
    assert!(error.needs_reauthorization(), "{error}");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect_err("nothing can be used");
    let error = ada
        .credential("openai", Method::AuthorizationCode, &Label::default())
        .await
        .expect_err("not offered");
    assert!(error.is_invalid_input(), "{error}");
    assert!(ada.credentials().await.expect("a list").is_empty());
}
