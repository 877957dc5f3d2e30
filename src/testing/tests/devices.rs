//! Device sign-ins, as a plain HTTP client sees them: how strict each provider is.

use super::*;

const URN: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn on(builder: SimulatedProviderBuilder) -> (Arc<ManualClock>, SimulatedProvider) {
    let clock = clock();
    let provider = started(builder.sources(clock.sources())).await;
    (clock, provider)
}

async fn code_of_google(google: &SimulatedProvider) -> Reply {
    let url = google.device_endpoint().expect("it has one");
    let fields = [("client_id", google.client_id()), ("scope", "openid")];
    send(client().post(url).form(&fields)).await
}

fn poll_of_google<'a>(google: &SimulatedProvider, code: &Reply) -> Pairs<'a> {
    let device_code = code.json["device_code"].as_str().expect("a device code").to_owned();
    vec![
        ("grant_type", URN.to_owned()),
        ("device_code", device_code),
        ("client_id", google.client_id().to_owned()),
        ("client_secret", secret_of(google)),
    ]
}

#[tokio::test]
async fn google_wants_its_pace_its_secret_and_a_form() {
    let (clock, google) = on(SimulatedProvider::google()).await;
    let code = code_of_google(&google).await;
    assert!(code.json["verification_url"].is_string() && code.json["verification_uri"].is_null());
    let poll = poll_of_google(&google, &code);
    let url = google.token_endpoint();
    let ask = || send(client().post(url.clone()).form(&poll));
    for (wait, status, error) in [
        (4, 403, "slow_down"),
        (5, 403, "slow_down"),
        (15, 428, "authorization_pending"),
        (14, 403, "slow_down"),
        (20, 428, "authorization_pending"),
    ] {
        clock.advance(Duration::from_secs(wait));
        let reply = ask().await;
        assert_eq!((reply.status.as_u16(), &reply.json["error"]), (status, &json!(error)));
    }
    assert_eq!(google.counters().hasty_polls, 3);

    google.approve_device(code.json["user_code"].as_str().expect("a code")).expect("pending");
    let wrong = with(&poll, "client_secret", Some("wrong"));
    let reply = send(client().post(url.clone()).form(&wrong)).await;
    assert_eq!(reply.json["error"], "invalid_client");
    clock.advance(Duration::from_secs(20));
    let reply = ask().await;
    assert!(reply.json["refresh_token"].is_string(), "{}", reply.text);
    clock.advance(Duration::from_secs(20));
    assert_eq!(ask().await.json["error"], "invalid_grant", "a device code is good once");

    let members: serde_json::Map<_, _> =
        poll.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let reply = send(client().post(url.clone()).json(&members)).await;
    assert_eq!(reply.json["error"], "invalid_request");
}

#[tokio::test]
async fn a_code_ends_and_a_decision_stands() {
    let (clock, google) = on(SimulatedProvider::google()).await;
    let code = code_of_google(&google).await;
    let user_code = code.json["user_code"].as_str().expect("a code").to_owned();
    google.deny_device(&user_code).expect("pending");
    assert!(google.approve_device(&user_code).expect_err("decided").is_not_found());
    assert!(google.approve_device("WRONG").expect_err("unknown").is_not_found());
    let poll = poll_of_google(&google, &code);
    for (wait, error) in [(5, "access_denied"), (5, "access_denied"), (1_800, "expired_token")] {
        clock.advance(Duration::from_secs(wait));
        let reply = send(client().post(google.token_endpoint()).form(&poll)).await;
        assert_eq!(reply.json["error"], error);
    }
}

#[tokio::test]
async fn github_answers_errors_with_200_and_names_the_longer_interval() {
    let (clock, github) = on(SimulatedProvider::github_copilot()).await;
    let url = github.device_endpoint().expect("it has one");
    let body = json!({ "client_id": github.client_id(), "scope": "read:user" });
    let ask = |url: Url, body: Value| {
        send(client().post(url).header("accept", "application/json").json(&body))
    };
    let stranger = json!({ "client_id": "nobody", "scope": "read:user" });
    assert_eq!(ask(url.clone(), stranger).await.status, StatusCode::NOT_FOUND);
    let bare = send(client().post(url.clone()).json(&body)).await;
    assert_eq!(bare.status, StatusCode::NOT_ACCEPTABLE, "without the accept header");

    let code = ask(url, body).await.json;
    let poll = json!({ "client_id": github.client_id(), "device_code": code["device_code"],
        "grant_type": URN });
    clock.advance(Duration::from_secs(1));
    let hasty = ask(github.token_endpoint(), poll.clone()).await;
    assert_eq!(hasty.status, StatusCode::OK);
    assert_eq!((&hasty.json["error"], &hasty.json["interval"]), (&json!("slow_down"), &json!(10)));
    clock.advance(Duration::from_secs(10));
    let pending = ask(github.token_endpoint(), poll).await;
    assert_eq!(pending.status, StatusCode::OK);
    assert_eq!(pending.json["error"], "authorization_pending");
}

#[tokio::test]
async fn the_codes_of_openai_go_together_and_a_browser_can_agree() {
    let (clock, openai) = on(SimulatedProvider::openai()).await;
    let url = openai.device_endpoint().expect("it has one");
    let code = send(client().post(url).json(&json!({ "client_id": openai.client_id() }))).await;
    assert_eq!(code.json["interval"], "5", "as text");
    let poll_at = openai.url("/api/accounts/deviceauth/token");
    let ask = |user_code: Value| {
        let body = json!({ "device_auth_id": code.json["device_auth_id"], "user_code": user_code });
        send(client().post(poll_at.clone()).json(&body))
    };
    clock.advance(Duration::from_secs(5));
    assert_eq!(ask(json!("ANOTHER")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(code.json["user_code"].clone()).await.status, StatusCode::FORBIDDEN);

    let mut page = openai.url("/codex/device");
    assert_eq!(send(client().get(page.clone())).await.status, StatusCode::OK);
    let user_code = code.json["user_code"].as_str().expect("a code");
    page.query_pairs_mut().append_pair("user_code", user_code);
    assert_eq!(send(client().get(page.clone())).await.status, StatusCode::OK);
    assert_eq!(send(client().get(page)).await.status, StatusCode::BAD_REQUEST, "only once");
    clock.advance(Duration::from_secs(5));
    let reply = ask(code.json["user_code"].clone()).await;
    assert!(
        reply.json["authorization_code"].is_string() && reply.json["code_verifier"].is_string()
    );
}
