//! The same as a `tower` layer, for hosts with an HTTP client of their own: whatever service it is
//! put around sends requests that carry the session's active credential.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use super::attempt::{Attempt, Missed, Sender, of_the_request};
use super::body::ResponseBody;
use super::target::target;
use super::verdict::{admitted, not_held_back};
use crate::error::{Error, ErrorKind};
use crate::runtime::Session;

/// What `tower` uses for the error of a service that can fail in ways of its own.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Another body like this one; none when it can be sent only once.
type CopyBody<B> = fn(&B) -> Option<B>;

/// A layer that authenticates requests with bodies of type `B`: [`Session::layer`].
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use tower::{Service as _, ServiceBuilder};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let mut service = ServiceBuilder::new().layer(session.layer()).service(client);
/// let request = http::Request::get("/v1/models").body(Full::default())?;
/// let answer = service.call(request).await.map_err(|error| error.to_string())?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
pub struct AuthenticateLayer<B> {
    session: Session,
    copy: CopyBody<B>,
}

/// In the extensions of a request: the class of routes that it is of
/// ([`Upstream::route_class`](crate::runtime::Upstream::route_class)).
///
/// ```
/// use tokenward::http::RouteClass;
///
/// # fn main() -> Result<(), http::Error> {
/// // When embeddings fail, the provider's other routes go on being called.
/// let request = http::Request::post("/v1/embeddings")
///     .extension(RouteClass("embeddings"))
///     .body("{}")?;
/// # assert_eq!(request.extensions().get::<RouteClass>(), Some(&RouteClass("embeddings")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteClass(pub &'static str);

/// A service whose requests carry the active credential of a session: what [`AuthenticateLayer`]
/// makes of the service `S`.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use tokenward::http::Authenticate;
/// use tower::Service as _;
/// # use hyper_util::rt::TokioExecutor;
/// # use tower::Layer as _;
///
/// /// What the host keeps with a session.
/// struct Models(Authenticate<Client<HttpConnector, Full<Bytes>>, Full<Bytes>>);
///
/// impl Models {
///     async fn status(&mut self) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
///         let request = http::Request::get("/v1/models").body(Full::default())?;
///         Ok(self.0.call(request).await?.status().as_u16())
///     }
/// }
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// # let client = Client::builder(TokioExecutor::new()).build_http();
/// # let mut models = Models(session.layer().layer(client));
/// # assert_eq!(models.status().await.map_err(|error| error.to_string())?, 200);
/// # Ok(())
/// # }
/// ```
pub struct Authenticate<S, B> {
    inner: S,
    session: Session,
    copy: CopyBody<B>,
}

impl Session {
    /// A [`tower_layer::Layer`] that does around a client of the host what [`Session::client`]
    /// does: each request goes to the provider that is active when it is sent.
    ///
    /// - The address is a path, which is put after the provider's base URL, or a whole URL of its
    ///   origin. Anything else is refused, as is plain text to another machine.
    /// - The provider's headers come first and in their order, then those of the request. Values
    ///   that hold the secret are marked sensitive.
    /// - A credential that the provider refuses is renewed, and the request is sent once more,
    ///   which is what the copy of its body is for. The answer to that is the answer.
    /// - The breaker of the upstream, or that of the [`RouteClass`] in the extensions of the
    ///   request, holds requests back and counts how they end, together with those of
    ///   [`Session::client`]. An error of the inner service is a failure of the upstream, so layers
    ///   that fail for reasons of their own, such as load shedding, belong outside. A time-out
    ///   belongs inside, around the client: outside it would drop the request, which says nothing
    ///   about the upstream, and would be spent on waiting for a token, too.
    /// - Of the request's headers, `Host` and those of its connection (RFC 9110 §7.6.1) are left
    ///   out, so that a request that is forwarded can not be sent elsewhere by them.
    ///
    /// Retries, time-outs and a limit of requests under way are the host's, with the layers of its
    /// choice. So are redirects: **the inner client must not follow them**, since what it sends to
    /// another origin would take the credential along. hyper-util does not; reqwest has to be told
    /// with `redirect::Policy::none()`.
    ///
    /// The error of the service is the inner one's, or an [`Error`] of ours, which
    /// `error.downcast_ref::<tokenward::Error>()` finds: then nothing was sent. Calling it needs a
    /// Tokio runtime with timers, as everything here does.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use hyper_util::client::legacy::Client;
    /// use hyper_util::rt::TokioExecutor;
    /// use tower::{Service, ServiceBuilder};
    ///
    /// # async fn example(
    /// #     session: tokenward::Session,
    /// # ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    /// let mut service = ServiceBuilder::new().layer(session.layer()).service(client);
    /// let request = http::Request::get("/v1/models").body(Full::default())?;
    /// let answer = service.call(request).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<B: Clone>(&self) -> AuthenticateLayer<B> {
        self.layer_copying(|body: &B| Some(body.clone()))
    }

    /// As [`Session::layer`], for bodies that can not be cloned as they are: `copy` gives another
    /// one like it, or nothing for one that can be sent only once. A request whose body it does not
    /// copy is not sent again when its credential was refused; the credential is renewed all the
    /// same, and the answer is the 401.
    ///
    /// ```
    /// # fn example(session: tokenward::Session) {
    /// use http_body_util::combinators::BoxBody;
    ///
    /// let each_once = session.layer_copying(|_: &BoxBody<bytes::Bytes, std::io::Error>| None);
    /// # }
    /// ```
    pub fn layer_copying<B>(&self, copy: fn(&B) -> Option<B>) -> AuthenticateLayer<B> {
        AuthenticateLayer { session: self.clone(), copy }
    }
}

