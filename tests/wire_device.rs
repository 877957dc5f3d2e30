//! Device sign-ins on the wire: exact requests, and every answer that `providers.md` of the project
//! records, with what it means.

mod common;

use std::time::Duration;

use common::{Recorder, Reply};
use tokenward::clock::Sources;
use tokenward::oauth::{DeviceAuthorization, Transport};
use tokenward::provider::{
    DeviceAnswer, DeviceCode, Failure, FailureClass, Provider, ProviderSpec, catalog,
};
use tokenward::secret::Secret;

const URN: &str = "urn:ietf:params:oauth:grant-type:device_code";
const GRANTED: &str = r#"{"access_token":"at-1","token_type":"bearer","scope":"read:user"}"#;
const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };

fn transport() -> Transport {
    Transport::new(Sources::system()).expect("a transport")
}

fn google() -> ProviderSpec {
    catalog::google().client("tv-client").client_secret("shh")
}

fn openai() -> ProviderSpec {
    catalog::openai().client("app_1")
}

fn github() -> ProviderSpec {
    catalog::github_copilot().client("Iv1.mine")
}

/// `spec` with every endpoint of its device sign-in at `recorder`.
fn at(mut spec: ProviderSpec, recorder: &Recorder) -> ProviderSpec {
    let poll = recorder.url("/poll");
    spec.oauth.device.poll_endpoint = spec.oauth.device.poll_endpoint.map(|_| poll.clone());
    spec.device_endpoint(recorder.url("/code")).token_endpoint(poll)
}

async fn authorize(spec: ProviderSpec, reply: Reply) -> Result<DeviceAuthorization, Failure> {
    let recorder = Recorder::start([reply]).await;
    at(spec, &recorder).authorize_device(&transport()).await
}

fn device() -> DeviceAuthorization {
    let uri = "https://example.com/device".parse().expect("a url");
    let (lifetime, now) = (Duration::from_mins(15), Sources::system().now());
    DeviceAuthorization::new("dc-1", "WDJB-MJHT", uri, lifetime, now)
}

async fn poll(spec: ProviderSpec, reply: Reply) -> Result<DeviceAnswer, Failure> {
    let recorder = Recorder::start([reply]).await;
    at(spec, &recorder).poll_device(&transport(), &device()).await
}

fn class(answer: Result<DeviceAnswer, Failure>) -> FailureClass {
    answer.expect_err("a failure").class
}

