//! What the scripted faults do on the wire, and whether the request was carried out.

use super::*;

/// A provider with a refresh token that is ready to be spent.
async fn with_refresh_token() -> (SimulatedProvider, Pairs<'static>) {
    let provider = started(SimulatedProvider::openai()).await;
    let answer = signed_in(&provider).await;
    let renewal = renewal(&provider, text(&answer, "refresh_token"));
    (provider, renewal)
}

#[tokio::test]
async fn a_fault_carries_the_request_out_or_not_as_it_says() {
    for kind in Fault::KINDS {
        let fault: Fault = kind.example.parse().expect("a listed kind");
        // These two end only when something else moves, and have tests of their own.
        if matches!(fault, Fault::Hang | Fault::Delay(_)) {
            continue;
        }
        let (provider, renewal) = with_refresh_token().await;
        provider.faults().on(Endpoint::Token).next(1, fault.clone());
        let _ = try_send(token_request(&provider, &renewal)).await;
        assert_eq!(provider.refreshes(), usize::from(fault.carries_out()), "{fault}");
        assert_eq!(provider.counters().faults, 1, "{fault}");
        let again = token(&provider, &renewal).await;
        let spent = fault.carries_out() && fault != Fault::OmitRefreshToken;
        let expected = if spent { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        assert_eq!(again.status, expected, "the refresh token after {fault}");
        assert_eq!(provider.reused_refresh_tokens(), usize::from(spent), "{fault}");
    }
}

#[tokio::test]
async fn connections_break_where_the_fault_says() {
    let (provider, renewal) = with_refresh_token().await;
    provider.faults().always(Fault::ResetBeforeHeaders);
    assert!(token_request(&provider, &renewal).send().await.is_err());
    provider.faults().always(Fault::LostAnswer);
    assert!(token_request(&provider, &renewal).send().await.is_err());
    for fault in [Fault::ResetAfterHeaders, Fault::ResetMidBody] {
        provider.faults().always(fault);
        assert!(try_send(token_request(&provider, &renewal)).await.is_err());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_was_sent_before_a_reset_arrives() {
    let (provider, renewal) = with_refresh_token().await;
    provider.faults().always(Fault::ResetAfterHeaders);
    let response = token_request(&provider, &renewal).send().await.expect("headers");
    assert!(response.content_length().expect("announced") > 0);
    assert!(response.bytes().await.is_err());
    provider.faults().always(Fault::ResetMidBody);
    let mut response = token_request(&provider, &renewal).send().await.expect("headers");
    let beginning = response.chunk().await.expect("a beginning").expect("some bytes");
    assert!(beginning.starts_with(b"{"));
    assert!(response.chunk().await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_reset_is_a_reset_and_a_lost_answer_an_orderly_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let provider = started(SimulatedProvider::openai()).await;
    let received = async |fault: Fault| {
        provider.faults().next(1, fault);
        let address = provider.base_url().socket_addrs(|| None).expect("an address")[0];
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    let reset = received(Fault::ResetBeforeHeaders).await.expect_err("a reset");
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(received(Fault::LostAnswer).await.expect("an end"), b"");
}

#[tokio::test]
async fn a_request_that_hangs_is_not_carried_out() {
    let (provider, renewal) = with_refresh_token().await;
    provider.faults().next(1, Fault::Hang);
    let request = tokio::spawn(token_request(&provider, &renewal).send());
    provider.until(|counters| counters.faults == 1).await;
    assert!(!request.is_finished());
    request.abort();
    assert_eq!(provider.refreshes(), 0);
    assert_eq!(provider.token_requests(), 2);
}

#[tokio::test]
async fn a_gate_holds_a_request_before_it_is_carried_out() {
    let (provider, renewal) = with_refresh_token().await;
    let gate = Gate::new();
    provider.faults().next(1, Fault::Hold(gate.clone()));
    let request = tokio::spawn(try_send(token_request(&provider, &renewal)));
    gate.until_arrived(1).await;
    assert_eq!(provider.refreshes(), 0);
    gate.open();
    let reply = request.await.expect("no panic").expect("an answer");
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(provider.refreshes(), 1);
}

#[tokio::test]
async fn a_gate_holds_an_answer_after_the_request_is_carried_out() {
    let (provider, renewal) = with_refresh_token().await;
    let gate = Gate::new();
    provider.faults().next(1, Fault::HoldAnswer(gate.clone()));
    let request = tokio::spawn(try_send(token_request(&provider, &renewal)));
    gate.until_arrived(1).await;
    assert_eq!(provider.counters().spent_refresh_tokens, 1);
    assert!(!request.is_finished());
    gate.open();
    let reply = request.await.expect("no panic").expect("an answer");
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn a_delay_is_a_matter_of_the_clock() {
    let clock = clock();
    let provider = started(SimulatedProvider::openai().sources(clock.sources())).await;
    let fields = exchange(&provider);
    provider.faults().next(1, Fault::Delay(Duration::from_secs(5)));
    let request = tokio::spawn(try_send(token_request(&provider, &fields)));
    clock.until_waits(1).await;
    assert_eq!(provider.counters().code_exchanges, 0);
    clock.advance(Duration::from_secs(5));
    assert_eq!(request.await.expect("no panic").expect("an answer").status, StatusCode::OK);
}

#[tokio::test]
async fn a_rate_limit_speaks_as_the_provider_does() {
    for provider in every_provider().await {
        let retry_after = Some(Duration::from_secs(30));
        provider.faults().next(1, Fault::RateLimited { retry_after });
        provider.faults().next(1, Fault::RateLimited { retry_after: None });
        let reply = send(resource_request(&provider, "any")).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.headers["retry-after"], "30");
        assert!(reply.json.is_object());
        let reply = send(resource_request(&provider, "any")).await;
        assert!(!reply.headers.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn bodies_are_as_broken_as_the_fault_says() {
    let provider = started(SimulatedProvider::openai()).await;
    let key = provider.issue_api_key();
    let faulted = async |fault: Fault| {
        provider.faults().next(1, fault);
        let response = resource_request(&provider, key.expose()).send().await.expect("headers");
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.bytes().await.expect("a body"))
    };
    let (status, headers, body) = faulted(Fault::Html200).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().expect("a value"))
    );
    assert!(body.starts_with(b"<!doctype html>"));
    let (status, _, body) = faulted(Fault::TornJson).await;
    assert_eq!(status, StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(&body).expect_err("torn").is_eof());
    let (_, _, body) = faulted(Fault::Garbage).await;
    assert!(std::str::from_utf8(&body).is_err());
    let (_, _, body) = faulted(Fault::Huge).await;
    assert!(body.len() > 10 * 1024 * 1024);
    let (status, _, body) = faulted(Fault::ServerErrorInvalidGrant).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(body.starts_with(br#"{"error":"invalid_grant""#));
    let (status, _, body) = faulted(Fault::Status(503, "{}".to_owned())).await;
    assert_eq!((status, &body[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"{}"[..]));
}

#[tokio::test]
async fn the_date_can_be_wrong_in_both_directions() {
    let clock = clock();
    let provider = started(SimulatedProvider::openai().sources(clock.sources())).await;
    provider.faults().next(1, Fault::DateAhead(Duration::from_hours(1)));
    provider.faults().next(1, Fault::DateBehind(Duration::from_hours(1)));
    for expected in ["Fri, 15 Jan 2027 09:00:00 GMT", "Fri, 15 Jan 2027 07:00:00 GMT"] {
        let reply = send(resource_request(&provider, "any")).await;
        assert_eq!(reply.headers["date"], expected);
    }
}

#[tokio::test]
async fn members_of_an_answer_can_be_changed_and_left_out() {
    let (provider, renewal) = with_refresh_token().await;
    provider.faults().next(1, Fault::SetField("expires_in".to_owned(), json!("3600")));
    let reply = token(&provider, &renewal).await;
    assert_eq!(reply.json["expires_in"], "3600");
    provider.faults().next(1, Fault::RemoveField("access_token".to_owned()));
    let reply = token(&provider, &exchange(&provider)).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.json.get("access_token").is_none());
}

#[tokio::test]
async fn a_renewal_without_a_new_refresh_token_keeps_the_old_one() {
    let (provider, renewal) = with_refresh_token().await;
    provider.faults().next(1, Fault::OmitRefreshToken);
    let reply = token(&provider, &renewal).await;
    assert!(reply.json.get("refresh_token").is_none());
    assert!(token(&provider, &renewal).await.json.get("refresh_token").is_some());
    assert_eq!(provider.counters().spent_refresh_tokens, 1);
}

#[tokio::test]
async fn a_fault_befalls_only_the_endpoint_it_is_meant_for() {
    let (provider, renewal) = with_refresh_token().await;
    provider.faults().on(Endpoint::Resource).always(Fault::Status(503, String::new()));
    assert_eq!(token(&provider, &renewal).await.status, StatusCode::OK);
    let reply = send(resource_request(&provider, "any")).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    provider.faults().clear();
    let reply = send(resource_request(&provider, "any")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}
