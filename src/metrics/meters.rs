//! What is counted where it happens: counters and the times that things took.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::clock::Sources;
use crate::event::{CredentialState, EventKind};
use crate::identity::CredentialId;

/// The first part of every name.
pub(super) const PREFIX: &str = "tokenward";

/// The names and values that tell apart what has one name.
pub(super) type Labels<const N: usize> = [(&'static str, String); N];

/// The upper ends of the buckets for what waits for a network, in seconds.
const OF_NETWORK: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The upper ends of the buckets for what waits for a disk, in seconds.
const OF_DISK: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// How long something of one kind took. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Latency(Histogram);

impl Latency {
    pub(crate) fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// The counters of one runtime. Clones count together.
#[derive(Clone)]
pub(crate) struct Meters(Arc<Inside>);

struct Inside {
    sources: Sources,
    registry: Registry,
    sign_ins: Counters<2>,
    sign_outs: Counters<1>,
    renewals: Latencies<2>,
    reauthorizations: Counters<1>,
    sessions_opened: Counter,
    sessions_ended: Counters<1>,
    switches: Counters<1>,
    vault_requests: Latencies<1>,
    vault_degraded: Gauge,
    vault_degradations: Counter,
    records_quarantined: Counter,
    upstream_requests: Latencies<2>,
    breaker_changes: Counters<2>,
    restarts: Counters<1>,
    quarantines: Counters<1>,
    #[cfg(feature = "server")]
    tokens_issued: Counters<1>,
    #[cfg(feature = "server")]
    access_denied: Counters<1>,
    #[cfg(feature = "server")]
    guarded_requests: Counters<2>,
    #[cfg(feature = "server")]
    server_requests: Latencies<2>,
    queues: Mutex<BTreeMap<&'static str, Depth>>,
}

/// How many requests wait for an actor's answer.
type Depth = Box<dyn Fn() -> usize + Send + Sync>;

type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Latencies<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

impl Meters {
    /// Nothing was counted yet.
    pub(crate) fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let it = &mut registry;
        Self(Arc::new(Inside {
            sources,
            sign_ins: counter(it, "sign_ins", "Sign-ins that ended"),
            sign_outs: counter(it, "sign_outs", "Sign-outs"),
            renewals: latency(it, "renewal_duration", "Renewals of credentials", of_network),
            reauthorizations: counter(
                it,
                "reauthorizations_required",
                "How often a credential came to need its user",
            ),
            sessions_opened: counter(it, "sessions_opened", "Sessions that were opened"),
            sessions_ended: counter(it, "sessions_ended", "Sessions that ended"),
            switches: counter(it, "session_switches", "Switches of a session to a provider"),
            vault_requests: latency(it, "vault_request_duration", "Answers of the vault", of_disk),
            vault_degraded: counter(
                it,
                "vault_degraded",
                "Whether the vault refuses writes or can not be reached",
            ),
            vault_degradations: counter(
                it,
                "vault_degradations",
                "How often the vault began to refuse writes or could not be reached",
            ),
            records_quarantined: counter(
                it,
                "records_quarantined",
                "Records of the vault that did not open",
            ),
            upstream_requests: latency(
                it,
                "upstream_request_duration",
                "Attempts of calls and requests for renewals, until the head of the answer",
                of_network,
            ),
            breaker_changes: counter(it, "breaker_changes", "Changes of a breaker's state"),
            restarts: counter(it, "actor_restarts", "Actors that died and were started again"),
            quarantines: counter(it, "actor_quarantines", "Actors that were kept down"),
            #[cfg(feature = "server")]
            tokens_issued: counter(it, "tokens_issued", "Access tokens that were issued"),
            #[cfg(feature = "server")]
            access_denied: counter(it, "access_denied", "Requests that were refused"),
            #[cfg(feature = "server")]
            guarded_requests: counter(it, "guarded_requests", "Requests to guarded routes"),
            #[cfg(feature = "server")]
            server_requests: latency(
                it,
                "server_request_duration",
                "Requests to the server's endpoints",
                of_network,
            ),
            registry,
            queues: Mutex::default(),
        }))
    }

    /// Writes what was counted, without the end of the text.
    pub(super) fn encode(&self, text: &mut String) -> fmt::Result {
        encode_registry(text, &self.0.registry)
    }

    /// The requests that wait for actors which stand on the runtime and are not known to it.
    pub(super) fn queues(&self) -> BTreeMap<&'static str, usize> {
        // A map is whole whoever panicked.
        let queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().map(|(name, depth)| (*name, depth())).collect()
    }

    /// Now, to say later how long something took.
    pub(crate) fn now(&self) -> Duration {
        self.0.sources.now().monotonic
    }

    /// Counts what is reported to the runtime's subscribers.
    pub(crate) fn event(&self, event: &EventKind) {
        let Inside { sign_ins, sign_outs, sessions_ended, .. } = &*self.0;
        match event {
            EventKind::SignedIn { credential, .. } => {
                sign_ins.get_or_create(&outcome(credential.provider.as_str(), "succeeded")).inc();
            }
            EventKind::LoginFailed { provider, .. }
            | EventKind::SignInFailed { credential: CredentialId { provider, .. }, .. } => {
                sign_ins.get_or_create(&outcome(provider.as_str(), "failed")).inc();
            }
            EventKind::SignedOut { credential, .. } => {
                sign_outs.get_or_create(&one("provider", credential.provider.as_str())).inc();
            }
            EventKind::StateChanged { credential, to, .. }
                if *to == CredentialState::ReauthorizationRequired =>
            {
                let labels = one("provider", credential.provider.as_str());
                self.0.reauthorizations.get_or_create(&labels).inc();
            }
            EventKind::SessionOpened { .. } => drop(self.0.sessions_opened.inc()),
            EventKind::SessionClosed { .. } => {
                sessions_ended.get_or_create(&one("reason", "closed")).inc();
            }
            EventKind::SessionExpired { .. } => {
                sessions_ended.get_or_create(&one("reason", "expired")).inc();
            }
            EventKind::SessionSwitched { provider, .. } => {
                self.0.switches.get_or_create(&one("provider", provider.as_str())).inc();
            }
            EventKind::VaultDegraded { .. } => {
                self.0.vault_degraded.set(1);
                self.0.vault_degradations.inc();
            }
            EventKind::VaultRecovered => drop(self.0.vault_degraded.set(0)),
            EventKind::RecordQuarantined { .. } => drop(self.0.records_quarantined.inc()),
            EventKind::BreakerChanged { upstream, change } => {
                let labels =
                    [("upstream", upstream.clone()), ("to", change.to.as_str().to_owned())];
                self.0.breaker_changes.get_or_create(&labels).inc();
            }
            EventKind::ActorRestarted { actor, .. } => {
                self.0.restarts.get_or_create(&one("actor", branch(actor))).inc();
            }
            EventKind::ActorQuarantined { actor, .. } => {
                self.0.quarantines.get_or_create(&one("actor", branch(actor))).inc();
            }
            _ => {}
        }
    }

    /// Counts a renewal that began at `since`.
    pub(crate) fn renewal(&self, provider: &str, word: &str, since: Duration) {
        let took = self.now().saturating_sub(since).as_secs_f64();
        self.0.renewals.get_or_create(&outcome(provider, word)).observe(took);
    }

    /// How long the vault takes for requests of one kind.
    pub(crate) fn vault(&self, request: &'static str) -> Latency {
        Latency(self.0.vault_requests.get_or_create_owned(&one("request", request)))
    }

    /// How long an upstream takes to answer, or to fail.
    pub(crate) fn upstream(&self, upstream: &str, outcome: &'static str) -> Latency {
        let labels = [("upstream", upstream.to_owned()), ("outcome", outcome.to_owned())];
        Latency(self.0.upstream_requests.get_or_create_owned(&labels))
    }
}

#[cfg(feature = "server")]
impl Meters {
    /// Looks at the `depth` of another queue from now on, in place of an earlier one of that name.
    pub(crate) fn add_queue(
        &self,
        name: &'static str,
        depth: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.insert(name, Box::new(depth));
    }

    /// Counts an access token that was issued for `grant`.
    pub(crate) fn token_issued(&self, grant: &'static str) {
        self.0.tokens_issued.get_or_create(&one("grant", grant)).inc();
    }

    /// Counts a request that was refused.
    pub(crate) fn access_denied(&self, reason: &'static str) {
        self.0.access_denied.get_or_create(&one("reason", reason)).inc();
    }

    /// Counts a request that came before `guard`.
    pub(crate) fn guarded_request(&self, guard: &'static str, word: &'static str) {
        let labels = [("guard", guard.to_owned()), ("outcome", word.to_owned())];
        self.0.guarded_requests.get_or_create(&labels).inc();
    }

    /// Counts a request to one of the server's endpoints that began at `since`.
    pub(crate) fn server_request(&self, route: &'static str, status: u16, since: Duration) {
        let took = self.now().saturating_sub(since).as_secs_f64();
        let labels = [("route", route.to_owned()), ("status", status.to_string())];
        self.0.server_requests.get_or_create(&labels).observe(took);
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

/// The branch of the tree that an actor belongs to: the rest of its path may name a user.
fn branch(actor: &str) -> &str {
    let path = actor.split_once('/').filter(|(root, _)| *root == "runtime");
    let path = path.map_or(actor, |(_, beneath)| beneath);
    path.split('/').next().unwrap_or(path)
}

fn one(name: &'static str, value: &str) -> Labels<1> {
    [(name, value.to_owned())]
}

fn outcome(provider: &str, outcome: &str) -> Labels<2> {
    [("provider", provider.to_owned()), ("outcome", outcome.to_owned())]
}

fn counter<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Default + Clone,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn latency<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    make: fn() -> Histogram,
) -> Latencies<N> {
    let metric = Family::new_with_constructor(make);
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn of_network() -> Histogram {
    Histogram::new(OF_NETWORK)
}

fn of_disk() -> Histogram {
    Histogram::new(OF_DISK)
}
