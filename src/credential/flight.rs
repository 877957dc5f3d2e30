//! One renewal from the intent to the commit, as a task of its own. Whatever becomes of the task,
//! an outcome lands: a task that dies lands a failure.

use std::sync::Arc;

use tracing::debug;

use super::actor::Context;
use super::cell::{Cell, Flight};
use super::journal::{Journal, JournalError, Rotation};
use super::lifecycle::{RenewalOutcome, Trouble};
use super::material::Material;
use super::messages::{Inner, ProviderMessage};
use crate::provider::{Failure, FailureClass, Grant, Revocation};
use crate::supervision::Handle;

/// Everything a renewal needs.
pub(crate) struct Rotating {
    pub(crate) context: Arc<Context>,
    pub(crate) cell: Arc<Cell>,
    pub(crate) handle: Handle<ProviderMessage>,
    pub(crate) journal: Journal,
    pub(crate) material: Arc<Material>,
    pub(crate) flight: Flight,
}

impl Rotating {
    /// Starts the renewal.
    pub(crate) fn start(self) {
        let tasks = self.context.shared.tasks.clone();
        tasks.spawn(async move {
            let mut landing = Landing {
                cell: self.cell.clone(),
                handle: self.handle.clone(),
                flight: self.flight,
                outcome: None,
                sent: false,
            };
            landing.outcome = Some(self.run(&mut landing.sent).await);
        });
    }

    async fn run(&self, sent: &mut bool) -> RenewalOutcome {
        let method = self.context.id.method;
        self.reached("before-intent");
        let now = self.context.shared.sources.now();
        let rotation = match self.journal.begin(&self.material, method, now).await {
            Ok(rotation) => rotation,
            Err(JournalError::Superseded) => return RenewalOutcome::Superseded,
            Err(error) => return RenewalOutcome::NotStarted { reason: error.to_string() },
        };
        self.reached("intent-durable");
        *sent = true;
        let renewal = self.material.renewal(method);
        let answer = self.context.provider.renew(&self.context.shared.transport, renewal).await;
        self.reached("response-received");
        match answer {
            Ok(grant) => self.granted(grant, &rotation).await,
            Err(failure) => self.failed(failure, &rotation).await,
        }
    }

    async fn granted(&self, grant: Grant, rotation: &Rotation) -> RenewalOutcome {
        let granted_refresh = grant.refresh_token.clone();
        let Ok(material) = self.material.renewed(grant) else {
            let failure = Failure::new(
                FailureClass::ReauthorizationRequired,
                "the renewal answered for another account than the one that signed in",
            );
            return self.failed(failure, rotation).await;
        };
        let material = Arc::new(material);
        match self.journal.commit(rotation, &material).await {
            Ok(()) => {
                self.reached("commit-durable");
                RenewalOutcome::Granted { material, unsaved: None }
            }
            Err(JournalError::Superseded) => {
                if self.cell.desk().signed_out || !self.is_stored().await {
                    self.revoke(&material, granted_refresh.is_some()).await;
                }
                RenewalOutcome::Superseded
            }
            Err(error) => RenewalOutcome::Granted { material, unsaved: Some(error.to_string()) },
        }
    }

    async fn failed(&self, failure: Failure, rotation: &Rotation) -> RenewalOutcome {
        let ended = if failure.class == FailureClass::ReauthorizationRequired {
            let trouble = Trouble { failure: failure.clone(), attempts: 1, retry_at: None };
            self.journal.refuse(rotation, self.material.generation, &trouble).await
        } else if failure.class.may_have_spent() || self.flight.in_doubt {
            // The intent stays: whether the token is spent is not known.
            Ok(())
        } else if self.material.spends_a_refresh_token(self.context.id.method) {
            self.journal.abandon(rotation).await
        } else {
            Ok(())
        };
        match ended {
            Err(JournalError::Superseded) => RenewalOutcome::Superseded,
            Err(error) => {
                // The intent that stays behind makes a restart careful; nothing is lost by it.
                debug!(credential = %self.context.id, %error, "a rotation could not be closed");
                RenewalOutcome::Failed(failure)
            }
            Ok(()) => RenewalOutcome::Failed(failure),
        }
    }

    /// The user signed out while the provider answered: what it granted is given back.
    async fn revoke(&self, material: &Material, refresh_token_is_new: bool) {
        let revocation = Revocation {
            method: self.context.id.method,
            access_token: &material.access,
            refresh_token: material.refresh.as_ref().filter(|_| refresh_token_is_new),
        };
        if let Err(failure) =
            self.context.provider.revoke(&self.context.shared.transport, revocation).await
        {
            debug!(credential = %self.context.id, %failure, "an unwanted grant was not revoked");
        }
    }

    async fn is_stored(&self) -> bool {
        let now = self.context.shared.sources.now();
        !matches!(self.journal.load(now).await, Ok(contents) if contents.material.is_none())
    }

    fn reached(&self, step: &'static str) {
        debug!(
            target: "tokenward::rotation",
            step,
            credential = %self.context.id,
            generation = self.flight.base.0,
        );
    }
}

/// Lands the outcome when it is dropped, by whatever way the task ends.
struct Landing {
    cell: Arc<Cell>,
    handle: Handle<ProviderMessage>,
    flight: Flight,
    outcome: Option<RenewalOutcome>,
    sent: bool,
}

impl Drop for Landing {
    fn drop(&mut self) {
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
