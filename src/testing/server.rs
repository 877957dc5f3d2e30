//! Puts a simulation on a loopback socket, and does to the connection what the scripted faults
//! say.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::answer::{Answer, http_date};
use super::simulation::Simulation;
use super::{Fault, RecordedRequest};

/// The largest request body that is read.
const LARGEST_REQUEST: usize = 1024 * 1024;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A simulation that can be reached, or one that keeps its port while it refuses connections.
#[derive(Debug)]
pub(super) enum Server {
    Running(Running),
    /// Bound, not listening: whoever connects is refused, and nobody else gets the port.
    Stopped(TcpSocket),
}

/// Ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

impl Server {
    /// Serves `simulation` at a free port.
    pub(super) fn start(simulation: Arc<Simulation>) -> io::Result<(Self, SocketAddr)> {
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        Ok((Self::listen(socket, simulation)?, address))
    }

    pub(super) fn listen(socket: TcpSocket, simulation: Arc<Simulation>) -> io::Result<Self> {
        let listener = socket.listen(BACKLOG)?;
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(accept(listener, simulation, stopped));
        Ok(Self::Running(Running { stop, done }))
    }
}

impl Running {
    /// Cuts all connections and refuses new ones at `address`.
    pub(super) async fn stop(self, address: SocketAddr) -> io::Result<TcpSocket> {
        drop(self.stop);
        // It fails only when the runtime is shutting down, and then it is stopped too.
        let _ = self.done.await;
        bind(address)
    }
}

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // On Windows the option would let others take the port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(
    listener: TcpListener,
    simulation: Arc<Simulation>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, simulation.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "the simulated provider can not accept a connection");
                    tokio::task::yield_now().await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, simulation: Arc<Simulation>) {
    let reset = Arc::new(AtomicBool::new(false));
    let service =
        service_fn(|request| Box::pin(respond(simulation.clone(), reset.clone(), request)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // An error is the fault that was asked for, or a client that went away.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    if reset.load(Ordering::Relaxed) {
        // Closing without lingering sends a reset in place of an orderly end.
        let _ = stream.set_zero_linger();
    }
}

async fn respond(
    simulation: Arc<Simulation>,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Cut> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_REQUEST).collect().await else {
        let answer = Answer::empty(StatusCode::PAYLOAD_TOO_LARGE);
        return Ok(response(&simulation, answer, None));
    };
    let request = RecordedRequest {
        endpoint: simulation.dialect.paths().endpoint(head.uri.path()),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: body.to_bytes(),
        at: simulation.sources.now(),
    };
    let fault = simulation.receive(&request);
    let reset = || reset.store(true, Ordering::Relaxed);
    if let Some(fault) = &fault {
        match fault {
            Fault::ResetBeforeHeaders => {
                reset();
                return Err(Cut);
            }
            Fault::Hang => std::future::pending().await,
            Fault::Hold(gate) => gate.pass().await,
            Fault::Delay(by) => simulation.sources.clock.wait(*by).await,
            _ => {}
        }
        if let Some(answer) = simulation.answer_instead(request.endpoint, fault) {
            return Ok(response(&simulation, answer, None));
        }
    }
    let answer = simulation.answer(&request, fault.as_ref());
    match &fault {
        Some(Fault::LostAnswer) => return Err(Cut),
        Some(Fault::HoldAnswer(gate)) => gate.pass().await,
        Some(Fault::ResetAfterHeaders | Fault::ResetMidBody) => reset(),
        _ => {}
    }
    Ok(response(&simulation, answer, fault.as_ref()))
}

/// The answer as it goes out, with what `fault` does to it on the way.
fn response(
    simulation: &Simulation,
    answer: Answer,
    fault: Option<&Fault>,
) -> Response<AnswerBody> {
    let now = simulation.sources.now().wall;
    let date = match fault {
        Some(Fault::DateAhead(by)) => now.checked_add(*by),
        Some(Fault::DateBehind(by)) => now.checked_sub(*by),
        _ => None,
    };
    let answer = answer.with_header(DATE, &http_date(date.unwrap_or(now)));
    let length = answer.body.len();
    let half = answer.body.slice(..length / 2);
    let body = match fault {
        Some(Fault::ResetAfterHeaders) => AnswerBody::cut(Bytes::new()),
        Some(Fault::ResetMidBody) => AnswerBody::cut(half),
        Some(Fault::TornJson) => AnswerBody::whole(half),
        Some(Fault::Garbage) => AnswerBody::whole(Bytes::from_static(b"\xff\xfe\x00{\xc3\x28\x80")),
        _ => AnswerBody::whole(answer.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if matches!(response.body(), AnswerBody::Cut { .. }) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// The body of an answer: all of it, or a beginning after which the connection breaks.
enum AnswerBody {
    Whole(Full<Bytes>),
    Cut { beginning: Option<Bytes>, flushed: bool },
}

impl AnswerBody {
    fn whole(body: Bytes) -> Self {
        Self::Whole(Full::new(body))
    }

    fn cut(beginning: Bytes) -> Self {
        Self::Cut { beginning: Some(beginning).filter(|bytes| !bytes.is_empty()), flushed: false }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(body) => {
                Pin::new(body).poll_frame(context).map_err(|never: Infallible| match never {})
            }
            Self::Cut { beginning, flushed } => match beginning.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None if *flushed => Poll::Ready(Some(Err(Cut))),
                None => {
                    // Being pending once makes the connection send what it has.
                    *flushed = true;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Cut { .. } => SizeHint::default(),
        }
    }
}

/// The connection ends here, because a fault was asked for.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut by a scripted fault")
    }
}

impl std::error::Error for Cut {}
