//! One renewal from the intent to the commit, as a task of its own. Whatever becomes of the task,
//! an outcome lands: a task that dies lands a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{Instrument as _, Span, debug};

use super::actor::Context;
use super::cell::{Cell, Flight};
use super::endpoints::settle;
use super::journal::{Journal, JournalError, Rotation};
use super::lifecycle::{RenewalOutcome, Trouble};
use super::material::{AccountChanged, Material};
use super::messages::{Inner, ProviderMessage};
use super::records::Records;
use crate::provider::{Failure, FailureClass, Grant, in_time};
use crate::supervision::Handle;

/// Everything a renewal needs.
pub(crate) struct Rotating {
    pub(crate) records: Records,
    pub(crate) handle: Handle<ProviderMessage>,
    pub(crate) material: Arc<Material>,
    pub(crate) flight: Flight,
    /// Told as soon as somebody waits for it.
    pub(crate) awaited: Arc<Notify>,
    /// What everything that this does stands in.
    pub(crate) span: Span,
}

impl Rotating {
    /// Starts the renewal, unless the runtime stops: nobody would wait for its outcome.
    pub(crate) fn start(self) {
        let tasks = self.records.context.shared.tasks.clone();
        let context = &self.records.context;
        let mut landing = Landing {
            context: context.clone(),
            cell: self.records.cell.clone(),
            handle: self.handle.clone(),
            flight: self.flight,
            span: self.span.clone(),
            since: context.shared.events.meters().now(),
            outcome: None,
            sent: false,
        };
        // Counted before the look, so that a shutdown either is seen or waits for this renewal.
        let counted = tasks.token();
        if tasks.is_closed() {
            return landing.land(runtime_stops());
        }
        let span = self.span.clone();
        let work = async move {
            let outcome = self.run(&mut landing.sent).await;
            landing.land(outcome);
        };
        tasks.spawn(work.instrument(span));
        drop(counted);
    }

    async fn run(&self, sent: &mut bool) -> RenewalOutcome {
        let context = &self.records.context;
        let method = context.id.method;
        let awaited = self.awaited.notified();
        let leave = match context.shared.endpoints.admit(&context.id.provider, awaited).await {
            Ok(leave) => leave,
            Err(held_back) => return RenewalOutcome::Failed(held_back),
        };
        if context.shared.tasks.is_closed() {
            return runtime_stops();
        }
        self.reached("before-intent");
        let now = context.shared.sources.now();
        let rotation = match self.journal().begin(&self.material, method, now).await {
            Ok(rotation) => rotation,
            Err(JournalError::Superseded) => return RenewalOutcome::Superseded,
            Err(error) => {
                let reason = format!("the vault can not be written: {error}");
                return RenewalOutcome::NotStarted { reason };
            }
        };
        self.reached("intent-durable");
        *sent = true;
        let renewal = self.material.renewal(method);
        let transport = &context.shared.transport;
        let mut answer = in_time(transport, context.provider.renew(transport, renewal)).await;
        settle(leave, &answer);
        self.reached("response-received");
        if let Err(failure) = &mut answer
            && failure.class == FailureClass::Uncertain
            && !self.material.spends_a_refresh_token(method)
        {
            // Nothing was given away that could be spent: it can be asked for again.
            failure.class = FailureClass::Transient { retry_after: None };
        }
        match answer {
            Ok(grant) => self.granted(grant, &rotation).await,
            Err(failure) => self.failed(failure, &rotation).await,
        }
    }

