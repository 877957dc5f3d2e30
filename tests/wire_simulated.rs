//! The catalogue meets the simulated providers, which are as strict as the real ones: sign-in,
//! renewal, use and revocation, and what each fault on the way means for a credential.

mod common;

use std::time::Duration;

use common::http_client;
use tokenward::clock::{Sources, SystemEntropy};
use tokenward::identity::Method;
use tokenward::oauth::{Limits, Pkce, Transport};
use tokenward::provider::{
    AuthorizationRequest, CodeExchange, Failure, FailureClass, Grant, Provider, ProviderSpec,
    Renewal, Revocation, RevocationOutcome,
};
use tokenward::secret::Secret;
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};
use url::Url;

const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };

fn transport() -> Transport {
    Transport::new(Sources::system()).expect("a transport")
}

fn redirect_uri(spec: &ProviderSpec) -> String {
    let rules = spec.redirect().expect("a browser sign-in");
    let port = rules.ports.first().copied().unwrap_or(40_404);
    format!("http://{}:{port}{}", rules.host, rules.path)
}

/// Signs in as a user with a browser would.
async fn sign_in(provider: &SimulatedProvider) -> Grant {
    let (spec, transport) = (provider.spec(), transport());
    let redirect_uri = redirect_uri(&spec);
    let pkce = Pkce::generate(&SystemEntropy::new()).expect("randomness");
    let state = Secret::new("a-state-of-this-sign-in");
    let request = AuthorizationRequest::new(&redirect_uri, &pkce.challenge, &state);
    let url = spec.authorization_url(&request).expect("a url");
    let callback = provider.approve(&url).expect("the provider accepts the url");
    let callback = Url::parse(&callback).expect("a url");
    let code = callback.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
    let code = Secret::new(&code);
    let exchange = CodeExchange::new(&code, &state, &redirect_uri, &pkce.verifier);
    spec.exchange_code(&transport, exchange).await.expect("a grant")
}

async fn refresh(
    spec: &ProviderSpec,
    transport: &Transport,
    token: &Secret,
) -> Result<Grant, Failure> {
    let renewal = Renewal::new(Method::AuthorizationCode, Some(token), None);
    spec.renew(transport, renewal).await
}

async fn models(spec: &ProviderSpec, path: &str, method: Method, secret: &Secret) -> u16 {
    let url = spec.base_url.join(path).expect("a url");
    let headers = spec.headers(method, secret).expect("headers");
    let answer = http_client().get(url).headers(headers).send().await.expect("an answer");
    answer.status().as_u16()
}

