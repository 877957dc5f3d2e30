//! Breakers whose changes are events and whose calls are counted: those before the upstreams of calls, and those
//! before the token endpoints of renewals.

use std::time::Duration;

use crate::clock::Sources;
use crate::error::Error;
use crate::event::EventKind;
use crate::resilience::{Breaker, BreakerPolicy, CallEnd, Change};
use crate::supervision::EventBus;

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
    let (report, ended) = observers(upstream, events);
    Breaker::observed(policy, sources.clone(), report, ended)
}

/// What reports the changes of the breaker before `upstream`, and what counts its calls.
pub(crate) fn observers(
    upstream: &str,
    events: &EventBus,
) -> (impl Fn(Change) + Send + Sync + use<>, impl Fn(CallEnd, Duration) + Send + Sync + use<>) {
    let meters = events.meters();
    let answered = meters.upstream(upstream, "answered");
    let failed = meters.upstream(upstream, "failed");
    let (upstream, events) = (upstream.to_owned(), events.clone());
    let report = move |change| {
        events.emit(EventKind::BreakerChanged { upstream: upstream.clone(), change });
    };
    let ended = move |end, took| match end {
        CallEnd::Answered => answered.observe(took),
        CallEnd::Failed => failed.observe(took),
    };
    (report, ended)
}
