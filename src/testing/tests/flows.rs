//! What goes well: sign-in, renewal, rotation, expiry, revocation.

use super::*;

#[tokio::test]
async fn a_signed_in_user_reaches_the_resources_of_every_provider() {
    // That of device codes alone is in `devices.rs`.
    let signs_in_here = |provider: &SimulatedProvider| provider.name() != "github-copilot";
    for provider in every_provider().await.into_iter().filter(signs_in_here) {
        let answer = signed_in(&provider).await;
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["expires_in"], 60);
        let reply = send(resource_request(&provider, text(&answer, "access_token"))).await;
        assert!(reply.status.is_success(), "{}: {}", provider.name(), reply.text);
        assert_eq!(provider.counters().issued_access_tokens, 1);
    }
}

#[tokio::test]
async fn tokens_look_like_the_real_ones_and_carry_the_canary() {
    for builder in [
        SimulatedProvider::anthropic(),
        SimulatedProvider::openai(),
        SimulatedProvider::google(),
        SimulatedProvider::orange(),
    ] {
        let provider = started(builder.canary("CANARY-7")).await;
        let answer = signed_in(&provider).await;
        let access_token = text(&answer, "access_token");
        match provider.name() {
            "anthropic" => {
                assert!(access_token.starts_with("sk-ant-oat"));
                assert!(text(&answer, "refresh_token").starts_with("sk-ant-ort"));
                assert!(provider.issue_api_key().expose().starts_with("sk-ant-api"));
            }
            "openai" => assert_eq!(access_token.split('.').count(), 3),
            "google" => assert!(access_token.starts_with("ya29.")),
            _ => assert!((550..700).contains(&access_token.len()), "{}", access_token.len()),
        }
        for member in ["access_token", "refresh_token", "id_token"] {
            if let Some(token) = answer[member].as_str() {
                assert!(token.contains("CANARY-7"), "{member} of {}", provider.name());
            }
        }
    }
}

/// The account that the id token of an answer names.
fn account_of(answer: &Value) -> String {
    use base64::Engine as _;
    let claims = text(answer, "id_token").split('.').nth(1).expect("claims");
    let claims =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("json");
    text(&claims["https://api.openai.com/auth"], "chatgpt_account_id").to_owned()
}

#[tokio::test]
async fn the_id_token_of_openai_names_the_account_that_consented() {
    let provider = started(SimulatedProvider::openai().account("acct-ada")).await;
    let ada = signed_in(&provider).await;
    provider.set_account("acct-bob");
    assert_eq!(account_of(&ada), "acct-ada");
    assert_eq!(account_of(&signed_in(&provider).await), "acct-bob");
    let renewed = token(&provider, &renewal(&provider, text(&ada, "refresh_token"))).await.json;
    assert_eq!(account_of(&renewed), "acct-ada", "a renewal stays with its account");
    provider.reassign_grants("acct-eve");
    let renewed = token(&provider, &renewal(&provider, text(&renewed, "refresh_token"))).await.json;
    assert_eq!(account_of(&renewed), "acct-eve");
}

#[tokio::test]
async fn a_browser_is_sent_back_with_code_and_state() {
    let provider = started(SimulatedProvider::openai()).await;
    let reply = send(client().get(authorization_url(&provider))).await;
    assert_eq!(reply.status, StatusCode::FOUND);
    let location = reply.headers["location"].to_str().expect("text");
    assert!(location.starts_with(&format!("{OPENAI_REDIRECT}?code=code_")), "{location}");
    assert!(location.ends_with("&state=state-1"), "{location}");
}

#[tokio::test]
async fn a_page_shows_the_code_where_the_user_has_to_paste_it() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let pasted = provider.approve_for_paste(&authorization_url(&provider)).expect("a good url");
    let (code, state) = pasted.split_once('#').expect("code#state");
    assert!(code.starts_with("code_"));
    assert_eq!(state, "state-1");
    let page = send(client().get(authorization_url(&provider))).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("#state-1"), "{}", page.text);
}

#[tokio::test]
async fn without_such_a_page_the_callback_url_is_pasted() {
    let provider = started(SimulatedProvider::openai()).await;
    let pasted = provider.approve_for_paste(&authorization_url(&provider)).expect("a good url");
    assert!(pasted.starts_with(&format!("{OPENAI_REDIRECT}?code=")));
}

#[tokio::test]
async fn a_user_can_decline() {
    let provider = started(SimulatedProvider::openai()).await;
    let callback = provider.deny(&authorization_url(&provider)).expect("a good url");
    assert_eq!(callback, format!("{OPENAI_REDIRECT}?error=access_denied&state=state-1"));
}

#[tokio::test]
async fn a_renewal_rotates_the_refresh_token() {
    for builder in [SimulatedProvider::anthropic(), SimulatedProvider::openai()] {
        let provider = started(builder).await;
        let first = signed_in(&provider).await;
        let old = text(&first, "refresh_token");
        let second = token(&provider, &renewal(&provider, old)).await.json;
        assert_ne!(text(&second, "refresh_token"), old);
        assert_ne!(text(&second, "access_token"), text(&first, "access_token"));
        let counters = provider.counters();
        assert_eq!((counters.code_exchanges, counters.refreshes), (1, 1));
        assert_eq!((counters.issued_refresh_tokens, counters.spent_refresh_tokens), (2, 1));
        assert_eq!(counters.reused_refresh_tokens, 0);
    }
}

