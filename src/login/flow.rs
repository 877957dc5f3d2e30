//! What a pending sign-in does, as a plain function of events: which answer it takes, that a code
//! is exchanged once, and how it ends. The actor beside it only carries out.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, ErrorKind};
use crate::oauth::redirect::{AuthorizationResponse, Page, Pasted, Refusal};
use crate::provider::{Failure, FailureClass, Grant};
use crate::secret::Secret;

/// How long the user has to complete a sign-in.
pub(crate) const EXPIRES_AFTER: Duration = Duration::from_mins(10);

/// How often a grant is handed over before the sign-in gives up, and the pause in between.
const STORE_TRIES: u32 = 4;
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// What was agreed when the sign-in began.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Binds the provider's answer to this sign-in (RFC 6749 §10.12). Never the PKCE verifier.
    pub(crate) state: Secret,
    /// Where the browser comes back to.
    pub(crate) redirect_uri: String,
    /// Who has to answer, where the provider says who answers (RFC 9207 §2.4).
    pub(crate) issuer: Option<String>,
    /// When the sign-in is over if nobody has completed it.
    pub(crate) expires_at: Moment,
}

/// A pending sign-in. `W` stands for whoever handed in an answer and waits to hear about it.
#[derive(Debug)]
pub(crate) struct Flow<W> {
    terms: Terms,
    phase: Phase<W>,
    attempts: u32,
}

#[derive(Debug)]
enum Phase<W> {
    /// For the user.
    Waiting,
    /// For the provider, with the code that `by` handed in.
    Exchanging { by: W },
    /// For the grant to be durable.
    Storing { by: W, grant: Grant, tries: u32 },
    /// For nothing any more.
    Over,
}

/// What happens to a sign-in.
#[derive(Debug)]
pub(crate) enum Event<W> {
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
pub(crate) enum Submission {
    /// The browser came to the redirect URI.
    Redirected(AuthorizationResponse),
    /// The user pasted it.
    Pasted(Pasted),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect<W> {
    /// Exchange the code, and report the result with the same attempt number.
    Exchange { attempt: u32, code: Secret },
    /// Wait for `after`, make the grant durable, and report.
    Store { grant: Grant, after: Duration },
    /// Tell whoever handed in an answer what became of it.
    Tell(W, Verdict),
    /// The sign-in is over. Comes once.
    Finish(Result<(), Error>),
}

/// What became of an answer that was handed in.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// The credential is stored.
    SignedIn,
    /// The provider, or the user there, refused. The sign-in is over.
    Refused(Refusal),
    /// It led to the end of the sign-in without a credential.
    Failed(Error),
    /// It could not be used yet; the same answer may be handed in again.
    TryAgain(Error),
    /// It has the state of another sign-in, or none. This one still waits.
    WrongState,
    /// It arrived at an address that is not this sign-in's. This one still waits.
    WrongAddress,
    /// Another answer was taken, and is being worked on.
    InProgress,
    /// The sign-in was over before.
    Over,
}

impl<W> Flow<W> {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, phase: Phase::Waiting, attempts: 0 }
    }

    /// Takes `event` in, and says what is to be done, in this order.
    pub(crate) fn step(&mut self, event: Event<W>, now: Moment) -> Vec<Effect<W>> {
        match event {
            Event::Submitted { answer, by } => self.submitted(answer, by, now),
            Event::Exchanged { attempt, result } => self.exchanged(attempt, result, now),
            Event::Stored(result) => self.stored(result),
            Event::DeadlineReached if matches!(self.phase, Phase::Waiting) => {
                vec![self.finish(Err(expired()))]
            }
            Event::Cancelled => self.cancelled(),
            Event::DeadlineReached => Vec::new(),
        }
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
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
        match self.checked(answer) {
            Ok(code) => {
                self.attempts += 1;
                self.phase = Phase::Exchanging { by };
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
            // Without a state it is the verifier that binds the code to this sign-in: a code that
            // belongs to another one can not be exchanged (RFC 7636 §4.6).
            Submission::Pasted(Pasted::Code { code, state: None }) => return Ok(code),
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
        if attempt != self.attempts {
            return Vec::new();
        }
        let by = match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Exchanging { by } => by,
            other => {
                self.phase = other;
                return Vec::new();
            }
        };
        match result {
            Ok(grant) => {
                let effect = Effect::Store { grant: grant.clone(), after: Duration::ZERO };
                self.phase = Phase::Storing { by, grant, tries: 1 };
                vec![effect]
            }
            Err(failure) if may_try_again(&failure) && !now.has_passed(self.terms.expires_at) => {
                vec![Effect::Tell(by, Verdict::TryAgain(not_exchanged(&failure)))]
            }
            Err(failure) => {
                let late = may_try_again(&failure);
                let error = if late { expired() } else { not_exchanged(&failure) };
                vec![self.finish(Err(error.clone())), Effect::Tell(by, Verdict::Failed(error))]
            }
        }
    }

    fn stored(&mut self, result: Result<(), Error>) -> Vec<Effect<W>> {
        match (std::mem::replace(&mut self.phase, Phase::Over), result) {
            (Phase::Storing { by, .. }, Ok(())) => {
                vec![self.finish(Ok(())), Effect::Tell(by, Verdict::SignedIn)]
            }
            (Phase::Storing { by, grant, tries }, Err(error))
                if error.is_transient() && tries < STORE_TRIES =>
            {
                let after = STORE_PAUSE * tries;
                let effect = Effect::Store { grant: grant.clone(), after };
                self.phase = Phase::Storing { by, grant, tries: tries + 1 };
                vec![effect]
            }
            (Phase::Storing { by, .. }, Err(error)) => {
                vec![self.finish(Err(error.clone())), Effect::Tell(by, Verdict::Failed(error))]
            }
            (other, _) => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    fn cancelled(&mut self) -> Vec<Effect<W>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Waiting => vec![self.finish(Err(cancelled()))],
            Phase::Exchanging { by } => {
                vec![self.finish(Err(cancelled())), Effect::Tell(by, Verdict::Failed(cancelled()))]
            }
            // The grant exists and is on its way into the vault: too late to take back.
            storing_or_over => {
                self.phase = storing_or_over;
                Vec::new()
            }
        }
    }

    fn finish(&mut self, result: Result<(), Error>) -> Effect<W> {
        self.phase = Phase::Over;
        Effect::Finish(result)
    }
}

