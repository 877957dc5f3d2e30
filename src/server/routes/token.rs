//! The token endpoint (RFC 6749 §3.2): client credentials or a refresh token in, an access token out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::asked::{Asked, Presented, asked};
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::answer;
use crate::server::application::{Application, GrantType};
use crate::server::authorization_server::AuthorizationServer;
use crate::server::claims::{ACCESS_TOKEN, AccessClaims};
use crate::server::issuer::Published;
use crate::server::jws;
use crate::server::refresh::{Mint, Refreshed};
use crate::server::refusal::Refusal;
use crate::server::scope::Scope;
use crate::server::settings::Capability;
use crate::server::verify::since_1970;

pub(super) async fn issue(State(server): State<AuthorizationServer>, request: Request) -> Response {
    match asked(&server, "token-endpoint", request).await {
        Ok(asked) => {
            let outcome = answered(&server, &asked).await;
            outcome.unwrap_or_else(|refusal| asked.refused(&server, refusal))
        }
        Err(refusal) => refusal.into_response(server.realm()),
    }
}

/// What is given.
struct Granted {
    access_token: String,
    scope: Scope,
    refresh_token: Option<Secret>,
}

/// The answer that gives it (RFC 6749 §5.1).
#[derive(Serialize)]
struct Written<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: &'a Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

impl Granted {
    fn written(&self, expires_in: u64) -> Written<'_> {
        Written {
            access_token: &self.access_token,
            token_type: "Bearer",
            expires_in,
            scope: &self.scope,
            refresh_token: self.refresh_token.as_ref().map(Secret::expose),
        }
    }
}

async fn answered(server: &AuthorizationServer, asked: &Asked) -> Result<Response, Refusal> {
    let grant = asked
        .parameters
        .get("grant_type")
        .ok_or(Refusal::InvalidRequest("the parameter grant_type is missing"))?;
    let grant = GrantType::named(grant).filter(|grant| {
        *grant != GrantType::RefreshToken || server.settings().has(Capability::RefreshTokens)
    });
    let grant = grant.ok_or(Refusal::UnsupportedGrantType)?;
    if !asked.application.may_use(grant) {
        return Err(Refusal::UnauthorizedClient);
    }
    let granted = match grant {
        GrantType::ClientCredentials => by_credentials(server, asked).await?,
        GrantType::RefreshToken => by_refresh_token(server, asked).await?,
    };
    server.note_issued(asked.application.id(), grant.as_str());
    let expires_in = asked.application.access_token_lifetime().as_secs();
    Ok(answer::secret(StatusCode::OK, &granted.written(expires_in)))
}

/// What the application may have, or what it asked for of it; and a refresh token, where it may use
/// one.
async fn by_credentials(server: &AuthorizationServer, asked: &Asked) -> Result<Granted, Refusal> {
    let scope = granted(asked.parameters.get("scope"), &asked.application)?;
    if !server.refreshes(&asked.application) {
        let access_token = Minter::of(server, asked).mint(None, &scope)?;
        return Ok(Granted { access_token, scope, refresh_token: None });
    }
    let tokens = &asked.published.refresh_tokens;
    let mint = Minter::of(server, asked).for_families();
    let (application, under_way) = (&asked.application, Arc::clone(&asked.under_way));
    let begun = server.families().begin(tokens, application, scope.clone(), mint, under_way);
    let (access_token, refresh_token) = begun.await?;
    Ok(Granted { access_token, scope, refresh_token: Some(refresh_token) })
}

/// What was granted before, or what is asked for of it (RFC 6749 §6).
async fn by_refresh_token(server: &AuthorizationServer, asked: &Asked) -> Result<Granted, Refusal> {
    let token = asked
        .parameters
        .get("refresh_token")
        .ok_or(Refusal::InvalidRequest("the parameter refresh_token is missing"))?;
    let scope = asked.parameters.get("scope").map(str::parse).transpose();
    let scope = scope.map_err(|_| Refusal::InvalidScope)?;
    let Presented::Own(presentation) = asked.presented(token) else {
        return Err(Refusal::InvalidGrant);
    };
    let mint = Minter::of(server, asked).for_families();
    match server.families().refresh(*presentation, scope, mint).await? {
        Refreshed::Granted { access_token, scope, successor } => {
            Ok(Granted { access_token, scope, refresh_token: Some(successor) })
        }
        Refreshed::InvalidScope => Err(Refusal::InvalidScope),
        Refreshed::InvalidGrant => Err(Refusal::InvalidGrant),
    }
}

/// What is granted: what was asked for, all of it, or everything that the application has.
fn granted(asked: Option<&str>, application: &Application) -> Result<Scope, Refusal> {
    let has = application.permissions();
    let scope = match asked {
        Some(asked) => asked.parse().map_err(|_| Refusal::InvalidScope)?,
        None => has.clone(),
    };
    if scope.is_empty() || !has.contains_all(&scope) {
        return Err(Refusal::InvalidScope);
    }
    Ok(scope)
}

/// Makes the access tokens of one request.
struct Minter {
    server: AuthorizationServer,
    published: Arc<Published>,
    application: Arc<Application>,
    now: SystemTime,
}

impl Minter {
    fn of(server: &AuthorizationServer, asked: &Asked) -> Self {
        Self {
            server: server.clone(),
            published: Arc::clone(&asked.published),
            application: Arc::clone(&asked.application),
            now: asked.now,
        }
    }

    fn for_families(self) -> Mint {
        Box::new(move |family, scope| self.mint(Some(family), scope))
    }

    fn mint(&self, family: Option<&str>, scope: &Scope) -> Result<String, Error> {
        let application = &self.application;
        let issued_at = whole_seconds(self.now);
        let claims = AccessClaims {
            issuer: self.server.settings().issuer.clone(),
            subject: application.id().to_string(),
            audience: vec![self.server.audience().to_owned()],
            client_id: application.id().to_string(),
            issued_at,
            expires_at: issued_at + application.access_token_lifetime(),
            not_before: None,
            token_id: self.server.sources().entropy.token()?,
            family: family.map(str::to_owned),
            generation: Some(application.generation().to_string()),
            scope: scope.clone(),
        };
        let failed = || Error::new(ErrorKind::Interrupted, "no key can sign for now, try again");
        let key = self.published.signing(self.now).ok_or_else(failed)?;
        jws::sign(key, ACCESS_TOKEN, &claims.to_payload()).map_err(|_| failed())
    }
}

fn whole_seconds(now: SystemTime) -> Duration {
    Duration::from_secs(since_1970(now).as_secs())
}
