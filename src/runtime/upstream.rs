//! What all calls to one upstream share: its breaker, its retry budget, and the places for calls
//! under way. An upstream is an origin: scheme, host and port.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tracing::{Span, info_span};
use url::Url;

use crate::clock::Sources;
use crate::error::Error;
use crate::health::{observed_breaker, observers};
use crate::identity::ProviderId;
use crate::provider::{self, Provider};
use crate::resilience::{Breaker, BreakerStatus, Budget, CallPolicy, HeldBack, Permit};
use crate::supervision::EventBus;

/// One upstream, as calls to it see it. Clones are the same upstream.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// let upstream = runtime.upstream("anthropic")?;
/// println!("{} is {}", upstream.origin(), upstream.status().state);
///
/// // An operator takes it out of use: nothing is sent.
/// upstream.breaker().force_open();
/// let error = session.client().get("/v1/models").send().await.expect_err("held back");
/// assert!(error.is_circuit_open());
///
/// upstream.breaker().close();
/// assert_eq!(session.client().get("/v1/models").send().await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Upstream(Arc<Inside>);

struct Inside {
    origin: String,
    policy: CallPolicy,
    breaker: Breaker,
    /// The breaker of the whole upstream, where this is a class of routes there.
    whole: Option<Breaker>,
    budget: Budget,
    places: Arc<Semaphore>,
    events: EventBus,
    /// The classes of routes that calls named so far.
    classes: Mutex<BTreeMap<&'static str, Upstream>>,
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
        let (events, classes) = (events.clone(), Mutex::default());
        let whole = None;
        Ok(Self(Arc::new(Inside {
            origin,
            policy,
            breaker,
            whole,
            budget,
            places,
            events,
            classes,
        })))
    }

    /// What a call to it stands in. Its path and its query are the host's own matter.
    pub(crate) fn span(&self, method: &http::Method) -> Span {
        info_span!("call", upstream = %self.0.origin, %method)
    }

    /// A class of routes there, such as `"embeddings"`: the same upstream, budget and places, behind
    /// a breaker of its own. Calls are of it that
    /// [say so](crate::http::RequestBuilder::route_class). While the breaker of the whole upstream is
    /// held open by hand, the calls of its classes are held back, too.
    ///
    /// The name is part of the program and not of a request, so that there are a few of them:
    /// enough calls have to meet a breaker for it to conclude anything.
    #[must_use]
    pub fn route_class(&self, class: &'static str) -> Self {
        // A map is whole whoever panicked.
        let mut classes = self.0.classes.lock().unwrap_or_else(PoisonError::into_inner);
        classes.entry(class).or_insert_with(|| self.with_breaker_for(class)).clone()
    }

    fn with_breaker_for(&self, class: &str) -> Self {
        let Inside { policy, breaker, budget, places, events, .. } = &*self.0;
        let origin = format!("{} ({class})", self.0.origin);
        let (report, ended) = observers(&origin, events);
        let whole = Some(breaker.clone());
        let breaker = breaker.alike(report, ended);
        Self(Arc::new(Inside {
            origin,
            policy: *policy,
            breaker,
            whole,
            budget: budget.clone(),
            places: places.clone(),
            events: events.clone(),
            classes: Mutex::default(),
        }))
    }

    /// Scheme, host and port, and the class of routes where it is of one.
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

    /// The classes of routes there that calls named so far, in the order of their names.
    pub fn route_classes(&self) -> Vec<Self> {
        let classes = self.0.classes.lock().unwrap_or_else(PoisonError::into_inner);
        classes.values().cloned().collect()
    }

    /// Whether a call would be held back now.
    ///
    /// # Errors
    ///
    /// When it would be.
    pub(crate) fn look(&self) -> Result<(), HeldBack> {
        self.look_at_the_whole()?;
        self.0.breaker.look()
    }

    /// Leave to make one call now.
    ///
    /// # Errors
    ///
    /// When it is held back. Nothing may be sent then.
    pub(crate) fn admit(&self) -> Result<Permit, HeldBack> {
        self.look_at_the_whole()?;
        self.0.breaker.admit()
    }

    /// What holds the whole upstream back by hand holds a class of it back.
    fn look_at_the_whole(&self) -> Result<(), HeldBack> {
        match &self.0.whole {
            Some(whole) if whole.is_forced_open() => Err(HeldBack { retry_in: None }),
            _ => Ok(()),
        }
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
    ///
    /// # Errors
    ///
    /// When there is no such provider.
    pub(crate) fn get(&self, provider: &ProviderId) -> Result<&Upstream, Error> {
        self.0.get(provider).ok_or_else(|| provider::unknown(provider, self.0.keys()))
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
