//! One attempt of a call: authenticated, sent, and sent once more when its credential was refused
//! and another one is to be had. Whose client sends it makes no difference here.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;
use tracing::debug;

use super::body::ResponseBody;
use super::peek::peek;
use crate::clock::Sources;
use crate::credential::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::event::CredentialState;
use crate::provider::Provider;
use crate::resilience::Permit;
use crate::runtime::{Admitted, Session};

/// A client that sends requests which have no headers yet.
pub(super) trait Sender: Send {
    /// A request without headers.
    type Request: Send;
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Send> + Send + Unpin;
    /// Why there is no answer.
    type Error: Send;

    /// The same request for another time; none when its body can be sent only once.
    fn again(&self, request: &Self::Request) -> Option<Self::Request>;

    /// Sends `request` with these headers.
    fn send(
        &mut self,
        request: Self::Request,
        headers: HeaderMap,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send;
}

/// What an attempt is made with.
pub(super) struct Attempt<'a, S> {
    pub(super) session: &'a Session,
    pub(super) provider: &'a dyn Provider,
    pub(super) sender: S,
    /// The caller's own headers.
    pub(super) headers: &'a HeaderMap,
    pub(super) permit: &'a mut Permit,
}

/// What came of an attempt.
pub(super) enum Head<B: Body, E> {
    /// The head of an answer; its body is still to come.
    Answer(Response<ResponseBody<B>>),
    /// No answer.
    None(E),
    /// It can not be sent as it is.
    NotSent(Error),
}

impl<S: Sender> Attempt<'_, S> {
    /// Sends `request` with the credential that was `admitted`.
    pub(super) async fn make(
        mut self,
        request: S::Request,
        admitted: Admitted,
    ) -> Head<S::Body, S::Error> {
        let headers = match merged(self.headers, &admitted.snapshot, self.session.sources()) {
            Ok(headers) => headers,
            Err(error) => return Head::NotSent(error),
        };
        let again = self.sender.again(&request);
        let (answer, refused) = match self.sent(request, headers, &admitted).await {
            Ok(sent) => sent,
            Err(error) => return Head::None(error),
        };
        if !refused {
            return Head::Answer(answer);
        }
        // On the heap: the future of every call would be as large as that of the rare ones.
        let next = Box::pin(self.session.in_place_of(admitted)).await;
        let (Some(again), Some(next)) = (again, next) else { return Head::Answer(answer) };
        Box::pin(self.once_more(again, answer, next)).await
    }

    /// Sends a request whose credential was `refused` once more, with the `next` one.
    async fn once_more(
        mut self,
        again: S::Request,
        refused: Response<ResponseBody<S::Body>>,
        next: Admitted,
    ) -> Head<S::Body, S::Error> {
        let merged = merged(self.headers, &next.snapshot, self.session.sources());
        let Ok(headers) = merged else { return Head::Answer(refused) };
        drop(refused);
        let provider = self.provider.id();
        debug!(%provider, "the credential was refused, sending with another");
        let (answer, refused) = match self.sent(again, headers, &next).await {
            Ok(sent) => sent,
            Err(error) => return Head::None(error),
        };
        if refused && next.fallback.is_some() {
            // There is no third attempt, but everyone shall see that the key is refused.
            let _ = next.credential.rejected(next.snapshot.generation()).await;
        }
        Head::Answer(answer)
    }

    /// Sends one request, and says whether the answer refuses its credential.
    async fn sent(
        &mut self,
        request: S::Request,
        headers: HeaderMap,
        with: &Admitted,
    ) -> Result<(Response<ResponseBody<S::Body>>, bool), S::Error> {
        self.permit.leaves();
        let answer = self.sender.send(request, headers).await?;
        let mut answer = answer.map(ResponseBody::new);
        let status = answer.status();
        let body = if self.provider.body_may_refuse(status) {
            peek(answer.body_mut()).await
        } else {
            Vec::new()
        };
        if let Some(fallback) = &with.fallback {
            answer.extensions_mut().insert(fallback.clone());
        }
        let was_refused = with.snapshot.state() == CredentialState::ReauthorizationRequired;
        if was_refused && status.is_success() {
            with.credential.accepted(with.snapshot.generation());
        }
        Ok((answer, self.provider.refuses_credential(status, &body)))
    }
}

fn merged(more: &HeaderMap, snapshot: &Snapshot, sources: &Sources) -> Result<HeaderMap, Error> {
    with_headers_of(more, snapshot.usable_headers(sources.now_coarse())?.clone())
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