#[tokio::test]
async fn each_provider_is_asked_for_a_code_and_polled_in_its_own_way() {
    let issued = r#"{"device_code":"dc-1","user_code":"WDJB-MJHT","expires_in":899,
        "verification_uri":"https://example.com/device","interval":5}"#;
    let code = r#"{"authorization_code":"ac","code_challenge":"c","code_verifier":"v"}"#;
    for (spec, answer, asked, polled, media_type) in [
        (
            google(),
            GRANTED,
            "client_id=tv-client&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform+\
             https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fgenerative-language.retriever"
                .to_owned(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
             &device_code=dc-1&client_id=tv-client&client_secret=shh"
                .to_owned(),
            "application/x-www-form-urlencoded",
        ),
        (
            openai(),
            code,
            r#"{"client_id":"app_1"}"#.to_owned(),
            r#"{"device_auth_id":"dc-1","user_code":"WDJB-MJHT"}"#.to_owned(),
            "application/json",
        ),
        (
            github(),
            GRANTED,
            r#"{"client_id":"Iv1.mine","scope":"read:user"}"#.to_owned(),
            format!(r#"{{"client_id":"Iv1.mine","device_code":"dc-1","grant_type":"{URN}"}}"#),
            "application/json",
        ),
    ] {
        let recorder = Recorder::start([Reply::json(200, issued), Reply::json(200, answer)]).await;
        let spec = at(spec, &recorder);
        let device = spec.authorize_device(&transport()).await.expect("a device code");
        spec.poll_device(&transport(), &device).await.expect("an answer");
        let requests = recorder.requests();
        assert_eq!(requests[0].line, "POST /code HTTP/1.1");
        assert_eq!(requests[1].line, "POST /poll HTTP/1.1");
        assert_eq!([&requests[0].body, &requests[1].body], [&asked, &polled], "{}", spec.id);
        for request in requests {
            assert_eq!(request.header("content-type"), Some(media_type), "{}", spec.id);
            assert_eq!(request.header("accept"), Some("application/json"), "{}", spec.id);
            assert_eq!(request.header("authorization"), None, "{}", spec.id);
        }
    }
}

/// C-DEV-1 for each provider: `verification_url` of Google, the interval of `OpenAI` as text, and
/// what is not said. C-DEV-4: the code stands beside the address that has it in it.
#[tokio::test]
async fn the_answers_with_a_code_are_read_as_recorded() {
    let of_google = r#"{"device_code":"4/4-GMMhm","user_code":"GQVQ-JKEC","expires_in":1800,
        "verification_url":"https://www.google.com/device","interval":5}"#;
    let google = authorize(google(), Reply::json(200, of_google)).await.expect("a code");
    assert_eq!(google.verification_uri.as_str(), "https://www.google.com/device");
    assert_eq!(google.lifetime, Duration::from_mins(30));
    assert_eq!(google.user_code, "GQVQ-JKEC");

    for name in ["user_code", "usercode"] {
        let body = format!(r#"{{"device_auth_id":"da-1","{name}":"AB12-CD34","interval":"7"}}"#);
        let openai = authorize(openai(), Reply::json(200, &body)).await.expect("a code");
        assert_eq!(openai.device_code, Secret::new("da-1"));
        assert_eq!(openai.verification_uri.as_str(), "https://auth.openai.com/codex/device");
        assert_eq!(openai.interval, Duration::from_secs(7));
        assert_eq!(openai.lifetime, Duration::from_mins(15));
    }

    let minimal = r#"{"device_code":"dc","user_code":"A-1","expires_in":"600",
        "verification_uri":"https://github.com/login/device",
        "verification_uri_complete":"https://github.com/login/device?user_code=A-1"}"#;
    let github = authorize(github(), Reply::json(200, minimal)).await.expect("a code");
    assert_eq!(github.interval, Duration::from_secs(5), "the default of RFC 8628 §3.2");
    assert_eq!(github.lifetime, Duration::from_mins(10));
    let complete = github.verification_uri_complete.expect("an address with the code in it");
    assert_eq!((complete.query(), github.user_code.as_str()), (Some("user_code=A-1"), "A-1"));
}

