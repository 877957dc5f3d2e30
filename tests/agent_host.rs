//! The example of a host, called by an application that a file names.

#[path = "../examples/agent_host/config.rs"]
mod config;
#[path = "../examples/agent_host/host.rs"]
mod host;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use config::Config;
use host::Host;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

const FILE: &str = r#"
    issuer = "https://host.example"
    vault = "VAULT"

    [[applications]]
    name = "reader"
    id = "app_reader"
    secret = "a-secret-of-this-test"
    permissions = "memories:read models:read"
    grants = ["client_credentials", "refresh_token"]
    access_token_lifetime = 60

    [[applications]]
    name = "writer"
    permissions = "memories:write"
"#;

/// A configuration whose vault is in a folder.
fn configured(folder: &TempDir) -> Config {
    written(folder, FILE)
}

/// What a file says, whose vault is in a folder.
fn written(folder: &TempDir, text: &str) -> Config {
    let path = folder.path().join("host.toml");
    let vault = folder.path().join("vault").display().to_string().replace('\\', "/");
    std::fs::write(&path, text.replace("VAULT", &vault)).expect("written");
    Config::read(&path).expect("a configuration")
}

async fn started(config: &Config) -> Host {
    Host::start(config, "http://127.0.0.1:1").await.expect("a host")
}

