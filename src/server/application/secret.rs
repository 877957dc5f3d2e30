//! The secrets of applications: 256 random bits, shown once and kept as a keyed hash. A comparison
//! takes the same work whoever asks, and whether or not there is anything to compare with.

use std::fmt;
use std::time::SystemTime;

use ring::hmac;
use subtle::{Choice, ConstantTimeEq as _};

use super::Application;
use crate::clock::Entropy;
use crate::error::Error;
use crate::secret::Secret;

/// How many secrets an application can have at a time.
const SECRETS: usize = 2;

/// A secret as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredSecret {
    pub(crate) hash: [u8; 32],
    pub(crate) created: SystemTime,
    /// When it ends; none: it does not by itself.
    pub(crate) ends: Option<SystemTime>,
    /// When it was last used, as far as that was written; none: never.
    pub(crate) used: Option<SystemTime>,
}

impl StoredSecret {
    pub(crate) fn is_live(&self, now: SystemTime) -> bool {
        self.ends.is_none_or(|end| now < end)
    }

    pub(super) fn status(&self) -> SecretStatus {
        SecretStatus { created: self.created, ends: self.ends, last_used: self.used }
    }

    /// The same, over at `end` at the latest.
    pub(crate) fn ending(mut self, end: SystemTime) -> Self {
        self.ends = Some(self.ends.map_or(end, |ends| ends.min(end)));
        self
    }
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSecret").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// One of the secrets of an application, without the secret itself.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// # let registered = server.issuer().register(ApplicationSpec::new("reports")).await?;
/// let id = registered.application.id();
/// // The old secret is good for another hour.
/// let fresh = server.issuer().rotate_secret(id, Duration::from_hours(1)).await?;
/// let application = server.issuer().application(id).expect("it is there");
/// let mut secrets = application.secrets(SystemTime::now());
/// assert!(secrets.any(|secret| secret.ends.is_some()));
/// # let _ = fresh;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretStatus {
    /// When it was given.
    pub created: SystemTime,
    /// When it ends; none: not by itself.
    pub ends: Option<SystemTime>,
    /// When it was last used: by a request that it authenticated, whatever became of that. None: never. A restart
    /// may set it back by ten minutes, and by no more.
    pub last_used: Option<SystemTime>,
}

/// Hashes secrets with the key of one server.
#[derive(Clone)]
pub(crate) struct SecretHasher(hmac::Key);

impl SecretHasher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(crate) fn hash(&self, secret: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, secret.as_bytes()).as_ref());
        hash
    }

    /// A fresh secret, and how it is kept.
    pub(crate) fn fresh(
        &self,
        entropy: &dyn Entropy,
        now: SystemTime,
    ) -> Result<(Secret, StoredSecret), Error> {
        let secret = Secret::from(entropy.token()?);
        let stored = self.kept(&secret, now);
        Ok((secret, stored))
    }

    /// How a secret is kept.
    pub(crate) fn kept(&self, secret: &Secret, now: SystemTime) -> StoredSecret {
        StoredSecret { hash: self.hash(secret.expose()), created: now, ends: None, used: None }
    }

    /// The hash of `secret`, if it is a live one of `application`. For none there is none, after the
    /// same work (RFC 6749 §10.10).
    pub(crate) fn verify(
        &self,
        application: Option<&Application>,
        secret: &str,
        now: SystemTime,
    ) -> Option<[u8; 32]> {
        let hash = self.hash(secret);
        let secrets = application.map_or(&[][..], |application| &application.secrets);
        let mut good = Choice::from(0);
        for number in 0..SECRETS {
            let (kept, counts) = match secrets.get(number) {
                Some(secret) => (&secret.hash, secret.is_live(now)),
                None => (&[0; 32], false),
            };
            good |= hash.ct_eq(kept) & Choice::from(u8::from(counts));
        }
        bool::from(good).then_some(hash)
    }
}
