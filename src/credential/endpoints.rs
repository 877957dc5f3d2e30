//! What stands before the token endpoints: places and a breaker for each, shared by all credentials
//! that are renewed there, so that ten thousand of them do not ask a server that is down, be it in turn
//! or at once. Sign-ins do not come by here: a user who waits is never held back because of others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Sources;
use crate::error::Error;
use crate::health::observed_breaker;
use crate::identity::ProviderId;
use crate::provider::{Failure, FailureClass, Grant, Provider};
use crate::resilience::{Breaker, BreakerPolicy, HeldBack, Permit};
use crate::supervision::EventBus;

/// The token endpoints of a runtime's providers. Providers with one authorization server share one.
#[derive(Debug, Clone)]
pub(crate) struct TokenEndpoints(Arc<BTreeMap<ProviderId, Endpoint>>);

#[derive(Debug, Clone)]
struct Endpoint {
    server: String,
    breaker: Breaker,
    places: Arc<Semaphore>,
    /// Those of the places that may be taken by renewals that nobody waits for.
    unawaited: Arc<Semaphore>,
}

/// Leave to ask for one renewal.
#[derive(Debug)]
pub(super) struct Leave {
    permit: Permit,
    _place: Place,
}

/// A place, and leave to take one where nobody waits for the renewal.
#[derive(Debug)]
struct Place {
    _place: OwnedSemaphorePermit,
    _unawaited: Option<OwnedSemaphorePermit>,
}

/// The most renewals that are under way at one endpoint at once. It bounds what an outage is met with
/// before anybody can know of it, and leaves room for hundreds of renewals a second.
const PLACES: usize = 32;

/// So many of them may be of renewals that nobody waits for: callers do not stand in line behind
/// thousands that are merely due.
const UNAWAITED: usize = 24;

/// A token is renewed minutes before its end. A probe has longer than a request to a token endpoint
/// may take ([`Limits`](crate::oauth::Limits)), so that one that is slow to recover is seen to be
/// back.
fn policy() -> BreakerPolicy {
    BreakerPolicy {
        longest_open: Duration::from_mins(1),
        half_open_for: Duration::from_mins(1),
        ..BreakerPolicy::default()
    }
}

impl TokenEndpoints {
    /// All of them closed.
    ///
    /// # Errors
    ///
    /// When a breaker can not follow its policy.
    pub(crate) fn of(
        providers: &HashMap<ProviderId, Arc<dyn Provider>>,
        sources: &Sources,
        events: &EventBus,
    ) -> Result<Self, Error> {
        let mut endpoints: BTreeMap<ProviderId, Endpoint> = BTreeMap::new();
        for (id, provider) in providers {
            let server = provider.registration().server.unwrap_or_else(|| id.to_string());
            let known = endpoints.values().find(|endpoint| endpoint.server == server).cloned();
            let endpoint = if let Some(endpoint) = known {
                endpoint
            } else {
                let breaker = observed_breaker(&name_of(&server), policy(), sources, events)?;
                let [places, unawaited] =
                    [PLACES, UNAWAITED].map(|it| Arc::new(Semaphore::new(it)));
                Endpoint { server, breaker, places, unawaited }
            };
            endpoints.insert(id.clone(), endpoint);
        }
        Ok(Self(Arc::new(endpoints)))
    }

    /// The breaker before each endpoint once, and the name that it goes by.
    pub(crate) fn breakers(&self) -> BTreeMap<String, Breaker> {
        let named = |endpoint: &Endpoint| (name_of(&endpoint.server), endpoint.breaker.clone());
        self.0.values().map(named).collect()
    }

    /// Leave to ask for one renewal, as soon as there is a place; a provider that nobody knows has
    /// no endpoint. `awaited` resolves as soon as somebody waits for it.
    ///
    /// # Errors
    ///
    /// When renewals there fail and are held back. Nothing may be sent then.
    pub(super) async fn admit(
        &self,
        provider: &ProviderId,
        awaited: impl Future<Output = ()>,
    ) -> Result<Option<Leave>, Failure> {
        let Some(endpoint) = self.0.get(provider) else { return Ok(None) };
        let held_back = |held_back: HeldBack| {
            let class = FailureClass::Transient { retry_after: held_back.retry_in };
            let reason = held_back.why(&format!("renewals at {}", endpoint.server));
            Failure::new(class, reason).not_sent()
        };
        endpoint.breaker.look().map_err(held_back)?;
        let Some(place) = endpoint.place(awaited).await else { return Ok(None) };
        // Asked only now: the endpoint may have failed while this one waited.
        let permit = endpoint.breaker.admit().map_err(held_back)?;
        Ok(Some(Leave { permit, _place: place }))
    }
}

impl Endpoint {
    /// A place, as soon as there is one; none never, since nobody closes them.
    async fn place(&self, awaited: impl Future<Output = ()>) -> Option<Place> {
        let unawaited = tokio::select! {
            biased;
            () = awaited => None,
            leave = Arc::clone(&self.unawaited).acquire_owned() => Some(leave.ok()?),
        };
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place { _place: place, _unawaited: unawaited })
    }
}

/// What events and metrics call the token endpoint of a server.
fn name_of(server: &str) -> String {
    format!("{server} (renewals)")
}

/// Tells the breaker how a renewal ended.
pub(super) fn settle(leave: Option<Leave>, answer: &Result<Grant, Failure>) {
    let Some(Leave { permit, _place }) = leave else { return };
    match answer.as_ref().map_err(|failure| failure.class) {
        Err(FailureClass::Transient { retry_after }) => permit.failed(retry_after),
        Err(FailureClass::Uncertain) => permit.failed(None),
        // A page of something in between says nothing about the server.
        Err(FailureClass::Protocol) => drop(permit),
        // It answered, and a refusal or a rate limit is one credential's matter.
        Ok(_) | Err(_) => {
            let _ = permit.succeeded();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::Limits;

    /// B-5.
    #[test]
    fn a_probe_may_take_as_long_as_a_request_to_a_token_endpoint() {
        assert!(policy().half_open_for > Limits::default().deadline);
    }
}
