//! The way from a registered application to a guarded route, and what ends it.

use tokenward::server::ApplicationChange;

use crate::host::{Host, part};

#[tokio::test]
async fn an_application_gets_a_token_and_calls_until_it_is_disabled_also_after_a_restart() {
    let mut host = Host::start().await;
    let reader = host.register("memories:read").await;
    let writer = host.register("memories:write").await;

    let answer = host.ask(&reader, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let called = host.call(&token).await;
    assert_eq!(called.status, 200, "{called:?}");
    assert_eq!(called.body, format!("{} may memories:read", reader.application.id()));

    let refused = host.call(&host.token(&writer).await).await;
    assert_eq!((refused.status, refused.error().as_str()), (403, "insufficient_scope"));

    host.restart().await;
    assert_eq!(host.call(&token).await.status, 200, "the same token, after a restart");
    assert_eq!(host.ask(&reader, "").await.status, 200, "and the same secret");

    let disable = ApplicationChange::new().enabled(false);
    host.server.issuer().change(reader.application.id(), disable).await.expect("disabled");
    assert_eq!(host.call(&token).await.status, 401, "the same token, refused at once");
    assert_eq!(host.ask(&reader, "").await.error(), "invalid_client");
    host.restart().await;
    assert_eq!(host.call(&token).await.status, 401, "and it stays so");

    let enable = ApplicationChange::new().enabled(true);
    host.server.issuer().change(reader.application.id(), enable).await.expect("enabled");
    assert_eq!(host.call(&token).await.status, 200);
}

#[tokio::test]
async fn a_permission_that_is_taken_away_is_taken_from_tokens_that_were_issued_before() {
    let host = Host::start().await;
    let application = host.register("memories:read memories:write").await;
    let token = host.token(&application).await;
    assert_eq!(host.call(&token).await.status, 200);

    let less = ApplicationChange::new().permissions("memories:write".parse().expect("a scope"));
    host.server.issuer().change(application.application.id(), less).await.expect("changed");
    assert_eq!(host.call(&token).await.status, 403);
    assert_eq!(part(&token, 1)["scope"], "memories:read memories:write", "whatever it says");
}

#[tokio::test]
async fn tokens_are_issued_and_verified_while_the_issuer_is_restarted() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    assert!(host.runtime.crash_actor("token-issuer").await);
    let token = host.token(&application).await;
    assert_eq!(host.call(&token).await.status, 200);
    host.register("memories:read").await;
    assert_eq!(host.server.issuer().applications().len(), 2, "it is back, and knows everything");
}
