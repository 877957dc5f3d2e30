//! One attempt of a call: authenticated, sent, and sent once more when its credential was refused
//! and another one is to be had.

use http::{HeaderMap, HeaderValue};
use reqwest::{Request, Response};
use tracing::debug;
use url::Url;

use super::peek::peek;
use crate::clock::Sources;
use crate::credential::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::event::CredentialState;
use crate::oauth::root_cause;
use crate::provider::Provider;
use crate::resilience::{Failed, Permit};
use crate::runtime::{Admitted, Session};

/// What an attempt is made with.
pub(super) struct Attempt<'a> {
    pub(super) session: &'a Session,
    pub(super) provider: &'a dyn Provider,
    /// The caller's own headers.
    pub(super) headers: &'a HeaderMap,
    pub(super) permit: &'a mut Permit,
}

/// What came of an attempt.
pub(super) enum Head {
    /// The head of an answer; its body is still to come.
    Answer(Response),
    /// No answer.
    None(Failed, Error),
    /// It can not be sent as it is.
    NotSent(Error),
}

impl Attempt<'_> {
    /// Sends `request` with the credential that was `admitted`.
    pub(super) async fn make(self, request: Request, admitted: Admitted) -> Head {
        match self.authenticated(request, admitted).await {
            Ok(head) => head,
            Err(error) => Head::NotSent(error),
        }
    }

    async fn authenticated(self, mut request: Request, first: Admitted) -> Result<Head, Error> {
        let Self { session, provider, headers, permit } = self;
        let client = session.outbound().for_url(request.url())?;
        *request.headers_mut() = merged(headers, &first.snapshot, session.sources())?;
        let again = request.try_clone();
        permit.leaves();
        let (response, refused) = match sent(client, request, provider, &first).await {
            Ok(answer) => answer,
            Err(error) => return Ok(no_answer(&error)),
        };
        if !refused {
            return Ok(Head::Answer(response));
        }
        let next = Box::pin(in_place_of(first, session)).await;
        let (Some(again), Some(next)) = (again, next) else { return Ok(Head::Answer(response)) };
        permit.leaves();
        // On the heap: the future of every call would be as large as that of the rare ones.
        Ok(Box::pin(once_more(again, headers, response, provider, session, next)).await)
    }
}

/// Sends a request whose credential was refused once more, with the `next` one.
async fn once_more(
    mut again: Request,
    headers: &HeaderMap,
    refused: Response,
    provider: &dyn Provider,
    session: &Session,
    next: Admitted,
) -> Head {
    let client = session.outbound().for_url(again.url());
    let merged = merged(headers, &next.snapshot, session.sources());
    let (Ok(client), Ok(headers)) = (client, merged) else { return Head::Answer(refused) };
    debug!(provider = %provider.id(), "the credential was refused, sending with another");
    *again.headers_mut() = headers;
    let (response, refused) = match sent(client, again, provider, &next).await {
        Ok(answer) => answer,
        Err(error) => return no_answer(&error),
    };
    if refused && next.fallback.is_some() {
        // There is no third attempt, but everyone shall see that the key is refused.
        let _ = next.credential.rejected(next.snapshot.generation()).await;
    }
    Head::Answer(response)
}

/// Sends one request, and says whether the answer refuses its credential.
async fn sent(
    client: &reqwest::Client,
    request: Request,
    provider: &dyn Provider,
    with: &Admitted,
) -> Result<(Response, bool), reqwest::Error> {
    let response = client.execute(request).await?;
    let status = response.status();
    let (mut response, body) = if provider.body_may_refuse(status) {
        peek(response).await
    } else {
        (response, Vec::new())
    };
    if let Some(fallback) = &with.fallback {
        response.extensions_mut().insert(fallback.clone());
    }
    let was_refused = with.snapshot.state() == CredentialState::ReauthorizationRequired;
    if was_refused && status.is_success() {
        with.credential.accepted(with.snapshot.generation());
    }
    Ok((response, provider.refuses_credential(status, &body)))
}

/// What to send once more with, after `refused` was: what it was renewed to, else the API key that
/// may stand in for it.
async fn in_place_of(refused: Admitted, session: &Session) -> Option<Admitted> {
    let Admitted { credential, snapshot, fallback } = refused;
    match credential.rejected(snapshot.generation()).await {
        Ok(renewed) if renewed.generation() == snapshot.generation() => None,
        Ok(renewed) => Some(Admitted { credential, snapshot: renewed, fallback }),
        Err(_) => session.fall_back(&credential).await,
    }
}

/// The provider's headers, in their order, and then the caller's own `more`.
fn merged(more: &HeaderMap, snapshot: &Snapshot, sources: &Sources) -> Result<HeaderMap, Error> {
    let mut headers = snapshot.usable_headers(sources.now())?.clone();
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

fn no_answer(error: &reqwest::Error) -> Head {
    let cause = root_cause(error);
    let host = error.url().and_then(Url::host_str).unwrap_or("the provider");
    let text = format!("{host} gave no answer: {cause}");
    // No address, no connection, no TLS: nothing of the request can have been read.
    let failed = if error.is_connect() { Failed::BeforeSending } else { Failed::Unanswered };
    Head::None(failed, Error::new(ErrorKind::Transient, text))
}
