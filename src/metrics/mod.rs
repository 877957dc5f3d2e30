//! What a runtime counts about itself, as the text that Prometheus reads. What happens is counted where
//! it happens; what stands is looked at when somebody asks.
//!
//! No metric names a user, an account or a session: a label is a provider, an upstream or a word of
//! this crate, so that their number is bounded by the configuration and nothing about a person is
//! told.

mod meters;
mod standing;
#[cfg(test)]
mod tests;

#[cfg(feature = "server")]
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::encoding::text::encode_eof;

#[cfg(feature = "server")]
use crate::resilience::Breaker;
use crate::runtime::{Inside, Runtime};

pub(crate) use meters::{Latency, Meters};

/// What [`Metrics::encode`] writes, as a content type: `OpenMetrics` 1.0, which Prometheus reads.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one runtime. Cheap to clone.
///
/// | metric | labels | what it says |
/// | --- | --- | --- |
/// | `tokenward_sign_ins_total` | `provider`, `outcome`: `succeeded`, `failed` | sign-ins that ended, by whichever method |
/// | `tokenward_sign_outs_total` | `provider` | sign-outs |
/// | `tokenward_renewal_duration_seconds` | `provider`, `outcome` | renewals, from the first step to the last: their number and how long they took. The outcome is `renewed`, `unsaved` (the vault could not take what was granted, which is held in memory), `superseded`, `not-started`, `died` (its task panicked), or why it failed: `transient`, `rate-limited`, `reauthorization-required`, `misconfigured`, `unlisted`, `protocol`, `uncertain` |
/// | `tokenward_reauthorizations_required_total` | `provider` | how often a credential came to need its user |
/// | `tokenward_credentials` | `provider`, `state` | credentials in memory: those that are used, and those that need somebody. One that is well and was not used for a while is not among them |
/// | `tokenward_sessions` | | open sessions |
/// | `tokenward_sessions_opened_total` | | sessions that were opened |
/// | `tokenward_sessions_ended_total` | `reason`: `closed`, `expired` | sessions that ended |
/// | `tokenward_session_switches_total` | `provider` | switches to a provider |
/// | `tokenward_vault_request_duration_seconds` | `request`: `read`, `commit`, `list` | the vault's answers, waiting for their turn included |
/// | `tokenward_vault_degraded` | | 1 while the vault refuses writes or can not be reached |
/// | `tokenward_vault_degradations_total` | | how often it came to that |
/// | `tokenward_records_quarantined_total` | | records that did not open |
/// | `tokenward_upstream_request_duration_seconds` | `upstream`, `outcome`: `answered`, `failed` | attempts of calls, and requests for renewals, until the head of the answer |
/// | `tokenward_upstream_requests_under_way` | `upstream` | calls that wait for the head of their answer |
/// | `tokenward_breaker_state` | `upstream`, `state` | 1 for the state that the breaker is in |
/// | `tokenward_breaker_changes_total` | `upstream`, `to` | changes of its state |
/// | `tokenward_provider_healthy` | `provider` | 1 when it works, 0 when it fails; absent while that is not known |
/// | `tokenward_actor_restarts_total` | `actor` | restarts, by the actor's branch of the tree |
/// | `tokenward_actor_quarantines_total` | `actor` | how often one was kept down |
/// | `tokenward_queue_depth` | `queue`: `credentials`, `sessions`, `vault`, `logins`, `health`, with a server `token-issuer` | requests that wait for an actor's answer |
///
/// With the feature `server` and a server on the runtime also:
///
/// | metric | labels | what it says |
/// | --- | --- | --- |
/// | `tokenward_tokens_issued_total` | `grant` | access tokens that were issued |
/// | `tokenward_access_denied_total` | `reason` | requests that were refused to who sent them, by the endpoints and by the guards. What is no fault of the sender (a 503) and what nobody could have (a 404, a 405) is none |
/// | `tokenward_guarded_requests_total` | `guard`: `bearer`, `upstream`; `outcome` | requests to guarded routes, the host's own and the server's. Of the bearer guard `admitted`, `no-token`, `malformed`, `invalid-token` or `insufficient-scope`; of the upstream guard `admitted` or `unavailable` |
/// | `tokenward_server_request_duration_seconds` | `route`, `status` | requests to the server's endpoints |
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let metrics = runtime.metrics();
/// let text = metrics.encode(); // for a route of the host, as `metrics::CONTENT_TYPE`
/// assert!(text.contains("tokenward_sign_ins_total"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Metrics {
    meters: Meters,
    /// Not kept alive by whoever reads its metrics.
    runtime: Weak<Inside>,
}

impl Metrics {
    /// Everything as it is now, in the format that [`CONTENT_TYPE`] names. Once the runtime is gone,
    /// what it counted.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let written = self.meters.encode(&mut text).and_then(|()| {
            if let Some(runtime) = self.runtime.upgrade() {
                standing::encode(&runtime, &mut text)?;
            }
            encode_eof(&mut text)
        });
        // Writing to a text in memory does not fail.
        debug_assert!(written.is_ok());
        text
    }
}

#[cfg(feature = "server")]
impl Metrics {
    /// Where the server counts.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The breakers of the runtime; none once it is gone.
    pub(crate) fn breakers(&self) -> BTreeMap<String, Breaker> {
        self.runtime.upgrade().map(|runtime| runtime.breakers()).unwrap_or_default()
    }
}

impl Inside {
    pub(crate) fn metrics(self: &Arc<Self>) -> Metrics {
        Metrics { meters: self.events.meters().clone(), runtime: Arc::downgrade(self) }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Runtime {
    /// What this runtime counts about itself, for Prometheus and whatever reads the same format.
    pub fn metrics(&self) -> Metrics {
        self.inside().metrics()
    }
}
