//! C-ERR-1: what each error means, row by row of its table, and what is done about it.

use std::time::{Duration, SystemTime};

use tokenward::clock::Sources;
use tokenward::oauth::Transport;
use tokenward::provider::FailureClass;
use tokenward::testing::{Endpoint, Fault, ManualClock, SimulatedProvider};
use tokenward::{CredentialState, Runtime, Vault};

use crate::calls::{Call, transport};
use crate::common::Reply;

const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };
const LIMITED: FailureClass = FailureClass::RateLimited { retry_after: None };

fn error(code: &str) -> String {
    format!(r#"{{"error":"{code}"}}"#)
}

/// What a renewal and the exchange of a code make of an answer.
async fn class(transport: &Transport, status: u16, body: &str) -> FailureClass {
    let refresh =
        Call::Refresh.answered(transport, Reply::json(status, body)).await.expect_err("an error");
    let exchange =
        Call::Exchange.answered(transport, Reply::json(status, body)).await.expect_err("an error");
    assert_eq!(refresh.class, exchange.class, "{status} {body}");
    refresh.class
}

/// C-ERR-1 terminal: `invalid_grant` with 400, 401 or 200, and nothing but the table's codes.
#[tokio::test]
async fn only_the_codes_of_the_table_end_a_grant() {
    let transport = transport();
    for status in [200, 400, 401] {
        let over = FailureClass::ReauthorizationRequired;
        assert_eq!(class(&transport, status, &error("invalid_grant")).await, over, "{status}");
    }
}

/// C-ERR-1 config: the client is wrong, or its request.
#[tokio::test]
async fn a_refused_client_is_a_matter_of_configuration() {
    let transport = transport();
    let misconfigured = FailureClass::Misconfigured;
    for code in [
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_request",
        "invalid_scope",
    ] {
        for status in [200, 400, 401, 403] {
            assert_eq!(
                class(&transport, status, &error(code)).await,
                misconfigured,
                "{status} {code}"
            );
        }
    }
    for status in [406, 415] {
        assert_eq!(class(&transport, status, "").await, misconfigured, "{status}");
    }
}

/// C-ERR-1 transient: outages, whatever their body says, and the page of a firewall.
#[tokio::test]
async fn an_outage_is_transient_whatever_its_body_says() {
    let transport = transport();
    for code in ["temporarily_unavailable", "server_error"] {
        assert_eq!(class(&transport, 400, &error(code)).await, TRANSIENT, "{code}");
    }
    for status in [408, 500, 502, 503, 504, 599] {
        for body in ["", "<html>", &error("invalid_grant"), &error("invalid_client")] {
            assert_eq!(class(&transport, status, body).await, TRANSIENT, "{status} {body}");
        }
    }
    for body in ["", &error("invalid_grant")] {
        assert_eq!(class(&transport, 429, body).await, LIMITED, "{body}");
    }
    assert_eq!(class(&transport, 403, "<html>blocked</html>").await, TRANSIENT);
}

/// C-ERR-1 anything else: no sense in it, and no sign-out.
#[tokio::test]
async fn anything_else_is_a_protocol_error() {
    let transport = transport();
    let (unlisted, protocol) = (FailureClass::Unlisted, FailureClass::Protocol);
    for (status, body, expected) in [
        (400, error("surprise").as_str(), unlisted),
        (401, "{}", unlisted),
        (404, "{}", unlisted),
        (400, "", protocol),
        (401, "", protocol),
        (400, "<html>", protocol),
        (200, "{}", protocol),
        (204, "", protocol),
    ] {
        assert_eq!(class(&transport, status, body).await, expected, "{status} {body}");
    }
}

/// A runtime with one simulated provider, on a clock that a test moves.
async fn runtime(provider: &SimulatedProvider, sources: Sources) -> Runtime {
    let builder = Runtime::builder().sources(sources).vault(Vault::in_memory());
    builder.provider(provider.spec()).start().await.expect("a runtime")
}

/// C-ERR-1 config and anything else, and C-CC-1: one request, then a long pause in which nobody
/// asks; the credential stays and goes on when the provider is right again.
#[tokio::test]
async fn a_refusal_that_asking_again_does_not_mend_is_not_asked_again_soon() {
    for (refusal, configuration) in [
        (Fault::Status(401, error("invalid_client")), true),
        (Fault::Status(400, error("invalid_scope")), true),
        (Fault::Status(406, String::new()), true),
        (Fault::Status(400, error("surprise")), false),
        (Fault::Html200, false),
    ] {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let hour = Duration::from_hours(1);
        let orange = SimulatedProvider::orange().sources(clock.sources()).token_lifetime(hour);
        let orange = orange.start().await.expect("a simulated provider");
        let runtime = runtime(&orange, clock.sources()).await;
        let ada = runtime.user("ada");
        ada.sign_in("orange").with_client_credentials().await.expect("signed in");
        let credential = ada.preferred_credential("orange").await.expect("a credential");

        orange.faults().on(Endpoint::Token).always(refusal.clone());
        clock.suspend(Duration::from_hours(2));
        let asked = orange.token_requests();
        for _ in 0..100 {
            let error = credential.acquire().await.expect_err("refused");
            assert_eq!(error.is_configuration(), configuration, "{refusal}: {error}");
            assert!(!error.needs_reauthorization() && !error.is_transient(), "{refusal}: {error}");
        }
        assert_eq!(orange.token_requests() - asked, 1, "{refusal}");
        assert_eq!(credential.snapshot().state(), CredentialState::Expired, "{refusal}: kept");

        orange.faults().clear();
        clock.advance(hour);
        credential.acquire().await.expect("the same credential goes on");
    }
}

/// A runtime by the clock of the machine, in which ada is signed in.
async fn signed_in(openai: &SimulatedProvider) -> Runtime {
    let runtime = runtime(openai, Sources::system()).await;
    let login = runtime.user("ada").sign_in("openai").by_paste().await.expect("a sign-in");
    let callback = openai.approve(login.url()).expect("approved");
    login.paste(&callback).await.expect("signed in");
    runtime
}

/// C-RT-6: 403 says that the token is good and its owner may not; a new one would change nothing.
#[tokio::test]
async fn a_resource_that_says_403_causes_no_renewal() {
    let openai = SimulatedProvider::openai().start().await.expect("a simulated provider");
    let ada = signed_in(&openai).await.user("ada");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");

    let forbidden = Fault::Status(403, r#"{"error":{"code":"insufficient_permissions"}}"#.into());
    openai.faults().on(Endpoint::Resource).always(forbidden);
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), 403);
    assert_eq!((openai.requests_to("/v1/models").len(), openai.refreshes()), (1, 0));
}

/// C-RT-8: what is held and what is stored are the same tokens, and are revoked once.
#[tokio::test]
async fn a_sign_out_revokes_once() {
    let openai = SimulatedProvider::openai().start().await.expect("a simulated provider");
    let ada = signed_in(&openai).await.user("ada");
    ada.preferred_credential("openai").await.expect("one").acquire().await.expect("a token");
    let signed_out = ada.sign_out("openai").await.expect("signed out");
    assert!(signed_out.iter().all(|(_, outcome)| outcome.revoked), "{signed_out:?}");
    assert_eq!(openai.requests_at(Endpoint::Revocation).len(), 1);
}