#[tokio::test]
async fn a_browser_sign_in_is_accepted_used_renewed_and_revoked() {
    let cases = [
        (SimulatedProvider::anthropic(), "/v1/models", RevocationOutcome::NotOffered),
        (SimulatedProvider::openai(), "/v1/models", RevocationOutcome::Revoked),
        (SimulatedProvider::google(), "/v1beta/models", RevocationOutcome::Revoked),
    ];
    for (builder, path, revoked) in cases {
        let provider = builder.start().await.expect("a simulated provider");
        let (name, spec, transport) = (provider.name(), provider.spec(), transport());
        assert_eq!(spec.problems(), [], "{name}");

        let grant = sign_in(&provider).await;
        assert_eq!(grant.lifetime, Some(Duration::from_mins(1)), "{name}");
        assert!(grant.server_date.is_some(), "{name}");
        let method = Method::AuthorizationCode;
        assert_eq!(models(&spec, path, method, &grant.access_token).await, 200, "{name}");

        let first = grant.refresh_token.expect("a refresh token");
        let renewed = refresh(&spec, &transport, &first).await.expect("a grant");
        assert_ne!(renewed.access_token, grant.access_token, "{name}");
        assert_eq!(models(&spec, path, method, &renewed.access_token).await, 200, "{name}");

        assert_eq!(renewed.refresh_token.is_some(), name != "google", "{name} rotates, or not");
        let current = renewed.refresh_token.unwrap_or(first);
        let revocation = Revocation::new(method, &renewed.access_token, Some(&current));
        assert_eq!(spec.revoke(&transport, revocation).await, Ok(revoked), "{name}");
        if revoked == RevocationOutcome::Revoked {
            let failure = refresh(&spec, &transport, &current).await.expect_err("revoked");
            assert_eq!(failure.class, FailureClass::ReauthorizationRequired, "{name}");
        }
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_spent_again_ends_the_grant() {
    for builder in [SimulatedProvider::anthropic(), SimulatedProvider::openai()] {
        let provider = builder.start().await.expect("a simulated provider");
        let (spec, transport) = (provider.spec(), transport());
        let token = sign_in(&provider).await.refresh_token.expect("a refresh token");
        refresh(&spec, &transport, &token).await.expect("a grant");
        let failure = refresh(&spec, &transport, &token).await.expect_err("spent");
        assert_eq!(failure.class, FailureClass::ReauthorizationRequired, "{}", failure.reason);
    }
}

#[tokio::test]
async fn openai_names_the_account() {
    let provider = SimulatedProvider::openai().account("acct-ada").start().await.expect("started");
    assert_eq!(sign_in(&provider).await.account.as_deref(), Some("acct-ada"));
}

#[tokio::test]
async fn api_keys_are_accepted_in_shape_and_in_use() {
    let cases = [
        (SimulatedProvider::anthropic(), "/v1/models"),
        (SimulatedProvider::openai(), "/v1/models"),
        (SimulatedProvider::google(), "/v1beta/models"),
    ];
    for (builder, path) in cases {
        let provider = builder.start().await.expect("a simulated provider");
        let (spec, key) = (provider.spec(), provider.issue_api_key());
        spec.check_api_key(&key).expect("a key of the right shape");
        assert_eq!(models(&spec, path, Method::ApiKey, &key).await, 200, "{}", provider.name());
    }
}

#[tokio::test]
async fn orange_grants_to_the_client_and_refuses_a_wrong_secret() {
    let provider = SimulatedProvider::orange().start().await.expect("a simulated provider");
    let (spec, transport) = (provider.spec(), transport());
    let renewal = Renewal::new(Method::ClientCredentials, None, None);
    let grant = spec.renew(&transport, renewal).await.expect("a grant");
    assert_eq!(grant.lifetime, Some(Duration::from_mins(1)));
    assert_eq!(grant.refresh_token, None);

    let wrong = spec.client_secret("wrong");
    let failure = wrong.renew(&transport, renewal).await.expect_err("refused");
    assert_eq!(failure.class, FailureClass::Misconfigured);
}

#[tokio::test]
async fn each_fault_has_its_meaning_for_a_refresh() {
    let protocol = FailureClass::Protocol;
    let uncertain = FailureClass::Uncertain;
    let wait = Some(Duration::from_secs(9));
    let limited = Fault::RateLimited { retry_after: wait };
    for (fault, class) in [
        (Fault::ResetBeforeHeaders, uncertain),
        (Fault::ResetAfterHeaders, uncertain),
        (Fault::ResetMidBody, uncertain),
        (Fault::LostAnswer, uncertain),
        (Fault::Hang, uncertain),
        (Fault::Status(503, String::new()), TRANSIENT),
        (Fault::ServerErrorInvalidGrant, TRANSIENT),
        (limited, FailureClass::RateLimited { retry_after: wait }),
        (Fault::Html200, protocol),
        (Fault::TornJson, protocol),
        (Fault::Garbage, protocol),
        (Fault::Huge, protocol),
        (Fault::SetField("expires_in".to_owned(), (-1).into()), protocol),
        (Fault::RemoveField("access_token".to_owned()), protocol),
    ] {
        let provider = SimulatedProvider::anthropic().start().await.expect("started");
        let spec = provider.spec();
        let token = sign_in(&provider).await.refresh_token.expect("a refresh token");
        provider.faults().on(Endpoint::Token).next(1, fault.clone());
        let limits = Limits { deadline: Duration::from_millis(500), ..Limits::default() };
        let limits = if fault == Fault::Hang { limits } else { Limits::default() };
        let transport = Transport::with_limits(Sources::system(), limits).expect("a transport");
        let failure = refresh(&spec, &transport, &token).await.expect_err("a fault");
        assert_eq!(failure.class, class, "{fault}: {}", failure.reason);
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_transient() {
    let provider = SimulatedProvider::openai().start().await.expect("started");
    let token = sign_in(&provider).await.refresh_token.expect("a refresh token");
    let spec = provider.spec();
    provider.stop().await.expect("stopped");
    let failure = refresh(&spec, &transport(), &token).await.expect_err("nobody there");
    assert_eq!(failure.class, TRANSIENT, "{}", failure.reason);
    provider.restart().await.expect("started again");
    refresh(&spec, &transport(), &token).await.expect("nothing was spent");
}
