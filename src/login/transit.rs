//! A grant between the provider and the sign-in that asked for it. One that does not arrive, because
//! the sign-in was cancelled or has died meanwhile, is given back: nobody would ever see it.

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug};

use crate::identity::CredentialId;
use crate::oauth::Transport;
use crate::provider::{DeviceAnswer, Failure, Grant, Provider, Revocation, shortly};

/// What a request to a provider may hold.
pub(super) trait MayGrant: Send + 'static {
    /// The grant in it.
    fn grant(&self) -> Option<&Grant>;
}

impl MayGrant for Grant {
    fn grant(&self) -> Option<&Grant> {
        Some(self)
    }
}

impl MayGrant for DeviceAnswer {
    fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            _ => None,
        }
    }
}

/// The outcome of a request, on its way to the sign-in.
pub(super) struct InTransit<T: MayGrant> {
    outcome: Option<Result<T, Failure>>,
    gives_back: GivesBack,
}

impl<T: MayGrant> InTransit<T> {
    pub(super) fn new(outcome: Result<T, Failure>, gives_back: GivesBack) -> Self {
        Self { outcome: Some(outcome), gives_back }
    }

    /// It has arrived: what becomes of it is up to the sign-in. None when it arrived before.
    pub(super) fn arrive(mut self) -> Option<Result<T, Failure>> {
        self.outcome.take()
    }
}

impl<T: MayGrant> Drop for InTransit<T> {
    fn drop(&mut self) {
        if let Some(Ok(answer)) = &self.outcome
            && let Some(grant) = answer.grant()
        {
            self.gives_back.revoke(grant);
        }
    }
}

/// Revokes grants that nobody wants.
#[derive(Clone)]
pub(super) struct GivesBack {
    pub(super) credential: CredentialId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) transport: Transport,
    pub(super) tasks: TaskTracker,
}

impl GivesBack {
    /// Tells the provider that `grant` is over, in a task of its own. Best effort.
    pub(super) fn revoke(&self, grant: &Grant) {
        let (Self { credential, provider, transport, .. }, grant) = (self.clone(), grant.clone());
        let work = async move {
            let revocation = Revocation {
                method: credential.method,
                access_token: &grant.access_token,
                refresh_token: grant.refresh_token.as_ref(),
            };
            match shortly(&transport, provider.revoke(&transport, revocation)).await {
                Ok(outcome) => debug!(%credential, ?outcome, "a grant was given back"),
                Err(failure) => debug!(%credential, %failure, "a grant could not be given back"),
            }
        };
        self.tasks.spawn(work.in_current_span());
    }
}
