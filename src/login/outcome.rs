//! The end of a sign-in: announced once, whatever it ends by, and awaited by any number of holders.

use tokio::sync::watch;

use super::verdict::{Verdict, interrupted};
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::{CredentialId, LoginId};
use crate::supervision::EventBus;
use crate::vault::audit::{AuditEntry, AuditKind, AuditSink};

/// How a sign-in ended; none while it is pending.
pub(super) type Outcome = Option<Result<(), Error>>;

/// Announces the beginning of a sign-in and its end, once. When the actor dies before that,
/// dropping this does.
pub(super) struct Ending {
    id: LoginId,
    credential: CredentialId,
    events: EventBus,
    audit: AuditSink,
    outcome: Option<watch::Sender<Outcome>>,
}

impl Ending {
    pub(super) fn new(
        id: LoginId,
        credential: CredentialId,
        events: EventBus,
        audit: AuditSink,
        outcome: watch::Sender<Outcome>,
    ) -> Self {
        events.emit(EventKind::LoginStarted {
            login: id.clone(),
            user: credential.user.clone(),
            provider: credential.provider.clone(),
            method: credential.method,
        });
        Self { id, credential, events, audit, outcome: Some(outcome) }
    }

    /// Records what was handed in and is no answer to this sign-in.
    pub(super) fn heard(&self, verdict: &Verdict) {
        let reason = match verdict {
            Verdict::WrongState => "the answer has the state of another sign-in, or none",
            Verdict::WrongAddress => "the answer came to an address that is not this sign-in's",
            _ => return,
        };
        let entry = AuditEntry::of_credential(AuditKind::AccessDenied, &self.credential);
        (self.audit)(entry.origin("logins").because(reason));
    }

    pub(super) fn end(&mut self, result: Result<(), Error>) {
        let Some(outcome) = self.outcome.take() else { return };
        if let Err(error) = &result {
            let entry = AuditEntry::of_credential(AuditKind::SignInFailed, &self.credential);
            (self.audit)(entry.origin("logins").because_of(error));
            self.events.emit(EventKind::LoginFailed {
                login: self.id.clone(),
                user: self.credential.user.clone(),
                provider: self.credential.provider.clone(),
                reason: error.to_string(),
            });
        }
        outcome.send_replace(Some(result));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end(Err(interrupted()));
    }
}

/// Waits for the end.
pub(super) async fn finished(outcome: &watch::Receiver<Outcome>) -> Result<(), Error> {
    let mut outcome = outcome.clone();
    let ended = outcome.wait_for(Option::is_some).await.map_err(|_| interrupted())?;
    ended.clone().unwrap_or_else(|| Err(interrupted()))
}

/// Whether it has ended.
pub(super) fn is_over(outcome: &watch::Receiver<Outcome>) -> bool {
    outcome.borrow().is_some() || outcome.has_changed().is_err()
}
