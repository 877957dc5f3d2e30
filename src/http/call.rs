//! One call to an upstream, from its deadline inwards: attempts within the retry policy and the
//! budget; for each, the breaker, a place among the calls under way, and its own time-out.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as HttpBody;
use reqwest::{Body, Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Timeout;
use tracing::debug;

use super::attempt::{Attempt, Head};
use super::sending::{Pool, coming_from, unanswered};
use super::verdict::{admitted, settled};
use crate::error::{Error, ErrorKind};
use crate::resilience::{Failed, GiveUp, Verdict, is_repeatable, retry_after};
use crate::runtime::{Active, Admitted, Session, Upstream};

/// The header that makes a request repeatable whose method does not.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One call, ready to be made.
pub(super) struct Call {
    pub(super) session: Session,
    pub(super) active: Active,
    pub(super) upstream: Upstream,
    /// The caller's own headers. Those of the credential come first.
    pub(super) headers: HeaderMap,
    /// The caller's own bound, which the body of the answer is within too.
    pub(super) timeout: Option<Duration>,
    /// So many bytes of the answer's body belong to the attempt.
    pub(super) whole: Option<usize>,
}

/// How often a call was attempted, in the extensions of its answer:
/// `reply.extensions().get::<tokenward::http::Attempts>()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempts {
    /// The attempts that were made, the first one included. The repeat after a refused credential
    /// belongs to its attempt.
    pub made: u32,
    /// Why there was no further one, though the answer is a failure.
    pub gave_up: Option<GiveUp>,
}

/// How an attempt ended.
enum Ended {
    /// With an answer, which may be a failure.
    Answered(Response),
    /// Without one.
    Unanswered(Failed, Error),
    /// Before it began: whatever stands in the way is not for another attempt to mend.
    NotMade(Error),
    /// It was held back.
    HeldBack(Error),
}

