//! What an attempt tells the breaker of its upstream, and what a caller is told whose call the
//! breaker holds back.

use std::time::SystemTime;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::sync::OwnedSemaphorePermit;

use super::body::ResponseBody;
use crate::error::{Error, ErrorKind};
use crate::provider::Provider;
use crate::resilience::{HeldBack, Permit, retry_after};
use crate::runtime::Upstream;
use crate::supervision::SHUT_DOWN;

/// Where calls go, as errors name it: the provider, with scheme, host and port of its upstream. A path
/// or a query, which may hold a secret, is no part of it.
pub(super) fn whereto(provider: &dyn Provider, upstream: &Upstream) -> String {
    format!("{} at {}", provider.id(), upstream.origin())
}

/// Whether calls to `provider` go out now. It is asked before a call waits for anything.
///
/// # Errors
///
/// When they are held back: no token may be asked for then.
pub(super) fn not_held_back(provider: &dyn Provider, upstream: &Upstream) -> Result<(), Error> {
    upstream.look().map_err(|held_back| error(&whereto(provider, upstream), held_back))
}

/// Leave to make one call to `provider`, which is sent at once.
///
/// # Errors
///
/// When it is held back: nothing may be sent then.
pub(super) fn admitted(provider: &dyn Provider, upstream: &Upstream) -> Result<Permit, Error> {
    upstream.admit().map_err(|held_back| error(&whereto(provider, upstream), held_back))
}

/// A place among the calls to `upstream` that are under way, as soon as there is one.
///
/// # Errors
///
/// When the runtime has stopped.
pub(super) async fn place(upstream: &Upstream) -> Result<OwnedSemaphorePermit, Error> {
    let closed = |_| Error::new(ErrorKind::ShuttingDown, SHUT_DOWN);
    upstream.places().clone().acquire_owned().await.map_err(closed)
}

/// Tells the breaker what the head of an answer says; what breaks off later it is told, too.
pub(super) fn settled<B: Body<Data = Bytes> + Unpin>(
    answer: Response<ResponseBody<B>>,
    permit: Permit,
    upstream: &Upstream,
    now: SystemTime,
) -> Response<ResponseBody<B>> {
    let status = answer.status();
    let rate_limited = status.as_u16() == 429 && upstream.policy().breaker.rate_limits_fail;
    if status.is_server_error() || rate_limited {
        // Only of a 503 it says how long the upstream will be down (RFC 9110 §15.6.4).
        let is_down = status.as_u16() == 503;
        permit.failed(is_down.then(|| retry_after(answer.headers(), now)).flatten());
        return answer;
    }
    let answered = permit.succeeded();
    answer.map(|body| body.watched_by(answered))
}

fn error(whereto: &str, held_back: HeldBack) -> Error {
    held_back.of(&format!("calls to {whereto}"))
}
