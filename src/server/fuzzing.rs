//! Doors for the fuzz targets to what the server reads of requests and of its records. They exist under `cfg(fuzzing)`
//! alone.

use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::application::{Application, ApplicationId};
use super::claims::{ACCESS_TOKEN, AccessClaims, Expectation};
use super::guard;
use super::jws::{self, KeySet, SigningAlgorithm, SigningKey};
use super::keys::KeyRing;
use super::refresh::{Family, ReadToken, RefreshTokens};
use super::request::{ClientCredentials, Parameters};
use super::scope::Scope;

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
const JSON: Option<&str> = Some("application/json");

/// Reads `body` as a form, by another reader than ours too, and looks for credentials in it.
pub fn form(body: &[u8]) {
    let Ok(parameters) = Parameters::parse(FORM, body) else { return };
    for (name, value) in form_urlencoded::parse(body) {
        assert_eq!(parameters.get(&name).unwrap_or_default(), value, "two readers, two meanings");
    }
    let _ = ClientCredentials::find(&HeaderMap::new(), &parameters);
}

/// Reads `body` as JSON, by another reader than ours too, and looks for credentials in it.
pub fn json(body: &[u8]) {
    let Ok(parameters) = Parameters::parse(JSON, body) else { return };
    let other: serde_json::Value = serde_json::from_slice(body).expect("it was read");
    for (name, value) in other.as_object().expect("an object") {
        let value = value.as_str().expect("a string");
        assert_eq!(parameters.get(name).unwrap_or_default(), value, "two readers, two meanings");
    }
    let _ = ClientCredentials::find(&HeaderMap::new(), &parameters);
}

/// Reads `bytes` as a header of HTTP Basic. What is found can be written so that it is found again.
pub fn basic(bytes: &[u8]) {
    let find = |header: &[u8]| {
        let header = HeaderValue::from_bytes(header).ok()?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
        ClientCredentials::find(&headers, &Parameters::none()).ok()
    };
    let Some(found) = find(bytes) else { return };
    let plain: String = form_urlencoded::byte_serialize(found.id.as_bytes())
        .chain([":"])
        .chain(form_urlencoded::byte_serialize(found.secret.as_bytes()))
        .collect();
    let engine = base64::engine::general_purpose::STANDARD;
    let again = format!("Basic {}", base64::Engine::encode(&engine, plain));
    let again = find(again.as_bytes()).expect("it is written as it should be");
    assert_eq!((again.id, again.secret), (found.id, found.secret));
}

/// Reads `bytes` as the header of a request to a guarded route. What is found stands in it.
pub fn bearer(bytes: &[u8]) {
    let Ok(header) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
    if let Ok(token) = guard::bearer_token(&headers) {
        assert!(bytes.ends_with(token.as_bytes()) && !token.contains(' '), "{token:?}");
    }
}

/// Reads `text` as a refresh token: nobody issued one.
pub fn refresh_token(text: &str) {
    let tokens = RefreshTokens::new(&[7; 32]);
    let application: ApplicationId = "app_fuzz".parse().expect("a name");
    assert!(matches!(tokens.read(text, &application), ReadToken::None), "nobody issued this");
}

/// Reads `bytes` as each of the records that the server keeps.
pub fn record(bytes: &[u8]) {
    let _ = Application::from_record(bytes);
    let _ = Family::from_record(bytes);
    let _ = KeyRing::from_record(bytes);
}

/// Verifies `text` as an access token, by a key that signs `payload` alone: nothing else is good.
pub fn access_token(text: &str, payload: &[u8]) {
    let seed = Zeroizing::new(vec![7; 32]);
    let key = SigningKey::from_secret(SigningAlgorithm::EdDsa, seed).expect("a key");
    let good = jws::sign(&key, ACCESS_TOKEN, payload).expect("signed");
    let keys: KeySet = [key.verification_key().clone()].into_iter().collect();
    assert_eq!(jws::verify(&keys, ACCESS_TOKEN, &good).ok().as_deref(), fits(&good, payload));
    if text != good {
        assert!(jws::verify(&keys, ACCESS_TOKEN, text).is_err(), "nobody signed this");
    }
    claims(payload);
    let _ = text.parse::<Scope>();
}

/// The payload, unless its token is longer than is looked at.
fn fits<'a>(token: &str, payload: &'a [u8]) -> Option<&'a [u8]> {
    (token.len() <= jws::LONGEST_TOKEN).then_some(payload)
}

/// Reads the claims of a token; those that are written are read as they were.
fn claims(payload: &[u8]) {
    let Ok(claims) = AccessClaims::parse(payload) else { return };
    let expected = Expectation {
        issuer: claims.issuer.clone(),
        audience: claims.audience[0].clone(),
        leeway: Duration::from_secs(30),
    };
    let is_whole = |time: Duration| time.subsec_nanos() == 0;
    for now in [Duration::ZERO, claims.issued_at, claims.expires_at, Duration::MAX] {
        let _ = claims.check(&expected, now);
    }
    let times = [Some(claims.issued_at), Some(claims.expires_at), claims.not_before];
    if times.into_iter().flatten().all(is_whole) {
        let again = AccessClaims::parse(&claims.to_payload()).expect("it was written by us");
        assert_eq!(again, claims);
    }
}
