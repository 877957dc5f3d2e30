//! The resources: which credentials they take, and how they refuse the others.

use super::*;

fn anthropic_messages(provider: &SimulatedProvider) -> RequestBuilder {
    client().post(provider.url("/v1/messages")).json(&json!({
        "model": "claude-simulated",
        "max_tokens": 16,
        "messages": [{ "role": "user", "content": "hello" }],
    }))
}

#[tokio::test]
async fn anthropic_answers_messages_for_a_key() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let key = provider.issue_api_key();
    let request = anthropic_messages(&provider)
        .header("x-api-key", key.expose())
        .header("anthropic-version", "2023-06-01");
    let reply = send(request).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(reply.json["role"], "assistant");
    assert_eq!(provider.requests_to("/v1/messages").len(), 1);
}

#[tokio::test]
async fn anthropic_does_not_take_two_credentials_or_a_token_without_its_beta_header() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let key = provider.issue_api_key();
    let answer = signed_in(&provider).await;
    let access_token = text(&answer, "access_token");
    let request = || {
        let request = client().get(provider.url("/v1/models"));
        request.header("anthropic-version", "2023-06-01")
    };
    let beta = |request: RequestBuilder| request.header("anthropic-beta", "oauth-2025-04-20");
    for refused in [
        request(),
        request().header("x-api-key", "sk-ant-api03-unknown"),
        beta(request()).header("x-api-key", key.expose()).bearer_auth(access_token),
        request().bearer_auth(access_token),
        beta(request()).bearer_auth(key.expose()),
        request().header("x-api-key", access_token),
    ] {
        let reply = send(refused).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.text);
        assert_eq!(reply.json["type"], "error");
        assert_eq!(reply.json["error"]["type"], "authentication_error");
    }
    let reply = send(beta(request()).bearer_auth(access_token)).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn anthropic_says_which_field_is_missing() {
    let provider = started(SimulatedProvider::anthropic()).await;
    let key = provider.issue_api_key();
    let reply = send(anthropic_messages(&provider).header("x-api-key", key.expose())).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json["error"]["message"], "anthropic-version: header is required");
    let request = client()
        .post(provider.url("/v1/messages"))
        .header("x-api-key", key.expose())
        .header("anthropic-version", "2023-06-01")
        .json(&json!({ "model": "claude-simulated", "messages": [] }));
    let reply = send(request).await;
    assert_eq!(reply.json["error"]["message"], "max_tokens: Field required");
}