impl<S, B> Layer<S> for AuthenticateLayer<B> {
    type Service = Authenticate<S, B>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate { inner, session: self.session.clone(), copy: self.copy }
    }
}

impl<S, B, R> Service<Request<B>> for Authenticate<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Send + 'static,
    R: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes with the request.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        Box::pin(authenticated(self.session.clone(), service, self.copy, request))
    }
}

/// Sends `request` as the session's active provider.
async fn authenticated<S, B, R>(
    session: Session,
    service: S,
    copy: CopyBody<B>,
    mut request: Request<B>,
) -> Result<Response<ResponseBody<R>>, BoxError>
where
    S: Service<Request<B>, Response = Response<R>> + Send,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Send,
    R: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    let active = session.active_credential().await?;
    let provider = active.provider.as_ref();
    let url = target(provider, &request.uri().to_string())?;
    *request.uri_mut() = Uri::try_from(url.as_str()).map_err(|error| {
        let text = format!("the address can not be sent: {error}");
        Error::new(ErrorKind::InvalidInput, text)
    })?;
    let class = request.extensions().get::<RouteClass>().map(|class| class.0);
    let upstream = session.upstream(provider.id(), class)?;
    let span = upstream.span(request.method());
    not_held_back(provider, &upstream)?;
    let credential = session.admit(active.credential).instrument(span.clone()).await?;
    let permit = admitted(provider, &upstream)?;
    let headers = of_the_request(std::mem::take(request.headers_mut()));
    let sender = Inner { service, again: copied(&request, copy), is_ready: true };
    let attempt = Attempt {
        session: &session,
        provider,
        upstream: &upstream,
        sender,
        headers: &headers,
        place: None,
        whole: None,
    };
    match attempt.make(request, credential, permit).instrument(span).await {
        Ok(answer) => Ok(answer),
        Err(Missed::None(error)) => Err(error.into()),
        Err(Missed::Lost(error) | Missed::NotSent(error)) => Err(error.into()),
    }
}

/// The client of the host as a sender.
struct Inner<S, B> {
    service: S,
    /// The request once more, where its body was copied.
    again: Option<Request<B>>,
    is_ready: bool,
}

/// The same request without its headers.
fn copied<B>(request: &Request<B>, copy: CopyBody<B>) -> Option<Request<B>> {
    let mut again = Request::new(copy(request.body())?);
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    *again.version_mut() = request.version();
    again.extensions_mut().clone_from(request.extensions());
    Some(again)
}

impl<S, B, R> Sender for Inner<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Send,
    S::Future: Send,
    S::Error: Send,
    B: Send,
    R: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    type Request = Request<B>;
    type Body = R;
    type Error = S::Error;

    fn once_more(&mut self) -> Option<Request<B>> {
        self.again.take()
    }

    async fn send(
        &mut self,
        mut request: Request<B>,
        headers: &HeaderMap,
    ) -> Result<Response<R>, S::Error> {
        headers.clone_into(request.headers_mut());
        if !std::mem::take(&mut self.is_ready) {
            poll_fn(|cx| self.service.poll_ready(cx)).await?;
        }
        self.service.call(request).await
    }
}

impl<B> Clone for AuthenticateLayer<B> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), copy: self.copy }
    }
}

impl<S: Clone, B> Clone for Authenticate<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), session: self.session.clone(), copy: self.copy }
    }
}

impl<B> fmt::Debug for AuthenticateLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateLayer").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, B> fmt::Debug for Authenticate<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticate")
            .field("inner", &self.inner)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
