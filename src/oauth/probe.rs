//! One authenticated look at a provider, by which a credential is checked.

use http::header::HeaderMap;
use http::{Request, StatusCode};
use std::time::Duration;
use url::Url;
use zeroize::Zeroizing;

use super::call::ExchangeError;
use super::transport::Transport;

/// What was answered.
pub(crate) struct Probed {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// The value of `Retry-After`, as a wait from now.
    pub(crate) retry_after: Option<Duration>,
}

/// A `GET` of `url` with `headers`, bounded in time and size like every request to an endpoint.
pub(crate) async fn probe(
    transport: &Transport,
    url: &Url,
    headers: HeaderMap,
) -> Result<Probed, ExchangeError> {
    let mut request = Request::new(Vec::new());
    *request.uri_mut() =
        url.as_str().parse().map_err(|_| ExchangeError::NotSent(format!("{url} is not a url")))?;
    *request.headers_mut() = headers;
    let answer = transport.send(request).await?;
    let retry_after = answer.retry_after();
    Ok(Probed { status: answer.status, body: answer.body, retry_after })
}
