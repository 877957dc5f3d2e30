//! One call to an upstream, from its deadline inwards: attempts within the retry policy and the
//! budget; for each, a credential, a place among the calls under way, leave of the breaker, and its
//! own time-out.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use reqwest::{Body, Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::attempt::{Attempt, Missed};
use super::sending::{Pool, coming_from, unanswered};
use super::verdict::{admitted, not_held_back, place, whereto};
use crate::error::{Error, ErrorKind};
use crate::provider::Provider;
use crate::resilience::{Failed, GiveUp, Verdict, is_repeatable, retry_after};
use crate::runtime::{Active, Admitted, Session, Upstream};

/// The header that makes a request repeatable whose method does not.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One call, ready to be made.
pub(super) struct Call {
    pub(super) session: Session,
    pub(super) active: Active,
    pub(super) upstream: Upstream,
    /// The caller's own headers, without those of its connection. Those of the credential come
    /// first.
    pub(super) headers: HeaderMap,
    /// The caller's own bound, which the body of the answer is within too.
    pub(super) timeout: Option<Duration>,
    /// So many bytes of the answer's body belong to the attempt.
    pub(super) whole: Option<usize>,
}

/// How often a call was attempted, in the extensions of its answer:
/// `reply.extensions().get::<tokenward::http::Attempts>()`.
///
/// ```
/// use tokenward::http::Attempts;
/// use tokenward::resilience::GiveUp;
/// use tokenward::testing::{Endpoint, Fault};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// # anthropic.faults().on(Endpoint::Resource).always(Fault::Status(502, String::new()));
/// // The provider answers 502, and nothing says that this POST may be made twice.
/// let reply = session.client().post("/v1/messages").json(&[0; 0]).send().await?;
/// assert_eq!(reply.status(), 502);
/// let attempts = reply.extensions().get::<Attempts>().expect("of every answer");
/// assert_eq!((attempts.made, attempts.gave_up), (1, Some(GiveUp::NotSafe)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempts {
    /// The attempts that were made, the first one included. The repeat after a refused credential
    /// belongs to its attempt.
    pub made: u32,
    /// Those of them of which something may have left. Of the others provably nothing did: they
    /// found no connection.
    pub sent: u32,
    /// Why there was no further one, though the answer is a failure. One that was to be mended by an
    /// attempt which could not begin then has lost its body.
    pub gave_up: Option<GiveUp>,
}

/// How an attempt ended.
enum Ended {
    /// With an answer, which may be a failure.
    Answered(Response),
    /// Without one. How it failed, unless that was the caller's own doing.
    Unanswered(Option<Failed>, Error),
    /// Before it began: whatever stands in the way is not for another attempt to mend.
    NotMade(GiveUp, Error),
}

impl Call {
    /// Makes the call by `request`, which has no headers yet. It began at `begun`, by the monotonic
    /// clock.
    pub(super) async fn make(
        self,
        mut request: Request,
        begun: Duration,
    ) -> Result<Response, Error> {
        let has_key = self.headers.contains_key(IDEMPOTENCY_KEY);
        let repeatable = is_repeatable(request.method(), has_key);
        let mut so_far = Attempts { made: 0, sent: 0, gave_up: None };
        let mut before = None;
        loop {
            // A body that is a stream is gone with the attempt that sends it.
            let (sent, again) = match request.try_clone() {
                Some(copy) => (copy, Some(request)),
                None => (request, None),
            };
            let ended = self.attempt(sent, again.as_ref(), so_far.made == 0, begun).await;
            let ended = match (ended, before.take()) {
                (Ended::NotMade(_, error), None) => return Err(error),
                // What went wrong before says more than what keeps it from being mended.
                (Ended::NotMade(reason, _), Some(last)) => {
                    return finish(last, so_far.given_up(reason));
                }
                (ended, _) => ended,
            };
            so_far.count(&ended);
            let Some(failed) = self.failure(&ended) else { return finish(ended, so_far) };
            let (wait, again) = match self.next(so_far.made, failed, repeatable, again, begun) {
                Ok(next) => next,
                Err(reason) => return finish(ended, so_far.given_up(reason)),
            };
            debug!(
                upstream = self.upstream.origin(),
                made = so_far.made,
                wait_ms = wait.as_millis(),
                "a call failed, making it again"
            );
            before = Some(released(ended));
            self.session.sources().clock.wait(wait).await;
            request = again;
        }
    }

    /// When the next attempt is made and by which request, after `made` attempts of which the last
    /// one `failed`.
    fn next(
        &self,
        made: u32,
        failed: Failed,
        repeatable: bool,
        again: Option<Request>,
        begun: Duration,
    ) -> Result<(Duration, Request), GiveUp> {
        let noise = self.session.sources().noise();
        let policy = self.upstream.policy().retry;
        let wait = match policy.decide(made, failed, repeatable, self.left(begun), noise) {
            Verdict::RetryIn(wait) => wait,
            Verdict::GiveUp(reason) => return Err(reason),
        };
        let again = again.ok_or(GiveUp::NotSafe)?;
        if self.upstream.budget().withdraw() { Ok((wait, again)) } else { Err(GiveUp::BudgetEmpty) }
    }

