//! Those who guess, and those who ask for too much.

use std::num::NonZeroU32;
use std::time::Duration;

use tokenward::server::{ApplicationChange, ApplicationSpec, RateLimit};

use crate::host::{Answer, FORM, Host, basic, basic_of};

/// Asks for a token as a client at this address.
async fn ask(host: &Host, address: &str, authorization: &str) -> Answer {
    let headers = [&FORM, &("authorization", authorization), &("x-test-address", address)];
    host.post("/auth/token", &headers, "grant_type=client_credentials").await
}

#[tokio::test]
async fn s_auth_9_who_guesses_has_to_wait_and_nobody_else() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let other = host.register("memories:read").await;
    let (right, of_other) = (basic(&application), basic(&other));
    let wrong = basic_of(application.application.id().as_str(), "wrong");
    for _ in 0..10 {
        assert_eq!(ask(&host, "192.0.2.1", &wrong).await.status, 401);
    }
    for authorization in [&wrong, &right] {
        let answer = ask(&host, "192.0.2.1", authorization).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("65")));
        assert_eq!(answer.error(), "temporarily_unavailable");
    }
    assert_eq!(ask(&host, "192.0.2.2", &right).await.status, 200, "from elsewhere it goes on");
    assert_eq!(ask(&host, "192.0.2.1", &of_other).await.status, 200, "and so does another client");
    host.clock.advance(Duration::from_secs(65));
    assert_eq!(ask(&host, "192.0.2.1", &right).await.status, 200);
}

#[tokio::test]
async fn s_auth_9_who_guesses_at_many_clients_has_to_wait() {
    let host = Host::start().await;
    let right = basic(&host.register("memories:read").await);
    for number in 0..100 {
        let guess = basic_of(&format!("app_{number}"), "wrong");
        assert_eq!(ask(&host, "192.0.2.1", &guess).await.status, 401);
    }
    assert_eq!(ask(&host, "192.0.2.1", &right).await.status, 429);
    assert_eq!(ask(&host, "192.0.2.2", &right).await.status, 200);
}

#[tokio::test]
async fn the_peer_of_the_connection_counts_where_nobody_knows_better() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let wrong = basic_of(application.application.id().as_str(), "wrong");
    let headers = [&FORM, &("authorization", wrong.as_str())];
    for _ in 0..10 {
        host.post("/auth/token", &headers, "").await;
    }
    assert_eq!(host.post("/auth/token", &headers, "").await.status, 429);
}

#[tokio::test]
async fn an_application_may_have_a_limit_of_its_own() {
    let host = Host::start().await;
    let spec = ApplicationSpec::new("busy").permissions("a".parse().expect("a scope"));
    let issuer = host.server.issuer();
    let twice = RateLimit::PerMinute(NonZeroU32::new(2).expect("not zero"));
    let busy = issuer.register(spec.rate_limit(twice)).await.expect("registered");
    let other = host.register("a").await;
    for status in [200, 200, 429] {
        assert_eq!(host.ask(&busy, "").await.status, status);
    }
    assert_eq!(host.ask(&busy, "").await.header("retry-after"), Some("65"));
    assert_eq!(host.ask(&other, "").await.status, 200);
    host.clock.advance(Duration::from_secs(65));
    assert_eq!(host.ask(&busy, "").await.status, 200);
    let free = ApplicationChange::new().rate_limit(RateLimit::Unlimited);
    issuer.change(busy.application.id(), free).await.expect("changed");
    assert_eq!(host.ask(&busy, "").await.status, 200);
}

#[tokio::test]
async fn an_application_has_a_limit_unless_it_is_told_otherwise() {
    let host = Host::start().await;
    let application = host.register("a").await;
    let limit = application.application.rate_limit();
    assert_eq!(limit, RateLimit::PerMinute(NonZeroU32::new(6_000).expect("not zero")));
}
