//! `session.client()`: requests that carry the active credential, to the active provider alone.

use std::time::Duration;

use http::StatusCode;
use tokenward::identity::Method;
use tokenward::testing::{Endpoint, Fault};

use crate::host::Host;

#[tokio::test]
async fn a_call_carries_the_documented_headers_of_an_api_key_in_order() {
    let host = Host::start().await;
    let key = host.anthropic.issue_api_key();
    let ada = host.runtime.user("ada");
    ada.sign_in("anthropic").with_api_key(key.clone()).await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("anthropic").await.expect("signed in");

    let body = serde_json::json!({"model": "claude", "max_tokens": 1, "messages": []});
    let reply = session.client().post("/v1/messages").json(&body).send().await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::OK);
    let requests = host.anthropic.requests_to("/v1/messages");
    assert_eq!(requests[0].header("x-api-key"), Some(key.expose()));
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[0].json(), body);
    let names = requests[0].header_names();
    let documented = [
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "user-agent",
        "accept",
        "x-client-version",
    ];
    assert_eq!(names[..documented.len()], documented);
}

#[tokio::test]
async fn switching_takes_effect_for_the_next_request_and_signs_nobody_out() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    host.sign_in_openai("ada").await;
    host.sign_in_by_code("ada", &host.anthropic).await;
    let session = ada.open_session().await.expect("a session");
    let client = session.client();

    for provider in ["openai", "anthropic", "openai"] {
        session.use_provider(provider).await.expect("signed in");
        let reply = client.get("/v1/models").send().await.expect("an answer");
        assert_eq!(reply.status(), StatusCode::OK, "{provider}");
    }

    assert_eq!(host.openai.requests_to("/v1/models").len(), 2);
    assert_eq!(host.anthropic.requests_to("/v1/models").len(), 1);
    assert_eq!(ada.credentials().await.expect("a list").len(), 2);
}

/// H1: one renewal and one repeat.
#[tokio::test]
async fn a_401_is_answered_by_one_renewal_and_one_repeat() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    host.sign_in_openai("ada").await;
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    host.openai.expire_access_tokens();

    let reply = session.client().get("/v1/models").send().await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(host.openai.requests_to("/v1/models").len(), 2);
    assert_eq!(host.openai.refreshes(), 1);
}

/// H1: never twice.
#[tokio::test]
async fn a_resource_that_always_says_401_is_asked_twice_and_no_more() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    host.openai.faults().on(Endpoint::Resource).always(Fault::Status(401, String::new()));

    for _ in 0..5 {
        let reply = session.client().get("/v1/models").send().await.expect("an answer");
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    }

    assert_eq!(host.openai.refreshes(), 1, "one renewal for all of it");
    assert_eq!(host.openai.requests_to("/v1/models").len(), 6);
}

#[tokio::test]
async fn a_body_that_can_be_sent_only_once_is_not_sent_twice() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    host.openai.expire_access_tokens();
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>("{}")]);

    let body = reqwest::Body::wrap_stream(stream);
    let reply = session.client().post("/v1/responses").body(body).send().await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(host.openai.requests_to("/v1/responses").len(), 1);
}

#[tokio::test]
async fn an_api_key_that_is_refused_stays_and_the_answer_is_the_answer() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    ada.sign_in("openai").with_api_key("sk-nobody-knows-this-key").await.expect("stored");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");

    let reply = session.client().get("/v1/models").send().await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(host.openai.requests_to("/v1/models").len(), 1);
    assert_eq!(ada.credentials().await.expect("a list").len(), 1);
}

/// H3: not to another origin.
#[tokio::test]
async fn the_credential_does_not_leave_its_provider() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let elsewhere = host.anthropic.url("/v1/models").to_string();

    let error = session.client().get(elsewhere).send().await.expect_err("another origin");
    assert!(error.is_invalid_input(), "{error}");
    let request = session.client().get("/v1/models").header("authorization", "Bearer mine");
    let error = request.send().await.expect_err("the credential's header");
    assert!(error.to_string().contains("authorization"), "{error}");

    assert_eq!(host.anthropic.counters().resource_requests, 0);
    assert_eq!(host.openai.counters().resource_requests, 0);
}

