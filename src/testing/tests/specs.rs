//! The catalogue's own specs against the simulations: what the crate sends is what the simulated
//! provider wants.

use super::*;
use crate::clock::Sources;
use crate::identity::Method;
use crate::oauth::{AuthorizationRequest, CodeExchange, Pkce, Transport};
use crate::provider::{
    FailureClass, Grant, Provider, ProviderSpec, Renewal, Revocation, RevocationOutcome,
};
use crate::secret::Secret;

fn transport() -> Transport {
    Transport::new(Sources::system()).expect("a transport")
}

/// Signs a user in through the spec: authorization URL, consent, exchange.
async fn granted(provider: &SimulatedProvider, spec: &ProviderSpec) -> Grant {
    let rules = spec.redirect().expect("a browser sign-in");
    let redirect_uri = format!("http://{}:50321{}", rules.host, rules.path);
    let pkce = Pkce::generate(&*Sources::system().entropy).expect("randomness");
    let state = Secret::new("state-of-a-test");
    let url = spec
        .authorization_url(&AuthorizationRequest {
            redirect_uri: &redirect_uri,
            code_challenge: &pkce.challenge,
            state: &state,
        })
        .expect("a url");
    let callback: Url = provider.approve(&url).expect("a good url").parse().expect("a url");
    let code = callback.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
    let exchange = CodeExchange {
        code: &Secret::new(&code),
        state: &state,
        redirect_uri: &redirect_uri,
        code_verifier: &pkce.verifier,
    };
    spec.exchange_code(&transport(), exchange).await.expect("a grant")
}

/// Whether a resource takes what the spec puts into the headers.
async fn is_served(
    provider: &SimulatedProvider,
    spec: &ProviderSpec,
    method: Method,
    secret: &Secret,
) -> bool {
    let headers = spec.headers(method, secret).expect("headers");
    let path = if provider.name() == "google" { "/v1beta/models" } else { "/v1/models" };
    send(client().get(provider.url(path)).headers(headers)).await.status.is_success()
}

fn by_refresh_token(grant: &Grant) -> Renewal<'_> {
    Renewal { method: Method::AuthorizationCode, refresh_token: grant.refresh_token.as_ref() }
}

#[tokio::test]
async fn a_user_signs_in_calls_and_renews_through_the_spec() {
    for builder in
        [SimulatedProvider::anthropic(), SimulatedProvider::openai(), SimulatedProvider::google()]
    {
        let provider = started(builder).await;
        let spec = provider.spec();
        let grant = granted(&provider, &spec).await;
        assert_eq!(grant.lifetime, Some(Duration::from_mins(1)));
        let method = Method::AuthorizationCode;
        assert!(is_served(&provider, &spec, method, &grant.access_token).await);
        provider.expire_access_tokens();
        assert!(!is_served(&provider, &spec, method, &grant.access_token).await);
        let renewed = spec.renew(&transport(), by_refresh_token(&grant)).await.expect("a grant");
        assert!(is_served(&provider, &spec, method, &renewed.access_token).await);
        let key = provider.issue_api_key();
        spec.check_api_key(&key).expect("the shape of a key");
        assert!(is_served(&provider, &spec, Method::ApiKey, &key).await);
    }
}

#[tokio::test]
async fn the_client_of_orange_is_served() {
    let provider = started(SimulatedProvider::orange()).await;
    let spec = provider.spec();
    let renewal = Renewal { method: Method::ClientCredentials, refresh_token: None };
    let grant = spec.renew(&transport(), renewal).await.expect("a grant");
    let headers = spec.headers(Method::ClientCredentials, &grant.access_token).expect("headers");
    let path = provider.url("/smsmessaging/v1/outbound/tel%3A%2B3361/requests");
    let reply = send(client().post(path).headers(headers).json(&sms())).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
}

#[tokio::test]
async fn a_grant_is_revoked_through_the_spec() {
    let provider = started(SimulatedProvider::openai()).await;
    let spec = provider.spec();
    let grant = granted(&provider, &spec).await;
    let revocation = Revocation {
        method: Method::AuthorizationCode,
        access_token: &grant.access_token,
        refresh_token: grant.refresh_token.as_ref(),
    };
    let outcome = spec.revoke(&transport(), revocation).await.expect("an answer");
    assert_eq!(outcome, RevocationOutcome::Revoked);
    let failure = spec.renew(&transport(), by_refresh_token(&grant)).await.expect_err("revoked");
    assert_eq!(failure.class, FailureClass::ReauthorizationRequired);
}

#[tokio::test]
async fn a_lost_answer_is_uncertain_and_a_second_attempt_tells() {
    for builder in [SimulatedProvider::anthropic(), SimulatedProvider::openai()] {
        let provider = started(builder).await;
        let spec = provider.spec();
        let grant = granted(&provider, &spec).await;
        provider.faults().next(1, Fault::LostAnswer);
        let lost = spec.renew(&transport(), by_refresh_token(&grant)).await.expect_err("lost");
        assert_eq!(lost.class, FailureClass::Uncertain);
        let again = spec.renew(&transport(), by_refresh_token(&grant)).await.expect_err("spent");
        assert_eq!(again.class, FailureClass::ReauthorizationRequired);
        assert_eq!((provider.refreshes(), provider.reused_refresh_tokens()), (1, 1));
    }
}

#[tokio::test]
async fn an_outage_spends_nothing() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let spec = provider.spec();
    let grant = granted(&provider, &spec).await;
    provider.stop().await.expect("stopped");
    let failure = spec.renew(&transport(), by_refresh_token(&grant)).await.expect_err("an outage");
    assert_eq!(failure.class, FailureClass::Transient { retry_after: None });
    provider.restart().await.expect("restarted");
    spec.renew(&transport(), by_refresh_token(&grant)).await.expect("a grant");
    assert_eq!(provider.reused_refresh_tokens(), 0);
}

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
