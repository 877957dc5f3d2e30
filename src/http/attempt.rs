//! One attempt of a call: authenticated, sent, and sent once more when its credential was refused
//! and another one is to be had. Whose client sends it makes no difference here.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Body;
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::body::ResponseBody;
use super::peek::peek;
use super::verdict::{admitted, place, settled, whereto};
use crate::clock::Sources;
use crate::credential::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::event::CredentialState;
use crate::provider::Provider;
use crate::resilience::Permit;
use crate::runtime::{Admitted, Session, Upstream};

/// A client that sends requests which have no headers yet.
pub(super) trait Sender: Send {
    /// A request without headers.
    type Request: Send;
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Send> + Send + Unpin;
    /// Why there is no answer.
    type Error: Send;

    /// The request of this attempt for the one repeat; none when its body can be sent only once.
    fn once_more(&mut self) -> Option<Self::Request>;

    /// Sends `request` with these headers.
    fn send(
        &mut self,
        request: Self::Request,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send;

    /// Whether an error says something about the upstream, rather than about the request.
    fn is_of_upstream(&self, _error: &Self::Error) -> bool {
        true
    }

    /// Whether an error says no more than that the caller's own time ran out.
    fn ran_out(&self, _error: &Self::Error) -> bool {
        false
    }

    /// Whether the body of an answer broke off by such an error through no fault of the upstream.
    fn ended_by_caller(_error: &<Self::Body as Body>::Error) -> bool {
        false
    }

    /// Whether the upstream has as long from now on as it can be expected to answer in. Less than
    /// that says something about the caller's patience alone.
    fn is_patient(&self) -> bool {
        true
    }

    /// How long the upstream may take from now on.
    fn timeout(&self) -> Duration {
        Duration::MAX
    }

    /// How long anything else may be waited for from now on.
    fn left(&self) -> Duration {
        Duration::MAX
    }
}

/// How long a call waits for its second refusal to be noted: a message to an actor, which may be starting.
const LONGEST_REPORT: Duration = Duration::from_secs(1);

/// What an attempt is made with.
pub(super) struct Attempt<'a, S> {
    pub(super) session: &'a Session,
    pub(super) provider: &'a dyn Provider,
    pub(super) upstream: &'a Upstream,
    pub(super) sender: S,
    /// The caller's own headers, without those of its connection.
    pub(super) headers: &'a HeaderMap,
    /// Its place among the calls under way, where there is a limit of them. It is kept until the
    /// head of the answer is there.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// So many bytes of the answer's body belong to the attempt.
    pub(super) whole: Option<usize>,
}

/// Why there is no answer. The breaker was told.
pub(super) enum Missed<E> {
    /// The client beneath says why.
    None(E),
    /// It did not come in time, or not all of it that belongs to the attempt.
    Lost(Error),
    /// The request can not be sent as it is.
    NotSent(Error),
}

/// The head of an answer; its body is still to come.
type Answer<B> = Response<ResponseBody<B>>;

/// An answer, and whether it refuses the credential.
type Judged<B> = (Answer<B>, bool);

