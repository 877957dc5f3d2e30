//! The loopback listener at which a browser ends its sign-in (RFC 8252 §7.3, §8.3). It answers
//! every stray request, and hands each plausible authorization response to the sign-in's owner.
//!
//! The page is the answer to the redirect itself and not another one behind it: a program that
//! ends as soon as its user is signed in would leave the browser before a closed port. The code
//! that stays in the address bar is spent by then (RFC 9700 §4.3.1).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::{AuthorizationResponse, Page};
use crate::clock::Sources;

/// How many connections to one address may be without a whole request. When there is one more, the
/// oldest has to go: whoever opens thousands and sends nothing does not keep the browser out, which
/// sends its request at once.
const MOST_SILENT: usize = 64;

/// How many requests are answered at once; more wait.
const MOST_ANSWERED: usize = 16;

/// How long a connection may take to send its request. Browsers open some that they never use.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// How long an answer may take. It waits for the exchange of the code, so it is generous.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);

/// The longest head of a request, in bytes, and the most header fields in it.
const LONGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 64;

/// How often a free port is looked for that is free on both loopback addresses.
const PORT_ATTEMPTS: usize = 8;

/// Decides about an authorization response, and says what the browser is told. It may take its
/// time, up to two minutes.
///
/// ```
/// use std::sync::Arc;
/// use tokenward::oauth::redirect::{AuthorizationResponse, Page, Sink};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sink: Sink = Arc::new(|response| {
///     Box::pin(async move {
///         match response.outcome {
///             Ok(_code) => Page::SignedIn, // once the code is exchanged
///             Err(refusal) => Page::Refused(refusal.to_string()),
///         }
///     })
/// });
/// let declined = AuthorizationResponse::from_query("error=access_denied&state=xyz")?;
/// assert!(matches!(sink(declined).await, Page::Refused(_)));
/// # Ok(())
/// # }
/// ```
pub type Sink = Arc<dyn Fn(AuthorizationResponse) -> BoxFuture<'static, Page> + Send + Sync>;

/// A bound listener that does not serve yet, so that its port can go into the redirect URI.
///
/// ```
/// use std::sync::Arc;
/// use tokenward::clock::Sources;
/// use tokenward::oauth::redirect::{Loopback, Page, Sink};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let loopback = Loopback::bind("127.0.0.1", "/callback", &[]).await?; // any free port
/// println!("the provider sends the browser to {}", loopback.redirect_uri());
///
/// let sink: Sink = Arc::new(|response| {
///     Box::pin(async move {
///         match response.outcome {
///             Ok(_code) => Page::SignedIn,
///             Err(refusal) => Page::Refused(refusal.to_string()),
///         }
///     })
/// });
/// let listening = loopback.serve(&Sources::system(), sink);
/// drop(listening); // and nobody listens any more
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loopback {
    sockets: Vec<TcpListener>,
    host: String,
    port: u16,
    path: String,
    application: Option<Arc<str>>,
}

/// A listener that serves. Dropping it closes the port; answers on their way are still sent.
///
/// ```
/// use std::sync::Arc;
/// use tokenward::oauth::redirect::{Loopback, Page, Sink};
/// # use tokenward::{clock::Sources, oauth::Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (sources, transport) = (Sources::system(), Transport::new(Sources::system())?);
/// let loopback = Loopback::bind("127.0.0.1", "/callback", &[]).await?;
/// let url = format!("{}?code=abc&state=xyz", loopback.redirect_uri());
/// let sink: Sink = Arc::new(|_response| Box::pin(async { Page::SignedIn }));
/// let listening = loopback.serve(&sources, sink);
/// // The browser comes back, and is shown a page.
/// let page = transport.send(http::Request::get(&url).body(Vec::new())?).await?;
/// assert_eq!(page.status, 200);
/// drop(listening);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listening(Vec<JoinHandle<()>>);

