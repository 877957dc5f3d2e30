//! The HTTP clients that credentials go out on: one for plain text to loopback, one for everything
//! else. Whoever asks for the client of a URL is told when a credential must not go there.

use std::error::Error as StdError;
use std::fmt;

use reqwest::{Client, ClientBuilder};
use url::Url;

use super::tls::Tls;
use crate::config::may_carry_secrets;
use crate::error::{Error, ErrorKind};

/// A pair of clients that are set up alike.
#[derive(Clone)]
pub(crate) struct Clients {
    plain: Client,
    /// Or why there is none: the platform has no usable roots.
    secure: Result<Client, String>,
}

/// Why there is no client for a URL. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoClient {
    /// It is plain text, and not to loopback.
    #[error("refused to send a credential in plain text, use an https endpoint")]
    PlainText,
    /// TLS has nobody to trust.
    #[error("the platform has no trusted certificates, install its ca bundle: {0}")]
    NoRoots(String),
}

impl Clients {
    /// Clients set up by `builder`, which is called for each, that speak `tls`.
    ///
    /// # Errors
    ///
    /// When they can not be set up. Missing trusted roots are told by [`Clients::for_url`].
    pub(crate) fn new(tls: &Tls, builder: impl Fn() -> ClientBuilder) -> Result<Self, Error> {
        let plain = builder()
            .no_proxy()
            .tls_backend_preconfigured(tls.nobody.clone())
            .build()
            .map_err(|error| failed(&error))?;
        let secure = match &tls.platform {
            Ok(config) => Ok(builder()
                .https_only(true)
                .tls_backend_preconfigured(config.clone())
                .build()
                .map_err(|error| failed(&error))?),
            Err(reason) => Err(reason.clone()),
        };
        Ok(Self { plain, secure })
    }

    /// The client for requests to `url`.
    ///
    /// # Errors
    ///
    /// When a credential must not, or can not, go there.
    pub(crate) fn for_url(&self, url: &Url) -> Result<&Client, NoClient> {
        if !may_carry_secrets(url) {
            return Err(NoClient::PlainText);
        }
        if url.scheme() == "http" {
            return Ok(&self.plain);
        }
        self.secure.as_ref().map_err(|reason| NoClient::NoRoots(reason.clone()))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("secure", &self.secure.is_ok()).finish_non_exhaustive()
    }
}

impl From<NoClient> for Error {
    fn from(error: NoClient) -> Self {
        let kind = match error {
            NoClient::PlainText => ErrorKind::InvalidInput,
            NoClient::NoRoots(_) => ErrorKind::Configuration,
        };
        Self::new(kind, error.to_string())
    }
}

/// The innermost reason: it names what failed and holds no URL.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn failed(error: &(dyn StdError + 'static)) -> Error {
    let message = format!("can not set up the http client: {}", root_cause(error));
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls() -> Tls {
        Tls::of_the_platform().expect("tls")
    }

    #[test]
    fn a_credential_goes_in_plain_text_to_loopback_alone() {
        let clients = Clients::new(&tls(), Client::builder).expect("clients");
        let url = |text: &str| Url::parse(text).expect("a url");
        assert!(clients.for_url(&url("http://127.0.0.1:8080/token")).is_ok());
        let elsewhere = clients.for_url(&url("http://auth.example/token"));
        assert_eq!(elsewhere.err(), Some(NoClient::PlainText));
    }

    #[test]
    fn without_trusted_roots_https_says_what_is_missing() {
        let tls = Tls { platform: Err("no roots".to_owned()), ..tls() };
        let bare = Clients::new(&tls, Client::builder).expect("clients");
        let url = Url::parse("https://auth.example/token").expect("a url");
        let error = bare.for_url(&url).map(|_| ()).expect_err("nobody to trust");
        let text = "the platform has no trusted certificates, install its ca bundle: no roots";
        assert_eq!(error.to_string(), text);
    }
}
