//! Orange's SMS service: what is sent, what is sent once, and what a refused token leads to.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokenward::event::CredentialState;
use tokenward::service::ServiceErrorKind;
use tokenward::service::orange::Sms;
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};

use crate::host::with;

fn sms() -> Sms {
    let from = "+33600000000".parse().expect("a number");
    Sms::new(from, "+33612345678".parse().expect("a number"), "hello")
}

/// Every answer that refuses a token, as `providers.md` has them.
fn refusals() -> Vec<(u16, String)> {
    let numbered = |status, code| {
        (status, json!({ "code": code, "message": "m", "description": "d" }).to_string())
    };
    let named = |status, code| (status, json!({ "error": code }).to_string());
    let exception = |kind: &str| json!({ "requestError": { kind: { "messageId": "SVC0001" } } });
    vec![
        (401, String::new()),
        (403, String::new()),
        numbered(401, 40),
        numbered(401, 41),
        numbered(401, 42),
        numbered(400, 41),
        numbered(400, 42),
        numbered(403, 50),
        numbered(403, 51),
        numbered(403, 52),
        named(401, "invalid_token"),
        named(401, "expired_token"),
        named(400, "invalid_token"),
        named(400, "expired_token"),
        (400, exception("serviceException").to_string()),
        (401, exception("serviceException").to_string()),
    ]
}

#[tokio::test]
async fn a_message_is_sent_as_documented() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;

    let sent = orange.send_sms(&sms().sender_name("Ada")).await.expect("sent");

    let url = sent.resource_url.expect("where it is");
    assert_eq!(url.host_str(), Some("api.orange.com"));
    let request = &simulated.requests_at(Endpoint::Resource)[0];
    assert_eq!(request.path, "/smsmessaging/v1/outbound/tel%3A%2B33600000000/requests");
    assert_eq!(
        request.json(),
        json!({ "outboundSMSMessageRequest": {
            "address": "tel:+33612345678",
            "senderAddress": "tel:+33600000000",
            "senderName": "Ada",
            "outboundSMSTextMessage": { "message": "hello" },
        } })
    );
    assert_eq!(request.header("idempotency-key"), None);
    assert_eq!(simulated.messages().len(), 1);
}

#[tokio::test]
async fn each_refusal_of_the_token_is_met_by_one_renewal_and_one_repeat() {
    for (status, body) in refusals() {
        let (host, simulated) = with(SimulatedProvider::orange()).await;
        let orange = host.orange().await;
        simulated.faults().on(Endpoint::Resource).next(1, Fault::Status(status, body.clone()));

        orange.send_sms(&sms()).await.expect("sent with another token");

        assert_eq!(simulated.token_requests(), 2, "{status} {body}");
        let sent = simulated.requests_at(Endpoint::Resource);
        assert_eq!(sent.len(), 2, "{status} {body}");
        assert_ne!(sent[0].header("authorization"), sent[1].header("authorization"));
        assert_eq!(sent[0].body, sent[1].body);
        assert_eq!(simulated.messages().len(), 1, "{status} {body}");
    }
}

#[tokio::test]
async fn a_refusal_that_a_renewal_does_not_mend_ends_there() {
    for (status, body) in refusals() {
        let (host, simulated) = with(SimulatedProvider::orange()).await;
        let orange = host.orange().await;
        simulated.faults().on(Endpoint::Resource).always(Fault::Status(status, body.clone()));

        let error = orange.send_sms(&sms()).await.expect_err("refused for good");
        let kind = match status {
            401 => ServiceErrorKind::Unauthorized,
            403 => ServiceErrorKind::Forbidden,
            _ => ServiceErrorKind::Invalid,
        };
        assert_eq!(error.kind(), kind, "{status} {body}");
        assert_eq!(simulated.token_requests(), 2, "{status} {body}");
        assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 2, "{status} {body}");

        // An application that goes on all the same causes no renewal at each request.
        for _ in 0..5 {
            orange.send_sms(&sms()).await.expect_err("refused for good");
        }
        assert_eq!(simulated.token_requests(), 2, "{status} {body}");
        assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 7, "{status} {body}");
    }
}