#[tokio::test]
async fn a_refresh_token_of_google_stays_and_is_not_repeated() {
    let provider = started(SimulatedProvider::google()).await;
    let first = signed_in(&provider).await;
    for _ in 0..2 {
        let reply = token(&provider, &renewal(&provider, text(&first, "refresh_token"))).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(reply.json.get("refresh_token").is_none());
    }
    assert_eq!(provider.refreshes(), 2);
    assert_eq!(provider.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn google_gives_no_refresh_token_without_being_asked_offline() {
    let provider = started(SimulatedProvider::google()).await;
    let endpoint = provider.authorization_endpoint().expect("it has users");
    let query = with(&authorization(&provider), "prompt", None);
    let callback: Url =
        provider.approve(&url_with(&endpoint, &query)).expect("a good url").parse().expect("a url");
    let code = callback.query_pairs().next().expect("a code").1.into_owned();
    let reply = token(&provider, &with(&exchange(&provider), "code", Some(&code))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.json.get("refresh_token").is_none());
}

#[tokio::test]
async fn openai_takes_a_renewal_as_json_too() {
    let provider = started(SimulatedProvider::openai()).await;
    let first = signed_in(&provider).await;
    let body = json!({ "grant_type": "refresh_token", "client_id": provider.client_id(),
        "refresh_token": first["refresh_token"] });
    let reply = send(client().post(provider.token_endpoint()).json(&body)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
}

#[tokio::test]
async fn the_answer_of_orange_is_surrounded_by_white_space() {
    let provider = started(SimulatedProvider::orange()).await;
    let fields = vec![("grant_type", "client_credentials".to_owned())];
    let reply = token(&provider, &fields).await;
    assert!(reply.text.starts_with("\n{") && reply.text.ends_with("}    "));
    assert!(reply.json.get("refresh_token").is_none());
    assert_eq!(provider.counters().client_credentials, 1);
}

#[tokio::test]
async fn tokens_live_as_long_as_the_clock_of_the_provider_says() {
    let clock = clock();
    let lifetime = Duration::from_secs(100);
    let provider =
        started(SimulatedProvider::openai().sources(clock.sources()).token_lifetime(lifetime))
            .await;
    let answer = signed_in(&provider).await;
    assert_eq!(answer["expires_in"], 100);
    let access_token = text(&answer, "access_token");
    clock.advance(Duration::from_secs(99));
    assert_eq!(send(resource_request(&provider, access_token)).await.status, StatusCode::OK);
    clock.advance(Duration::from_secs(1));
    let reply = send(resource_request(&provider, access_token)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.json["error"]["code"], "token_expired");
}

#[tokio::test]
async fn the_date_header_follows_the_clock_of_the_provider() {
    let clock = clock();
    let provider = started(SimulatedProvider::openai().sources(clock.sources())).await;
    let reply = send(resource_request(&provider, "unknown")).await;
    assert_eq!(reply.headers["date"], "Fri, 15 Jan 2027 08:00:00 GMT");
    clock.advance(Duration::from_secs(61));
    let reply = send(resource_request(&provider, "unknown")).await;
    assert_eq!(reply.headers["date"], "Fri, 15 Jan 2027 08:01:01 GMT");
}

#[tokio::test]
async fn access_tokens_can_be_ended_while_refresh_tokens_stay_good() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let answer = signed_in(&provider).await;
    provider.expire_access_tokens();
    let reply = send(resource_request(&provider, text(&answer, "access_token"))).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let reply = token(&provider, &renewal(&provider, text(&answer, "refresh_token"))).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_access_tokens_along() {
    let provider = started(SimulatedProvider::openai()).await;
    let (kept, revoked) = (signed_in(&provider).await, signed_in(&provider).await);
    let body = json!({ "token": revoked["refresh_token"], "client_id": provider.client_id(),
        "token_type_hint": "refresh_token" });
    let endpoint = provider.revocation_endpoint().expect("it has one");
    assert_eq!(send(client().post(endpoint).json(&body)).await.status, StatusCode::OK);
    let after = |answer: &Value| {
        let request = resource_request(&provider, text(answer, "access_token"));
        async { send(request).await.status }
    };
    assert_eq!(after(&revoked).await, StatusCode::UNAUTHORIZED);
    assert_eq!(after(&kept).await, StatusCode::OK);
    let reply = token(&provider, &renewal(&provider, text(&revoked, "refresh_token"))).await;
    assert_eq!(reply.json["error"]["code"], "refresh_token_invalidated");
    assert_eq!(provider.counters().revocation_requests, 1);
}

#[tokio::test]
async fn google_revokes_by_form_and_knows_what_it_revoked() {
    let provider = started(SimulatedProvider::google()).await;
    let answer = signed_in(&provider).await;
    let revoke = || {
        let endpoint = provider.revocation_endpoint().expect("it has one");
        client().post(endpoint).form(&[("token", text(&answer, "refresh_token"))])
    };
    assert_eq!(send(revoke()).await.status, StatusCode::OK);
    let again = send(revoke()).await;
    assert_eq!(
        (again.status, &again.json["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_token"))
    );
}

#[tokio::test]
async fn everything_can_be_revoked_at_once() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let answer = signed_in(&provider).await;
    provider.revoke_everything();
    let reply = send(resource_request(&provider, text(&answer, "access_token"))).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let reply = token(&provider, &renewal(&provider, text(&answer, "refresh_token"))).await;
    assert_eq!(reply.json["error"], "invalid_grant");
}

#[tokio::test]
async fn two_providers_of_one_kind_do_not_know_each_other() {
    let one = started(SimulatedProvider::openai()).await;
    let other = started(SimulatedProvider::openai()).await;
    let answer = signed_in(&one).await;
    let reply = send(resource_request(&other, text(&answer, "access_token"))).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(other.token_requests(), 0);
}
