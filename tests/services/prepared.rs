//! Requests that are authenticated here and sent by a client of the host's own.

use http::{Method, StatusCode};
use serde_json::json;
use tokenward::catalog;
use tokenward::testing::{Endpoint, SimulatedProvider};

use crate::common::http_client;
use crate::host::with;

const PATH: &str = "/smsmessaging/v1/outbound/tel%3A%2B33600000000/requests";

fn body() -> serde_json::Value {
    json!({ "outboundSMSMessageRequest": {
        "address": "tel:+33612345678",
        "senderAddress": "tel:+33600000000",
        "outboundSMSTextMessage": { "message": "hello" },
    } })
}

#[tokio::test]
async fn a_prepared_request_goes_out_by_any_client() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    let prepared = orange.request(Method::POST, PATH).json(&body()).header("x-mine", "1");
    let prepared = prepared.prepare().await.expect("a token");
    assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 0);
    assert!(prepared.request().headers()["authorization"].is_sensitive());
    assert!(!format!("{prepared:?}").contains("Bearer"));

    let (request, recovery) = prepared.into_parts();
    let reply = http_client().execute(request).await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::CREATED);
    assert_eq!(simulated.requests_at(Endpoint::Resource)[0].header("x-mine"), Some("1"));
    let again = recovery.after(reply.status(), b"").await;
    assert!(again.is_none(), "what succeeded is not sent again");
}

#[tokio::test]
async fn what_refuses_its_token_is_answered_by_one_more_request_and_no_further_one() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    let prepared = orange.request(Method::POST, PATH).json(&body()).prepare().await;
    let (request, recovery) = prepared.expect("a token").into_parts();
    simulated.expire_access_tokens();
    let reply = http_client().execute(request).await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    assert!(recovery.wants_body(StatusCode::BAD_REQUEST));
    assert!(!recovery.wants_body(StatusCode::NOT_FOUND));

    // It is used up by this, so that nobody can write a loop.
    let again = recovery.after(reply.status(), b"").await.expect("a request");
    let reply = http_client().execute(again).await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::CREATED);
    assert_eq!(simulated.token_requests(), 2);
    assert_eq!(simulated.messages().len(), 1);
}

#[tokio::test]
async fn no_request_is_prepared_that_would_take_the_token_elsewhere() {
    let simulated = SimulatedProvider::orange().start().await.expect("a port");
    let plain = "http://api.example.com/".parse().expect("a url");
    let (host, _) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    for url in [simulated.url(PATH).as_str(), "https://api.example.com/"] {
        let error = orange.request(Method::POST, url).prepare().await.expect_err(url);
        assert!(error.is_invalid_input(), "{url}: {error}");
    }
    let spec = catalog::orange().client("id").client_secret("secret").base_url(plain);
    assert!(!spec.problems().is_empty(), "plain text is refused before anything starts");
}
