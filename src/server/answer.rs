//! Answers in JSON.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

/// An answer that nobody may keep: with a token in it, or about one (RFC 6749 §5.1).
pub(crate) fn secret(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = json(status, written(body), HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// An answer that anybody may keep, for so many seconds.
pub(crate) fn public(body: String, max_age: u64) -> Response {
    let keep = format!("public, max-age={max_age}");
    let keep = keep.try_into().unwrap_or(HeaderValue::from_static("no-cache"));
    json(StatusCode::OK, body, keep)
}

/// JSON of texts, numbers, lists and objects of them; nothing else that can not be written is ever said.
pub(crate) fn written(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts and numbers under names that are texts are JSON")
}

fn json(status: StatusCode, body: String, keep: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, keep);
    response
}