#[tokio::test]
async fn a_message_is_never_sent_twice_after_its_first_byte_left() {
    for fault in [
        Fault::ResetBeforeHeaders,
        Fault::LostAnswer,
        Fault::ResetAfterHeaders,
        Fault::ResetMidBody,
        Fault::Status(500, String::new()),
        Fault::Unavailable { retry_after: Some(Duration::from_secs(1)) },
        Fault::RateLimited { retry_after: Some(Duration::from_secs(1)) },
    ] {
        let (host, simulated) = with(SimulatedProvider::orange()).await;
        let orange = host.orange().await;
        simulated.faults().on(Endpoint::Resource).next(1, fault.clone());

        let error = host.patiently(orange.send_sms(&sms())).await.expect_err("nobody knows");

        assert!(error.is_transient() && error.may_have_arrived(), "{fault}: {error}");
        assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 1, "{fault}");
    }
}

#[tokio::test]
async fn a_message_that_was_held_back_was_not_delivered() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    let upstream = host.runtime.upstream("orange").expect("the service");
    upstream.breaker().force_open();
    let error = orange.send_sms(&sms()).await.expect_err("held back");
    assert_eq!(error.kind(), ServiceErrorKind::HeldBack);
    assert!(error.is_transient() && !error.may_have_arrived(), "{error}");

    upstream.breaker().close();
    orange.clear().await.expect("cleared");
    simulated.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));
    let error = host.patiently(orange.send_sms(&sms())).await.expect_err("there is no token");
    assert_eq!(error.kind(), ServiceErrorKind::Unavailable);
    assert!(error.is_transient() && !error.may_have_arrived(), "{error}");

    assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 0);
    assert_eq!(simulated.messages().len(), 0);
}

#[tokio::test]
async fn a_message_that_was_taken_is_no_error_whatever_the_answer_says_of_it() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    for fault in [Fault::TornJson, Fault::Garbage] {
        simulated.faults().on(Endpoint::Resource).next(1, fault);
        let sent = orange.send_sms(&sms()).await.expect("sent");
        assert!(sent.resource_url.is_some(), "the header says where");
    }
    simulated.faults().on(Endpoint::Resource).next(1, Fault::Status(201, "{}".to_owned()));
    assert_eq!(orange.send_sms(&sms()).await.expect("sent").resource_url, None);
}

#[tokio::test]
async fn a_part_of_a_message_that_is_refused_is_named() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    let exception = json!({ "messageId": "SVC0002", "text": "t", "variables": ["address"] });
    let body = json!({ "requestError": { "serviceException": exception } }).to_string();
    simulated.faults().on(Endpoint::Resource).next(1, Fault::Status(400, body));
    let error = orange.send_sms(&sms()).await.expect_err("refused");
    assert_eq!((error.kind(), error.field()), (ServiceErrorKind::Invalid, Some("address")));
    assert_eq!(error.to_string(), "orange refuses address (400 SVC0002), correct it");

    let empty =
        Sms::new("+33600000000".parse().expect("n"), "+33612345678".parse().expect("n"), "");
    assert_eq!(orange.send_sms(&empty).await.expect_err("empty").field(), Some("message"));
    assert_eq!(simulated.token_requests(), 1);
}

#[tokio::test]
async fn the_token_is_told_cleared_and_renewed_without_being_shown() {
    let (host, simulated) = with(SimulatedProvider::orange()).await;
    let orange = host.orange().await;
    let token = orange.token().await.expect("a token");
    assert_eq!(token.state(), CredentialState::Valid);
    assert!(token.expires_at().is_some());
    let headers = orange.headers().await.expect("headers");
    let secret = headers["authorization"].to_str().expect("text").replace("Bearer ", "");
    assert!(headers["authorization"].is_sensitive());
    assert!(!format!("{token:?} {orange:?} {headers:?}").contains(&secret));

    orange.clear().await.expect("cleared");
    assert_eq!(simulated.token_requests(), 1, "nothing is asked for before it is needed");
    let again = orange.headers().await.expect("headers");
    assert_ne!(again["authorization"], headers["authorization"]);
    host.clock.advance(Duration::from_secs(2));
    let renewed = orange.refresh().await.expect("renewed");
    assert!(renewed.generation() > token.generation());
    assert_eq!(simulated.token_requests(), 3);

    orange.check_health().await.expect("it works");
    assert_eq!(simulated.token_requests(), 4);
    simulated.faults().on(Endpoint::Token).next(1, Fault::Status(503, String::new()));
    assert!(orange.check_health().await.expect_err("an outage").is_transient());
    let status = orange.send_sms(&sms()).await.map(|_| StatusCode::CREATED);
    assert_eq!(status.expect("the token is good still"), StatusCode::CREATED);
}
