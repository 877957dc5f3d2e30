//! The guard before the host's own routes: bearer tokens in the header (RFC 6750 §2.1), and the
//! permissions that a route needs.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use futures_util::future::Either;
use serde_json::{Value, json};
use tower_layer::Layer;
use tower_service::Service;

use super::answer;
use super::authorization_server::AuthorizationServer;
use super::scope::Scope;
use super::verify::Caller;

/// A layer that lets through who has a good token with the permissions, and nobody else. A handler
/// behind it finds the [`Caller`] among the extensions of its request.
///
/// Whoever brings no token, or brings it in another way, gets a 401 without an error; one that is not
/// good a 401, one without the permissions a 403 that names them (RFC 6750 §3.1).
///
/// ```
/// use axum::Router;
/// use axum::body::Body;
/// use axum::routing::get;
/// use http::{Request, StatusCode};
/// use tokenward::server::{AuthorizationServer, ServerSettings};
/// use tower::ServiceExt as _;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// let app = Router::new()
///     .route("/memories", get(|| async { "what the caller may read" }))
///     .route_layer(server.guard("memories:read".parse()?));
///
/// // Nobody gets there without a token.
/// let answer = app.oneshot(Request::get("/memories").body(Body::empty())?).await?;
/// assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Guard {
    server: AuthorizationServer,
    needed: Scope,
}

impl Guard {
    pub(crate) fn new(server: AuthorizationServer, needed: Scope) -> Self {
        Self { server, needed }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let judged = self.judged(headers);
        let refused = judged.as_ref().err();
        let word = refused.map_or("admitted", |refused| refused.word());
        self.server.count_guarded(word, refused.map(|refused| refused.reason()));
        judged
    }

    fn judged(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let token = bearer_token(headers).inspect_err(|refused| {
            self.server.note_guarded(None, refused);
        })?;
        let caller = match self.server.verify(token) {
            Ok(caller) => caller,
            Err(reason) => {
                tracing::debug!(%reason, client_id = reason.client_id(), "a token was refused");
                self.server.note_guarded(reason.client_id(), &reason);
                return Err(Refused::InvalidToken);
            }
        };
        if caller.permissions().contains_all(&self.needed) {
            return Ok(caller);
        }
        tracing::debug!(
            client_id = caller.client_id(),
            token_id = caller.token_id(),
            needed = %self.needed,
            "a caller lacks permissions"
        );
        self.server.note_guarded(Some(caller.client_id()), &Refused::InsufficientScope);
        Err(Refused::InsufficientScope)
    }

    fn answer(&self, refused: Refused) -> Response {
        let (status, error, description) = match refused {
            Refused::NoToken => (StatusCode::UNAUTHORIZED, None, ""),
            Refused::Malformed => {
                (StatusCode::BAD_REQUEST, Some("invalid_request"), refused.reason())
            }
            Refused::InvalidToken => (
                StatusCode::UNAUTHORIZED,
                Some("invalid_token"),
                "the token is not good, get another",
            ),
            Refused::InsufficientScope => {
                (StatusCode::FORBIDDEN, Some("insufficient_scope"), refused.reason())
            }
        };
        let mut challenge = format!("Bearer realm=\"{}\"", self.server.realm());
        let mut body = json!({});
        if let Some(error) = error {
            challenge.extend([", error=\"", error, "\", error_description=\"", description, "\""]);
            body["error"] = json!(error);
            body["error_description"] = json!(description);
        }
        if matches!(refused, Refused::InsufficientScope) {
            let needed = self.needed.to_string();
            challenge.extend([", scope=\"", &needed, "\""]);
            body["scope"] = Value::from(needed);
        }
        let mut response = answer::secret(status, &body);
        if let Ok(challenge) = challenge.try_into() {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a [`Guard`].
///
/// ```
/// use std::convert::Infallible;
/// use axum::body::Body;
/// use axum::response::IntoResponse as _;
/// use http::Request;
/// use tokenward::server::{AuthorizationServer, Guarded, ServerSettings};
/// use tower::{Layer as _, ServiceExt as _, service_fn};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// // Without a router: around any service of the host.
/// let inner = service_fn(|_: Request<Body>| async {
///     Ok::<_, Infallible>("what the caller may read".into_response())
/// });
/// let service: Guarded<_> = server.guard("memories:read".parse()?).layer(inner);
/// let answer = service.oneshot(Request::get("/").body(Body::empty())?).await?;
/// assert_eq!(answer.status(), 401);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    /// The guard has decided before the service behind it is called.
    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.guard.admit(request.headers()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Right(self.inner.call(request))
            }
            Err(refused) => Either::Left(ready(Ok(self.guard.answer(refused)))),
        }
    }
}

/// Why nobody is let through. The text is for the audit trail.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{}", self.reason())]
pub(super) enum Refused {
    NoToken,
    Malformed,
    InvalidToken,
    InsufficientScope,
}

impl Refused {
    /// As it is counted.
    const fn word(self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::Malformed => "malformed",
            Self::InvalidToken => "invalid-token",
            Self::InsufficientScope => "insufficient-scope",
        }
    }

    /// As it is told.
    const fn reason(self) -> &'static str {
        match self {
            Self::NoToken => "there is no token",
            Self::Malformed => "the authorization header is not one bearer token",
            Self::InvalidToken => "the token is not good",
            Self::InsufficientScope => "the token lacks a permission",
        }
    }
}

/// The one token in the header. What stands in the address or in the body is not looked at.
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = found.next() else { return Err(Refused::NoToken) };
    if found.next().is_some() {
        return Err(Refused::Malformed);
    }
    let (scheme, rest) = header.as_bytes().split_at_checked(6).ok_or(Refused::NoToken)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || rest.first().is_some_and(|byte| *byte != b' ') {
        return Err(Refused::NoToken);
    }
    let token = std::str::from_utf8(rest).map_err(|_| Refused::Malformed)?.trim_start_matches(' ');
    if is_b64token(token) { Ok(token) } else { Err(Refused::Malformed) }
}

/// The grammar of RFC 6750 §2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(plain)
}
