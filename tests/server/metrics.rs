//! What Prometheus reads of the server.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use tokenward::server::{Capability, ServerSettings, UpstreamGuard};
use tower::ServiceExt as _;

use crate::health::{credential, sign_in};
use crate::host::{AUDIENCE, FORM, Host, ISSUER};

#[tokio::test]
async fn prometheus_reads_what_was_issued_refused_and_answered() {
    let host = Host::start().await;
    let registered = host.register("memories:read").await;
    let token = host.token(&registered).await;
    assert_eq!(host.call(&token).await.status, 200);
    let wrong = host.post("/auth/token", &[&FORM], "grant_type=client_credentials").await;
    assert_eq!(wrong.status, 401);

    let answer = host.get("/metrics", &[]).await;
    assert_eq!(answer.status, 200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    assert!(answer.body.ends_with("# EOF\n"));
    for sample in [
        "tokenward_tokens_issued_total{grant=\"client_credentials\"} 1",
        "tokenward_server_request_duration_seconds_count{route=\"/auth/token\",status=\"200\"} 1",
        "tokenward_server_request_duration_seconds_count{route=\"/auth/token\",status=\"401\"} 1",
        "tokenward_sessions 0",
        "tokenward_queue_depth{queue=\"token-issuer\"} 0",
    ] {
        assert!(answer.body.lines().any(|line| line == sample), "{sample}\n{}", answer.body);
    }
    let id = registered.application.id().as_str();
    for secret in [registered.secret.expose(), token.as_str(), id] {
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
}

#[tokio::test]
async fn every_request_to_a_guarded_route_is_counted_by_what_became_of_it() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    assert_eq!(host.call(&token).await.status, 200);
    assert_eq!(host.get("/memories", &[]).await.status, 401);
    assert_eq!(host.get("/memories", &[("authorization", "Bearer a b")]).await.status, 400);
    assert_eq!(host.call("invented").await.status, 401);
    let bearer = format!("Bearer {token}");
    assert_eq!(host.get("/both", &[("authorization", &bearer)]).await.status, 403);
    let upstream = host.runtime.credential(&credential()).await.expect("a credential");
    let app: Router = Router::new()
        .route("/answers", get(async || "what the provider said"))
        .route_layer(UpstreamGuard::new(upstream));
    for status in [503, 200] {
        let request = Request::get("/answers").body(Body::empty()).expect("a request");
        assert_eq!(app.clone().oneshot(request).await.expect("an answer").status(), status);
        sign_in(&host).await;
    }
    // Nobody is denied anything by these.
    assert_eq!(host.get("/auth/token", &[]).await.status, 405);
    assert_eq!(host.get("/nowhere", &[]).await.status, 404);

    let told = host.get("/metrics", &[]).await.body;
    let samples = |name: &str| -> Vec<String> {
        let mut found: Vec<_> = told.lines().filter(|line| line.starts_with(name)).collect();
        found.sort_unstable();
        found.into_iter().map(|line| line[name.len()..].to_owned()).collect()
    };
    assert_eq!(
        samples("tokenward_guarded_requests_total"),
        [
            "{guard=\"bearer\",outcome=\"admitted\"} 1",
            "{guard=\"bearer\",outcome=\"insufficient-scope\"} 1",
            "{guard=\"bearer\",outcome=\"invalid-token\"} 1",
            "{guard=\"bearer\",outcome=\"malformed\"} 1",
            "{guard=\"bearer\",outcome=\"no-token\"} 1",
            "{guard=\"upstream\",outcome=\"admitted\"} 1",
            "{guard=\"upstream\",outcome=\"unavailable\"} 1",
        ]
    );
    assert_eq!(
        samples("tokenward_access_denied_total"),
        [
            "{reason=\"the authorization header is not one bearer token\"} 1",
            "{reason=\"the token is not good\"} 1",
            "{reason=\"the token lacks a permission\"} 1",
            "{reason=\"there is no token\"} 1",
        ]
    );
}

#[tokio::test]
async fn metrics_can_be_kept_for_those_who_have_a_permission_or_switched_off() {
    let settings = ServerSettings::new(ISSUER, AUDIENCE).metrics_permission("metrics:read");
    let host = Host::with(settings).await;
    assert_eq!(host.get("/metrics", &[]).await.status, 401);
    let without = host.token(&host.register("memories:read").await).await;
    let with = host.token(&host.register("metrics:read").await).await;
    for (token, status) in [(without, 403), (with, 200)] {
        let header = format!("Bearer {token}");
        let answer = host.get("/metrics", &[("authorization", &header)]).await;
        assert_eq!(answer.status, status);
    }

    let settings = ServerSettings::new(ISSUER, AUDIENCE).without(Capability::Metrics);
    assert_eq!(Host::with(settings).await.get("/metrics", &[]).await.status, 404);
}
