//! What a pending sign-in does, as a plain function of events: which answer it takes, that a code
//! is exchanged once, and how it ends. The actor beside it only carries out.

use std::time::Duration;

use super::super::storing::{NotStored, Storing};
use super::super::verdict::{
    Verdict, cancelled, expired, is_about_the_code, may_try_again, mixed_up, not_exchanged,
    not_taken, refused, sent_before,
};
use crate::clock::Moment;
use crate::error::Error;
use crate::oauth::redirect::{AuthorizationResponse, Pasted};
use crate::provider::{Failure, Grant};
use crate::secret::Secret;

/// How long the user has to complete a sign-in.
pub(in crate::login) const EXPIRES_AFTER: Duration = Duration::from_mins(10);

/// How many codes of one sign-in are sent to the provider. A code that was typed wrong may be typed
/// again; whoever tries codes out is stopped.
const MOST_CODES: usize = 5;

/// What was agreed when the sign-in began.
#[derive(Debug)]
pub(in crate::login) struct Terms {
    /// Binds the provider's answer to this sign-in (RFC 6749 §10.12). Never the PKCE verifier.
    pub(in crate::login) state: Secret,
    /// Where the browser comes back to.
    pub(in crate::login) redirect_uri: String,
    /// Whether the verifier binds a code to this sign-in: the provider was sent its challenge (RFC 7636).
    pub(in crate::login) pkce: bool,
    /// Who has to answer, where the provider says who answers (RFC 9207 §2.4).
    pub(in crate::login) issuer: Option<String>,
    /// When the sign-in is over if nobody has completed it.
    pub(in crate::login) expires_at: Moment,
}

/// A pending sign-in. `W` stands for whoever handed in an answer and waits to hear about it.
#[derive(Debug)]
pub(super) struct Flow<W> {
    terms: Terms,
    phase: Phase<W>,
    attempts: u32,
    /// Codes that the provider refused. None of them is sent again.
    refused: Vec<Secret>,
}

#[derive(Debug)]
enum Phase<W> {
    /// For the user.
    Waiting,
    /// For the provider, with the code that `by` handed in; `bare` when it came without anything
    /// that shows where it comes from.
    Exchanging { by: W, bare: Option<Secret> },
    /// For the grant to be durable.
    Storing { by: W, storing: Storing },
    /// For nothing any more.
    Over,
}

/// What happens to a sign-in.
#[derive(Debug)]
pub(super) enum Event<W> {
    /// The browser came back, or the user pasted something.
    Submitted { answer: Submission, by: W },
    /// An exchange ended.
    Exchanged { attempt: u32, result: Result<Grant, Failure> },
    /// The grant is durable, or could not be made so.
    Stored(Result<(), Error>),
    /// The time is up.
    DeadlineReached,
    /// Nobody wants it any more.
    Cancelled,
}

