//! The specs that point at the simulations. That they work over the wire is shown in
//! `tests/wire_simulated.rs`.

use super::*;

#[tokio::test]
async fn the_refresh_policy_is_in_proportion_to_the_lifetime_of_the_tokens() {
    let minute = started(SimulatedProvider::orange()).await.spec().refresh;
    assert_eq!(minute.threshold, Duration::from_secs(10));
    assert_eq!(minute.unusable_before_expiry, Duration::from_secs(5));
    let day = SimulatedProvider::orange().token_lifetime(Duration::from_hours(24));
    let day = started(day).await.spec().refresh;
    assert_eq!(day.threshold, Duration::from_mins(10));
    assert_eq!(day.unusable_before_expiry, Duration::from_mins(5));
}

#[tokio::test]
async fn the_spec_needs_no_further_setting() {
    for provider in every_provider().await {
        assert_eq!(provider.spec().problems(), [], "{}", provider.name());
    }
}

#[tokio::test]
async fn no_endpoint_of_the_real_provider_is_left() {
    for provider in every_provider().await {
        let spec = provider.spec();
        let endpoints = [
            Some(&spec.base_url),
            spec.oauth.token_endpoint.as_ref(),
            spec.oauth.authorization_endpoint.as_ref(),
            spec.oauth.revocation_endpoint.as_ref(),
            spec.oauth.device.endpoint.as_ref(),
            spec.oauth.device.poll_endpoint.as_ref(),
            spec.oauth.device.verification_uri.as_ref(),
        ];
        for endpoint in endpoints.into_iter().flatten() {
            assert_eq!(endpoint.origin(), provider.base_url().origin(), "{}", provider.name());
        }
    }
}

#[tokio::test]
async fn the_ports_of_the_redirect_are_those_that_the_simulation_accepts() {
    let ports = |spec: crate::provider::ProviderSpec| spec.oauth.redirect.map(|rules| rules.ports);
    let any = started(SimulatedProvider::openai()).await.spec();
    assert_eq!(ports(any), Some(Vec::new()));
    let some = SimulatedProvider::openai().redirect_ports(&[1455, 1457]);
    assert_eq!(ports(started(some).await.spec()), Some(vec![1455, 1457]));
}
