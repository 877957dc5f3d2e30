//! A provider that panics where it is told to, and has in its last words the very secret that it was given:
//! what an adapter of a host's own can do.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use tokenward::identity::{Method, ProviderId};
use tokenward::oauth::{AuthorizationRequest, CodeExchange, DeviceAuthorization, Transport};
use tokenward::provider::{
    DeviceAnswer, Exchanging, Grant, Provider, ProviderSpec, RedirectRules, RefreshPolicy, Renewal,
    Revocation, RevocationOutcome,
};
use tokenward::{Error, Secret};
use url::Url;

/// Where it can panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Headers,
    Exchange,
    Poll,
    Renewal,
    Revocation,
}

/// Says where it panics, and what it said there. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Temper(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    place: Option<Place>,
    last_words: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Hasty {
    inner: ProviderSpec,
    temper: Temper,
}

impl Hasty {
    pub(crate) fn new(inner: ProviderSpec, temper: &Temper) -> Self {
        Self { inner, temper: temper.clone() }
    }
}

impl Temper {
    /// From now on it panics there, and nowhere else.
    pub(crate) fn lose_at(&self, place: impl Into<Option<Place>>) {
        self.0.lock().expect("not held in a panic").place = place.into();
    }

    /// All that was said in panics so far.
    pub(crate) fn last_words(&self) -> Vec<String> {
        self.0.lock().expect("not held in a panic").last_words.clone()
    }

    fn keep(&self, at: Place, secret: &str) {
        let mut state = self.0.lock().expect("not held in a panic");
        if state.place != Some(at) {
            return;
        }
        let words = format!("{at:?} failed with {secret}");
        state.last_words.push(words.clone());
        drop(state);
        panic!("{words}");
    }
}

impl Provider for Hasty {
    fn id(&self) -> &ProviderId {
        Provider::id(&self.inner)
    }

    fn methods(&self) -> &[Method] {
        self.inner.methods()
    }

    fn base_url(&self) -> &Url {
        Provider::base_url(&self.inner)
    }

    fn refresh_policy(&self) -> RefreshPolicy {
        self.inner.refresh_policy()
    }

    fn check_api_key(&self, key: &Secret) -> Result<(), Error> {
        self.inner.check_api_key(key)
    }

    fn headers(&self, method: Method, secret: &Secret) -> Result<HeaderMap, Error> {
        self.temper.keep(Place::Headers, secret.expose());
        self.inner.headers(method, secret)
    }

    fn redirect(&self) -> Option<&RedirectRules> {
        self.inner.redirect()
    }

    fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<String, Error> {
        self.inner.authorization_url(request)
    }

    fn exchange_code<'a>(
        &'a self,
        transport: &'a Transport,
        exchange: CodeExchange<'a>,
    ) -> Exchanging<'a, Grant> {
        self.temper.keep(Place::Exchange, exchange.code.expose());
        self.inner.exchange_code(transport, exchange)
    }

    fn authorize_device<'a>(
        &'a self,
        transport: &'a Transport,
    ) -> Exchanging<'a, DeviceAuthorization> {
        self.inner.authorize_device(transport)
    }

    fn poll_device<'a>(
        &'a self,
        transport: &'a Transport,
        device: &'a DeviceAuthorization,
    ) -> Exchanging<'a, DeviceAnswer> {
        Box::pin(async move {
            self.temper.keep(Place::Poll, device.device_code.expose());
            self.inner.poll_device(transport, device).await
        })
    }

    fn renew<'a>(
        &'a self,
        transport: &'a Transport,
        renewal: Renewal<'a>,
    ) -> Exchanging<'a, Grant> {
        Box::pin(async move {
            let token = renewal.refresh_token.expect("it was signed in by a user");
            self.temper.keep(Place::Renewal, token.expose());
            self.inner.renew(transport, renewal).await
        })
    }

    fn revoke<'a>(
        &'a self,
        transport: &'a Transport,
        revocation: Revocation<'a>,
    ) -> Exchanging<'a, RevocationOutcome> {
        self.temper.keep(Place::Revocation, revocation.access_token.expose());
        self.inner.revoke(transport, revocation)
    }
}
