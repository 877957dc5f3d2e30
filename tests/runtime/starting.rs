//! What a runtime can not be started with is told before anything starts, all of it at once.

use std::time::Duration;

use tokenward::health::HealthPolicy;
use tokenward::oauth::Limits;
use tokenward::session::SessionPolicy;
use tokenward::{Runtime, Vault, catalog};

#[tokio::test]
async fn times_and_sizes_that_are_none_are_refused_by_name() {
    let zero = Duration::ZERO;
    let refused = Runtime::builder()
        .vault(Vault::in_memory())
        .provider(catalog::openai())
        .sessions(SessionPolicy { timeout: zero, sweep_every: zero })
        .health(HealthPolicy { every: zero, ..HealthPolicy::default() })
        .token_request_limits(Limits { connect: zero, deadline: zero, body: 0 })
        .start()
        .await
        .expect_err("refused");
    assert!(refused.is_configuration(), "{refused}");
    let told = refused.to_string();
    let told: Vec<_> = told.lines().skip(1).map(str::trim).collect();
    let expected = [
        "sessions.timeout (builder): is zero, set a longer time",
        "sessions.sweep_every (builder): is zero, set a longer time",
        "health.every (builder): is zero, set a longer time",
        "token_requests.connect (builder): is zero, set a longer time",
        "token_requests.deadline (builder): is zero, set a longer time",
        "token_requests.body (builder): is zero, so that no answer would fit",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_runtime_without_a_vault_is_refused_and_never_keeps_credentials_in_memory_alone() {
    let refused = Runtime::builder().provider(catalog::openai()).start().await;
    let refused = refused.expect_err("refused");
    assert!(refused.is_configuration() && refused.to_string().contains("vault"), "{refused}");
}