/// Why no listener could be bound. Pasting works without one.
///
/// ```
/// use tokenward::oauth::redirect::{BindError, Loopback};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let answer = Loopback::bind("203.0.113.7", "/callback", &[]).await;
/// assert!(matches!(answer, Err(BindError::NotLoopback)), "not where others could call");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The host of the redirect URI is not this machine.
    #[error("the redirect host is not a loopback address, use 127.0.0.1, [::1] or localhost")]
    NotLoopback,
    /// The path of the redirect URI does not begin with a slash, or is more than a path.
    #[error("the redirect path is not usable, it has to begin with a slash and to end the address")]
    BadPath,
    /// Every port that the provider accepts is taken.
    #[error(
        "no port of the redirect address is free ({ports}), end the program that has it or paste \
         the address at which the browser ends"
    )]
    PortsTaken {
        /// The ports that were tried.
        ports: String,
    },
    /// The system refused.
    #[error(
        "the system allows no listener on the loopback address ({0}), paste the address at which \
         the browser ends"
    )]
    Refused(io::ErrorKind),
}

impl Loopback {
    /// Binds the first free one of `ports` (any free port when there is none) for redirect URIs
    /// `http://{host}:{port}{path}`.
    ///
    /// `host` is `127.0.0.1`, `[::1]` or `localhost`. For `localhost` the port is taken on both
    /// loopback addresses, where the machine has both: a browser may try either, and another
    /// program on the other one would receive the code.
    ///
    /// # Errors
    ///
    /// When `host` is no loopback host, every port is taken, or the system refuses.
    pub async fn bind(host: &str, path: &str, ports: &[u16]) -> Result<Self, BindError> {
        let addresses = addresses_of(host).ok_or(BindError::NotLoopback)?;
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(BindError::BadPath);
        }
        let (host, path) = (host.to_owned(), path.to_owned());
        let any_port = [0; PORT_ATTEMPTS];
        for &port in if ports.is_empty() { &any_port } else { ports } {
            match bind_all(addresses, port).await {
                Ok((sockets, port)) => {
                    return Ok(Self { sockets, host, port, path, application: None });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(BindError::Refused(error.kind())),
            }
        }
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        Err(BindError::PortsTaken { ports })
    }

    /// The redirect URI that leads here.
    pub fn redirect_uri(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }

    /// Lets the pages name the program that the user goes back to.
    #[must_use]
    pub fn application(mut self, name: Option<Arc<str>>) -> Self {
        self.application = name;
        self
    }

    /// Serves until the returned value is dropped.
    ///
    /// Must be called within a tokio runtime.
    pub fn serve(self, sources: &Sources, sink: Sink) -> Listening {
        let Self { port, path, application, .. } = self;
        let room = Semaphore::new(MOST_ANSWERED);
        let site = Arc::new(Site { port, path, application, sink, room });
        let accept = |socket| tokio::spawn(accept(socket, Arc::clone(&site), sources.clone()));
        Listening(self.sockets.into_iter().map(accept).collect())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// The addresses that `host` may stand for, the one that has to exist first.
fn addresses_of(host: &str) -> Option<&'static [IpAddr]> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match host {
        "127.0.0.1" => Some(&[V4]),
        "[::1]" => Some(&[V6]),
        "localhost" => Some(&[V4, V6]),
        _ => None,
    }
}