    async fn granted(&self, grant: Grant, rotation: &Rotation) -> RenewalOutcome {
        let Context { id, provider, .. } = &*self.records.context;
        let by = provider.registration();
        let material = match self.material.renewed(grant, id.method, by.clone()) {
            Ok(material) => Arc::new(material),
            Err(AccountChanged(grant)) => {
                self.give_back(Material::granted(*grant, self.flight.base.next(), by));
                let failure = Failure::new(
                    FailureClass::ReauthorizationRequired,
                    "the renewal answered for another account than the one that signed in",
                );
                return self.failed(failure, rotation).await;
            }
        };
        let committed = self.journal().commit(rotation, &material).await;
        if self.records.cell.desk().era() != self.flight.era {
            // The user signed out while the provider answered: what it granted is given back.
            self.records.revoke(&material).await;
        }
        match committed {
            Ok(()) => {
                self.reached("commit-durable");
                RenewalOutcome::Granted { material, unsaved: None }
            }
            Err(JournalError::Superseded) => RenewalOutcome::Superseded,
            Err(error) => RenewalOutcome::Granted { material, unsaved: Some(error.to_string()) },
        }
    }

    /// Revokes what nobody will ever see, while nobody waits for that.
    fn give_back(&self, unwanted: Material) {
        let records = self.records.clone();
        let revoking = async move { records.revoke(&unwanted).await };
        self.records.context.shared.tasks.spawn(revoking.in_current_span());
    }

    async fn failed(&self, failure: Failure, rotation: &Rotation) -> RenewalOutcome {
        let ended = if failure.class == FailureClass::ReauthorizationRequired {
            let trouble = Trouble { failure: failure.clone(), attempts: 1, retry_at: None };
            self.journal().refuse(rotation, self.material.generation, &trouble).await
        } else if failure.class.may_have_spent() || self.flight.in_doubt {
            // The intent stays: whether the token is spent is not known.
            Ok(())
        } else if self.material.spends_a_refresh_token(self.records.context.id.method) {
            self.journal().abandon(rotation).await
        } else {
            Ok(())
        };
        match ended {
            Err(JournalError::Superseded) => RenewalOutcome::Superseded,
            Err(error) => {
                // The intent that stays behind makes a restart careful; nothing is lost by it.
                debug!(credential = %self.records.context.id, %error, "a rotation could not be closed");
                RenewalOutcome::Failed(failure)
            }
            Ok(()) => RenewalOutcome::Failed(failure),
        }
    }

    fn journal(&self) -> Journal {
        self.records.journal()
    }

    fn reached(&self, step: &'static str) {
        debug!(
            target: "tokenward::rotation",
            step,
            credential = %self.records.context.id,
            generation = self.flight.base.0,
        );
    }
}

/// What metrics call the outcome of a renewal.
fn word(outcome: &RenewalOutcome) -> &'static str {
    match outcome {
        RenewalOutcome::Granted { unsaved: None, .. } => "renewed",
        RenewalOutcome::Granted { unsaved: Some(_), .. } => "unsaved",
        RenewalOutcome::NotStarted { .. } => "not-started",
        RenewalOutcome::Superseded => "superseded",
        RenewalOutcome::Failed(failure) => failure.class.as_str(),
    }
}

fn runtime_stops() -> RenewalOutcome {
    RenewalOutcome::NotStarted { reason: "the runtime stops".to_owned() }
}

/// Counts the outcome and lands it when it is dropped, by whatever way the task ends.
struct Landing {
    context: Arc<Context>,
    cell: Arc<Cell>,
    handle: Handle<ProviderMessage>,
    flight: Flight,
    span: Span,
    /// When it began, by the monotonic clock.
    since: Duration,
    outcome: Option<RenewalOutcome>,
    sent: bool,
}

impl Landing {
    /// Lands `outcome`.
    fn land(mut self, outcome: RenewalOutcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let word = self.outcome.as_ref().map_or("died", word);
        let meters = self.context.shared.events.meters();
        meters.renewal(self.context.id.provider.as_str(), word, self.since);
        self.span.record("outcome", word);
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let class = if self.sent {
                FailureClass::Uncertain
            } else {
                FailureClass::Transient { retry_after: None }
            };
            RenewalOutcome::Failed(Failure::new(class, "the task of the renewal died"))
        });
        self.cell.desk().land(self.flight, outcome);
        // An actor that is being restarted finds the outcome on the desk when it is back.
        self.handle.post(ProviderMessage::inner(Inner::LookAtTheDesk));
    }
}