#[tokio::test]
async fn openai_takes_keys_and_tokens_as_bearer() {
    let provider = started(SimulatedProvider::openai()).await;
    let key = provider.issue_api_key();
    let request = client()
        .post(provider.url("/v1/responses"))
        .bearer_auth(key.expose())
        .json(&json!({ "model": "gpt-simulated", "input": "hello" }));
    assert_eq!(send(request).await.json["object"], "response");
    let request = client()
        .post(provider.url("/v1/chat/completions"))
        .bearer_auth(key.expose())
        .json(&json!({ "model": "gpt-simulated", "messages": [] }));
    assert_eq!(send(request).await.json["object"], "chat.completion");
    let reply = send(resource_request(&provider, "sk-proj-unknown")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.json["error"]["code"], "invalid_api_key");
    let reply = send(client().get(provider.url("/v1/models"))).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_bad_key_is_a_bad_request_at_google() {
    let provider = started(SimulatedProvider::google()).await;
    let key = provider.issue_api_key();
    let models = |key: &str| {
        client().get(provider.url("/v1beta/models")).header("x-goog-api-key", key.to_owned())
    };
    assert_eq!(send(models(key.expose())).await.status, StatusCode::OK);
    let reply = send(models("AIzaSyUnknown")).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json["error"]["status"], "INVALID_ARGUMENT");
    assert_eq!(reply.json["error"]["details"][0]["reason"], "API_KEY_INVALID");
    let reply = send(resource_request(&provider, "ya29.unknown")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let reply = send(client().get(provider.url("/v1beta/models"))).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn orange_numbers_its_errors() {
    let clock = clock();
    let provider = started(SimulatedProvider::orange().sources(clock.sources())).await;
    let answer = signed_in(&provider).await;
    let access_token = text(&answer, "access_token");
    let reply = send(resource_request(&provider, access_token)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    clock.advance(Duration::from_mins(1));
    let expired = send(resource_request(&provider, access_token)).await;
    assert_eq!((expired.status, &expired.json["code"]), (StatusCode::UNAUTHORIZED, &json!(42)));
    let unknown = send(resource_request(&provider, "unknown")).await;
    assert_eq!((unknown.status, &unknown.json["code"]), (StatusCode::UNAUTHORIZED, &json!(41)));
    let path = provider.url("/smsmessaging/v1/outbound/tel%3A%2B3361/requests");
    let none = send(client().post(path).json(&sms())).await;
    assert_eq!((none.status, &none.json["code"]), (StatusCode::UNAUTHORIZED, &json!(40)));
}

#[tokio::test]
async fn orange_refuses_a_message_without_text() {
    let provider = started(SimulatedProvider::orange()).await;
    let answer = signed_in(&provider).await;
    let mut body = sms();
    body["outboundSMSMessageRequest"]["outboundSMSTextMessage"] = json!({});
    let request = client()
        .post(provider.url("/smsmessaging/v1/outbound/tel%3A%2B3361/requests"))
        .bearer_auth(text(&answer, "access_token"))
        .json(&body);
    let reply = send(request).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.json["requestError"]["serviceException"]["messageId"].is_string());
}

#[tokio::test]
async fn a_key_from_elsewhere_can_be_accepted_and_everything_be_withdrawn() {
    let provider = started(SimulatedProvider::openai()).await;
    let key = crate::secret::Secret::new("sk-from-elsewhere");
    provider.accept_api_key(&key);
    assert_eq!(send(resource_request(&provider, key.expose())).await.status, StatusCode::OK);
    provider.revoke_everything();
    let reply = send(resource_request(&provider, key.expose())).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn requests_are_kept_as_they_came() {
    let provider = started(SimulatedProvider::openai()).await;
    let request = client()
        .post(provider.url("/v1/responses?stream=false"))
        .header("x-second", "2")
        .header("x-first", "1")
        .json(&json!({ "input": "hello" }));
    send(request).await;
    let requests = provider.requests_to("/v1/responses");
    let request = requests.first().expect("one request");
    assert_eq!(request.endpoint, Endpoint::Resource);
    assert_eq!(request.query.as_deref(), Some("stream=false"));
    assert_eq!(request.json(), json!({ "input": "hello" }));
    assert_eq!(request.header("x-first"), Some("1"));
    let own: Vec<_> =
        request.header_names().into_iter().filter(|name| name.starts_with("x-")).collect();
    assert_eq!(own, ["x-second", "x-first"]);
}

#[tokio::test]
async fn form_fields_are_kept_in_order() {
    let provider = started(SimulatedProvider::openai()).await;
    signed_in(&provider).await;
    let requests = provider.requests_at(Endpoint::Token);
    let names: Vec<_> = requests[0].form().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["grant_type", "code", "redirect_uri", "client_id", "code_verifier"]);
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let secret = "CANARY-secret";
    let builder = SimulatedProvider::google().canary("CANARY").client_secret(secret);
    assert!(!format!("{builder:?}").contains("CANARY"));
    let provider = started(builder).await;
    let key = provider.issue_api_key();
    let answer = signed_in(&provider).await;
    send(resource_request(&provider, text(&answer, "access_token"))).await;
    assert!(key.expose().contains("CANARY"));
    let shown = format!("{provider:#?} {:#?} {:?}", provider.requests(), provider.faults());
    assert!(!shown.contains("CANARY"), "{shown}");
    let memory = provider.memory().expect("json");
    assert!(!memory.contains("CANARY"), "{memory}");
}