/// Binds the same port on every address that this machine has.
async fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
    let mut sockets = Vec::with_capacity(addresses.len());
    let mut port = port;
    for &address in addresses {
        match TcpListener::bind(SocketAddr::new(address, port)).await {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            // A machine without IPv6 has one loopback address, and a browser finds no other.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse && !sockets.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    Ok((sockets, port))
}

/// What is served: one path, on one port.
struct Site {
    port: u16,
    path: String,
    application: Option<Arc<str>>,
    sink: Sink,
    room: Semaphore,
}

/// Takes connections until it is aborted. Connections are tasks of their own: they outlive the
/// listener for the answer that is on its way, and have deadlines.
async fn accept(socket: TcpListener, site: Arc<Site>, sources: Sources) {
    // One entry for each connection that has sent no whole request yet, the oldest first.
    let mut silent = VecDeque::with_capacity(MOST_SILENT);
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                silent.retain(|stay: &oneshot::Sender<Infallible>| !stay.is_closed());
                if silent.len() == MOST_SILENT {
                    silent.pop_front();
                }
                let (stay, leave) = oneshot::channel();
                silent.push_back(stay);
                let (site, sources) = (Arc::clone(&site), sources.clone());
                tokio::spawn(async move { connection(stream, site, leave, &sources).await });
            }
            Err(error) => {
                // Out of file handles, or a connection that was gone before it was taken.
                tracing::debug!(kind = ?error.kind(), "loopback connection not accepted");
                sources.clock.wait(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one request. Until it has arrived whole, the connection ends when the other end of
/// `leave` is dropped.
async fn connection(
    stream: TcpStream,
    site: Arc<Site>,
    leave: oneshot::Receiver<Infallible>,
    sources: &Sources,
) {
    let arrived = Notify::new();
    let service = hyper::service::service_fn(|request| {
        arrived.notify_one();
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(respond(&site, &request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        _ = &mut served => return,
        () = arrived.notified() => {}
        _ = leave => return,
        () = sources.clock.wait(REQUEST_WITHIN) => return,
    }
    tokio::select! {
        _ = &mut served => {}
        () = sources.clock.wait(ANSWER_WITHIN) => {}
    }
}

async fn respond(site: &Site, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let room = site.room.acquire().await;
    let page = match plausible(site, request) {
        Ok(response) => (site.sink)(response).await,
        Err(page) => page,
    };
    drop(room);
    tracing::debug!(status = page.status().as_u16(), "loopback request answered");
    let mut response = Response::new(Full::from(page.html(site.application.as_deref())));
    *response.status_mut() = page.status();
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if page == Page::WrongMethod {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    if let Ok(policy) = HeaderValue::try_from(Page::content_security_policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// What every answer carries: it is kept nowhere, tells nobody where it came from, stands in no
/// other site's frame or window, and may use nothing of the machine.
const ALWAYS: [(HeaderName, &str); 8] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), fullscreen=(), geolocation=(), microphone=(), payment=(), \
         usb=()",
    ),
];

/// The authorization response in a request, or the page for a request that holds none.
fn plausible<B>(site: &Site, request: &Request<B>) -> Result<AuthorizationResponse, Page> {
    if !is_for_loopback(request, site.port) {
        let reason = "the request names another host, a sign-in ends at this machine's own address";
        return Err(Page::Malformed(reason.to_owned()));
    }
    if request.uri().path() != site.path {
        return Err(Page::NotFound);
    }
    if request.method() != Method::GET {
        return Err(Page::WrongMethod);
    }
    AuthorizationResponse::from_query(request.uri().query().unwrap_or_default())
        .map_err(|error| Page::Malformed(error.to_string()))
}

/// Whether the request was meant for this machine. A web page that points its own name at the
/// loopback address (DNS rebinding) sends that name.
fn is_for_loopback<B>(request: &Request<B>, port: u16) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let named = ["127.0.0.1", "[::1]", "localhost"].iter().any(|name| {
        host.to_str().is_ok_and(|host| host.eq_ignore_ascii_case(&format!("{name}:{port}")))
    });
    named && request.uri().authority().is_none()
}

impl From<BindError> for crate::Error {
    fn from(error: BindError) -> Self {
        use crate::error::ErrorKind;
        let kind = match error {
            BindError::NotLoopback | BindError::BadPath => ErrorKind::Configuration,
            BindError::PortsTaken { .. } | BindError::Refused(_) => ErrorKind::Transient,
        };
        Self::new(kind, error.to_string())
    }
}