/// How an answer came.
#[derive(Debug)]
pub(super) enum Submission {
    /// The browser came to the redirect URI.
    Redirected(AuthorizationResponse),
    /// The user pasted it.
    Pasted(Pasted),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect<W> {
    /// Exchange the code, and report the result with the same attempt number.
    Exchange { attempt: u32, code: Secret },
    /// Wait for `after`, make the grant durable, and report.
    Store { grant: Grant, after: Duration },
    /// Tell the provider that this grant is not wanted any more.
    GiveBack(Grant),
    /// Tell whoever handed in an answer what became of it.
    Tell(W, Verdict),
    /// The sign-in is over. Comes once.
    Finish(Result<(), Error>),
}

impl<W> Flow<W> {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, phase: Phase::Waiting, attempts: 0, refused: Vec::new() }
    }

    /// Takes `event` in, and says what is to be done, in this order.
    pub(super) fn step(&mut self, event: Event<W>, now: Moment) -> Vec<Effect<W>> {
        match event {
            Event::Submitted { answer, by } => self.submitted(answer, by, now),
            Event::Exchanged { attempt, result } => self.exchanged(attempt, result, now),
            Event::Stored(result) => self.stored(result),
            Event::DeadlineReached => self.deadline_reached(now),
            Event::Cancelled => self.cancelled(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn submitted(&mut self, answer: Submission, by: W, now: Moment) -> Vec<Effect<W>> {
        match self.phase {
            Phase::Waiting if now.has_passed(self.terms.expires_at) => {
                return vec![self.finish(Err(expired())), Effect::Tell(by, Verdict::Over)];
            }
            Phase::Waiting => {}
            Phase::Exchanging { .. } | Phase::Storing { .. } => {
                let verdict = match self.checked(answer) {
                    Err(stray @ (Verdict::WrongState | Verdict::WrongAddress)) => stray,
                    _ => Verdict::InProgress,
                };
                return vec![Effect::Tell(by, verdict)];
            }
            Phase::Over => return vec![Effect::Tell(by, Verdict::Over)],
        }
        let is_bare = matches!(answer, Submission::Pasted(Pasted::Code { state: None, .. }));
        match self.checked(answer) {
            // It would be refused once more, or worse (RFC 6749 §4.1.2).
            Ok(code) if self.refused.contains(&code) => {
                vec![Effect::Tell(by, Verdict::TryAgain(sent_before()))]
            }
            Ok(code) => {
                self.attempts += 1;
                self.phase = Phase::Exchanging { by, bare: is_bare.then(|| code.clone()) };
                vec![Effect::Exchange { attempt: self.attempts, code }]
            }
            Err(verdict) => {
                let end = match &verdict {
                    Verdict::Refused(refusal) => Some(refused(refusal)),
                    Verdict::Failed(error) => Some(error.clone()),
                    _ => None,
                };
                let mut effects: Vec<_> =
                    end.into_iter().map(|error| self.finish(Err(error))).collect();
                effects.push(Effect::Tell(by, verdict));
                effects
            }
        }
    }

    /// The code in an answer, when the answer belongs to this sign-in.
    fn checked(&self, answer: Submission) -> Result<Secret, Verdict> {
        let response = match answer {
            Submission::Redirected(response) => response,
            Submission::Pasted(Pasted::Address { base, response }) => {
                if base.is_some_and(|base| base != self.terms.redirect_uri) {
                    return Err(Verdict::WrongAddress);
                }
                response
            }
            // Such a code does not say who issued it (RFC 9207 §2.4).
            Submission::Pasted(Pasted::Code { .. }) if self.terms.issuer.is_some() => {
                return Err(Verdict::WrongAddress);
            }
            // Without a state it is the verifier that binds the code to this sign-in: a code that
            // belongs to another one can not be exchanged (RFC 7636 §4.6). Where there is no verifier
            // either, nothing does.
            Submission::Pasted(Pasted::Code { code, state: None }) => {
                return if self.terms.pkce { Ok(code) } else { Err(Verdict::WrongAddress) };
            }
            Submission::Pasted(Pasted::Code { code, state: Some(state) }) => {
                return if state == self.terms.state { Ok(code) } else { Err(Verdict::WrongState) };
            }
        };
        if response.state.as_ref() != Some(&self.terms.state) {
            return Err(Verdict::WrongState);
        }
        // The right state from the wrong server is a mix-up: the code must go nowhere.
        if self.terms.issuer.is_some() && response.issuer != self.terms.issuer {
            return Err(Verdict::Failed(mixed_up()));
        }
        response.outcome.map_err(Verdict::Refused)
    }

    fn exchanged(
        &mut self,
        attempt: u32,
        result: Result<Grant, Failure>,
        now: Moment,
    ) -> Vec<Effect<W>> {
        let (by, bare) = match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Exchanging { by, bare } if attempt == self.attempts => (by, bare),
            other => {
                self.phase = other;
                // Nobody waits for it any more, and nobody will ever see it.
                return result.ok().map(Effect::GiveBack).into_iter().collect();
            }
        };
        match result {
            Ok(grant) => {
                vec![self.store(by, Storing::of(grant), Duration::ZERO)]
            }
            Err(failure) if may_try_again(&failure) && !now.has_passed(self.terms.expires_at) => {
                vec![Effect::Tell(by, Verdict::TryAgain(not_exchanged(&failure)))]
            }
            Err(failure) if self.may_be_typed_again(&failure, bare.is_some(), now) => {
                self.refused.extend(bare);
                let left = MOST_CODES - self.refused.len();
                vec![Effect::Tell(by, Verdict::TryAgain(not_taken(&failure, left)))]
            }
            Err(failure) => {
                let late = may_try_again(&failure);
                let error = if late { expired() } else { not_exchanged(&failure) };
                vec![self.finish(Err(error.clone())), Effect::Tell(by, Verdict::Failed(error))]
            }
        }
    }

    /// Whether the provider refused a bare code that may have been copied wrong. One that came with
    /// its state was copied right.
    fn may_be_typed_again(&self, failure: &Failure, bare: bool, now: Moment) -> bool {
        bare && is_about_the_code(failure)
            && self.refused.len() + 1 < MOST_CODES
            && !now.has_passed(self.terms.expires_at)
    }

    fn stored(&mut self, result: Result<(), Error>) -> Vec<Effect<W>> {
        match (std::mem::replace(&mut self.phase, Phase::Over), result) {
            (Phase::Storing { by, .. }, Ok(())) => {
                vec![self.finish(Ok(())), Effect::Tell(by, Verdict::SignedIn)]
            }
            (Phase::Storing { by, storing }, Err(error)) => {
                let unwanted = match storing.failed(&error) {
                    NotStored::Again(storing, after) => {
                        return vec![self.store(by, storing, after)];
                    }
                    NotStored::GivenUp(grant) => Some(Effect::GiveBack(grant)),
                    NotStored::Overtaken => None,
                };
                let end = self.finish(Err(error.clone()));
                let told = Effect::Tell(by, Verdict::Failed(error));
                unwanted.into_iter().chain([end, told]).collect()
            }
            (other, _) => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    /// Only the user's time is limited here; the provider and the vault have their own deadlines.
    fn deadline_reached(&mut self, now: Moment) -> Vec<Effect<W>> {
        match self.phase {
            Phase::Waiting if now.has_passed(self.terms.expires_at) => {
                vec![self.finish(Err(expired()))]
            }
            _ => Vec::new(),
        }
    }

    fn cancelled(&mut self) -> Vec<Effect<W>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Waiting => vec![self.finish(Err(cancelled()))],
            Phase::Exchanging { by, .. } => {
                vec![self.finish(Err(cancelled())), Effect::Tell(by, Verdict::Failed(cancelled()))]
            }
            // The grant exists and is on its way into the vault: too late to take back.
            storing_or_over => {
                self.phase = storing_or_over;
                Vec::new()
            }
        }
    }

    fn store(&mut self, by: W, storing: Storing, after: Duration) -> Effect<W> {
        let grant = storing.grant();
        self.phase = Phase::Storing { by, storing };
        Effect::Store { grant, after }
    }

    fn finish(&mut self, result: Result<(), Error>) -> Effect<W> {
        self.phase = Phase::Over;
        Effect::Finish(result)
    }
}

#[cfg(test)]
mod tests;