impl Verdict {
    /// What a browser is shown.
    pub(crate) fn page(&self) -> Page {
        match self {
            Self::SignedIn => Page::SignedIn,
            Self::Refused(refusal) => Page::Refused(refusal.to_string()),
            Self::Failed(error) => Page::Failed(error.to_string()),
            Self::TryAgain(error) => Page::TryAgain(error.to_string()),
            Self::WrongState => Page::WrongState,
            Self::WrongAddress => Page::Malformed(wrong_address().to_string()),
            Self::InProgress => Page::InProgress,
            Self::Over => Page::Over,
        }
    }

    /// What a caller gets.
    pub(crate) fn into_result(self) -> Result<(), Error> {
        Err(match self {
            Self::SignedIn => return Ok(()),
            Self::Refused(refusal) => refused(&refusal),
            Self::Failed(error) | Self::TryAgain(error) => error,
            Self::WrongState => Error::new(
                ErrorKind::InvalidInput,
                "this is the answer to another sign-in, paste the one to the address opened last",
            ),
            Self::WrongAddress => wrong_address(),
            Self::InProgress => Error::new(
                ErrorKind::Interrupted,
                "the sign-in is already in progress, wait for it to finish",
            ),
            Self::Over => over(),
        })
    }
}

/// The answer to whatever comes too late.
pub(crate) fn over() -> Error {
    Error::new(ErrorKind::Expired, "the sign-in is over, start a new one")
}

/// How a sign-in ends whose actor died.
pub(crate) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the sign-in was interrupted, start it again")
}

fn expired() -> Error {
    Error::new(
        ErrorKind::Expired,
        "the sign-in was not completed within 10 minutes, start it again",
    )
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Expired, "the sign-in was cancelled, start a new one when it is wanted")
}

fn mixed_up() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the answer came from another server than the one asked, start the sign-in again",
    )
}

fn wrong_address() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "this is not the address at which this sign-in ends, copy the one the browser shows last",
    )
}

/// The provider's refusal, by what can be done about it (RFC 6749 §4.1.2.1).
fn refused(refusal: &Refusal) -> Error {
    let (kind, advice) = match refusal.code.as_str() {
        "server_error" | "temporarily_unavailable" => (ErrorKind::Transient, "try again later"),
        "invalid_request"
        | "unauthorized_client"
        | "unsupported_response_type"
        | "invalid_scope" => {
            (ErrorKind::Configuration, "check the client id, the scopes and the redirect address")
        }
        _ => (ErrorKind::ReauthorizationRequired, "start it again and allow the access"),
    };
    Error::new(kind, format!("the provider refused the sign-in: {refusal}, {advice}"))
}

/// Whether the code was surely not spent: the request never reached the provider, or the provider
/// put it off.
fn may_try_again(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Transient { .. } | FailureClass::RateLimited { .. })
}

/// A failed exchange, by what can be done about it.
fn not_exchanged(failure: &Failure) -> Error {
    let (kind, advice) = match failure.class {
        FailureClass::Transient { .. } => (ErrorKind::Transient, "try the same code again"),
        FailureClass::RateLimited { .. } => {
            (ErrorKind::RateLimited, "try the same code again later")
        }
        FailureClass::ReauthorizationRequired => {
            (ErrorKind::ReauthorizationRequired, "start the sign-in again")
        }
        FailureClass::Misconfigured => {
            (ErrorKind::Configuration, "check the client id, its secret and the endpoints")
        }
        FailureClass::Protocol => (ErrorKind::Protocol, "check the token endpoint"),
        FailureClass::Uncertain => (ErrorKind::Uncertain, "start the sign-in again"),
    };
    let text = format!("the code could not be exchanged: {failure}, {advice}");
    failure.retry_after().map_or_else(
        || Error::new(kind, text.clone()),
        |after| Error::retry_in(kind, text.clone(), after),
    )
}

#[cfg(test)]
mod tests;
