//! `POST /auth/token`: what it takes, what it answers, and that it answers nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use tokenward::server::ApplicationChange;
use tokio::io::AsyncWriteExt as _;

use crate::host::{FORM, Host, JSON, basic, basic_of, part, read};

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn s_cc_1_s_hdr_1_s_hdr_2_s_hdr_3_a_token_comes_as_json_that_nobody_keeps() {
    let host = Host::start().await;
    let application = host.register("memories:read memories:write").await;
    let answer = host.ask(&application, "memories:read").await;
    assert_eq!(answer.status, 200);
    let mut body = answer.json();
    let token = body["access_token"].take();
    assert_eq!(token.as_str().expect("a token").split('.').count(), 3);
    let expected = json!({
        "access_token": Value::Null, "token_type": "Bearer", "expires_in": 300,
        "scope": "memories:read",
    });
    assert_eq!(body, expected, "and no refresh token");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(answer.header(name), Some(value));
        let refused = host.post("/auth/token", &[&FORM], GRANT).await;
        assert_eq!(refused.header(name), Some(value), "also when it is refused");
    }
}

#[tokio::test]
async fn s_jwt_1_s_jwt_2_the_token_says_who_issued_it_for_whom_and_for_how_long() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let (one, two) = (host.token(&application).await, host.token(&application).await);
    let header = part(&one, 0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    let claims = part(&one, 1);
    let id = application.application.id().as_str();
    let issued = 500_000 * 3_600;
    assert_eq!(claims["iss"], crate::host::ISSUER);
    assert_eq!(claims["aud"], crate::host::AUDIENCE);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id), &json!(id)));
    assert!(id.starts_with("app_"), "no user is called so");
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(issued), &json!(issued + 300)));
    assert_eq!(claims["scope"], "memories:read");
    assert_ne!(claims["jti"], part(&two, 1)["jti"]);
}

#[tokio::test]
async fn s_meth_1_only_post_is_taken() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let authorization = basic(&application);
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let headers = [FORM, ("authorization", authorization.as_str())];
        let answer = host.send(method, "/auth/token", &headers, "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
        assert!(!answer.body.contains("access_token"));
        if method != "HEAD" {
            assert_eq!(answer.error(), "invalid_request", "{method}");
        }
    }
}

#[tokio::test]
async fn s_req_3_nothing_is_read_from_the_address() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let (id, secret) = (application.application.id(), application.secret.expose());
    let query = format!("{GRANT}&client_id={id}&client_secret={secret}");
    let answer = host.post(&format!("/auth/token?{query}"), &[&FORM], "").await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    let answer = host.post(&format!("/auth/token?{query}"), &[&FORM], &query).await;
    assert_eq!(answer.status, 200, "and what stands in the body counts");
}

#[tokio::test]
async fn s_ct_1_s_auth_1_a_form_and_json_with_either_authentication_get_a_token() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let (id, secret) = (application.application.id(), application.secret.expose());
    let authorization = ("authorization", basic(&application));
    let authorization = (authorization.0, authorization.1.as_str());
    let form = format!("{GRANT}&client_id={id}&client_secret={secret}");
    let object = json!({ "grant_type": "client_credentials" });
    let with_secret = json!({
        "grant_type": "client_credentials", "client_id": id, "client_secret": secret,
    });
    for (headers, body) in [
        (vec![&FORM, &authorization], GRANT.to_owned()),
        (vec![&FORM], form),
        (vec![&JSON, &authorization], object.to_string()),
        (vec![&JSON], with_secret.to_string()),
    ] {
        let answer = host.post("/auth/token", &headers, &body).await;
        assert_eq!(answer.status, 200, "{body}");
    }
    let neither = [&("content-type", "text/plain"), &authorization];
    let answer = host.post("/auth/token", &neither, GRANT).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    let answer = host.post("/auth/token", &[&authorization], GRANT).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn s_req_4_s_req_7_what_is_not_one_set_of_texts_is_a_bad_request() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let authorization = basic(&application);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    for (of, body) in [
        (FORM, "grant_type=client_credentials&grant_type=client_credentials"),
        (FORM, "grant_type=client_credentials&scope=a&scope=b"),
        (FORM, "grant_type=client_credentials&x=1&x=2"),
        (FORM, "grant_type=%ff"),
        (JSON, r#"{"grant_type":"client_credentials","grant_type":"client_credentials"}"#),
        (JSON, r#"{"grant_type":["client_credentials"]}"#),
        (JSON, r#"{"grant_type":1}"#),
        (JSON, "[]"),
        (JSON, "{} {}"),
        (JSON, &deep),
    ] {
        let answer =
            host.post("/auth/token", &[&of, &("authorization", &authorization)], body).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "invalid_request"),
            "{body:.60}"
        );
    }
}

