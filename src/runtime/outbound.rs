//! The connections that authenticated requests go out on, shared by all sessions of a runtime.

use std::time::Duration;

use reqwest::redirect::{Action, Attempt, Policy};
use url::Url;

use crate::error::Error;
use crate::oauth::{Clients, Tls};

/// A redirect chain longer than this is given up.
const MOST_REDIRECTS: usize = 10;

/// Pools without connections.
///
/// No redirect to another origin is followed: the redirect itself is what the caller gets then, so
/// a credential never leaves the provider it belongs to.
///
/// # Errors
///
/// When the HTTP client can not be set up.
pub(super) fn clients(tls: &Tls) -> Result<Clients, Error> {
    Clients::new(tls, || {
        reqwest::Client::builder()
            .redirect(Policy::custom(within_the_origin))
            .connect_timeout(Duration::from_secs(10))
            .retry(reqwest::retry::never())
    })
}

fn within_the_origin(attempt: Attempt<'_>) -> Action {
    let first = attempt.previous().first().map(Url::origin);
    if first.is_some_and(|origin| origin != attempt.url().origin()) {
        attempt.stop()
    } else if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}
