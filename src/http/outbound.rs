//! The connections that authenticated requests go out on.

use std::fmt;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use url::Url;

use crate::config::may_carry_secrets;
use crate::error::{Error, ErrorKind};
use crate::oauth::tls;

/// A redirect chain longer than this is given up.
const MOST_REDIRECTS: usize = 10;

/// The connection pools of a runtime, one for plain text to loopback and one for everything else.
///
/// Neither follows a redirect to another origin: the redirect itself is what the caller gets then,
/// so a credential never leaves the provider it belongs to.
#[derive(Clone)]
pub(crate) struct Outbound {
    plain: reqwest::Client,
    /// Or why there is none: the platform has no usable roots.
    secure: Result<reqwest::Client, String>,
}

impl Outbound {
    /// Pools without connections.
    ///
    /// # Errors
    ///
    /// When the HTTP client can not be set up.
    pub(crate) fn new() -> Result<Self, Error> {
        let trust_nobody = tls::trust_nobody().map_err(|error| failed(&error))?;
        let plain = builder()
            .no_proxy()
            .tls_backend_preconfigured(trust_nobody)
            .build()
            .map_err(|error| failed(&error))?;
        let secure = match tls::client_config() {
            Ok(config) => Ok(builder()
                .https_only(true)
                .tls_backend_preconfigured(config)
                .build()
                .map_err(|error| failed(&error))?),
            Err(error) => Err(error.to_string()),
        };
        Ok(Self { plain, secure })
    }

    /// The client for requests to `url`.
    ///
    /// # Errors
    ///
    /// When a credential must not go there: plain text to anything but loopback.
    pub(crate) fn client_for(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        if !may_carry_secrets(url) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "refused to send a credential in plain text, use an https address",
            ));
        }
        if url.scheme() == "http" {
            return Ok(&self.plain);
        }
        self.secure.as_ref().map_err(|reason| {
            Error::new(
                ErrorKind::Configuration,
                format!(
                    "the platform has no trusted certificates, install its ca bundle: {reason}"
                ),
            )
        })
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("secure", &self.secure.is_ok()).finish_non_exhaustive()
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::custom(within_the_origin))
        .connect_timeout(Duration::from_secs(10))
        .retry(reqwest::retry::never())
}

fn within_the_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first().map(Url::origin);
    if first.is_some_and(|origin| origin != attempt.url().origin()) {
        attempt.stop()
    } else if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

fn failed(error: &dyn std::error::Error) -> Error {
    Error::new(ErrorKind::Configuration, format!("can not set up the http client: {error}"))
}
