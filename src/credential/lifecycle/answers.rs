//! What callers are told, now or when there is something to tell.

use super::held::Knowledge;
use super::{Effect, Evidence, Lifecycle, Trouble};
use crate::clock::Moment;
use crate::error::{Error, ErrorKind};
use crate::provider::FailureClass;

/// What a caller can be told at once.
pub(super) enum Availability {
    Usable,
    Later,
    Failed(Error),
}

impl Lifecycle {
    /// Answers whoever waits, if there is an answer now.
    pub(super) fn settle(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        if !self.waiting {
            return;
        }
        match self.availability(evidence.now) {
            Availability::Usable => self.answer_all(Ok(()), to),
            Availability::Failed(error) => self.answer_all(Err(error), to),
            Availability::Later => self.tick(evidence, to),
        }
    }

    pub(super) fn availability(&self, now: Moment) -> Availability {
        let Some(held) = &self.held else {
            return match &self.knowledge {
                Knowledge::Refused { reason, lasting, .. } if !self.is_asking() => {
                    Availability::Failed(self.unreadable(reason, *lasting))
                }
                Knowledge::Asked | Knowledge::Refused { .. } => Availability::Later,
                Knowledge::Known => Availability::Failed(self.absent()),
            };
        };
        // Without trouble the next renewal is due by now, or within the shortest interval.
        let about_to_renew = self.may_renew()
            && self.trouble.as_ref().is_none_or(|trouble| {
                trouble.retry_at.is_some_and(|retry_at| now.has_passed(retry_at))
            });
        if held.is_usable(now) {
            Availability::Usable
        } else if self.renewing || about_to_renew || self.is_asking() {
            Availability::Later
        } else {
            Availability::Failed(self.failure(now))
        }
    }

    /// Whether the vault is about to answer.
    pub(super) fn is_asking(&self) -> bool {
        match &self.knowledge {
            Knowledge::Asked => true,
            Knowledge::Refused { retry, .. } => retry.under_way,
            Knowledge::Known => false,
        }
    }

    pub(super) fn unreadable(&self, reason: &str, lasting: bool) -> Error {
        let kind = if lasting { ErrorKind::VaultUnreadable } else { ErrorKind::VaultUnavailable };
        Error::new(kind, format!("the credential {} can not be read: {reason}", self.id))
    }

    pub(super) fn absent(&self) -> Error {
        Error::new(
            ErrorKind::ReauthorizationRequired,
            format!("{} is not signed in to {}, sign in first", self.id.user, self.id.provider),
        )
    }

    /// Why there is no token, as its callers are told.
    pub(super) fn failure(&self, now: Moment) -> Error {
        let provider = &self.id.provider;
        if let Knowledge::Refused { reason, lasting, .. } = &self.knowledge {
            return self.unreadable(reason, *lasting);
        }
        let Some(Trouble { failure, retry_at, .. }) = &self.trouble else {
            if self.is_unsaved() {
                return Error::new(
                    ErrorKind::VaultUnavailable,
                    "the token can not be renewed while the vault can not be written",
                );
            }
            return Error::new(
                ErrorKind::ReauthorizationRequired,
                format!("the token of {provider} has expired, sign in again"),
            );
        };
        let Some(retry_at) = retry_at else {
            return Error::with_source(
                ErrorKind::ReauthorizationRequired,
                format!("{provider} needs a new sign-in: {}", failure.reason),
                failure.clone(),
            );
        };
        let kind = match failure.class {
            FailureClass::RateLimited { .. } => ErrorKind::RateLimited,
            FailureClass::Misconfigured => ErrorKind::Configuration,
            FailureClass::Unlisted | FailureClass::Protocol => ErrorKind::Protocol,
            FailureClass::Uncertain => ErrorKind::Uncertain,
            _ => ErrorKind::Transient,
        };
        let text = format!("the token of {provider} could not be renewed: {}", failure.reason);
        Error::retry_in(kind, text, now.until(*retry_at))
    }

    pub(super) fn park(&mut self, to: &mut Vec<Effect>) {
        self.waiting = true;
        to.push(Effect::Park);
    }

    pub(super) fn answer_all(&mut self, answer: Result<(), Error>, to: &mut Vec<Effect>) {
        if std::mem::take(&mut self.waiting) {
            to.push(Effect::AnswerAll(answer));
        }
    }
}