#[tokio::test]
async fn s_auth_4_s_auth_5_an_unknown_client_and_a_wrong_secret_get_the_same_bytes() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let id = application.application.id().as_str();
    let wrong = basic_of(id, &"A".repeat(43));
    let unknown = basic_of(&format!("app_{}", "A".repeat(43)), application.secret.expose());
    let ask = async |authorization: &str| {
        let headers = [&FORM, &("authorization", authorization)];
        host.post("/auth/token", &headers, GRANT).await.without_date()
    };
    let (wrong, unknown) = (ask(&wrong).await, ask(&unknown).await);
    assert_eq!(wrong, unknown);
    assert_eq!((wrong.status, wrong.error().as_str()), (401, "invalid_client"));
    let challenge = wrong.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Basic realm=\""), "{challenge}");

    let body = format!("{GRANT}&client_id={id}&client_secret=wrong");
    let in_body = host.post("/auth/token", &[&FORM], &body).await.without_date();
    assert_eq!(in_body, wrong, "also for a secret in the body");
    let disable = ApplicationChange::new().enabled(false);
    host.server.issuer().change(application.application.id(), disable).await.expect("disabled");
    assert_eq!(ask(&basic(&application)).await, wrong, "also when it is disabled");
}

#[tokio::test]
async fn s_auth_7_s_auth_8_a_client_that_authenticates_twice_is_refused() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let (id, secret) = (application.application.id(), application.secret.expose());
    let authorization = basic(&application);
    for extra in
        [format!("&client_id={id}&client_secret={secret}"), "&client_id=app_other".to_owned()]
    {
        let headers = [&FORM, &("authorization", authorization.as_str())];
        let answer = host.post("/auth/token", &headers, &format!("{GRANT}{extra}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    }
}

#[tokio::test]
async fn s_err_1_s_err_2_s_err_4_a_grant_has_to_be_named_known_and_allowed() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let authorization = basic(&application);
    let ask = async |body: &str| {
        let headers = [&FORM, &("authorization", authorization.as_str())];
        let answer = host.post("/auth/token", &headers, body).await;
        assert_eq!(answer.status, 400, "{body}");
        answer.error()
    };
    assert_eq!(ask("").await, "invalid_request");
    assert_eq!(ask("grant_type=").await, "invalid_request");
    for other in ["password", "authorization_code", "Client_Credentials", "client_credentials%20"] {
        assert_eq!(ask(&format!("grant_type={other}")).await, "unsupported_grant_type", "{other}");
    }
    let none = ApplicationChange::new().grants([]);
    host.server.issuer().change(application.application.id(), none).await.expect("changed");
    assert_eq!(ask(GRANT).await, "unauthorized_client");
}

#[tokio::test]
async fn s_scope_1_what_is_asked_for_is_granted_whole_or_not_at_all() {
    let host = Host::start().await;
    let application = host.register("memories:read memories:write").await;
    for (asked, granted) in [
        ("", "memories:read memories:write"),
        ("memories:write", "memories:write"),
        ("memories:write memories:read memories:write", "memories:read memories:write"),
    ] {
        assert_eq!(host.ask(&application, asked).await.json()["scope"], granted);
    }
    for asked in [
        "memories:delete",
        "memories:read memories:delete",
        "MEMORIES:READ",
        "memories",
        "a%22b",
        "a  b",
    ] {
        let answer = host.ask(&application, asked).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_scope"), "{asked}");
    }
    let nothing = host.register("x").await;
    let none = ApplicationChange::new().permissions(tokenward::server::Scope::none());
    host.server.issuer().change(nothing.application.id(), none).await.expect("changed");
    assert_eq!(host.ask(&nothing, "").await.error(), "invalid_scope");
}

#[tokio::test]
async fn s_err_3_no_answer_repeats_what_was_sent() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let authorization = basic(&application);
    for body in
        ["grant_type=<script>canary", "grant_type=client_credentials&scope=canary\"", "canary"]
    {
        let headers = [&FORM, &("authorization", authorization.as_str())];
        let answer = host.post("/auth/token?canary", &headers, body).await;
        assert_eq!(answer.status, 400);
        assert!(!format!("{answer:?}").contains("canary"));
    }
}

#[tokio::test]
async fn s_lim_1_a_body_of_more_than_16_kib_is_not_read() {
    let host = Host::start().await;
    let long = "a=".to_owned() + &"b".repeat(16 * 1024);
    let answer = host.post("/auth/token", &[&FORM], &long).await;
    assert_eq!((answer.status, answer.error().as_str()), (413, "invalid_request"));
    assert_eq!(answer.header("connection"), Some("close"));

    let head = "POST /auth/token HTTP/1.1\r\nhost: host\r\ncontent-type: \
                application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", "b".repeat(4096));
    let answer = host.exchange(&format!("{head}{}", chunk.repeat(5))).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (413, "invalid_request"),
        "also in chunks"
    );
}

#[tokio::test]
async fn s_lim_1_a_body_that_does_not_come_is_not_waited_for_for_long() {
    let host = Host::start().await;
    let mut stream = host.connect().await;
    let head = "POST /auth/token HTTP/1.1\r\nhost: host\r\ncontent-type: \
                application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\ngrant_type=";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let reading = read(&mut stream);
    tokio::pin!(reading);
    // The deadline is set once the server has read the head, which is some time from now.
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut reading => break answer,
            () = tokio::task::yield_now() => host.clock.advance(Duration::from_secs(1)),
        }
    };
    assert_eq!((answer.status, answer.error().as_str()), (408, "invalid_request"));
    assert_eq!(answer.header("connection"), Some("close"));
}
