//! The body of an answer on its way to the caller: when it breaks off the breaker is told.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::response::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Response, ResponseBuilderExt as _};
use url::Url;

use crate::resilience::Answered;

/// The answer as it was, watched until its body ends or is dropped.
pub(super) fn watch(response: Response, answered: Answered) -> Response {
    let url = response.url().clone();
    let (parts, body) = http::Response::from(response).into_parts();
    rebuilt(parts, &url, Body::wrap(Watched { body, answered: Some(answered) }))
}

/// An answer with this head and this body.
pub(super) fn rebuilt(mut parts: Parts, url: &Url, body: Body) -> Response {
    // The only way to say where an answer came from.
    if let Ok(named) = http::Response::builder().url(url.clone()).body(()) {
        parts.extensions.extend(named.into_parts().0.extensions);
    }
    Response::from(http::Response::from_parts(parts, body))
}

struct Watched {
    body: Body,
    answered: Option<Answered>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, Some(Err(_)))
            && let Some(answered) = self.answered.take()
        {
            answered.broke_off();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
