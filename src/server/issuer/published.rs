//! What everybody reads without a message: keys, applications and denied tokens as they are. Shared by the
//! incarnations of the issuer, so that tokens are issued and verified while it is restarted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;

use crate::error::{Error, ErrorKind};
use crate::server::application::{Application, ApplicationId, SecretHasher};
use crate::server::denials::{Denials, Denied};
use crate::server::jws::{KeySet, SigningKey, VerificationKey};
use crate::server::keys::{self, KeyRing, RingKey};
use crate::server::refresh::RefreshTokens;

use super::fresh::Deliveries;
use super::uses::Uses;

/// The keys and the applications at one time.
pub(crate) struct Published {
    keys: Vec<RingKey>,
    /// What tokens are verified with: our keys, and those that are trusted beside them.
    pub(crate) verifying: KeySet,
    /// Our own keys, as they are given to everybody.
    pub(crate) jwks: String,
    pub(crate) hasher: SecretHasher,
    pub(crate) refresh_tokens: RefreshTokens,
    applications: HashMap<ApplicationId, Arc<Application>>,
}

impl Published {
    pub(super) fn new<'a>(
        ring: &KeyRing,
        trusted: &[VerificationKey],
        applications: impl Iterator<Item = &'a Application>,
    ) -> Self {
        let ours = || ring.keys().iter().map(|key| key.key.verification_key().clone());
        let application = |it: &Application| (it.id().clone(), Arc::new(it.clone()));
        Self {
            keys: ring.keys().to_vec(),
            // Ours win, should a trusted one have the same id.
            verifying: trusted.iter().cloned().chain(ours()).collect(),
            jwks: ours().collect::<KeySet>().to_jwks().to_string(),
            hasher: SecretHasher::new(&ring.hash_key),
            refresh_tokens: RefreshTokens::new(&ring.hash_key),
            applications: applications.map(application).collect(),
        }
    }

    /// The key that signs now.
    pub(crate) fn signing(&self, now: SystemTime) -> Option<&Arc<SigningKey>> {
        keys::signing(&self.keys, now)
    }

    pub(crate) fn application(&self, id: &str) -> Option<&Arc<Application>> {
        self.applications.get(id)
    }

    pub(crate) fn applications(&self) -> impl Iterator<Item = &Arc<Application>> {
        self.applications.values()
    }
}

/// Where the current state stands.
pub(crate) struct Board {
    published: ArcSwapOption<Published>,
    pub(crate) denials: Denials,
    pub(super) uses: Uses,
    pub(super) deliveries: Deliveries,
    trusted: Vec<VerificationKey>,
}

impl Board {
    pub(super) fn new(trusted: Vec<VerificationKey>) -> Self {
        let (denials, uses, deliveries) = Default::default();
        Self { published: ArcSwapOption::empty(), denials, uses, deliveries, trusted }
    }

    /// What is published.
    ///
    /// # Errors
    ///
    /// Before the keys are there, which is before the server has started.
    pub(crate) fn read(&self) -> Result<Arc<Published>, Error> {
        self.published.load_full().ok_or_else(|| {
            Error::new(ErrorKind::Interrupted, "the signing keys are not there yet, ask again")
        })
    }

    pub(super) fn publish<'a>(
        &self,
        ring: &KeyRing,
        applications: impl Iterator<Item = &'a Application>,
    ) {
        let published = Published::new(ring, &self.trusted, applications);
        let secrets = published.applications().flat_map(|application| &application.secrets);
        self.uses.keep(&secrets.map(|secret| secret.hash).collect::<HashSet<_>>());
        self.published.store(Some(Arc::new(published)));
    }

    /// Denies what a former server issued to an application that is over, where any of it could be good.
    pub(super) fn deny(&self, id: &ApplicationId, now: SystemTime) {
        if !self.trusted.is_empty() {
            self.denials.add(Denied::application(id, now));
        }
    }
}
