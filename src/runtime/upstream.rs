//! What all calls to one upstream share: its breaker, its retry budget, and the places for calls
//! under way. An upstream is an origin: scheme, host and port.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use url::Url;

use crate::clock::Sources;
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::ProviderId;
use crate::provider::Provider;
use crate::resilience::{Breaker, BreakerPolicy, BreakerStatus, Budget, CallEnd, CallPolicy};
use crate::supervision::EventBus;

/// One upstream, as calls to it see it. Clones are the same upstream.
#[derive(Clone)]
pub struct Upstream(Arc<Inside>);

struct Inside {
    origin: String,
    policy: CallPolicy,
    breaker: Breaker,
    budget: Budget,
    places: Arc<Semaphore>,
}

impl Upstream {
    /// The upstream that `url` is of.
    ///
    /// # Errors
    ///
    /// When the policy makes no sense.
    pub(crate) fn new(
        url: &Url,
        policy: CallPolicy,
        sources: &Sources,
        events: &EventBus,
    ) -> Result<Self, Error> {
        policy.validate()?;
        let origin = url.origin().ascii_serialization();
        let breaker = observed_breaker(&origin, policy.breaker, sources, events)?;
        let budget = Budget::new(policy.budget, sources.clone());
        let places = usize::try_from(policy.concurrency).unwrap_or(usize::MAX);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Ok(Self(Arc::new(Inside { origin, policy, breaker, budget, places })))
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// How calls to it are made.
    pub fn policy(&self) -> &CallPolicy {
        &self.0.policy
    }

    /// The breaker before it: its state can be read, and changed by hand.
    pub fn breaker(&self) -> &Breaker {
        &self.0.breaker
    }

    /// What the breaker says.
    pub fn status(&self) -> BreakerStatus {
        self.0.breaker.status()
    }

    /// How many calls wait for the head of their answer.
    pub fn under_way(&self) -> usize {
        let all = usize::try_from(self.0.policy.concurrency).unwrap_or(usize::MAX);
        all.saturating_sub(self.0.places.available_permits())
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    pub(crate) fn places(&self) -> &Arc<Semaphore> {
        &self.0.places
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("origin", &self.0.origin)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A breaker before what goes by the name `upstream`, whose changes are reported and whose calls are
/// counted.
///
/// # Errors
///
/// When the policy makes no sense.
pub(crate) fn observed_breaker(
    upstream: &str,
    policy: BreakerPolicy,
    sources: &Sources,
    events: &EventBus,
) -> Result<Breaker, Error> {
    let meters = events.meters();
    let answered = meters.upstream(upstream, "answered");
    let failed = meters.upstream(upstream, "failed");
    let (upstream, events) = (upstream.to_owned(), events.clone());
    let report = move |change| {
        events.emit(EventKind::BreakerChanged { upstream: upstream.clone(), change });
    };
    Breaker::observed(policy, sources.clone(), report, move |end, took| match end {
        CallEnd::Answered => answered.observe(took),
        CallEnd::Failed => failed.observe(took),
    })
}

/// The upstreams of a runtime's providers. Providers at one origin share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upstreams(Arc<BTreeMap<ProviderId, Upstream>>);

impl Upstreams {
    /// One for each origin; where providers share it, the policy is that of the first by name, and those
    /// of the others are not used.
    ///
    /// # Errors
    ///
    /// When a policy makes no sense.
    pub(crate) fn of(
        providers: &HashMap<ProviderId, Arc<dyn Provider>>,
        sources: &Sources,
        events: &EventBus,
    ) -> Result<Self, Error> {
        let mut by_provider: BTreeMap<ProviderId, Upstream> = BTreeMap::new();
        for (id, provider) in providers.iter().collect::<BTreeMap<_, _>>() {
            let (url, policy) = (provider.base_url(), provider.call_policy());
            let origin = url.origin().ascii_serialization();
            let known = by_provider.values().find(|upstream| upstream.origin() == origin);
            let upstream = match known {
                Some(upstream) => upstream.clone(),
                None => Upstream::new(url, policy, sources, events)?,
            };
            by_provider.insert(id.clone(), upstream);
        }
        Ok(Self(Arc::new(by_provider)))
    }

    /// The upstream of a provider.
    pub(crate) fn get(&self, provider: &ProviderId) -> Option<&Upstream> {
        self.0.get(provider)
    }

    /// What stands before calls to each provider.
    pub(crate) fn breakers(&self) -> BTreeMap<ProviderId, Breaker> {
        let breaker =
            |(id, upstream): (&ProviderId, &Upstream)| (id.clone(), upstream.breaker().clone());
        self.0.iter().map(breaker).collect()
    }

    /// Every upstream once, with the providers that share it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Upstream> {
        let mut seen = BTreeSet::new();
        self.0.values().filter(move |upstream| seen.insert(upstream.origin().to_owned()))
    }
}