#[tokio::test]
async fn a_code_that_is_not_to_be_had_says_why() {
    let without_address = r#"{"device_code":"dc","user_code":"A-1"}"#;
    let script = r#"{"device_code":"dc","user_code":"A","verification_uri":"javascript:alert(1)"}"#;
    for (spec, reply, class) in vec![
        // OpenAI: 404 means that it is not enabled. GitHub: no such client.
        (openai(), Reply::json(404, ""), FailureClass::Misconfigured),
        (github(), Reply::json(404, r#"{"error":"Not Found"}"#), FailureClass::Misconfigured),
        (google(), Reply::json(401, r#"{"error":"invalid_client"}"#), FailureClass::Misconfigured),
        (google(), Reply::json(400, r#"{"error":"invalid_scope"}"#), FailureClass::Misconfigured),
        (
            github(),
            Reply::json(200, r#"{"error":"device_flow_disabled"}"#),
            FailureClass::Misconfigured,
        ),
        (google(), Reply::json(200, without_address), FailureClass::Protocol),
        (google(), Reply::json(200, script), FailureClass::Protocol),
        (google(), Reply::json(200, "<html>"), FailureClass::Protocol),
        (google(), Reply::json(503, ""), TRANSIENT),
        (google(), Reply::Slam, TRANSIENT),
    ] {
        let failure = authorize(spec.clone(), reply.clone()).await.expect_err("no code");
        assert_eq!(failure.class, class, "{} {reply:?}: {}", spec.id, failure.reason);
    }
}

/// C-DEV-2 and C-ERR-1: `error` decides, at whatever status.
#[tokio::test]
async fn polls_are_decided_by_their_error_and_not_by_their_status() {
    let error = |code: &str| format!(r#"{{"error":"{code}","error_description":"…"}}"#);
    for status in [200, 400, 401, 403, 428, 429] {
        for (code, answer) in [
            ("authorization_pending", DeviceAnswer::Pending),
            ("slow_down", DeviceAnswer::SlowDown { interval: None }),
            ("access_denied", DeviceAnswer::Denied),
            ("expired_token", DeviceAnswer::Expired),
        ] {
            for spec in [google(), github(), openai()] {
                let told = poll(spec, Reply::json(status, &error(code))).await;
                assert_eq!(told, Ok(answer.clone()), "{status} {code}");
            }
        }
    }
    let slower = r#"{"error":"slow_down","interval":10}"#;
    let interval = Some(Duration::from_secs(10));
    let told = poll(github(), Reply::json(200, slower)).await;
    assert_eq!(told, Ok(DeviceAnswer::SlowDown { interval }));
}

#[tokio::test]
async fn a_poll_of_openai_is_pending_by_its_status_and_ends_in_a_code() {
    for reply in [Reply::json(403, ""), Reply::json(404, "{}"), Reply::json(403, "<html>")] {
        assert_eq!(poll(openai(), reply).await, Ok(DeviceAnswer::Pending));
    }
    let body = r#"{"authorization_code":"ac-1","code_challenge":"c","code_verifier":"v-1"}"#;
    let code = DeviceCode::new("ac-1", "v-1", "https://auth.openai.com/deviceauth/callback");
    assert_eq!(poll(openai(), Reply::json(200, body)).await, Ok(DeviceAnswer::Code(code)));
    assert_eq!(class(poll(openai(), Reply::json(200, GRANTED)).await), FailureClass::Protocol);
    // At others a 403 without a word is no answer to the question.
    assert_eq!(class(poll(google(), Reply::json(403, "<html>")).await), TRANSIENT);
    assert_eq!(class(poll(github(), Reply::json(404, "{}")).await), FailureClass::Unlisted);
}

/// C-DEV-2: a poll without an answer is tried again, later; nothing is spent that the next would
/// not tell.
#[tokio::test]
async fn a_poll_that_is_lost_is_transient() {
    for reply in [
        Reply::Slam,
        Reply::raw(""),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"),
        Reply::json(500, r#"{"error":"invalid_grant"}"#),
        Reply::json(408, ""),
    ] {
        assert_eq!(class(poll(google(), reply.clone()).await), TRANSIENT, "{reply:?}");
    }
    let limited = Reply::with_headers(429, "retry-after: 12\r\n", "");
    let failure = poll(google(), limited).await.expect_err("a rate limit");
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(12)));
}

#[tokio::test]
async fn a_device_code_that_is_not_known_ends_the_sign_in() {
    let gone = r#"{"error":"invalid_grant","error_description":"Malformed device code."}"#;
    let over = FailureClass::ReauthorizationRequired;
    assert_eq!(class(poll(google(), Reply::json(400, gone)).await), over);
    let unknown = r#"{"error":"incorrect_device_code"}"#;
    assert_eq!(class(poll(github(), Reply::json(200, unknown)).await), over);
    let client = r#"{"error":"incorrect_client_credentials"}"#;
    assert_eq!(class(poll(github(), Reply::json(200, client)).await), FailureClass::Misconfigured);
}

/// C-SEC-1: neither code is in what is written of a device authorization or of a failure.
#[tokio::test]
async fn what_is_shown_holds_neither_code() {
    let echo = r#"{"error":"dc-1","error_description":"dc-1 WDJB-MJHT"}"#;
    let failure = poll(google(), Reply::json(400, echo)).await.expect_err("a refusal");
    let shown = format!("{failure:?} {failure} {:?}", device());
    assert!(!shown.contains("dc-1") && !shown.contains("WDJB"), "{shown}");
}
