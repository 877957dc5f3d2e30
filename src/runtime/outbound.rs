//! The connections that authenticated requests go out on, shared by all sessions of a runtime.

use std::time::Duration;

use reqwest::redirect::Policy;

use crate::error::Error;
use crate::oauth::{Clients, Tls};

/// Pools without connections.
///
/// They follow no redirect: whether one is followed depends on the method of the request, so it is
/// decided where the request is sent.
///
/// # Errors
///
/// When the HTTP client can not be set up.
pub(super) fn clients(tls: &Tls) -> Result<Clients, Error> {
    Clients::new(tls, || {
        reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .retry(reqwest::retry::never())
    })
}
