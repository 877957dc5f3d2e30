//! The published keys and metadata, and what other implementations make of our tokens.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokenward::server::jws::{SigningAlgorithm, VerificationKey};
use tokenward::server::{ApplicationSpec, KeyRotation, ServerSettings};
use tokenward::vault::{Query, RecordKind};

use crate::host::{AUDIENCE, Host, ISSUER, part};

async fn key_ids(host: &Host) -> Vec<String> {
    let jwks = host.get("/.well-known/jwks.json", &[]).await.json();
    let keys = jwks["keys"].as_array().expect("a list").clone();
    keys.iter().map(|key| key["kid"].as_str().expect("text").to_owned()).collect()
}

/// Waits until so many keys are published, which they have to be before long.
async fn until_published(host: &Host, count: usize) {
    let waiting = async {
        while key_ids(host).await.len() != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), waiting).await.expect("they are published");
}

#[tokio::test]
async fn s_jwks_1_another_implementation_verifies_our_tokens_by_the_published_keys() {
    for (algorithm, theirs) in
        [(SigningAlgorithm::EdDsa, Algorithm::EdDSA), (SigningAlgorithm::Es256, Algorithm::ES256)]
    {
        let settings = ServerSettings::new(ISSUER, AUDIENCE).signing_algorithm(algorithm);
        let host = Host::with(settings).await;
        let token = host.token(&host.register("memories:read").await).await;
        assert_eq!(host.call(&token).await.status, 200);

        let answer = host.get("/.well-known/jwks.json", &[]).await;
        assert_eq!(answer.header("cache-control"), Some("public, max-age=600"));
        let published: JwkSet = serde_json::from_str(&answer.body).expect("a key set");
        let named = part(&token, 0)["kid"].as_str().expect("text").to_owned();
        let key = DecodingKey::from_jwk(published.find(&named).expect("published")).expect("a key");
        let mut validation = Validation::new(theirs);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        // The time of this test is not that of the machine.
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("good");
        assert_eq!(read.claims, part(&token, 1));
    }
}

#[tokio::test]
async fn s_jwks_2_a_key_is_published_before_it_signs_and_kept_while_its_tokens_live() {
    let mut host = Host::start().await;
    let application = host.register("memories:read").await;
    let before = key_ids(&host).await;
    host.server.issuer().rotate_signing_key(KeyRotation::Ordinary).await.expect("rotated");
    assert_eq!(key_ids(&host).await.len(), 2, "published at once");

    let signed_by = |token: &str| part(token, 0)["kid"].as_str().expect("text").to_owned();
    host.clock.advance(Duration::from_secs(11 * 60 - 1));
    let last = host.token(&application).await;
    assert_eq!(signed_by(&last), before[0], "others may not have seen the new one yet");
    host.clock.advance(Duration::from_secs(1));
    let first = host.token(&application).await;
    assert_ne!(signed_by(&first), before[0]);

    host.restart().await;
    assert_eq!(host.call(&last).await.status, 200, "and both are kept over a restart");
    assert_eq!(host.call(&first).await.status, 200);
    host.clock.advance(Duration::from_mins(11));
    until_published(&host, 1).await;
    assert!(!key_ids(&host).await.contains(&before[0]), "the old one goes when nobody needs it");
}

#[tokio::test]
async fn s_jwks_2_keys_rotate_by_themselves() {
    let host = Host::start().await;
    let before = key_ids(&host).await;
    host.clock.advance(Duration::from_hours(30 * 24));
    until_published(&host, 2).await;
    assert!(key_ids(&host).await.contains(&before[0]), "beside the old one");
}

