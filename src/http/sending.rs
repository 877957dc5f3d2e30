//! The crate's own client as a sender: its pools, and what its errors say about how far a request
//! got.

use http::{HeaderMap, Response};
use reqwest::{Body, Client, Request, ResponseBuilderExt as _};
use url::Url;

use super::attempt::Sender;
use crate::error::{Error, ErrorKind};
use crate::oauth::root_cause;
use crate::resilience::Failed;

/// The pool that requests to one origin go out on.
pub(super) struct Pool<'a>(pub(super) &'a Client);

impl Sender for Pool<'_> {
    type Request = Request;
    type Body = Body;
    type Error = reqwest::Error;

    fn again(&self, request: &Request) -> Option<Request> {
        request.try_clone()
    }

    async fn send(
        &mut self,
        mut request: Request,
        headers: HeaderMap,
    ) -> Result<Response<Body>, reqwest::Error> {
        *request.headers_mut() = headers;
        let answer = self.0.execute(request).await?;
        let url = answer.url().clone();
        Ok(coming_from(&url, answer.into()))
    }
}

/// An answer as reqwest has it, which knows where it came from.
pub(super) fn coming_from<B>(url: &Url, mut answer: Response<B>) -> Response<B> {
    // The only way to say so.
    if let Ok(named) = Response::builder().url(url.clone()).body(()) {
        answer.extensions_mut().extend(named.into_parts().0.extensions);
    }
    answer
}

/// How far a request got that has no answer, and what the caller is told.
pub(super) fn unanswered(error: &reqwest::Error) -> (Failed, Error) {
    let cause = root_cause(error);
    let host = error.url().and_then(Url::host_str).unwrap_or("the provider");
    let text = format!("{host} gave no answer: {cause}");
    // No address, no connection, no TLS: nothing of the request can have been read.
    let failed = if error.is_connect() { Failed::BeforeSending } else { Failed::Unanswered };
    (failed, Error::new(ErrorKind::Transient, text))
}
