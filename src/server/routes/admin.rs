//! Administration, for applications with the permission for it: renew a credential, exchange the
//! signing key.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::asked::content_type;
use super::body;
use crate::error::Error;
use crate::identity::{CredentialId, Label, ProviderId, UserId};
use crate::server::answer;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::issuer::KeyRotation;
use crate::server::refusal::Refusal;
use crate::server::request::{Parameters, is_json};

/// Renews the credential that is named by `user`, `provider`, `method` and, where it is not the
/// default one, `label`.
pub(super) async fn refresh(
    State(server): State<AuthorizationServer>,
    request: Request,
) -> Response {
    finished(&server, refreshed(&server, request).await)
}

/// Exchanges the signing key: an ordinary rotation or, with `compromised` set to `true`, one that
/// voids every token.
pub(super) async fn rotate_signing_key(
    State(server): State<AuthorizationServer>,
    request: Request,
) -> Response {
    finished(&server, rotated(&server, request).await)
}

async fn refreshed(server: &AuthorizationServer, request: Request) -> Outcome {
    let parameters = parameters(server, request).await?;
    let id = credential(&parameters)?;
    let credential = server.credentials().open(&id).await?;
    let snapshot = credential.refresh().await?;
    let body = json!({
        "credential": id.to_string(),
        "state": snapshot.state(),
        "generation": snapshot.generation(),
    });
    Ok((StatusCode::OK, body))
}

async fn rotated(server: &AuthorizationServer, request: Request) -> Outcome {
    let parameters = parameters(server, request).await?;
    let how = match parameters.get("compromised") {
        None | Some("false") => KeyRotation::Ordinary,
        Some("true") => KeyRotation::Compromised,
        Some(_) => {
            return Err(Refusal::InvalidRequest("compromised is neither true nor false").into());
        }
    };
    server.issuer().rotate_signing_key(how).await?;
    Ok((StatusCode::OK, json!({})))
}

async fn parameters(server: &AuthorizationServer, request: Request) -> Result<Parameters, Refusal> {
    let (head, body) = request.into_parts();
    let body = body::read(body, &*server.sources().clock).await?;
    if body.is_empty() {
        return Ok(Parameters::none());
    }
    Parameters::parse(content_type(&head.headers)?, &body)
}

fn credential(parameters: &Parameters) -> Result<CredentialId, Failed> {
    let named = |name| {
        let missing = Refusal::InvalidRequest("one of user, provider and method is missing");
        parameters.get(name).ok_or(missing)
    };
    Ok(CredentialId {
        user: UserId::new(named("user")?).map_err(Error::from)?,
        provider: ProviderId::new(named("provider")?).map_err(Error::from)?,
        method: named("method")?.parse().map_err(Error::from)?,
        label: match parameters.get("label") {
            Some(label) => Label::new(label).map_err(Error::from)?,
            None => Label::default(),
        },
    })
}

/// The body of a request, which is JSON.
pub(super) async fn json_body<T: DeserializeOwned>(
    server: &AuthorizationServer,
    request: Request,
) -> Result<T, Failed> {
    let (head, body) = request.into_parts();
    let body = body::read(body, &*server.sources().clock).await?;
    if !is_json(content_type(&head.headers)?) {
        return Err(Refusal::InvalidRequest("the content type is not application/json").into());
    }
    // What is wrong is not told by the parser: it quotes.
    let unread =
        Refusal::InvalidRequest("the body is not a JSON object of the members it may have");
    Ok(serde_json::from_slice(&body).map_err(|_| unread)?)
}

/// What became of a request, and what is told of it.
pub(super) type Outcome = Result<(StatusCode, Value), Failed>;

/// Why nothing was done: the request, or what it asked for.
pub(super) enum Failed {
    Refused(Refusal),
    Error(Error),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The answer. Errors are told as they are: they hold no secret, and whoever asks is an administrator.
pub(super) fn finished(server: &AuthorizationServer, outcome: Outcome) -> Response {
    let error = match outcome {
        Ok((status, body)) => return answer::secret(status, &body),
        Err(Failed::Refused(refusal)) => return refusal.into_response(server.realm()),
        Err(Failed::Error(error)) => error,
    };
    let (status, code) = if error.is_not_found() {
        (StatusCode::NOT_FOUND, "not_found")
    } else if error.is_invalid_input() {
        (StatusCode::BAD_REQUEST, "invalid_request")
    } else if error.needs_reauthorization() {
        (StatusCode::CONFLICT, "reauthorization_required")
    } else if error.is_vault_unreadable() {
        // It does not pass by itself, so nobody is to ask again and again.
        (StatusCode::CONFLICT, "vault_unreadable")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
    };
    answer::secret(status, &json!({ "error": code, "error_description": error.to_string() }))
}
