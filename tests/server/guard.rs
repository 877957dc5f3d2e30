//! Guarded routes: who gets through, and what everybody else is told.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokenward::server::{ApplicationSpec, KeyRotation, ServerSettings};

use crate::host::{AUDIENCE, Host, ISSUER, part};

#[tokio::test]
async fn s_rs_1_one_token_in_the_header_whatever_the_case_of_the_scheme() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer "] {
        let answer =
            host.get("/memories", &[("authorization", &format!("{scheme} {token}"))]).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
    for bad in [
        "Bearer".to_owned(),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},"),
        "Bearer =".to_owned(),
        "Bearer a=b".to_owned(),
        format!("Bearer \"{token}\""),
    ] {
        let answer = host.get("/memories", &[("authorization", &bad)]).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{bad:.20}");
    }
    let one = ("authorization", &*format!("Bearer {token}"));
    let answer = host.get("/memories", &[one, one]).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    let long = format!("Bearer {}", "a".repeat(9_000));
    assert_eq!(host.get("/memories", &[("authorization", &long)]).await.status, 401);
}

#[tokio::test]
async fn s_rs_4_who_brings_no_token_is_told_no_error() {
    let host = Host::start().await;
    let challenge = format!("Bearer realm=\"{ISSUER}\"");
    for headers in [&[][..], &[("authorization", "Basic YTpi")], &[("authorization", "Bearerabc")]]
    {
        let answer = host.get("/memories", headers).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
        assert_eq!(answer.error(), "");
    }
}

#[tokio::test]
async fn s_rs_5_s_rs_25_a_token_that_is_not_good_is_refused_without_a_word_of_it() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let claims = token.split('.').nth(1).expect("claims");
    let mut answers = Vec::new();
    for bad in [
        "canary".to_owned(),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1; 64])),
        format!("{none}.{claims}.{signature}"),
        format!("{none}.{claims}.a"),
        format!("{token}x"),
    ] {
        let answer = host.call(&bad).await.without_date();
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_token"), "{bad}");
        assert!(!format!("{answer:?}").contains(&bad));
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the same bytes, whatever it was");
    let challenge = answers[0].header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn s_rs_19_who_lacks_a_permission_is_told_which_are_needed() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    let bearer = format!("Bearer {token}");
    let answer = host.get("/both", &[("authorization", &bearer)]).await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "insufficient_scope"));
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("scope=\"memories:read memories:write\""), "{challenge}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn s_rs_21_a_token_in_the_address_is_not_looked_at() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    let answer = host.get(&format!("/memories?access_token={token}"), &[]).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, ""));
}

#[tokio::test]
async fn s_val_1_s_rs_26_a_token_is_good_until_its_expiry_and_the_leeway() {
    let host = Host::start().await;
    let token = host.token(&host.register("memories:read").await).await;
    for (passes, status) in [(299, 200), (1, 200), (29, 200), (1, 401), (1, 401)] {
        host.clock.advance(Duration::from_secs(passes));
        assert_eq!(host.call(&token).await.status, status, "after {passes} s more");
    }
}

#[tokio::test]
async fn s_val_3_s_val_5_a_token_of_another_server_or_for_another_is_refused() {
    let host = Host::start().await;
    let ours = host.register("memories:read").await;
    // The randomness of these tests repeats, so the keys of two hosts are the same at first: what is
    // refused is what the token says. The last host has another key.
    for (issuer, audience, other_key) in [
        ("https://other.example", AUDIENCE, false),
        (ISSUER, "https://other.example", false),
        (ISSUER, AUDIENCE, true),
    ] {
        let other = Host::with(ServerSettings::new(issuer, audience)).await;
        if other_key {
            let issuer = other.server.issuer();
            issuer.rotate_signing_key(KeyRotation::Compromised).await.expect("replaced");
        }
        let spec = ApplicationSpec::new("the same")
            .id(ours.application.id().clone())
            .permissions("memories:read".parse().expect("a scope"));
        let registered = other.server.issuer().register(spec).await.expect("registered");
        let token = other.token(&registered).await;
        assert_eq!(other.call(&token).await.status, 200, "it is good where it comes from");
        assert_eq!(host.call(&token).await.status, 401, "{}", part(&token, 1));
    }
}

#[tokio::test]
async fn a_compromised_key_takes_every_token_with_it_and_an_ordinary_rotation_none() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let token = host.token(&application).await;
    let issuer = host.server.issuer();
    issuer.rotate_signing_key(KeyRotation::Ordinary).await.expect("rotated");
    assert_eq!(host.call(&token).await.status, 200);
    issuer.rotate_signing_key(KeyRotation::Compromised).await.expect("replaced");
    assert_eq!(host.call(&token).await.status, 401);
    assert_eq!(host.call(&host.token(&application).await).await.status, 200);
}
