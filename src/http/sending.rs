//! The crate's own client as a sender: its pools, the redirects that it follows, and what its errors
//! say about how far a request got.

use std::error::Error as StdError;
use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, Method, Response};
use reqwest::{Body, Client, Request, ResponseBuilderExt as _};
use url::Url;

use super::attempt::Sender;
use super::call::Call;
use super::target::is_within;
use crate::error::{Error, ErrorKind};
use crate::oauth::root_cause;
use crate::resilience::Failed;

/// A redirect after that many is the answer.
const MOST_REDIRECTS: usize = 10;

/// An upstream that gives no answer in less than that has not failed: its caller gave up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pool that requests of a call go out on, which has begun then.
pub(super) struct Pool<'a> {
    pub(super) client: &'a Client,
    pub(super) call: &'a Call,
    /// The request that is sent, where it can be sent again.
    pub(super) again: Option<&'a Request>,
    pub(super) begun: Duration,
}

impl Sender for Pool<'_> {
    type Request = Request;
    type Body = Body;
    type Error = reqwest::Error;

    fn once_more(&mut self) -> Option<Request> {
        self.again.and_then(Request::try_clone)
    }

    async fn send(
        &mut self,
        mut request: Request,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, reqwest::Error> {
        let mut followed = 0;
        loop {
            headers.clone_into(request.headers_mut());
            *request.timeout_mut() = self.call.timeout.map(|_| self.left());
            let answer = self.client.execute(request).await?;
            let again = self.again.filter(|_| followed < MOST_REDIRECTS);
            let Some(next) = again.and_then(|again| redirected(again, &answer)) else {
                let url = answer.url().clone();
                return Ok(coming_from(url, answer.into()));
            };
            request = next;
            followed += 1;
        }
    }

    fn is_of_upstream(&self, error: &reqwest::Error) -> bool {
        !is_of_caller(error)
    }

    fn ran_out(&self, error: &reqwest::Error) -> bool {
        error.is_timeout() && !error.is_connect()
    }

    /// There is no other time-out within a body than that of the whole call.
    fn ended_by_caller(error: &reqwest::Error) -> bool {
        error.is_timeout()
    }

    fn is_patient(&self) -> bool {
        let whole = self.call.upstream.policy().attempt_timeout;
        self.left() >= whole.min(PATIENCE)
    }

    fn timeout(&self) -> Duration {
        self.call.upstream.policy().attempt_timeout.min(self.left())
    }

    fn left(&self) -> Duration {
        self.call.left(self.begun)
    }
}

/// The request to send instead, when the answer is a redirect within the origin. Only what changes
/// nothing is sent to a second address: of anything else nobody could tell whether it was carried out
/// at the first one, when the second one fails.
fn redirected(request: &Request, answer: &reqwest::Response) -> Option<Request> {
    let may_follow = matches!(*request.method(), Method::GET | Method::HEAD);
    if !may_follow || !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    let url = answer.url().join(location).ok()?;
    if !is_within(&url, answer.url()) || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let mut next = request.try_clone()?;
    *next.url_mut() = url;
    Some(next)
}

/// An answer as reqwest has it, which knows where it came from.
pub(super) fn coming_from<B>(url: Url, mut answer: Response<B>) -> Response<B> {
    // The only way to say so.
    if let Ok(named) = Response::builder().url(url).body(()) {
        answer.extensions_mut().extend(named.into_parts().0.extensions);
    }
    answer
}

/// How far a request got that has no answer, and what the caller is told of `whereto` it was to go.
/// None: no other attempt would end otherwise.
pub(super) fn unanswered(error: &reqwest::Error, whereto: &str) -> (Option<Failed>, Error) {
    let cause = root_cause(error);
    if is_of_caller(error) {
        let text = format!("the request to {whereto} could not be sent as it is: {cause}");
        return (None, Error::new(ErrorKind::InvalidInput, text));
    }
    let text = format!("{whereto} gave no answer: {cause}");
    // No address, no connection, no TLS: nothing of the request can have been read.
    let failed = if error.is_connect() { Failed::BeforeSending } else { Failed::Unanswered };
    (Some(failed), Error::new(ErrorKind::Transient, text))
}

/// Whether the request itself is at fault: it can not be built, or its body, a stream of the caller,
/// broke off.
fn is_of_caller(error: &reqwest::Error) -> bool {
    if error.is_builder() {
        return true;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_body) {
            return true;
        }
        cause = inner.source();
    }
    false
}
