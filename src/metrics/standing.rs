//! What is looked at when somebody asks: how many there are, and in which state.

use std::fmt;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::meters::{Labels, PREFIX};
use crate::event::HealthState;
use crate::resilience::{Breaker, State};
use crate::runtime::Inside;

/// The states that a breaker can be in.
const BREAKER_STATES: [&str; 5] = ["closed", "open", "half-open", "forced-open", "disabled"];

/// Writes how things stand, without the end of the text.
pub(super) fn encode(inside: &Inside, text: &mut String) -> fmt::Result {
    let mut registry = Registry::with_prefix(PREFIX);
    let it = &mut registry;

    let credentials = gauges(it, "credentials", "Credentials whose actors run");
    for ((provider, state), number) in inside.credentials.by_state() {
        let labels = [("provider", provider.to_string()), ("state", state.to_string())];
        set(&credentials, &labels, number);
    }
    let sessions = Gauge::<i64>::default();
    sessions.set(whole(inside.sessions.open_now()));
    it.register("sessions", "Open sessions", sessions);

    let under_way =
        gauges(it, "upstream_requests_under_way", "Calls that wait for the head of their answer");
    for upstream in inside.upstreams.all() {
        let labels = [("upstream", upstream.origin().to_owned())];
        set(&under_way, &labels, upstream.under_way());
    }
    let states = gauges(it, "breaker_state", "The state that a breaker is in");
    for (name, breaker) in inside.breakers() {
        set_state(&states, &name, &breaker);
    }

    let healthy = gauges(it, "provider_healthy", "Whether a provider works");
    for provider in inside.credentials.providers() {
        let known = inside.health.of(provider.id().as_str());
        if let Some(health) = known.filter(|health| health.state != HealthState::Unknown) {
            let labels = [("provider", provider.id().to_string())];
            set(&healthy, &labels, usize::from(health.state == HealthState::Healthy));
        }
    }

    let queues = gauges(it, "queue_depth", "Requests that wait for an actor's answer");
    let mut depths = inside.events.meters().queues();
    depths.extend([
        ("credentials", inside.credentials.waiting()),
        ("sessions", inside.sessions.messages().waiting()),
        ("vault", inside.vault.messages().waiting()),
        ("logins", inside.logins.waiting()),
        ("health", inside.health.messages().waiting()),
    ]);
    for (queue, depth) in depths {
        set(&queues, &[("queue", queue.to_owned())], depth);
    }
    encode_registry(text, &registry)
}

type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

fn gauges<const N: usize>(registry: &mut Registry, name: &str, help: &str) -> Gauges<N> {
    let gauges = Gauges::default();
    registry.register(name, help, gauges.clone());
    gauges
}

fn set<const N: usize>(gauges: &Gauges<N>, labels: &Labels<N>, value: usize) {
    gauges.get_or_create(labels).set(whole(value));
}

/// Sets 1 for the state that a breaker is in, and 0 for the others.
fn set_state(gauges: &Gauges<2>, upstream: &str, breaker: &Breaker) {
    let is_in: State = breaker.status().state;
    for state in BREAKER_STATES {
        let labels = [("upstream", upstream.to_owned()), ("state", state.to_owned())];
        set(gauges, &labels, usize::from(state == is_in.as_str()));
    }
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