impl Call {
    /// Makes the call by `request`, which has no headers yet.
    pub(super) async fn make(self, mut request: Request) -> Result<Response, Error> {
        let has_key = self.headers.contains_key(IDEMPOTENCY_KEY);
        let repeatable = is_repeatable(request.method(), has_key);
        let begun = self.session.sources().now().monotonic;
        let mut made = 0;
        let mut before = None;
        self.upstream.budget().deposit();
        loop {
            // A body that is a stream is gone with the attempt that sends it.
            let again = request.try_clone();
            let ended = match (self.attempt(request, self.left(begun)).await, before.take()) {
                (Ended::HeldBack(error), None) => return Err(error),
                (Ended::HeldBack(_), Some(last)) => {
                    return finish(last, made, Some(GiveUp::HeldBack));
                }
                (ended, _) => ended,
            };
            made += 1;
            let Some(failed) = self.failure(&ended) else { return finish(ended, made, None) };
            let (wait, again) = match self.next(made, failed, repeatable, again, begun) {
                Ok(next) => next,
                Err(reason) => return finish(ended, made, Some(reason)),
            };
            debug!(
                upstream = self.upstream.origin(),
                made,
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

    /// Makes one attempt, within the time that is left.
    async fn attempt(&self, mut request: Request, left: Duration) -> Ended {
        let client = match self.session.outbound().for_url(request.url()) {
            Ok(client) => client,
            Err(error) => return Ended::NotMade(error.into()),
        };
        let mut permit = match admitted(&self.upstream) {
            Ok(permit) => permit,
            Err(error) => return Ended::HeldBack(error),
        };
        // From here on a permit that is dropped says nothing about the upstream.
        let Ok(admitted) = within(left, self.place_and_credential()).await else {
            return Ended::NotMade(self.too_late());
        };
        // The place is kept until the head of the answer is there.
        let (_place, admitted) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return Ended::NotMade(error),
        };
        let attempt = Attempt {
            session: &self.session,
            provider: self.active.provider.as_ref(),
            sender: Pool(client),
            headers: &self.headers,
            permit: &mut permit,
        };
        *request.timeout_mut() = self.timeout.map(|_| left);
        let attempt_timeout = self.upstream.policy().attempt_timeout.min(left);
        match within(attempt_timeout, self.read_ahead(attempt.make(request, admitted))).await {
            Ok(Head::Answer(answer)) if self.whole.is_some() && answer.body().is_broken() => {
                permit.failed(None);
                let text = format!("the answer of {} broke off", self.upstream.origin());
                let error = Error::new(ErrorKind::Transient, text);
                Ended::Unanswered(Failed::Unanswered, error)
            }
            Ok(Head::Answer(answer)) => {
                let now = self.session.sources().now().wall;
                let answer = settled(answer, permit, &self.upstream, now);
                Ended::Answered(answer.map(Body::wrap).into())
            }
            Ok(Head::None(error)) => {
                permit.failed(None);
                let (failed, error) = unanswered(&error);
                Ended::Unanswered(failed, error)
            }
            Ok(Head::NotSent(error)) => Ended::NotMade(error),
            Err(_elapsed) => {
                permit.failed(None);
                Ended::Unanswered(Failed::Unanswered, self.too_late())
            }
        }
    }

    /// The attempt with as much of its answer's body as belongs to it.
    async fn read_ahead<B, E>(&self, attempt: impl Future<Output = Head<B, E>>) -> Head<B, E>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let mut head = attempt.await;
        if let (Head::Answer(answer), Some(most)) = (&mut head, self.whole) {
            let mut read = 0;
            while read <= most
                && let Some(data) = answer.body_mut().read_ahead().await
            {
                read += data.len();
            }
        }
        head
    }

    /// Waits for a place among the calls under way, and for a usable credential.
    async fn place_and_credential(&self) -> Result<(OwnedSemaphorePermit, Admitted), Error> {
        let closed = |_| Error::new(ErrorKind::ShuttingDown, "the runtime has stopped");
        let place = self.upstream.places().clone().acquire_owned().await.map_err(closed)?;
        let admitted = self.session.admit(self.active.credential.clone()).await?;
        Ok((place, admitted))
    }

    /// What about an attempt is a failure that another one may mend.
    fn failure(&self, ended: &Ended) -> Option<Failed> {
        let failed = match ended {
            Ended::Answered(response) => {
                Failed::Answered(response.status(), self.retry_after(response))
            }
            Ended::Unanswered(failed, _) => *failed,
            Ended::NotMade(_) | Ended::HeldBack(_) => return None,
        };
        failed.is_promising().then_some(failed)
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        retry_after(response.headers(), self.session.sources().now().wall)
    }

    /// What is left of the time for the whole call, which began then.
    fn left(&self, begun: Duration) -> Duration {
        let within = self.timeout.unwrap_or(self.upstream.policy().deadline);
        within.saturating_sub(self.session.sources().now().monotonic.saturating_sub(begun))
    }

    fn too_late(&self) -> Error {
        let text = format!("{} gave no answer in time", self.upstream.origin());
        Error::new(ErrorKind::Transient, text)
    }
}

/// The network lives in real time, also where a test moves the runtime's clock by hand.
fn within<T>(time: Duration, work: impl Future<Output = T>) -> Timeout<impl Future<Output = T>> {
    tokio::time::timeout(time, work)
}

/// What is kept of an attempt while the next one is made, in case that is held back: an answer
/// without its connection.
fn released(ended: Ended) -> Ended {
    let Ended::Answered(response) = ended else { return ended };
    let url = response.url().clone();
    let head = http::Response::from(response).map(|_body| Body::default());
    Ended::Answered(coming_from(&url, head).into())
}

/// The outcome of the last attempt, marked with how many were made and why there was no other.
fn finish(last: Ended, made: u32, gave_up: Option<GiveUp>) -> Result<Response, Error> {
    match last {
        Ended::Answered(mut response) => {
            response.extensions_mut().insert(Attempts { made, gave_up });
            Ok(response)
        }
        Ended::Unanswered(_, error) => Err(error.after_attempts(made, gave_up)),
        Ended::NotMade(error) | Ended::HeldBack(error) => Err(error),
    }
}
