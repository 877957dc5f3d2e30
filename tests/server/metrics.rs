//! What Prometheus reads of the server.

use tokenward::server::{Capability, ServerSettings};

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
    ] {
        assert!(answer.body.lines().any(|line| line == sample), "{sample}\n{}", answer.body);
    }
    let id = registered.application.id().as_str();
    for secret in [registered.secret.expose(), token.as_str(), id] {
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
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
