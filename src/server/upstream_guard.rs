//! The guard before routes that call a provider: while their credential can not be used they answer
//! 503 at once, instead of failing in the middle of their work.

use std::fmt;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde_json::json;
use tower_layer::Layer;
use tower_service::Service;

use super::answer;
use crate::credential::CredentialHandle;
use crate::error::Error;

/// A layer that lets requests through while a credential can be used. One that is expired is renewed
/// first, once for all who wait. Otherwise the answer is 503, with `Retry-After` where it is known.
///
/// ```
/// use axum::Router;
/// use axum::body::Body;
/// use axum::routing::get;
/// use http::{Request, StatusCode};
/// use tokenward::server::UpstreamGuard;
/// use tower::ServiceExt as _;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let credential = ada.preferred_credential("orange").await?;
/// let app: Router = Router::new()
///     .route("/balance", get(|| async { "what the provider said" }))
///     .route_layer(UpstreamGuard::new(credential));
///
/// let answer = app.clone().oneshot(Request::get("/balance").body(Body::empty())?).await?;
/// assert_eq!(answer.status(), StatusCode::OK);
/// ada.sign_out("orange").await?;
/// let answer = app.oneshot(Request::get("/balance").body(Body::empty())?).await?;
/// assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct UpstreamGuard(CredentialHandle);

impl UpstreamGuard {
    /// A guard for routes that need this credential.
    pub fn new(credential: CredentialHandle) -> Self {
        Self(credential)
    }
}

impl fmt::Debug for UpstreamGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamGuard").field(self.0.id()).finish()
    }
}

impl<S> Layer<S> for UpstreamGuard {
    type Service = UpstreamGuarded<S>;

    fn layer(&self, inner: S) -> UpstreamGuarded<S> {
        UpstreamGuarded { guard: self.clone(), inner }
    }
}

/// A service behind an [`UpstreamGuard`].
///
/// ```
/// use std::convert::Infallible;
/// use axum::body::Body;
/// use axum::response::IntoResponse as _;
/// use http::Request;
/// use tokenward::server::{UpstreamGuard, UpstreamGuarded};
/// use tower::{Layer as _, ServiceExt as _, service_fn};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// # let credential = ada.preferred_credential("orange").await?;
/// // Without a router: around any service of the host.
/// let inner = service_fn(|_: Request<Body>| async {
///     Ok::<_, Infallible>("what the provider said".into_response())
/// });
/// let service: UpstreamGuarded<_> = UpstreamGuard::new(credential).layer(inner);
/// let answer = service.oneshot(Request::get("/balance").body(Body::empty())?).await?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct UpstreamGuarded<S> {
    guard: UpstreamGuard,
    inner: S,
}

impl<S> Service<Request<Body>> for UpstreamGuarded<S>
where
    S: Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is taken, and a fresh one left in its place.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        let credential = self.guard.0.clone();
        Box::pin(async move {
            let acquired = credential.acquire().await;
            let word = if acquired.is_ok() { "admitted" } else { "unavailable" };
            credential.meters().guarded_request("upstream", word);
            match acquired {
                Ok(_) => ready.call(request).await,
                Err(error) => Ok(unavailable(&credential, &error)),
            }
        })
    }
}

fn unavailable(credential: &CredentialHandle, error: &Error) -> Response {
    tracing::debug!(credential = %credential.id(), %error, "a route waits for its credential");
    let body = json!({
        "error": "temporarily_unavailable",
        "error_description": "a service that this needs can not be used for now",
    });
    let mut response = answer::secret(StatusCode::SERVICE_UNAVAILABLE, &body);
    if let Some(after) = error.retry_after() {
        // Rounded up, so that nobody comes too early.
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
