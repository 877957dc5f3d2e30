//! A look at the beginning of an answer's body that leaves the answer whole for the caller.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use reqwest::{Body, Response};

use super::watched::rebuilt;

/// A body that is longer than this is not looked at: what says that a credential was refused is
/// short.
const LONGEST: usize = 64 * 1024;

/// How long the body may take. The caller waits for it, and may rather have the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer as it was, and its body when all of it came in time and is short; else nothing.
pub(super) async fn peek(mut response: Response) -> (Response, Vec<u8>) {
    let mut chunks = Vec::new();
    let read = async {
        let mut length = 0;
        while let Some(chunk) = response.chunk().await? {
            length += chunk.len();
            chunks.push(chunk);
            if length > LONGEST {
                return Ok(false);
            }
        }
        Ok::<_, reqwest::Error>(true)
    };
    // The network lives in real time, also where a test moves the runtime's clock by hand.
    let read = tokio::time::timeout(PATIENCE, read).await;
    match read {
        Ok(Ok(true)) => {
            let body = chunks.concat();
            (with_body(response, |_| Bytes::from(body.clone()).into()), body)
        }
        Ok(Err(error)) => (with_body(response, |_| broken(chunks, error)), Vec::new()),
        Ok(Ok(false)) | Err(_) => (with_body(response, |rest| joined(chunks, rest)), Vec::new()),
    }
}

/// What was read, and then the same failure.
fn broken(chunks: Vec<Bytes>, error: reqwest::Error) -> Body {
    let failure = stream::once(std::future::ready(Err(error)));
    Body::wrap_stream(stream::iter(chunks.into_iter().map(Ok)).chain(failure))
}

/// What was read, and then the rest.
fn joined(chunks: Vec<Bytes>, rest: Body) -> Body {
    Body::wrap_stream(stream::iter(chunks.into_iter().map(Ok)).chain(rest.into_data_stream()))
}

fn with_body(response: Response, body: impl FnOnce(Body) -> Body) -> Response {
    let url = response.url().clone();
    let (parts, rest) = http::Response::from(response).into_parts();
    rebuilt(parts, &url, body(rest))
}
