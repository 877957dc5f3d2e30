//! What the real provider would refuse, and the words in which it does.

use super::*;

/// An error of the authorization endpoint, for a query that is changed in one place.
async fn refused_url(provider: &SimulatedProvider, name: &str, value: Option<&str>) -> String {
    let endpoint = provider.authorization_endpoint().expect("it has users");
    let name = authorization(provider).iter().map(|pair| pair.0).find(|key| *key == name);
    let name = name.expect("a parameter of the url");
    let url = url_with(&endpoint, &with(&authorization(provider), name, value));
    let page = send(client().get(&url)).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "{}", page.text);
    assert!(!page.headers.contains_key("location"), "no redirect to an unchecked place");
    provider.approve(&url).expect_err("refused").to_string()
}

#[tokio::test]
async fn an_authorization_url_has_to_be_complete_and_right() {
    for provider in every_provider().await {
        if provider.authorization_endpoint().is_none() {
            continue;
        }
        for (name, wrong) in [
            ("response_type", "token"),
            ("client_id", "somebody-else"),
            ("redirect_uri", "http://evil.example:1455/auth/callback"),
            ("code_challenge", "short"),
            ("code_challenge_method", "plain"),
        ] {
            for value in [Some(wrong), None] {
                let error = refused_url(&provider, name, value).await;
                assert!(error.starts_with("the provider refuses"), "{error}");
            }
        }
        refused_url(&provider, "state", None).await;
    }
}

#[tokio::test]
async fn anthropic_wants_code_true() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let error = refused_url(&provider, "code", Some("false")).await;
    assert_eq!(error, "the provider refuses the authorization request: code has a wrong value");
}

#[tokio::test]
async fn redirects_are_compared_as_a_whole() {
    let provider = started(SimulatedProvider::openai().redirect_ports(&[1455, 1457])).await;
    provider.approve(&authorization_url(&provider)).expect("port 1455 is registered");
    for wrong in [
        "http://localhost:1456/auth/callback",
        "http://127.0.0.1:1455/auth/callback",
        "https://localhost:1455/auth/callback",
        "http://localhost:1455/auth/callback/",
        "http://localhost:1455/auth/callback?next=/",
        "http://user@localhost:1455/auth/callback",
        "http://localhost/auth/callback",
    ] {
        refused_url(&provider, "redirect_uri", Some(wrong)).await;
    }
}

