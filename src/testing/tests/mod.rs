//! The simulated providers, as a plain HTTP client sees them.

mod devices;
mod faults;
mod flows;
mod outages;
mod refusals;
mod resources;
mod specs;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use url::Url;

use super::{Endpoint, Fault, Gate, ManualClock, SimulatedProvider, SimulatedProviderBuilder};

/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const OPENAI_REDIRECT: &str = "http://localhost:1455/auth/callback";
const GOOGLE_REDIRECT: &str = "http://127.0.0.1:50123/oauth2callback";
const ANTHROPIC_PAGE: &str = "https://console.anthropic.com/oauth/code/callback";

/// A plain client, with no process-wide TLS provider.
fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client")
}

fn clock() -> Arc<ManualClock> {
    ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000))
}

async fn started(builder: SimulatedProviderBuilder) -> SimulatedProvider {
    builder.start().await.expect("the loopback address is there")
}

/// An answer that was read to its end.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    json: Value,
}

async fn send(request: RequestBuilder) -> Reply {
    try_send(request).await.expect("an answer")
}

async fn try_send(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ok(Reply { status, headers, text, json })
}

type Pairs<'a> = Vec<(&'a str, String)>;

/// `pairs` with another value for `name`, or without it.
fn with<'a>(pairs: &Pairs<'a>, name: &'a str, value: Option<&str>) -> Pairs<'a> {
    let mut pairs: Pairs<'a> = pairs.iter().filter(|(key, _)| *key != name).cloned().collect();
    pairs.extend(value.map(|value| (name, value.to_owned())));
    pairs
}

fn url_with(endpoint: &Url, query: &Pairs<'_>) -> String {
    let mut url = endpoint.clone();
    url.query_pairs_mut().extend_pairs(query);
    url.into()
}

/// What an authorization URL of each provider has.
fn authorization(provider: &SimulatedProvider) -> Pairs<'static> {
    let (redirect_uri, scope) = match provider.name() {
        "anthropic" => (ANTHROPIC_PAGE, "user:inference"),
        "openai" => (OPENAI_REDIRECT, "openid offline_access"),
        _ => (GOOGLE_REDIRECT, "https://www.googleapis.com/auth/cloud-platform"),
    };
    let pairs = [
        ("response_type", "code"),
        ("client_id", provider.client_id()),
        ("redirect_uri", redirect_uri),
        ("scope", scope),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "state-1"),
        ("code", "true"),
        ("access_type", "offline"),
        ("prompt", "consent"),
    ];
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

fn authorization_url(provider: &SimulatedProvider) -> String {
    let endpoint = provider.authorization_endpoint().expect("it has users");
    url_with(&endpoint, &authorization(provider))
}

/// The code that follows from a consent.
fn code(provider: &SimulatedProvider) -> String {
    let callback = provider.approve(&authorization_url(provider)).expect("a good url");
    let callback: Url = callback.parse().expect("a url");
    let code = callback.query_pairs().find(|(name, _)| name == "code").expect("a code");
    code.1.into_owned()
}

/// What an exchange of a fresh code has.
fn exchange(provider: &SimulatedProvider) -> Pairs<'static> {
    let redirect_uri = authorization(provider).swap_remove(2).1;
    let mut pairs = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", code(provider)),
        ("redirect_uri", redirect_uri),
        ("client_id", provider.client_id().to_owned()),
        ("code_verifier", VERIFIER.to_owned()),
    ];
    match provider.name() {
        "anthropic" => pairs.push(("state", "state-1".to_owned())),
        "google" => pairs.push(("client_secret", secret_of(provider))),
        _ => {}
    }
    pairs
}

/// What a renewal has.
fn renewal(provider: &SimulatedProvider, refresh_token: &str) -> Pairs<'static> {
    let mut pairs = vec![
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", refresh_token.to_owned()),
        ("client_id", provider.client_id().to_owned()),
    ];
    if provider.name() == "google" {
        pairs.push(("client_secret", secret_of(provider)));
    }
    pairs
}

fn secret_of(provider: &SimulatedProvider) -> String {
    provider.client_secret().expect("it has a secret").expose().to_owned()
}

/// A token request, encoded as the provider wants it.
fn token_request(provider: &SimulatedProvider, fields: &Pairs<'_>) -> RequestBuilder {
    let request = client().post(provider.token_endpoint());
    match provider.name() {
        "anthropic" => {
            request.json(&fields.iter().cloned().collect::<std::collections::HashMap<_, _>>())
        }
        "orange" => request
            .header("accept", "application/json")
            .basic_auth(provider.client_id(), Some(secret_of(provider)))
            .form(fields),
        _ => request.form(fields),
    }
}

async fn token(provider: &SimulatedProvider, fields: &Pairs<'_>) -> Reply {
    send(token_request(provider, fields)).await
}

/// Signs in and gives the answer of the token endpoint.
async fn signed_in(provider: &SimulatedProvider) -> Value {
    let fields = match provider.name() {
        "orange" => vec![("grant_type", "client_credentials".to_owned())],
        _ => exchange(provider),
    };
    let reply = token(provider, &fields).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.json
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("{member} is missing in {answer}"))
}

/// A cheap request to a resource, with an access token.
fn resource_request(provider: &SimulatedProvider, access_token: &str) -> RequestBuilder {
    let client = client();
    let request = match provider.name() {
        "anthropic" => client
            .get(provider.url("/v1/models"))
            .header("anthropic-version", "2023-06-01")
            .header("anthropic-beta", "oauth-2025-04-20"),
        "openai" => client.get(provider.url("/v1/models")),
        "google" => client.get(provider.url("/v1beta/models")),
        _ => client
            .post(provider.url("/smsmessaging/v1/outbound/tel%3A%2B3361/requests"))
            .json(&sms()),
    };
    request.bearer_auth(access_token)
}

fn sms() -> Value {
    json!({ "outboundSMSMessageRequest": {
        "address": "tel:+33612345678",
        "senderAddress": "tel:+3361",
        "outboundSMSTextMessage": { "message": "hello" },
    } })
}

async fn every_provider() -> [SimulatedProvider; 5] {
    [
        started(SimulatedProvider::anthropic()).await,
        started(SimulatedProvider::openai()).await,
        started(SimulatedProvider::google()).await,
        started(SimulatedProvider::orange()).await,
        started(SimulatedProvider::github_copilot()).await,
    ]
}
