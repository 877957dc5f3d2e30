//! Health, readiness, and routes that wait for their credential.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use tokenward::server::{ApplicationSpec, ServerSettings, UpstreamGuard};
use tokenward::testing::VaultFault;
use tokenward::{CredentialId, Label, Method, ProviderId, Secret, UserId};
use tower::ServiceExt as _;

use crate::host::{AUDIENCE, Host, ISSUER};

pub(crate) fn credential() -> CredentialId {
    CredentialId {
        user: UserId::new("ada").expect("a name"),
        provider: ProviderId::new("anthropic").expect("a name"),
        method: Method::ApiKey,
        label: Label::default(),
    }
}

pub(crate) async fn sign_in(host: &Host) {
    let key = Secret::new(&format!("sk-ant-api03-{}", "a".repeat(95)));
    let ada = host.runtime.user("ada");
    ada.sign_in("anthropic").with_api_key(key).await.expect("signed in");
}

#[tokio::test]
async fn a_host_is_ready_while_its_credentials_and_its_vault_can_be_used() {
    let settings = ServerSettings::new(ISSUER, AUDIENCE).ready_with(credential());
    let host = Host::with(settings).await;
    let ready = async || host.get("/health/ready", &[]).await;
    assert_eq!((ready().await.status, host.get("/health/live", &[]).await.status), (503, 200));

    sign_in(&host).await;
    // What was seen of the vault is told for a second.
    host.clock.advance(Duration::from_secs(1));
    assert_eq!((ready().await.status, ready().await.json()), (200, json!({ "status": "ready" })));
    let answer = host.get("/health", &[]).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "status": "ready",
        "vault": { "ready": true },
        "credentials": [{
            "credential": "ada/anthropic/api-key", "ready": true, "state": "valid",
            "reason": Value::Null, "provider": "unknown", "latency_ms": Value::Null,
        }],
    });
    assert_eq!(answer.json(), expected);
    assert!(!answer.body.contains("sk-ant"), "no secret");

    host.disk.set(VaultFault::NoRoom);
    let spec = ApplicationSpec::new("one too many");
    assert!(host.server.issuer().register(spec).await.is_err(), "the disk is full");
    assert_eq!(ready().await.status, 200, "the vault is not asked again within a second");
    host.clock.advance(Duration::from_secs(1));
    assert_eq!((ready().await.status, host.get("/health/live", &[]).await.status), (503, 200));
    assert_eq!(host.get("/health", &[]).await.json()["vault"]["ready"], false);
}

#[tokio::test]
async fn a_route_answers_503_while_its_credential_can_not_be_used() {
    let host = Host::start().await;
    let upstream = host.runtime.credential(&credential()).await.expect("a credential");
    let app: Router = Router::new()
        .route("/answers", get(|| async { "what the provider said" }))
        .route_layer(UpstreamGuard::new(upstream));
    let call = async || {
        let request = Request::get("/answers").body(Body::empty()).expect("a request");
        app.clone().oneshot(request).await.expect("an answer").status()
    };
    assert_eq!(call().await, StatusCode::SERVICE_UNAVAILABLE);
    sign_in(&host).await;
    assert_eq!(call().await, StatusCode::OK);
    host.runtime.user("ada").sign_out("anthropic").await.expect("signed out");
    assert_eq!(call().await, StatusCode::SERVICE_UNAVAILABLE);
}
