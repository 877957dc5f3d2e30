//! Those who guess, and those who ask for too much.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokenward::server::{
    ApplicationChange, ApplicationSpec, RateLimit, RefreshPolicy, ServerSettings,
};
use tokio::io::AsyncWriteExt as _;

use crate::host::{AUDIENCE, Answer, FORM, Host, ISSUER, basic, basic_of};
use crate::refresh::{refresh, register, tokens};

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

#[tokio::test]
async fn what_is_more_than_may_be_under_way_is_refused_at_once_and_health_is_not() {
    let settings = ServerSettings::new(ISSUER, AUDIENCE).most_requests(2);
    let host = Arc::new(Host::with(settings).await);
    let (client, admin) =
        (register(&host, "a", RefreshPolicy::new()).await, host.register("admin").await);
    let admin = host.token(&admin).await;
    assert_eq!(host.ask(&client, "").await.status, 200);
    host.settle().await;
    host.disk.hold();
    let begun = host.begun();
    // Each begins a family, which waits for the disk.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (host, client) = (Arc::clone(&host), client.clone());
            tokio::spawn(async move { host.ask(&client, "").await })
        })
        .collect();
    host.until_under_way(begun + 2, 2).await;
    host.disk.until_held().await;
    // What is bad in itself is answered without a wait, so it takes no place from those two.
    let full = async {
        while host.post("/auth/token", &[&FORM], "").await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), full).await.expect("both are under way");
    for path in ["/auth/token", "/auth/introspect", "/auth/revoke"] {
        let refused =
            host.post(path, &[&FORM, &("authorization", &*basic(&client))], "token=x").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{path}");
        assert_eq!(refused.error(), "temporarily_unavailable");
    }
    let bearer = format!("Bearer {admin}");
    for path in ["/health/live", "/metrics", "/.well-known/jwks.json", "/admin/applications"] {
        let answer = host.get(path, &[("authorization", bearer.as_str())]).await;
        assert_eq!(answer.status, 200, "{path} goes on");
    }
    host.disk.release();
    for answer in waiting {
        assert_eq!(answer.await.expect("answered").status, 200, "what was begun is finished");
    }
    assert_eq!(host.ask(&client, "").await.status, 200, "there is room again");
}

#[tokio::test]
async fn a_client_that_sends_slowly_or_hangs_up_takes_nobodys_place() {
    let settings = ServerSettings::new(ISSUER, AUDIENCE).most_requests(1);
    let host = Host::with(settings).await;
    let client = host.register("a").await;
    let head = "POST /auth/token HTTP/1.1\r\nhost: host\r\ncontent-length: 100\r\n\r\ngrant";
    let begun = host.begun();
    let mut slow = host.connect().await;
    slow.write_all(head.as_bytes()).await.expect("sent");
    host.until_under_way(begun + 1, 1).await;
    assert_eq!(host.ask(&client, "").await.status, 200);
    drop(slow);
    host.until_under_way(begun + 2, 0).await;
    assert_eq!(host.ask(&client, "").await.status, 200);
}

#[tokio::test]
async fn what_goes_on_when_its_client_hangs_up_keeps_its_place_until_it_is_done() {
    let settings = ServerSettings::new(ISSUER, AUDIENCE).most_requests(1);
    let host = Host::with(settings).await;
    let client = register(&host, "a", RefreshPolicy::new()).await;
    let other = host.register("a").await;
    let authorization = basic(&client);
    for work in ["a family that begins", "a rotation", "an end", "a token given back"] {
        let (access, token) = tokens(&host.ask(&client, "").await);
        let (path, body) = match work {
            "a family that begins" => ("/auth/token", "grant_type=client_credentials".to_owned()),
            "a rotation" => {
                ("/auth/token", format!("grant_type=refresh_token&refresh_token={token}"))
            }
            "an end" => ("/auth/revoke", format!("token={token}")),
            _ => ("/auth/revoke", format!("token={access}")),
        };
        host.hang_up_on(path, &[&FORM, &("authorization", &authorization)], &body).await;
        let refused = host.ask(&other, "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{work}");
        host.disk.release();
        let again = host.until_answered(async || host.ask(&other, "").await).await;
        assert_eq!(again.status, 200, "{work} is done");
    }
    let (_, token) = tokens(&host.ask(&client, "").await);
    tokens(&refresh(&host, &client, &token, "").await);
}
