//! Applications, managed by methods and by messages; what becomes of their secrets, and what is
//! recorded.

use std::time::Duration;

use tokenward::Secret;
use tokenward::server::{ApplicationChange, ApplicationSpec, IssuerMessage};
use tokenward::vault::audit::{AuditKind, AuditQuery};

use crate::host::{FORM, Host, basic_of};

#[tokio::test]
async fn s_auth_11_both_secrets_are_good_during_an_exchange_and_only_the_new_one_after_it() {
    let mut host = Host::start().await;
    let registered = host.register("memories:read").await;
    let id = registered.application.id();
    let ask = async |host: &Host, secret: &str| {
        let authorization = basic_of(id.as_str(), secret);
        let headers = [&FORM, &("authorization", authorization.as_str())];
        host.post("/auth/token", &headers, "grant_type=client_credentials").await.status
    };
    let overlap = Duration::from_hours(1);
    let second = host.server.issuer().rotate_secret(id, overlap).await.expect("a secret");
    assert_eq!(ask(&host, registered.secret.expose()).await, 200);
    assert_eq!(ask(&host, second.expose()).await, 200);
    host.restart().await;
    host.clock.advance(overlap);
    assert_eq!(ask(&host, registered.secret.expose()).await, 401);
    assert_eq!(ask(&host, second.expose()).await, 200);
    let third = host.server.issuer().rotate_secret(id, Duration::ZERO).await.expect("a secret");
    assert_eq!(ask(&host, second.expose()).await, 401, "at once, when that was asked for");
    assert_eq!(ask(&host, third.expose()).await, 200);
    let for_ever = host.server.issuer().rotate_secret(id, Duration::MAX).await;
    assert!(for_ever.expect_err("too long").is_invalid_input());
}

#[tokio::test]
async fn messages_do_what_the_methods_do() {
    let host = Host::start().await;
    let issuer = host.server.issuer();
    let messages = issuer.messages();
    let spec = Box::new(ApplicationSpec::new("by message"));
    let registered = messages.ask(|reply| IssuerMessage::Register { spec, reply }).await;
    let registered = registered.expect("asked").expect("registered");
    let id = registered.application.id().clone();
    let change = Box::new(ApplicationChange::new().name("renamed"));
    let message = |reply| IssuerMessage::Change { id: id.clone(), change, reply };
    messages.ask(message).await.expect("asked").expect("changed");
    assert_eq!(issuer.application(&id).expect("there").name(), "renamed");
    let message = |reply| IssuerMessage::Remove { id: id.clone(), reply };
    messages.ask(message).await.expect("asked").expect("removed");
    assert!(issuer.application(&id).is_none());
    let again = messages.ask(|reply| IssuerMessage::Remove { id: id.clone(), reply }).await;
    assert!(again.expect("asked").expect_err("gone").is_not_found());
}

#[tokio::test]
async fn a_removed_application_is_gone_with_its_tokens() {
    let mut host = Host::start().await;
    let registered = host.register("memories:read").await;
    let token = host.token(&registered).await;
    host.server.issuer().remove(registered.application.id()).await.expect("removed");
    assert_eq!(host.call(&token).await.status, 401);
    host.restart().await;
    assert_eq!(host.call(&token).await.status, 401);
    assert!(host.server.issuer().applications().is_empty());
}

#[tokio::test]
async fn what_is_decided_is_recorded_with_the_application_it_is_about() {
    let host = Host::start().await;
    let registered = host.register("memories:write").await;
    let id = registered.application.id();
    let token = host.token(&registered).await;
    assert_eq!(host.call(&token).await.status, 403);
    host.server.issuer().rotate_secret(id, Duration::ZERO).await.expect("a secret");
    host.ask(&registered, "").await;
    host.server.issuer().remove(id).await.expect("removed");
    host.runtime.vault().write_notes().await.expect("written");

    let mut recorded = Vec::new();
    let query = AuditQuery::all().of_application(id);
    let page = host.runtime.vault().read_audit(query).await;
    for record in page.expect("a page").entries {
        recorded.push(record.kind);
    }
    for kind in [
        AuditKind::ApplicationRegistered,
        AuditKind::TokenGenerated,
        AuditKind::AccessDenied,
        AuditKind::ApplicationChanged,
        AuditKind::ApplicationRemoved,
    ] {
        assert!(recorded.contains(&kind), "{kind} among {recorded:?}");
    }
    assert!(!format!("{recorded:?}").contains(registered.secret.expose()));
}

#[tokio::test]
async fn a_second_server_on_a_runtime_is_refused() {
    let host = Host::start().await;
    let settings = tokenward::server::ServerSettings::new("https://other.example", "api");
    assert!(tokenward::server::AuthorizationServer::start(&host.runtime, settings).await.is_err());
}

#[tokio::test]
async fn a_secret_from_a_configuration_is_taken_unless_it_is_too_short() {
    let host = Host::start().await;
    let spec = ApplicationSpec::new("configured")
        .id("app_configured".parse().expect("an id"))
        .permissions("memories:read".parse().expect("a scope"));
    let short = spec.clone().secret(Secret::new("fifteen-letters"));
    assert!(host.server.issuer().register(short).await.expect_err("short").is_invalid_input());
    let given = spec.secret(Secret::new("a-secret-of-a-file"));
    let registered = host.server.issuer().register(given).await.expect("registered");
    assert_eq!(registered.secret, Secret::new("a-secret-of-a-file"));
    assert_eq!(host.ask(&registered, "").await.status, 200);
}