    /// Makes one attempt by `request`, within what is left of the time for the whole call. `again` is
    /// the same request, where it can be sent again.
    async fn attempt(
        &self,
        request: Request,
        again: Option<&Request>,
        is_first: bool,
        begun: Duration,
    ) -> Ended {
        let client = match self.session.outbound().for_url(request.url()) {
            Ok(client) => client,
            Err(error) => return Ended::NotMade(GiveUp::NotBegun, error.into()),
        };
        if let Err(error) = not_held_back(self.provider(), &self.upstream) {
            return Ended::NotMade(GiveUp::HeldBack, error);
        }
        let (left, sources) = (self.left(begun), self.session.sources());
        let (credential, place) = match sources.within(left, self.credential_and_place()).await {
            Some(Ok(ready)) if !self.left(begun).is_zero() => ready,
            Some(Err(error)) => return Ended::NotMade(GiveUp::NotBegun, error),
            Some(Ok(_)) | None => return Ended::NotMade(GiveUp::NoTimeLeft, self.not_begun()),
        };
        // Asked only now: the upstream may have failed while this one waited.
        let permit = match admitted(self.provider(), &self.upstream) {
            Ok(permit) => permit,
            Err(error) => return Ended::NotMade(GiveUp::HeldBack, error),
        };
        if is_first {
            self.upstream.budget().deposit();
        }
        let attempt = Attempt {
            session: &self.session,
            provider: self.provider(),
            upstream: &self.upstream,
            sender: Pool { client, call: self, again, begun },
            headers: &self.headers,
            place: Some(place),
            whole: self.whole,
        };
        match attempt.make(request, credential, permit).await {
            Ok(answer) => Ended::Answered(answer.map(Body::wrap).into()),
            Err(Missed::None(error)) => {
                let (failed, error) = unanswered(&error, &self.whereto());
                Ended::Unanswered(failed, error)
            }
            Err(Missed::Lost(error)) => Ended::Unanswered(Some(Failed::Unanswered), error),
            Err(Missed::NotSent(error)) => Ended::NotMade(GiveUp::NotBegun, error),
        }
    }

    /// Waits for a usable credential, and then for a place among the calls under way: whoever
    /// waits for a token takes nobody's place.
    async fn credential_and_place(&self) -> Result<(Admitted, OwnedSemaphorePermit), Error> {
        loop {
            let credential = self.session.admit(self.active.credential.clone()).await?;
            if let Ok(place) = self.upstream.places().clone().try_acquire_owned() {
                return Ok((credential, place));
            }
            let place = place(&self.upstream).await?;
            if let Some(credential) = credential.still() {
                return Ok((credential, place));
            }
        }
    }

    /// What about an attempt is a failure that another one may mend.
    fn failure(&self, ended: &Ended) -> Option<Failed> {
        let failed = match ended {
            Ended::Answered(response) => {
                Failed::Answered(response.status(), self.retry_after(response))
            }
            Ended::Unanswered(failed, _) => (*failed)?,
            Ended::NotMade(..) => return None,
        };
        failed.is_promising().then_some(failed)
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        retry_after(response.headers(), self.session.sources().now().wall)
    }

    /// What is left of the time for the whole call, which began then.
    pub(super) fn left(&self, begun: Duration) -> Duration {
        let within = self.timeout.unwrap_or(self.upstream.policy().deadline);
        within.saturating_sub(self.session.sources().monotonic().saturating_sub(begun))
    }

    fn provider(&self) -> &dyn Provider {
        self.active.provider.as_ref()
    }

    fn whereto(&self) -> String {
        whereto(self.provider(), &self.upstream)
    }

    fn not_begun(&self) -> Error {
        let text = format!("no call to {} could begin in time, try again", self.whereto());
        Error::new(ErrorKind::Transient, text)
    }
}

impl Attempts {
    /// Counts one more, which ended like this.
    fn count(&mut self, ended: &Ended) {
        self.made += 1;
        if !matches!(ended, Ended::Unanswered(Some(Failed::BeforeSending), _)) {
            self.sent += 1;
        }
    }

    fn given_up(self, reason: GiveUp) -> Self {
        Self { gave_up: Some(reason), ..self }
    }
}

/// What is kept of an attempt while the next one is made, in case that is held back: an answer
/// without its connection, and so without its body and what its head says of that.
fn released(ended: Ended) -> Ended {
    let Ended::Answered(response) = ended else { return ended };
    let url = response.url().clone();
    let mut head = http::Response::from(response).map(|_body| Body::default());
    for about_the_body in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, TRANSFER_ENCODING] {
        head.headers_mut().remove(about_the_body);
    }
    Ended::Answered(coming_from(url, head).into())
}

/// The outcome of the last attempt, marked with how many were made and why there was no other.
fn finish(last: Ended, attempts: Attempts) -> Result<Response, Error> {
    let Attempts { made, sent, gave_up } = attempts;
    match last {
        Ended::Answered(mut response) => {
            response.extensions_mut().insert(attempts);
            Ok(response)
        }
        Ended::Unanswered(_, error) => Err(error.after_attempts(made, gave_up, sent > 0)),
        Ended::NotMade(_, error) => Err(error),
    }
}