async fn stop(host: Host) {
    let unfinished = host.runtime.shutdown(std::time::Duration::from_secs(10)).await;
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

/// Asks for a token, by a refresh token where there is one.
async fn ask(router: &Router, id: &str, secret: &str, grant: &str) -> (StatusCode, Value) {
    let body = format!("{grant}&client_id={id}&client_secret={secret}");
    let request = Request::post("/auth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("a request");
    let (status, body) = call(router, request).await;
    (status, serde_json::from_str(&body).expect("json"))
}

async fn call(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn token(router: &Router, id: &str, secret: &str) -> Value {
    let (status, body) = ask(router, id, secret, "grant_type=client_credentials").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

fn with(method: &str, path: &str, token: &Value, body: &'static str) -> Request<Body> {
    let token = token["access_token"].as_str().expect("a token");
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(body))
        .expect("a request")
}

#[tokio::test]
async fn a_file_says_who_may_do_what_also_when_the_host_is_started_again() {
    let folder = TempDir::new().expect("a folder");
    let config = configured(&folder);
    let host = started(&config).await;
    let reader = token(&host.router, "app_reader", "a-secret-of-this-test").await;
    assert_eq!(reader["expires_in"], 60);
    assert!(reader["refresh_token"].is_string());
    let [_, writer] = &*host.applications else { panic!("two applications") };
    let (id, secret) = (writer.application.id().to_string(), writer.secret.expose());
    assert_eq!(id, "app_writer");
    let writer = token(&host.router, &id, secret).await;

    let remember = with("POST", "/memories", &writer, "tea at four");
    assert_eq!(call(&host.router, remember).await.0, StatusCode::CREATED);
    let (status, body) = call(&host.router, with("GET", "/memories", &reader, "")).await;
    assert_eq!((status, body), (StatusCode::OK, format!("{id}: tea at four\n")));
    for refused in [with("GET", "/memories", &writer, ""), with("POST", "/memories", &reader, "x")]
    {
        assert_eq!(call(&host.router, refused).await.0, StatusCode::FORBIDDEN);
    }
    let (status, body) = call(&host.router, with("GET", "/models", &reader, "")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        call(&host.router, with("GET", "/models", &writer, "")).await.0,
        StatusCode::FORBIDDEN
    );
    let health = Request::get("/health/ready").body(Body::empty()).expect("a request");
    assert_eq!(call(&host.router, health).await.0, StatusCode::OK);

    let secret = secret.to_owned();
    stop(host).await;
    let host = started(&config).await;
    assert!(host.applications.is_empty(), "none is registered anew");
    token(&host.router, "app_writer", &secret).await;
    let (status, _) = call(&host.router, with("GET", "/memories", &reader, "")).await;
    assert_eq!(status, StatusCode::OK, "the token of before");
    token(&host.router, "app_reader", "a-secret-of-this-test").await;
}

#[tokio::test]
async fn the_file_is_the_truth_at_each_start() {
    let folder = TempDir::new().expect("a folder");
    let host = started(&configured(&folder)).await;
    let before = token(&host.router, "app_reader", "a-secret-of-this-test").await;
    stop(host).await;

    let changed = FILE
        .replace("a-secret-of-this-test", "another-secret-of-this-test")
        .replace("access_token_lifetime = 60", "access_token_lifetime = 30")
        .replace("name = \"writer\"", "name = \"scribe\"");
    let host = started(&written(&folder, &changed)).await;
    let (status, _) =
        ask(&host.router, "app_reader", "a-secret-of-this-test", "grant_type=client_credentials")
            .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the former secret");
    let (status, _) = call(&host.router, with("GET", "/memories", &before, "")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "and what was got by it");
    let reader = token(&host.router, "app_reader", "another-secret-of-this-test").await;
    assert_eq!(reader["expires_in"], 30);
    let [scribe] = &*host.applications else { panic!("one is new") };
    assert_eq!(scribe.application.id().as_str(), "app_scribe");
    stop(host).await;

    let fewer = &changed[..changed.rfind("[[applications]]").expect("the last one")];
    let host = started(&written(&folder, fewer)).await;
    let (status, _) = call(&host.router, with("GET", "/memories", &reader, "")).await;
    assert_eq!(status, StatusCode::OK, "what did not change goes on");
    let gone = ask(&host.router, "app_scribe", "whatever-it-was", "grant_type=client_credentials");
    assert_eq!(gone.await.0, StatusCode::UNAUTHORIZED);
    stop(host).await;
}

#[tokio::test]
async fn a_file_says_how_long_refresh_tokens_live_and_how_often_one_may_ask() {
    let folder = TempDir::new().expect("a folder");
    let text = "refresh_token_grace = 60\n".to_owned()
        + &FILE.replace("access_token_lifetime = 60", "requests_per_minute = 4");
    let host = started(&written(&folder, &text)).await;
    let secret = "a-secret-of-this-test";
    let first = token(&host.router, "app_reader", secret).await;
    let first = first["refresh_token"].as_str().expect("a token");
    let grant = format!("grant_type=refresh_token&refresh_token={first}");
    let mut successors = Vec::new();
    for _ in 0..3 {
        let (status, answer) = ask(&host.router, "app_reader", secret, &grant).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        successors.push(answer["refresh_token"].clone());
    }
    assert!(successors.windows(2).all(|pair| pair[0] == pair[1]), "within the grace");
    let (status, _) = ask(&host.router, "app_reader", secret, &grant).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    stop(host).await;
}

#[tokio::test]
async fn a_file_says_what_is_switched_off_and_how_much_may_be_under_way() {
    let folder = TempDir::new().expect("a folder");
    let settings = "without = [\"introspection\", \"token-issue\"]\nmost_requests = 1\n".to_owned();
    let host = started(&written(&folder, &(settings + FILE))).await;
    for (path, status) in [
        ("/auth/introspect", StatusCode::NOT_FOUND),
        ("/auth/token", StatusCode::NOT_FOUND),
        ("/auth/revoke", StatusCode::BAD_REQUEST),
    ] {
        let request = Request::post(path).body(Body::empty()).expect("a request");
        let answer = host.router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
    }
    stop(host).await;

    let none = written(&folder, &("most_requests = 0\n".to_owned() + FILE));
    let refused = Host::start(&none, "http://127.0.0.1:1").await.err().expect("not one");
    assert!(refused.to_string().contains("no request may be under way"), "{refused}");
}

#[test]
fn two_applications_of_one_id_are_an_error() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("host.toml");
    let one = "[[applications]]\nname = \"x\"\npermissions = \"a\"\n";
    std::fs::write(&path, one.repeat(2)).expect("written");
    let error = Config::read(&path).err().expect("two").to_string();
    assert!(error.contains("two applications"), "{error}");
}

#[test]
fn a_name_that_is_not_known_is_an_error_that_tells_it() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("host.toml");
    std::fs::write(&path, "isuer = \"https://host.example\"").expect("written");
    let error = Config::read(&path).err().expect("misspelt").to_string();
    assert!(error.contains("isuer"), "{error}");
}

#[test]
fn a_value_that_makes_no_sense_is_not_repeated() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("host.toml");
    let text = "[[applications]]\nname = \"x\"\nsecret = [\"canary\"]\npermissions = \"a:b\"\n";
    std::fs::write(&path, text).expect("written");
    let error = Config::read(&path).err().expect("no secret").to_string();
    assert!(error.contains("line 3") && !error.contains("canary"), "{error}");
}
