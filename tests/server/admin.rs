//! Administration over HTTP, and capabilities that are switched off.

use serde_json::json;
use tokenward::Secret;
use tokenward::server::{ApplicationChange, Capability, GrantType, RefreshPolicy, ServerSettings};
use tokenward::vault::audit::{AuditKind, AuditQuery};

use crate::host::{AUDIENCE, Answer, FORM, Host, ISSUER, basic};
use crate::refresh::{refresh, register, tokens};

async fn post(host: &Host, path: &str, token: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    host.post(path, &[&FORM, &("authorization", &bearer)], body).await
}

#[tokio::test]
async fn only_an_administrator_administers() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    for path in ["/admin/refresh", "/admin/signing-key"] {
        assert_eq!(host.post(path, &[&FORM], "").await.status, 401);
        let refused = post(&host, path, &token, "").await;
        assert_eq!((refused.status, refused.error().as_str()), (403, "insufficient_scope"));
        assert_eq!(host.get(path, &[]).await.status, 405);
    }
}

#[tokio::test]
async fn an_administrator_renews_a_credential_and_is_told_what_is_wrong() {
    let host = Host::start().await;
    let key = Secret::new(&format!("sk-ant-api03-{}", "a".repeat(95)));
    host.runtime.user("ada").sign_in("anthropic").with_api_key(key).await.expect("signed in");
    let token = host.token(&host.register("admin").await).await;
    let answer =
        post(&host, "/admin/refresh", &token, "user=ada&provider=anthropic&method=api-key").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "credential": "ada/anthropic/api-key", "state": "valid", "generation": 1,
    });
    assert_eq!(answer.json(), expected);
    for (body, status, error) in [
        ("", 400, "invalid_request"),
        ("user=ada", 400, "invalid_request"),
        ("user=ada&provider=anthropic&method=telepathy", 400, "invalid_request"),
        ("user=ada&provider=nowhere&method=api-key", 404, "not_found"),
        ("user=eve&provider=anthropic&method=api-key", 409, "reauthorization_required"),
    ] {
        let answer = post(&host, "/admin/refresh", &token, body).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn an_administrator_exchanges_the_signing_key() {
    let host = Host::start().await;
    let token = host.token(&host.register("admin memories:read").await).await;
    let count = async || {
        let keys = host.get("/.well-known/jwks.json", &[]).await.json();
        keys["keys"].as_array().expect("a list").len()
    };
    assert_eq!(post(&host, "/admin/signing-key", &token, "").await.status, 200);
    assert_eq!(count().await, 2);
    let unclear = post(&host, "/admin/signing-key", &token, "compromised=maybe").await;
    assert_eq!((unclear.status, unclear.error().as_str()), (400, "invalid_request"));
    assert_eq!(post(&host, "/admin/signing-key", &token, "compromised=true").await.status, 200);
    assert_eq!(count().await, 1);
    assert_eq!(host.call(&token).await.status, 401, "its own token, too");
}

/// Every endpoint that can be switched off, and what the metadata calls it.
const ENDPOINTS: [(Capability, &str, &str, Option<&str>); 10] = [
    (Capability::TokenIssue, "POST", "/auth/token", Some("token_endpoint")),
    (Capability::Revocation, "POST", "/auth/revoke", Some("revocation_endpoint")),
    (Capability::Introspection, "POST", "/auth/introspect", Some("introspection_endpoint")),
    (Capability::Health, "GET", "/health", None),
    (Capability::Health, "GET", "/health/live", None),
    (Capability::Health, "GET", "/health/ready", None),
    (Capability::Administration, "POST", "/admin/refresh", None),
    (Capability::Administration, "POST", "/admin/signing-key", None),
    (Capability::Administration, "GET", "/admin/applications", None),
    (Capability::Metrics, "GET", "/metrics", None),
];

#[tokio::test]
async fn what_is_switched_off_is_not_there_and_the_rest_goes_on() {
    let everything = Host::start().await;
    for (_, method, path, _) in ENDPOINTS {
        assert_ne!(everything.send(method, path, &[], "").await.status, 404, "{path}");
    }
    for off in [
        Capability::TokenIssue,
        Capability::Revocation,
        Capability::Introspection,
        Capability::Health,
        Capability::Administration,
        Capability::Metrics,
    ] {
        let host = Host::with(ServerSettings::new(ISSUER, AUDIENCE).without(off)).await;
        let metadata = host.get("/.well-known/oauth-authorization-server", &[]).await.json();
        for (of, method, path, named) in ENDPOINTS {
            let is_there = host.send(method, path, &[], "").await.status != 404;
            assert_eq!(is_there, of != off, "{path} without {off:?}");
            if let Some(named) = named {
                assert_eq!(metadata.get(named).is_some(), of != off, "{named} without {off:?}");
                let methods = format!("{named}_auth_methods_supported");
                assert_eq!(metadata.get(&methods).is_some(), of != off, "{methods}");
            }
        }
        assert_eq!(host.get("/.well-known/jwks.json", &[]).await.status, 200);
        if off != Capability::TokenIssue {
            let token = host.token(&host.register("memories:read").await).await;
            assert_eq!(host.call(&token).await.status, 200);
        }
    }
}

#[tokio::test]
async fn without_refresh_tokens_none_is_given_and_none_is_taken() {
    let settings = ServerSettings::new(ISSUER, AUDIENCE).without(Capability::RefreshTokens);
    let host = Host::with(settings).await;
    let application = register(&host, "memories:read", RefreshPolicy::new()).await;
    let answer = host.ask(&application, "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.json().get("refresh_token").is_none());
    let refused = refresh(&host, &application, "rt_AAAA", "").await;
    assert_eq!(refused.error(), "unsupported_grant_type");
    let metadata = host.get("/.well-known/oauth-authorization-server", &[]).await.json();
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));

    let with = Host::start().await;
    let application = register(&with, "memories:read", RefreshPolicy::new()).await;
    tokens(&with.ask(&application, "").await);
}

#[tokio::test]
async fn to_look_at_a_refresh_token_is_recorded_also_while_there_are_none() {
    let host = Host::start().await;
    let application = register(&host, "memories:read", RefreshPolicy::new()).await;
    let (_, token) = tokens(&host.ask(&application, "").await);
    let only = ApplicationChange::new().grants([GrantType::ClientCredentials]);
    host.server.issuer().change(application.application.id(), only).await.expect("changed");
    let headers = [&FORM, &("authorization", &*basic(&application))];
    let answer = host.post("/auth/introspect", &headers, &format!("token={token}")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "active": false })));
    host.runtime.vault().write_notes().await.expect("durable");
    let query = AuditQuery::all().of_kind(AuditKind::TokenIntrospected);
    let entries = host.runtime.vault().read_audit(query).await.expect("a page").entries;
    assert_eq!(entries.len(), 1);
}