/// A token that a former server signed by RS256, and its key.
fn of_a_former_server() -> (String, VerificationKey) {
    let vector: Value =
        serde_json::from_str(include_str!("../../src/server/jws/tests/rs256.json")).expect("json");
    let token = vector["token"].as_str().expect("text").to_owned();
    let part = |name: &str| {
        use base64::Engine as _;
        let text = vector[name].as_str().expect("text");
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    let key = VerificationKey::rsa(&part("modulus"), &part("exponent")).expect("a key");
    (token, key.with_id("of-a-former-server"))
}

/// The application that it was issued to.
fn spec_of_its_application() -> ApplicationSpec {
    ApplicationSpec::new("of a former server")
        .id("app_one".parse().expect("an id"))
        .permissions("memories:read".parse().expect("a scope"))
}

#[tokio::test]
async fn s_jwt_1_a_token_that_a_former_server_signed_by_rs256_is_taken_where_its_key_is_trusted() {
    let (token, key) = of_a_former_server();
    let token = token.as_str();
    let trusting = ServerSettings::new(ISSUER, AUDIENCE).trusted_key(key);
    for (settings, status, denials) in
        [(trusting, 200, 1), (ServerSettings::new(ISSUER, AUDIENCE), 401, 0)]
    {
        let mut host = Host::with(settings).await;
        assert_eq!(host.call(token).await.status, 401, "its application is not known here");
        let spec = spec_of_its_application();
        let registered = host.server.issuer().register(spec.clone()).await.expect("registered");
        assert_eq!(host.call(token).await.status, status);
        assert_eq!(key_ids(&host).await.len(), 1, "and its key is not published as ours");

        host.server.issuer().remove(registered.application.id()).await.expect("removed");
        let kept = host.runtime.vault().list(Query::all(RecordKind::RevokedToken)).await;
        assert_eq!(kept.expect("a list").len(), denials, "only where a token could be good again");
        let again = host.server.issuer().register(spec).await.expect("registered again");
        for _ in 0..2 {
            assert_eq!(host.call(token).await.status, 401, "removed once is removed");
            assert_eq!(host.call(&host.token(&again).await).await.status, 200);
            host.restart().await;
        }
    }
}

#[tokio::test]
async fn a_token_of_a_former_server_is_not_good_for_who_comes_after_a_damaged_application() {
    // It is found while its record is needed, or when the server starts.
    for restarts in [false, true] {
        let (token, key) = of_a_former_server();
        let mut host = Host::with(ServerSettings::new(ISSUER, AUDIENCE).trusted_key(key)).await;
        let spec = spec_of_its_application();
        let registered = host.server.issuer().register(spec.clone()).await.expect("registered");
        assert_eq!(host.call(&token).await.status, 200);
        host.damage(&host.records(RecordKind::Application).await[0]).await;
        if restarts {
            host.restart().await;
        }

        host.server.issuer().remove(registered.application.id()).await.expect("removed");
        let again = host.server.issuer().register(spec).await.expect("registered anew");
        for _ in 0..2 {
            assert_eq!(host.call(&token).await.status, 401, "removed once is removed");
            assert_eq!(host.call(&host.token(&again).await).await.status, 200);
            host.restart().await;
        }
    }
}

/// S-META-4 and S-META-5, too: nothing but what is there, and the issuer letter by letter.
#[tokio::test]
async fn s_meta_1_s_meta_2_s_meta_3_the_server_describes_itself_where_clients_look() {
    for (issuer, at, base) in [
        (ISSUER, "/.well-known/oauth-authorization-server", ""),
        (
            "https://issuer.example/tenant",
            "/.well-known/oauth-authorization-server/tenant",
            "/tenant",
        ),
    ] {
        let host = Host::with(ServerSettings::new(issuer, AUDIENCE)).await;
        let answer = host.get(at, &[]).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let expected = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/auth/token"),
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "grant_types_supported": ["client_credentials", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "revocation_endpoint": format!("{issuer}/auth/revoke"),
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "introspection_endpoint": format!("{issuer}/auth/introspect"),
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "response_types_supported": [],
        });
        assert_eq!(answer.json(), expected);
        assert_eq!(host.get(&format!("{base}/.well-known/jwks.json"), &[]).await.status, 200);
        let token = host.post(&format!("{base}/auth/token"), &[], "").await;
        assert_eq!(token.error(), "invalid_request", "it is there");
    }
}