impl<S: Sender> Attempt<'_, S> {
    /// Sends `request` with the credential that was `admitted`, by leave of the breaker.
    pub(super) async fn make(
        mut self,
        request: S::Request,
        admitted: Admitted,
        permit: Permit,
    ) -> Result<Answer<S::Body>, Missed<S::Error>> {
        let headers = match merged(self.headers, &admitted.snapshot, self.session.sources()) {
            Ok(headers) => headers,
            Err(error) => return Err(Missed::NotSent(error)),
        };
        let (answer, refused) = self.sent(request, &headers, &admitted, permit).await?;
        if !refused {
            return Ok(answer);
        }
        // On the heap: the future of every call would be as large as that of the rare ones.
        Box::pin(self.once_more(answer, admitted)).await
    }

    /// Sends a request whose credential was `refused` once more, with another one. Where that can
    /// not be, the refusal is the answer.
    async fn once_more(
        mut self,
        refused: Answer<S::Body>,
        with: Admitted,
    ) -> Result<Answer<S::Body>, Missed<S::Error>> {
        // Nobody else is kept waiting by the renewal, and the breaker has heard of the refusal.
        let has_place = self.place.take().is_some();
        let renewal = async {
            let next = self.session.in_place_of(with).await?;
            let place = if has_place { place(self.upstream).await.ok() } else { None };
            Some((next, place))
        };
        let (left, sources) = (self.sender.left(), self.session.sources());
        let Some(Some((next, place))) = sources.within(left, renewal).await else {
            return Ok(refused);
        };
        let headers = merged(self.headers, &next.snapshot, sources);
        let (Some(again), Ok(headers)) = (self.sender.once_more(), headers) else {
            return Ok(refused);
        };
        let Ok(permit) = admitted(self.provider, self.upstream) else { return Ok(refused) };
        drop(refused);
        self.place = place;
        let provider = self.provider.id();
        debug!(%provider, "the credential was refused, sending with another");
        let (answer, refused) = self.sent(again, &headers, &next, permit).await?;
        if refused {
            // There is no third attempt, but everyone shall see what was refused. Nobody waits long for
            // that, and nobody waits for the place meanwhile.
            self.place = None;
            let left = self.sender.left().min(LONGEST_REPORT);
            self.session.sources().within(left, next.refused_again()).await;
        }
        Ok(answer)
    }

    /// Sends one request in its time, and tells the breaker how that ended.
    async fn sent(
        &mut self,
        request: S::Request,
        headers: &HeaderMap,
        with: &Admitted,
        permit: Permit,
    ) -> Result<Judged<S::Body>, Missed<S::Error>> {
        let (timeout, is_patient) = (self.sender.timeout(), self.sender.is_patient());
        let sources = self.session.sources();
        let answered = sources.within(timeout, self.answered(request, headers, with)).await;
        let (answer, refused) = match answered {
            Some(Ok(judged)) => judged,
            Some(Err(error)) => {
                // A permit that is dropped says nothing about the upstream.
                let is_fair = is_patient || !self.sender.ran_out(&error);
                if is_fair && self.sender.is_of_upstream(&error) {
                    permit.failed(None);
                }
                return Err(Missed::None(error));
            }
            None => {
                if is_patient {
                    permit.failed(None);
                }
                return Err(self.lost("gave no answer in time"));
            }
        };
        if self.whole.is_some() && answer.body().is_broken() {
            permit.failed(None);
            return Err(self.lost("broke off its answer"));
        }
        let now = sources.now().wall;
        Ok((settled(answer, permit, self.upstream, now), refused))
    }

    /// Sends one request: its answer, with as much of the body as belongs to the attempt.
    async fn answered(
        &mut self,
        request: S::Request,
        headers: &HeaderMap,
        with: &Admitted,
    ) -> Result<Judged<S::Body>, S::Error> {
        let answer = self.sender.send(request, headers).await?;
        let mut answer = answer.map(|body| ResponseBody::new(body, S::ended_by_caller));
        let status = answer.status();
        let body = if self.provider.body_may_refuse(status) {
            peek(answer.body_mut(), self.session.sources()).await
        } else {
            Vec::new()
        };
        if let Some(most) = self.whole {
            let mut read = answer.body().read().len();
            while read <= most
                && let Some(length) = answer.body_mut().read_ahead().await
            {
                read = length;
            }
        }
        if let Some(fallback) = &with.fallback {
            answer.extensions_mut().insert(fallback.clone());
        }
        let was_refused = with.snapshot.state() == CredentialState::ReauthorizationRequired;
        if was_refused && status.is_success() {
            with.credential.accepted(with.snapshot.generation());
        }
        Ok((answer, self.provider.refuses_credential(status, &body)))
    }

    fn lost(&self, how: &str) -> Missed<S::Error> {
        let whereto = whereto(self.provider, self.upstream);
        Missed::Lost(Error::new(ErrorKind::Transient, format!("{whereto} {how}")))
    }
}

/// The headers of a token, with `more` of the caller's own where there are any.
fn merged<'a>(
    more: &HeaderMap,
    snapshot: &'a Snapshot,
    sources: &Sources,
) -> Result<Cow<'a, HeaderMap>, Error> {
    let headers = snapshot.usable_headers(sources)?;
    if more.is_empty() {
        return Ok(Cow::Borrowed(headers));
    }
    with_headers_of(more, headers.clone()).map(Cow::Owned)
}

/// The provider's `headers`, in their order, and then the caller's own `more`.
pub(super) fn with_headers_of(
    more: &HeaderMap,
    mut headers: HeaderMap,
) -> Result<HeaderMap, Error> {
    for name in more.keys() {
        if headers.get(name).is_some_and(HeaderValue::is_sensitive) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{name} carries the credential, leave it out of the request"),
            ));
        }
        for (index, value) in more.get_all(name).iter().enumerate() {
            if index == 0 {
                headers.insert(name, value.clone());
            } else {
                headers.append(name, value.clone());
            }
        }
    }
    Ok(headers)
}

/// A caller's headers without those that are of its own connection: a credential goes where its
/// address says, and what is not sent promises nothing.
pub(super) fn of_the_request(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    let others: Vec<_> =
        headers.keys().filter(|name| is_of_connection(name, &named)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    headers
}

/// Whether a header is of one connection and not of the request (RFC 9110 §7.6.1), as those are that
/// `Connection` names; or the `Host`, which follows from the address.
fn is_of_connection(name: &HeaderName, named: &[HeaderValue]) -> bool {
    let known = ["host", "connection", "keep-alive", "te", "transfer-encoding", "upgrade"];
    let name = name.as_str();
    known.contains(&name)
        || name.starts_with("proxy-")
        || named.iter().any(|value| {
            let options = value.as_bytes().split(|byte| *byte == b',');
            options.map(<[u8]>::trim_ascii).any(|o| o.eq_ignore_ascii_case(name.as_bytes()))
        })
}