#[tokio::test]
async fn a_parameter_must_not_occur_twice() {
    let provider = started(SimulatedProvider::openai()).await;
    let url = format!("{}&state=other", authorization_url(&provider));
    assert!(provider.approve(&url).is_err());
    let mut fields = exchange(&provider);
    fields.push(("client_id", provider.client_id().to_owned()));
    assert_eq!(token(&provider, &fields).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_authorization_url_of_somebody_else_is_no_url_of_ours() {
    let provider = started(SimulatedProvider::openai()).await;
    let error =
        provider.approve("https://auth.openai.com/oauth/authorize?x=1").expect_err("foreign");
    assert!(error.is_invalid_input());
    let orange = started(SimulatedProvider::orange()).await;
    assert!(orange.approve("http://127.0.0.1/").is_err());
}

#[tokio::test]
async fn an_exchange_has_to_match_its_authorization() {
    for (provider, errors) in [
        (started(SimulatedProvider::anthropic()).await, ["invalid_grant", "invalid_client"]),
        (started(SimulatedProvider::openai()).await, ["invalid_grant", "invalid_client"]),
        (started(SimulatedProvider::google()).await, ["invalid_grant", "invalid_client"]),
    ] {
        let [grant_error, client_error] = errors;
        let code_of = |reply: &Reply| match &reply.json["error"] {
            Value::String(code) => code.clone(),
            error => text(error, "code").to_owned(),
        };
        let good = exchange(&provider);
        let unknown = with(&good, "code", Some("code_unknown"));
        assert_eq!(code_of(&token(&provider, &unknown).await), grant_error);
        let verifier = with(&good, "code_verifier", Some(&"x".repeat(43)));
        assert_eq!(code_of(&token(&provider, &verifier).await), grant_error);
        let client = with(&good, "client_id", Some("somebody-else"));
        let reply = token(&provider, &client).await;
        assert_eq!(code_of(&reply), client_error);
        let redirect = with(&good, "redirect_uri", Some("http://localhost:9/auth/callback"));
        let reply = token(&provider, &redirect).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
        assert_eq!(provider.counters().refusals, 4);
        // None of the attempts spent the code; once it is spent, it stays spent.
        assert_eq!(token(&provider, &good).await.status, StatusCode::OK);
        assert_eq!(code_of(&token(&provider, &good).await), grant_error);
        assert_eq!(provider.counters().code_exchanges, 1);
    }
}

#[tokio::test]
async fn every_field_of_an_exchange_is_needed() {
    for provider in every_provider().await {
        if provider.authorization_endpoint().is_none() {
            continue;
        }
        let good = exchange(&provider);
        for (name, _) in &good {
            let reply = token(&provider, &with(&good, name, None)).await;
            assert!(reply.status.is_client_error(), "{} without {name}", provider.name());
        }
        assert_eq!(token(&provider, &good).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn anthropic_wants_the_state_of_the_authorization_in_the_exchange() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let wrong = with(&exchange(&provider), "state", Some("another"));
    let reply = token(&provider, &wrong).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_expires() {
    let clock = clock();
    let provider = started(SimulatedProvider::openai().sources(clock.sources())).await;
    let fields = exchange(&provider);
    clock.advance(Duration::from_mins(10));
    let reply = token(&provider, &fields).await;
    assert_eq!(reply.json["error"]["code"], "invalid_grant");
}

#[tokio::test]
async fn the_body_has_to_be_of_the_type_that_the_provider_takes() {
    let anthropic = started(SimulatedProvider::anthropic()).await;
    let form = client().post(anthropic.token_endpoint()).form(&exchange(&anthropic));
    let reply = send(form).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json["error"]["message"], "Invalid request format");

    let openai = started(SimulatedProvider::openai()).await;
    let fields: serde_json::Map<String, Value> = exchange(&openai)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let reply = send(client().post(openai.token_endpoint()).json(&fields)).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    let orange = started(SimulatedProvider::orange()).await;
    let request = client()
        .post(orange.token_endpoint())
        .header("accept", "application/json")
        .basic_auth(orange.client_id(), Some(secret_of(&orange)))
        .json(&json!({ "grant_type": "client_credentials" }));
    assert_eq!(send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_spent_refresh_token_is_refused_in_the_words_of_the_provider() {
    let anthropic = started(SimulatedProvider::anthropic()).await;
    let spent = signed_in(&anthropic).await;
    let fields = renewal(&anthropic, text(&spent, "refresh_token"));
    assert_eq!(token(&anthropic, &fields).await.status, StatusCode::OK);
    let reply = token(&anthropic, &fields).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let expected = json!({ "error": "invalid_grant",
        "error_description": "Refresh token not found or invalid" });
    assert_eq!(reply.json, expected);
    assert_eq!(anthropic.reused_refresh_tokens(), 1);

    let openai = started(SimulatedProvider::openai()).await;
    let spent = signed_in(&openai).await;
    let fields = renewal(&openai, text(&spent, "refresh_token"));
    assert_eq!(token(&openai, &fields).await.status, StatusCode::OK);
    let reply = token(&openai, &fields).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json["error"]["code"], "refresh_token_reused");
    assert!(text(&reply.json["error"], "message").contains("already been used"));
    assert_eq!(openai.reused_refresh_tokens(), 1);
    assert_eq!(openai.refreshes(), 1);
}

#[tokio::test]
async fn an_unknown_refresh_token_is_no_reuse() {
    for (provider, expected) in [
        (started(SimulatedProvider::anthropic()).await, "Refresh token not found or invalid"),
        (started(SimulatedProvider::google()).await, "Token has been expired or revoked."),
    ] {
        let reply = token(&provider, &renewal(&provider, "unknown")).await;
        assert_eq!(reply.json["error"], "invalid_grant");
        assert_eq!(reply.json["error_description"], expected);
        assert_eq!(provider.reused_refresh_tokens(), 0);
    }
}

#[tokio::test]
async fn a_client_with_a_secret_has_to_send_it_and_one_without_must_not() {
    for builder in
        [SimulatedProvider::anthropic(), SimulatedProvider::openai(), SimulatedProvider::google()]
    {
        let provider = started(builder.client_secret("right")).await;
        for wrong in [Some("wrong"), None] {
            let fields = with(&exchange(&provider), "client_secret", wrong);
            let reply = token(&provider, &fields).await;
            assert!(reply.text.contains("invalid_client"), "{}", reply.text);
        }
        let fields = with(&exchange(&provider), "client_secret", Some("right"));
        assert_eq!(token(&provider, &fields).await.status, StatusCode::OK);
    }
    let public = started(SimulatedProvider::openai()).await;
    let fields = with(&exchange(&public), "client_secret", Some("made-up"));
    assert_eq!(token(&public, &fields).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn orange_wants_basic_authentication_and_to_be_asked_for_json() {
    let provider = started(SimulatedProvider::orange()).await;
    let form = [("grant_type", "client_credentials")];
    let request = || client().post(provider.token_endpoint()).form(&form);
    let json = |request: RequestBuilder| request.header("accept", "application/json");
    let (id, secret) = (provider.client_id(), secret_of(&provider));
    for wrong in [
        json(request()),
        json(request()).basic_auth(id, Some("wrong")),
        json(request()).basic_auth("wrong", Some(&secret)),
        json(request()).header("authorization", "Basic ???"),
    ] {
        let reply = send(wrong).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.json["error"], "invalid_client");
        assert!(reply.headers["www-authenticate"].to_str().expect("text").starts_with("Basic"));
    }
    let unspecific = request().basic_auth(id, Some(&secret));
    assert_eq!(send(unspecific).await.status, StatusCode::NOT_ACCEPTABLE);
    let other = vec![("grant_type", "password".to_owned())];
    assert_eq!(token(&provider, &other).await.json["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for provider in every_provider().await {
        let reply = send(client().get(provider.url("/nowhere"))).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{}", provider.name());
        let reply = send(client().get(provider.token_endpoint())).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{}", provider.name());
    }
}
