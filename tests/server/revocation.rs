//! Tokens that are given back (RFC 7009), and who may ask about them (RFC 7662).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokenward::clock::{Clock as _, Sources};
use tokenward::server::jws::{self, SigningAlgorithm, SigningKey};
use tokenward::server::{ApplicationChange, GrantType, RefreshPolicy, Registered, ServerSettings};
use tokenward::testing::VaultFault;
use tokenward::vault::{Query, RecordKind};

use crate::host::{AUDIENCE, Answer, FORM, Host, ISSUER, basic};
use crate::refresh::{refresh, register, tokens};

async fn post(host: &Host, path: &str, by: &Registered, body: &str) -> Answer {
    host.post(path, &[&FORM, &("authorization", &basic(by))], body).await
}

async fn revoke(host: &Host, by: &Registered, token: &str) -> Answer {
    post(host, "/auth/revoke", by, &format!("token={token}")).await
}

async fn introspect(host: &Host, by: &Registered, token: &str) -> Value {
    let answer = post(host, "/auth/introspect", by, &format!("token={token}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

#[tokio::test]
async fn s_rev_1_only_its_own_application_revokes_a_token() {
    let host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    let other = register(&host, "memories:read", RefreshPolicy::new()).await;
    let (access, token) = tokens(&host.ask(&owner, "").await);
    for token in [&access, &token] {
        let answer = revoke(&host, &other, token).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
    }
    assert_eq!(host.call(&access).await.status, 200);
    tokens(&refresh(&host, &owner, &token, "").await);
}

#[tokio::test]
async fn s_rev_2_s_rev_5_a_hint_is_no_more_than_a_hint() {
    let host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    for hint in ["access_token", "refresh_token", "saml2_token", ""] {
        let (access, token) = tokens(&host.ask(&owner, "").await);
        let (alone, _) = tokens(&host.ask(&owner, "").await);
        let both = [&token, &alone];
        for token in both {
            let body = format!("token={token}&token_type_hint={hint}");
            assert_eq!(post(&host, "/auth/revoke", &owner, &body).await.status, 200, "{hint}");
        }
        assert_eq!(refresh(&host, &owner, &token, "").await.error(), "invalid_grant", "{hint}");
        assert_eq!(host.call(&access).await.status, 401);
        assert_eq!(host.call(&alone).await.status, 401);
    }
}

#[tokio::test]
async fn s_rev_4_a_revoked_refresh_token_takes_its_access_tokens_with_it_for_good() {
    let mut host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    let (first_access, first) = tokens(&host.ask(&owner, "").await);
    let (second_access, second) = tokens(&refresh(&host, &owner, &first, "").await);
    assert_eq!(revoke(&host, &owner, &second).await.status, 200);
    for restarted in [false, true] {
        if restarted {
            host.restart().await;
        }
        assert_eq!(host.call(&first_access).await.status, 401);
        assert_eq!(host.call(&second_access).await.status, 401);
        assert_eq!(refresh(&host, &owner, &second, "").await.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn s_rev_4_a_family_that_is_over_takes_its_access_tokens_with_it_too() {
    let host = Host::start().await;
    let policy = RefreshPolicy::new().idle(Duration::from_secs(1));
    let owner = register(&host, "memories:read", policy).await;
    // Just before what is over is removed, as is done now and then.
    host.clock.advance(Duration::from_secs(595));
    let (access, token) = tokens(&host.ask(&owner, "").await);
    host.clock.advance(Duration::from_secs(6));
    host.register("memories:read").await;
    assert_eq!(refresh(&host, &owner, &token, "").await.error(), "invalid_grant", "it was idle");
    assert_eq!(host.call(&access).await.status, 200);
    assert_eq!(revoke(&host, &owner, &token).await.status, 200);
    assert_eq!(host.call(&access).await.status, 401);
}

#[tokio::test]
async fn a_token_that_has_expired_is_revoked_without_a_record() {
    let host = Host::start().await;
    let owner = host.register("memories:read").await;
    let token = host.token(&owner).await;
    host.clock.advance(Duration::from_secs(330));
    assert_eq!(revoke(&host, &owner, &token).await.status, 200);
    let kept = host.runtime.vault().list(Query::all(RecordKind::RevokedToken)).await;
    assert_eq!(kept.expect("a list").len(), 0);
}

#[tokio::test]
async fn s_rev_4_a_token_that_is_revoked_before_its_time_is_not_good_when_that_comes() {
    let entropy = &*Sources::system().entropy;
    let key = SigningKey::generate(SigningAlgorithm::EdDsa, entropy).expect("a key");
    let trusting =
        ServerSettings::new(ISSUER, AUDIENCE).trusted_key(key.verification_key().clone());
    let mut host = Host::with(trusting).await;
    let owner = host.register("memories:read").await;
    let id = owner.application.id().as_str();
    let now = host.clock.now().wall.duration_since(SystemTime::UNIX_EPOCH).expect("after it");
    let signed = |token_id: &str, begins: Duration, expires: Duration| {
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": id, "client_id": id, "scope": "memories:read",
            "jti": token_id, "iat": now.as_secs(),
            "nbf": (now + begins).as_secs(), "exp": (now + expires).as_secs(),
        });
        jws::sign(&key, "at+jwt", claims.to_string().as_bytes()).expect("signed")
    };
    let day = Duration::from_hours(24);
    let kept = signed("kept", day, 3 * day);
    let not_yet = signed("not-yet", day, 3 * day);
    let too_long = signed("too-long", Duration::ZERO, 368 * day);
    for token in [&not_yet, &too_long] {
        assert_eq!(host.call(token).await.status, 401, "its time has not come");
        assert_eq!(revoke(&host, &owner, token).await.status, 200);
    }
    host.restart().await;
    host.clock.advance(2 * day);
    assert_eq!(host.call(&kept).await.status, 200, "one that nobody revoked");
    assert_eq!(host.call(&not_yet).await.status, 401);
    assert_eq!(host.call(&too_long).await.status, 401, "it would be over within a year by now");
}

#[tokio::test]
async fn s_int_2_a_refresh_token_is_active_as_long_as_it_can_be_used() {
    let host = Host::start().await;
    let policy = RefreshPolicy::new().grace(Duration::from_secs(10));
    let owner = register(&host, "memories:read", policy).await;
    let (id, issuer) = (owner.application.id(), host.server.issuer());
    let (_, first) = tokens(&host.ask(&owner, "").await);
    let (_, second) = tokens(&refresh(&host, &owner, &first, "").await);
    let active = async |token: &str| introspect(&host, &owner, token).await["active"] == true;
    assert!(active(&first).await, "its grace lasts");
    host.clock.advance(Duration::from_secs(10));
    assert!(!active(&first).await && active(&second).await);

    let other = "memories:write".parse().expect("a scope");
    for (change, back) in [
        (
            ApplicationChange::new().permissions(other),
            ApplicationChange::new().permissions("memories:read".parse().expect("a scope")),
        ),
        (
            ApplicationChange::new().grants([GrantType::ClientCredentials]),
            ApplicationChange::new().grants(GrantType::ALL),
        ),
    ] {
        issuer.change(id, change).await.expect("changed");
        assert!(!active(&second).await, "nothing would come of it");
        assert_ne!(refresh(&host, &owner, &second, "").await.status, 200);
        issuer.change(id, back).await.expect("changed");
        assert!(active(&second).await);
    }
    tokens(&refresh(&host, &owner, &second, "").await);
}

#[tokio::test]
async fn s_rev_8_what_is_no_token_any_more_is_as_revoked_as_can_be() {
    let host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    let (access, token) = tokens(&host.ask(&owner, "").await);
    for token in ["unknown", "rt_AAAA", &access, &access, &token, &token] {
        let answer = revoke(&host, &owner, token).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    }
    let (access, token) = tokens(&host.ask(&owner, "").await);
    host.clock.advance(Duration::from_hours(31 * 24));
    for token in [&access, &token] {
        assert_eq!(revoke(&host, &owner, token).await.status, 200, "expired");
    }
}

#[tokio::test]
async fn s_rev_9_s_int_3_s_int_4_a_client_has_to_authenticate_and_to_name_a_token() {
    let host = Host::start().await;
    let owner = host.register("memories:read").await;
    let token = host.token(&owner).await;
    for path in ["/auth/revoke", "/auth/introspect"] {
        let answer = host.post(path, &[&FORM], &format!("token={token}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
        let bearer = format!("Bearer {token}");
        let answer =
            host.post(path, &[&FORM, &("authorization", &bearer)], &format!("token={token}")).await;
        assert_eq!(answer.status, 401, "a token is no credential here");
        let answer = post(&host, path, &owner, "").await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    }
    assert_eq!(host.call(&token).await.status, 200);
}

#[tokio::test]
async fn s_rev_11_a_disk_that_fails_is_told_and_the_token_lives_on() {
    let host = Host::start().await;
    let owner = host.register("memories:read").await;
    let token = host.token(&owner).await;
    host.disk.set(VaultFault::NoRoom);
    let answer = revoke(&host, &owner, &token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(host.call(&token).await.status, 200, "durable before it is visible");
    host.disk.heal();
    let answer = host.until_answered(async || revoke(&host, &owner, &token).await).await;
    assert_eq!(answer.status, 200);
    assert_eq!(host.call(&token).await.status, 401);
}

#[tokio::test]
async fn s_int_1_a_good_token_is_described_to_its_application() {
    let host = Host::start().await;
    let owner = host.register("memories:read memories:write").await;
    let token = host.token(&owner).await;
    let described = introspect(&host, &owner, &token).await;
    let issued = 500_000 * 3_600;
    let id = owner.application.id();
    let mut expected = json!({
        "active": true, "token_type": "Bearer", "client_id": id, "sub": id,
        "scope": "memories:read memories:write", "iss": ISSUER,
        "aud": [AUDIENCE], "iat": issued, "exp": issued + 300,
    });
    expected["jti"] = described["jti"].clone();
    assert_eq!(described, expected);
}

#[tokio::test]
async fn s_int_2_of_anything_else_nothing_is_said() {
    let host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    let stranger = host.register("memories:read").await;
    let guardian = host.register("tokens:introspect").await;
    let (access, token) = tokens(&host.ask(&owner, "").await);
    let nothing = json!({ "active": false });
    assert_eq!(introspect(&host, &stranger, &access).await, nothing, "not the caller's");
    assert_eq!(introspect(&host, &stranger, &token).await, nothing);
    assert_eq!(introspect(&host, &guardian, &access).await["active"], true, "who may ask");
    assert_eq!(introspect(&host, &guardian, &token).await, nothing, "but for refresh tokens");
    for unknown in ["x", "rt_AAAA", "a.b.c"] {
        assert_eq!(introspect(&host, &owner, unknown).await, nothing);
    }
    assert_eq!(revoke(&host, &owner, &token).await.status, 200);
    assert_eq!(introspect(&host, &owner, &access).await, nothing, "revoked");
    assert_eq!(introspect(&host, &owner, &token).await, nothing);
    let (access, _) = tokens(&host.ask(&owner, "").await);
    host.clock.advance(Duration::from_secs(330));
    assert_eq!(introspect(&host, &owner, &access).await, nothing, "expired");
}

#[tokio::test]
async fn s_int_9_a_refresh_token_is_never_called_a_bearer_token() {
    let host = Host::start().await;
    let owner = register(&host, "memories:read", RefreshPolicy::new()).await;
    let (_, first) = tokens(&host.ask(&owner, "").await);
    let described = introspect(&host, &owner, &first).await;
    assert_eq!((&described["active"], &described["token_type"]), (&json!(true), &Value::Null));
    let (_, second) = tokens(&refresh(&host, &owner, &first, "").await);
    assert_eq!(introspect(&host, &owner, &first).await, json!({ "active": false }), "spent");
    assert_eq!(
        introspect(&host, &owner, &second).await["active"],
        true,
        "and looking spends nothing"
    );
}

#[tokio::test]
async fn s_int_10_only_post_is_taken() {
    let host = Host::start().await;
    for path in ["/auth/introspect", "/auth/revoke"] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = host.send(method, &format!("{path}?token=x"), &[], "").await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
        }
    }
}
