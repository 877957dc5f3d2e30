//! Acme: a little authorization server and API on loopback that the crate has never heard of. It is
//! odd wherever OAuth lets a server be odd, and strict: what it did not ask for it refuses.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::{Url, form_urlencoded};

pub(crate) const SECRET: &str = "acme-client-secret";

pub(crate) struct Acme {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct State {
    /// What its metadata document says; none: there is none.
    pub(crate) metadata: Option<Value>,
    /// Whether it can not be had for now.
    pub(crate) metadata_is_down: bool,
    /// Whether it answers for any path with a page, as a web application does.
    pub(crate) has_a_page_for_any_path: bool,
    /// How often it was asked for.
    pub(crate) metadata_read: usize,
    /// The `iss` of authorization responses.
    pub(crate) names_itself: Option<String>,
    /// Whether it refuses whoever speaks PKCE to it.
    pub(crate) without_pkce: bool,
    /// Access and refresh token in force.
    pub(crate) in_force: Option<(String, String)>,
    pub(crate) revoked: Vec<String>,
    /// The status with which refresh tokens are refused, instead of taken.
    pub(crate) refuses_with: u16,
    /// Codes with their challenge and their redirect URI.
    codes: HashMap<String, (Option<String>, String)>,
    issued: usize,
}

impl Acme {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("no panic while serving"))
    }

    /// Announces itself by a metadata document, with `change` to it.
    pub(crate) fn announce(&self, change: impl FnOnce(&mut Value)) {
        let mut document = json!({
            "issuer": self.url(""),
            "authorization_endpoint": self.url("/authorize"),
            "token_endpoint": self.url("/token"),
            "revocation_endpoint": self.url("/revoke"),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        change(&mut document);
        let issuer = self.url("");
        self.with(|state| {
            state.metadata = Some(document);
            state.names_itself = Some(issuer);
        });
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service =
            hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let query = parts.uri.query().unwrap_or_default();
    let mut state = state.lock().expect("no panic while serving");
    let answer = match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/.well-known/openid-configuration") => {
            state.metadata_read += 1;
            if state.metadata_is_down {
                Err(StatusCode::SERVICE_UNAVAILABLE)
            } else {
                state.metadata.clone().ok_or(StatusCode::NOT_FOUND)
            }
        }
        (&Method::GET, "/authorize") => match state.authorize(query) {
            Some(location) => return Ok(redirect(&location)),
            None => Err(StatusCode::BAD_REQUEST),
        },
        (&Method::POST, "/token") => match header("content-type") {
            // A code is exchanged as JSON, and a refresh token as a form.
            Some("application/json") => state.exchange(&body).ok_or(StatusCode::BAD_REQUEST),
            Some(_) => match StatusCode::from_u16(state.refuses_with) {
                Ok(status) => Err(status),
                Err(_) => state.refresh(&body).ok_or(StatusCode::BAD_REQUEST),
            },
            None => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        },
        (&Method::POST, "/revoke") => {
            state.revoked.extend(form(&body).remove("token"));
            state.in_force = None;
            Ok(json!({}))
        }
        (&Method::GET, "/api/whoami") => match (&state.in_force, header("x-acme-token")) {
            (Some((access, _)), Some(token)) if access == token => Ok(json!({ "token": token })),
            _ => Err(StatusCode::UNAUTHORIZED),
        },
        _ if state.has_a_page_for_any_path => {
            return Ok(Response::new(Full::from("<!doctype html><title>Acme</title>")));
        }
        _ => Err(StatusCode::NOT_FOUND),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(status) => (status, json!({ "error": "invalid_grant" })),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    Ok(response)
}

impl State {
    /// A user who agrees at once: where the browser is sent.
    fn authorize(&mut self, query: &str) -> Option<String> {
        let asked = form(query.as_bytes());
        let right = asked.get("client_id")? == "acme-client"
            && asked.get("scope")? == "read,write"
            && asked.get("audience")? == "acme-api"
            && match asked.get("code_challenge_method") {
                Some(method) => method == "S256" && !self.without_pkce,
                None => self.without_pkce,
            };
        let mut location = Url::parse(asked.get("redirect_uri").filter(|_| right)?).ok()?;
        let code = format!("code-{}", self.codes.len());
        location
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", asked.get("state")?)
            .extend_pairs(self.names_itself.as_ref().map(|issuer| ("iss", issuer)));
        let challenge = asked.get("code_challenge").cloned();
        let bound = (challenge, asked.get("redirect_uri")?.clone());
        self.codes.insert(code, bound);
        Some(location.into())
    }

    fn exchange(&mut self, body: &[u8]) -> Option<Value> {
        let asked: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| asked.get(name).and_then(Value::as_str);
        let (challenge, redirect_uri) = self.codes.remove(text("code")?)?;
        let hashed = |text: &str| {
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            URL_SAFE_NO_PAD.encode(digest)
        };
        let right = text("code_verifier").map(hashed) == challenge
            && text("redirect_uri")? == redirect_uri
            && text("client_secret")? == SECRET;
        right.then(|| self.issue())
    }

    fn refresh(&mut self, body: &[u8]) -> Option<Value> {
        let asked = form(body);
        let (_, refresh) = self.in_force.as_ref()?;
        let right = asked.get("refresh_token")? == refresh && asked.get("client_secret")? == SECRET;
        right.then(|| self.issue())
    }

    /// Tokens where no standard has them.
    fn issue(&mut self) -> Value {
        self.issued += 1;
        let (access, refresh) = (format!("at-{}", self.issued), format!("rt-{}", self.issued));
        self.in_force = Some((access.clone(), refresh.clone()));
        json!({
            "token_type": "Bearer",
            "result": { "token": access, "renewal": refresh },
            "lives": { "seconds": "3600" },
        })
    }
}

fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn redirect(location: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::FOUND;
    let location = location.parse().expect("a url is a header value");
    response.headers_mut().insert(http::header::LOCATION, location);
    response
}