/// H3: not across a redirect.
#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = elsewhere.local_addr().expect("an address");
    let resource = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", resource.local_addr().expect("an address"));
    let runtime = tokenward::Runtime::builder()
        .vault(tokenward::vault::Vault::in_memory())
        .provider(host.anthropic.spec().base_url(base.parse().expect("a url")))
        .start()
        .await
        .expect("a runtime");
    let ada = runtime.user("ada");
    let key = host.anthropic.issue_api_key();
    ada.sign_in("anthropic").with_api_key(key).await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("anthropic").await.expect("signed in");

    let redirect = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut socket, _) = resource.accept().await.expect("a connection");
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await.expect("a request");
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{address}/steal\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).await.expect("sent");
    });
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    redirect.await.expect("no panic");

    assert_eq!(reply.status(), StatusCode::TEMPORARY_REDIRECT);
    let asked = tokio::select! {
        biased;
        _ = elsewhere.accept() => true,
        () = std::future::ready(()) => false,
    };
    assert!(!asked, "nobody came to the other origin");
    runtime.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn without_an_active_provider_the_error_says_what_to_do() {
    let host = Host::start().await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    let error = session.client().get("/v1/models").send().await.expect_err("no provider");
    assert!(error.to_string().contains("use_provider"), "{error}");
    let error = session.use_provider("openai").await.expect_err("not signed in");
    assert!(error.needs_reauthorization(), "{error}");
}

/// H2 and H3: plain headers, marked sensitive.
#[tokio::test]
async fn the_headers_can_be_had_on_their_own() {
    let host = Host::start().await;
    host.sign_in_by_code("ada", &host.anthropic).await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("anthropic").await.expect("signed in");

    let authentication = session.authentication().await.expect("usable");

    let bearer = &authentication.headers["authorization"];
    assert!(bearer.is_sensitive());
    assert!(!format!("{authentication:?}").contains("sk-ant-oat"), "no secret in Debug");
    let reply = status_of(authentication).await;
    assert_eq!(reply, StatusCode::OK);
}

/// H2: plain headers.
#[tokio::test]
async fn headers_that_are_refused_are_reported_and_renewed_once_for_all() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let first = session.authentication().await.expect("usable");
    let late = first.clone();
    host.openai.expire_access_tokens();
    assert!(first.is_refusal(status_of(first.clone()).await, b""));

    let renewed = first.after_refusal().await.expect("a newer token");
    let same = late.after_refusal().await.expect("the same newer token");

    assert_eq!(host.openai.refreshes(), 1, "a late report renews nothing");
    assert_eq!(renewed.generation, same.generation);
    assert_ne!(renewed.generation, first.generation);
    assert_eq!(status_of(renewed).await, StatusCode::OK);
}

#[tokio::test]
async fn headers_of_a_key_that_is_refused_have_nothing_in_their_place() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    ada.sign_in("openai").with_api_key("sk-nobody-knows-this-key").await.expect("stored");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let refused = session.authentication().await.expect("usable");

    assert!(refused.after_refusal().await.is_none());
    let state = refused.credential.snapshot().state();
    assert_eq!(state, tokenward::CredentialState::ReauthorizationRequired);
}

async fn status_of(authentication: tokenward::runtime::Authentication) -> StatusCode {
    let url = authentication.base_url.join("/v1/models").expect("a url");
    let client = hyper_util_client();
    let mut request = http::Request::get(url.as_str())
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .expect("a request");
    *request.headers_mut() = authentication.headers;
    client.request(request).await.expect("an answer").status()
}

fn hyper_util_client() -> hyper_util::client::legacy::Client<
    hyper_util::client::legacy::connect::HttpConnector,
    http_body_util::Empty<bytes::Bytes>,
> {
    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http()
}

/// C-RT-7: what was obtained in one way is never used in place of another.
#[tokio::test]
async fn one_provider_by_two_methods_uses_the_one_that_was_chosen() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    host.sign_in_openai("ada").await;
    let key = host.openai.issue_api_key();
    ada.sign_in("openai").with_api_key(key.clone()).await.expect("signed in");
    let session = ada.open_session().await.expect("a session");

    session
        .use_credential("openai", Method::AuthorizationCode, &tokenward::identity::Label::default())
        .await
        .expect("signed in");
    session.client().get("/v1/models").send().await.expect("an answer");
    session
        .use_credential("openai", Method::ApiKey, &tokenward::identity::Label::default())
        .await
        .expect("signed in");
    session.client().get("/v1/models").send().await.expect("an answer");

    let requests = host.openai.requests_to("/v1/models");
    let bearer = format!("Bearer {}", key.expose());
    assert_ne!(requests[0].header("authorization"), Some(bearer.as_str()));
    assert_eq!(requests[1].header("authorization"), Some(bearer.as_str()));
}
