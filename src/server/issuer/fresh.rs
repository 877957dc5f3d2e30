//! Fresh secrets on their way to who asked for them. Until somebody has taken one nobody knows it, and one
//! that was lost takes the place of no other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secret::Secret;
use crate::server::application::ApplicationId;

/// How many that nobody has taken are remembered, the newest ones.
const MOST: usize = 1_000;

/// A secret that an application was given just now. It counts as known once it is taken: when nobody waits for
/// it any more, the next exchange goes on from the secret before it. Take it at once, or drop it: the next
/// exchange waits for that, a second at most.
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
    way: Way,
}

/// The way of a secret to who asked for it.
struct Way {
    hash: [u8; 32],
    has_left: bool,
    has_arrived: bool,
    deliveries: Deliveries,
    /// Told when it is over.
    ended: Ended,
}

/// Told that a secret is not on its way any more.
pub(super) type Ended = Arc<dyn Fn() + Send + Sync>;

impl FreshSecret {
    /// The secret, to be handed over: it is shown this once.
    pub fn take(self) -> Secret {
        let Self { secret, mut way } = self;
        way.has_arrived = true;
        secret
    }

    /// Lets it leave for who asked for it, now that it is durable.
    pub(super) fn leave(mut self, of: &ApplicationId) -> Self {
        self.way.has_left = true;
        self.way.deliveries.all().under_way.insert(self.way.hash, of.clone());
        self
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let mut all = self.deliveries.all();
        all.under_way.remove(&self.hash);
        if !self.has_arrived {
            all.lose(self.hash);
        }
        drop(all);
        if self.has_left {
            (self.ended)();
        }
    }
}

impl fmt::Debug for FreshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FreshSecret").field(&self.secret).finish()
    }
}

/// Which secrets are on their way, and which were lost on it. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Deliveries(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    /// By their hashes, with whose they are.
    under_way: BTreeMap<[u8; 32], ApplicationId>,
    lost: VecDeque<[u8; 32]>,
}

impl Deliveries {
    /// A secret that is to be made durable, and then to [leave](FreshSecret::leave).
    pub(super) fn prepare(&self, secret: Secret, hash: [u8; 32], ended: Ended) -> FreshSecret {
        let (has_left, has_arrived, deliveries) = (false, false, self.clone());
        FreshSecret { secret, way: Way { hash, has_left, has_arrived, deliveries, ended } }
    }

    /// Whether a secret of this application is on its way, so that nobody knows whether it arrives.
    pub(super) fn is_under_way(&self, of: &ApplicationId) -> bool {
        self.all().under_way.values().any(|it| it == of)
    }

    /// Waits for those no longer that are on their way.
    pub(super) fn give_up(&self) {
        self.all().under_way.clear();
    }

    /// The hashes of those that were lost.
    pub(super) fn lost(&self) -> BTreeSet<[u8; 32]> {
        self.all().lost.iter().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Nothing between two changes can panic, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn lose(&mut self, hash: [u8; 32]) {
        if self.lost.len() >= MOST {
            self.lost.pop_front();
        }
        self.lost.push_back(hash);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_secret_is_lost_when_nobody_takes_it_and_so_many_are_remembered() {
        let deliveries = Deliveries::default();
        let ended = Arc::new(AtomicUsize::new(0));
        let prepare = |number: u8| {
            let ended = Arc::clone(&ended);
            let tell = Arc::new(move || {
                ended.fetch_add(1, Ordering::SeqCst);
            });
            deliveries.prepare(Secret::new("x"), [number; 32], tell)
        };
        let id = "app_one".parse().expect("an id");
        let [one, two] = [1, 2].map(prepare);
        assert!(!deliveries.is_under_way(&id), "they are not durable");
        let [one, two] = [one, two].map(|fresh| fresh.leave(&id));
        assert!(deliveries.is_under_way(&id) && deliveries.lost().is_empty());
        drop(one);
        assert_eq!(two.take().expose(), "x");
        assert!(!deliveries.is_under_way(&id));
        assert_eq!(deliveries.lost(), BTreeSet::from([[1; 32]]));
        assert_eq!(ended.load(Ordering::SeqCst), 2);
        for _ in 0..2 * MOST {
            prepare(3);
        }
        assert_eq!(deliveries.all().lost.len(), MOST);
        assert_eq!(deliveries.lost(), BTreeSet::from([[3; 32]]));
        assert_eq!(ended.load(Ordering::SeqCst), 2, "these have never left");
    }
}
