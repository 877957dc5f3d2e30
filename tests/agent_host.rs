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
    let path = folder.path().join("host.toml");
    let vault = folder.path().join("vault").display().to_string().replace('\\', "/");
    std::fs::write(&path, FILE.replace("VAULT", &vault)).expect("written");
    Config::read(&path).expect("a configuration")
}

async fn call(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn token(router: &Router, id: &str, secret: &str) -> Value {
    let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let request = Request::post("/auth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("a request");
    let (status, body) = call(router, request).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).expect("json")
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
    let host = Host::start(&config, "http://127.0.0.1:1").await.expect("a host");
    let reader = token(&host.router, "app_reader", "a-secret-of-this-test").await;
    assert_eq!(reader["expires_in"], 60);
    assert!(reader["refresh_token"].is_string());
    let [_, writer] = &*host.applications else { panic!("two applications") };
    let (id, secret) = (writer.application.id().to_string(), writer.secret.expose());
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

    let unfinished = host.runtime.shutdown(std::time::Duration::from_secs(10)).await;
    assert!(unfinished.is_empty(), "{unfinished:?}");
    drop(host);
    let host = Host::start(&config, "http://127.0.0.1:1").await.expect("a host");
    let (status, _) = call(&host.router, with("GET", "/memories", &reader, "")).await;
    assert_eq!(status, StatusCode::OK, "the token of before");
    token(&host.router, "app_reader", "a-secret-of-this-test").await;
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
