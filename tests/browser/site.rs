//! What stands around the browser: pages of other people, and the way out, which is closed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves the same pages until it is dropped.
pub(crate) struct Site {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

/// A page of a stranger, or a way on to another address.
pub(crate) enum Entry {
    Page(String),
    Redirect(String),
}

impl Site {
    pub(crate) async fn start(entries: impl IntoIterator<Item = (&'static str, Entry)>) -> Self {
        let entries: Arc<HashMap<_, _>> = Arc::new(entries.into_iter().collect());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::clone(&asked);
        let server = tokio::spawn(serve(listener, move |request: &Request<Incoming>| {
            seen.lock().expect("no panic").push(asked_for(request));
            match entries.get(request.uri().path()) {
                Some(Entry::Page(html)) => Response::builder()
                    .header(header::CONTENT_TYPE, "text/html")
                    .body(Full::from(html.clone())),
                Some(Entry::Redirect(target)) => Response::builder()
                    .status(StatusCode::FOUND)
                    .header(header::LOCATION, target)
                    .body(Full::default()),
                None => Response::builder().status(StatusCode::BAD_GATEWAY).body(Full::default()),
            }
            .expect("a response")
        }));
        Self { address, asked, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The browser's proxy for everything but loopback. It lets nothing through, and keeps the names.
pub(crate) struct Outside(Site);

impl Outside {
    pub(crate) async fn start() -> Self {
        Self(Site::start([]).await)
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.0.address
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        self.0.asked()
    }
}

/// The path on this server; of a proxy's request, the host that is meant.
fn asked_for(request: &Request<Incoming>) -> String {
    request.uri().host().unwrap_or(request.uri().path()).to_owned()
}

async fn serve<F>(listener: TcpListener, answer: F)
where
    F: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    while let Ok((stream, _)) = listener.accept().await {
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let response = answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            // A browser that leaves in the middle is no failure of a test.
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}
