//! Fresh secrets on their way to who asked for them. Until somebody has taken one, nobody knows it, and it
//! takes the place of no other.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secret::Secret;

/// How many that nobody has taken are remembered, the newest ones.
const MOST: usize = 1_000;

/// A secret that an application was given just now. It counts as known once it is taken: when nobody waits for
/// it any more, the next exchange goes on from the secret before it.
///
/// ```
/// use std::time::Duration;
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, IssuerMessage, ServerSettings};
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
/// # let issuer = server.issuer();
/// # let id = issuer.register(ApplicationSpec::new("reports")).await?.application.id().clone();
/// let overlap = Duration::from_hours(24);
/// let ask = |reply| IssuerMessage::RotateSecret { id, overlap, reply };
/// let fresh = issuer.messages().ask(ask).await??;
/// let secret = fresh.take(); // from now on it counts as known
/// println!("{}", secret.expose());
/// # Ok(())
/// # }
/// ```
pub struct FreshSecret {
    secret: Secret,
    hash: [u8; 32],
    among: Undelivered,
}

impl FreshSecret {
    /// The secret, to be handed over: it is shown this once.
    pub fn take(self) -> Secret {
        self.among.all().retain(|hash| *hash != self.hash);
        self.secret
    }
}

impl fmt::Debug for FreshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FreshSecret").field(&self.secret).finish()
    }
}

/// The hashes of the secrets that nobody has taken. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Undelivered(Arc<Mutex<VecDeque<[u8; 32]>>>);

impl Undelivered {
    /// Sends a secret on its way.
    pub(super) fn send(&self, secret: Secret, hash: [u8; 32]) -> FreshSecret {
        let mut all = self.all();
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(hash);
        drop(all);
        FreshSecret { secret, hash, among: self.clone() }
    }

    /// Those that are on their way, or were lost on it.
    pub(super) fn hashes(&self) -> BTreeSet<[u8; 32]> {
        self.all().iter().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<[u8; 32]>> {
        // Nothing between two changes can panic, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_undelivered_until_it_is_taken_and_so_many_are_remembered() {
        let undelivered = Undelivered::default();
        let [one, two] = [1, 2].map(|number| undelivered.send(Secret::new("x"), [number; 32]));
        drop(one);
        assert_eq!(undelivered.hashes(), BTreeSet::from([[1; 32], [2; 32]]));
        assert_eq!(two.take().expose(), "x");
        assert_eq!(undelivered.hashes(), BTreeSet::from([[1; 32]]), "it was lost");
        for _ in 0..2 * MOST {
            undelivered.send(Secret::new("x"), [3; 32]);
        }
        assert_eq!(undelivered.all().len(), MOST);
        assert_eq!(undelivered.hashes(), BTreeSet::from([[3; 32]]));
    }
}
