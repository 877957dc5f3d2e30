//! The proxy that requests go through, if any: found as the HTTP client finds it.

use std::fmt;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::{Finding, Layer};

/// Which proxies this process uses, by its environment and, where the client asks for that, by the
/// settings of the system. Plain text goes to loopback alone, and through none.
pub(super) struct Proxies(Matcher);

impl Proxies {
    pub(super) fn of_the_system() -> Self {
        Self(Matcher::from_system())
    }

    /// Those that `matcher` names.
    #[cfg(test)]
    pub(super) fn named(matcher: Matcher) -> Self {
        Self(matcher)
    }

    /// The proxy that requests to `url` go through, by its own address and without its password.
    pub(super) fn before(&self, url: &Url) -> Option<String> {
        if url.scheme() != "https" {
            return None;
        }
        let to: Uri = url.as_str().parse().ok()?;
        let proxy = self.0.intercept(&to)?;
        let uri = proxy.uri();
        let authority = uri.authority()?;
        let scheme = uri.scheme_str().unwrap_or("http");
        let port = authority.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{scheme}://{}{port}", authority.host()))
    }

    /// What there is to say of it; nothing where there is none.
    pub(super) fn finding<'a>(&self, urls: impl Iterator<Item = &'a Url>) -> Option<Finding> {
        let mut through = Vec::new();
        let mut proxy = None;
        for url in urls {
            if let Some(before) = self.before(url) {
                through.extend(url.host_str());
                proxy = proxy.or(Some(before));
            }
        }
        let proxy = proxy?;
        let detail = format!("requests to {} go through it", through.join(", "));
        Some(Finding::good(Layer::Proxy, proxy, detail))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}
