//! The description of the endpoints, held against them. That it describes what they take and answer is
//! tried by generated requests (tests/openapi).

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Map, Value};
use tower::ServiceExt as _;

use super::*;
use crate::provider::catalog;
use crate::runtime::Runtime;
use crate::server::settings::ServerSettings;
use crate::vault::Vault;

const DESCRIPTION: &str = include_str!("../../../docs/openapi.json");

fn paths() -> Map<String, Value> {
    let description: Value = serde_json::from_str(DESCRIPTION).expect("json");
    description["paths"].as_object().expect("paths").clone()
}

async fn server() -> AuthorizationServer {
    let runtime = Runtime::builder().vault(Vault::in_memory()).provider(catalog::anthropic());
    let runtime = runtime.start().await.expect("a runtime");
    let settings = ServerSettings::new("https://issuer.example", "https://api.example");
    AuthorizationServer::start(&runtime, settings).await.expect("a server")
}

#[tokio::test]
async fn every_endpoint_is_described_and_nothing_else() {
    let server = server().await;
    let there: BTreeSet<String> =
        endpoints(&server).into_iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(paths().keys().cloned().collect::<BTreeSet<_>>(), there);
}

#[tokio::test]
async fn every_endpoint_takes_the_methods_that_are_described_and_no_others() {
    let server = server().await;
    let router = server.router();
    for (path, described) in paths() {
        let described = described.as_object().expect("methods");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let request = Request::builder().method(&method).uri(path.replace("{id}", "app_a"));
            let request = request.body(Body::empty()).expect("a request");
            let answer = router.clone().oneshot(request).await.expect("an answer");
            let taken = answer.status() != StatusCode::METHOD_NOT_ALLOWED;
            let is_described = described.contains_key(&method.as_str().to_lowercase());
            assert_eq!(taken, is_described, "{method} {path}: {}", answer.status());
        }
    }
}
