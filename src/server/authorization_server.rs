//! The server as its host holds it: started on a runtime, mounted as a router, asked to guard routes.

use std::fmt;
use std::sync::Arc;

use axum::Router;

use super::claims::Expectation;
use super::guard::Guard;
use super::issuer::TokenIssuer;
use super::refresh::Families;
use super::routes;
use super::scope::Scope;
use super::settings::ServerSettings;
use super::verify::{self, Caller, TokenRefused};
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::UserId;
use crate::runtime::Runtime;
use crate::vault::VaultHandle;
use crate::vault::audit::{AuditEntry, AuditKind};

/// An authorization server on a runtime. Cheap to clone; it stops with the runtime.
#[derive(Clone)]
pub struct AuthorizationServer(Arc<Inside>);

struct Inside {
    settings: ServerSettings,
    expectation: Expectation,
    issuer: TokenIssuer,
    families: Families,
    vault: VaultHandle,
    sources: Sources,
}

impl AuthorizationServer {
    /// Starts a server on `runtime`: its token issuer becomes an actor beneath the runtime's root,
    /// and its keys are made where the vault has none. There is at most one on a runtime.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, at once; or why the keys can not be had.
    pub async fn start(runtime: &Runtime, settings: ServerSettings) -> Result<Self, Error> {
        settings.check()?;
        let parts = runtime.inside();
        let issuer = TokenIssuer::start(
            settings.key_policy(),
            settings.trusted.clone(),
            parts.vault.clone(),
            parts.timekeeper.clone(),
            &parts.root,
            parts.sources.clone(),
        )
        .await?;
        let (vault, sources) = (parts.vault.clone(), parts.sources.clone());
        let families = Families::new(vault, sources, issuer.denials().clone());
        Ok(Self(Arc::new(Inside {
            families,
            expectation: settings.expectation(),
            settings,
            issuer,
            vault: parts.vault.clone(),
            sources: parts.sources.clone(),
        })))
    }

    /// The token issuer: applications and signing keys.
    pub fn issuer(&self) -> &TokenIssuer {
        &self.0.issuer
    }

    /// The server's endpoints, to be merged into the host's own router:
    ///
    /// - `POST /auth/token`
    /// - `POST /auth/revoke` (RFC 7009)
    /// - `POST /auth/introspect` (RFC 7662)
    /// - `GET /.well-known/jwks.json`
    /// - `GET /.well-known/oauth-authorization-server`
    ///
    /// beneath the path of the issuer where it has one, but for the last, which the path comes after
    /// (RFC 8414 §3.1).
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// A layer that lets through who has a good token with all of these permissions, and nobody else.
    pub fn guard(&self, permissions: Scope) -> Guard {
        Guard::new(self.clone(), permissions)
    }

    /// Verifies a token, as the guard does, for hosts that get it in another way than by HTTP.
    ///
    /// # Errors
    ///
    /// When it is not good here and now.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenRefused> {
        let now = self.0.sources.now().wall;
        verify::verify(&self.0.issuer, &self.0.expectation, token, now)
    }

    /// The refresh tokens.
    pub(crate) fn families(&self) -> &Families {
        &self.0.families
    }

    pub(crate) fn vault(&self) -> &VaultHandle {
        &self.0.vault
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Who the tokens are for.
    pub(crate) fn audience(&self) -> &str {
        &self.0.expectation.audience
    }

    /// What the challenges of the server name.
    pub(crate) fn realm(&self) -> &str {
        &self.0.settings.issuer
    }

    /// Records that a token was issued.
    pub(crate) fn note_issued(&self, client_id: &str, grant: &'static str) {
        self.note(AuditKind::TokenGenerated, Some(client_id), grant);
    }

    /// Records that something was refused to an application, if it is one of ours.
    pub(crate) fn note_denied(&self, client_id: &str, why: &'static str) {
        let ours = self.0.issuer.published();
        let ours = ours.is_ok_and(|published| published.application(client_id).is_some());
        self.note(AuditKind::AccessDenied, ours.then_some(client_id), why);
    }

    fn note(&self, kind: AuditKind, client_id: Option<&str>, why: &'static str) {
        let entry = AuditEntry::new(kind).origin("token-issuer").because(why);
        let user = client_id.and_then(|id| UserId::new(id).ok());
        self.0.vault.note(user.iter().fold(entry, AuditEntry::user));
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer")
            .field("issuer", &self.0.settings.issuer)
            .finish_non_exhaustive()
    }
}
