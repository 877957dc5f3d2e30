//! The way from a registered application to a guarded route, and what ends it.

use std::time::Duration;

use tokenward::server::{ApplicationChange, ApplicationSpec};

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
    assert_eq!(host.call(&token).await.status, 401, "what was disabled stays over");
    assert_eq!(host.call(&host.token(&reader).await).await.status, 200);
}

#[tokio::test]
async fn a_token_is_over_with_its_grants_whatever_the_clock_says() {
    let mut host = Host::start().await;
    let mut application = host.register("memories:read").await;
    let id = application.application.id().clone();
    let of_before = host.token(&application).await;
    let soft = host.server.issuer().rotate_secret(&id, Duration::from_hours(1)).await;
    assert_eq!(host.call(&of_before).await.status, 200, "an overlap ends nothing");
    let hard = host.server.issuer().rotate_secret(&id, Duration::ZERO).await.expect("a secret");
    assert_eq!(host.call(&of_before).await.status, 401, "in the same instant");
    drop(soft);
    application.secret = hard;
    let token = host.token(&application).await;
    host.restart().await;
    assert_eq!(host.call(&token).await.status, 200);
    assert_eq!(host.call(&of_before).await.status, 401);

    // Registered again under the same id, it is another application.
    host.server.issuer().remove(&id).await.expect("removed");
    let again =
        ApplicationSpec::new("again").id(id).permissions("memories:read".parse().expect(""));
    host.server.issuer().register(again).await.expect("registered");
    assert_eq!(host.call(&token).await.status, 401);
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
