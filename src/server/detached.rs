//! Work that goes on when its request does not: a client that hangs up, and a vault whose answer is lost,
//! must not leave a change without what follows from it.

use std::sync::Arc;
use std::time::Duration;

use dashmap::{DashMap, DashSet};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::server::application::ApplicationId;

/// How many changes are made or insisted on at a time. A thousand bytes for each is not much, and a
/// change that is refused is one that nobody was told is done.
const MOST: usize = 10_000;

/// How many of these may be one application's, so that none can take the room of all.
const MOST_OF_ONE: usize = MOST / 10;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The place of a request among those that are under way. What goes on when its client hangs up keeps it.
pub(crate) type UnderWay = Arc<OwnedSemaphorePermit>;

/// Does `work` in a task of its own, and waits for it as long as somebody waits for this. It is under way until it is
/// done.
pub(crate) async fn detached<T: Send + 'static>(
    under_way: UnderWay,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let work = async move {
        let _under_way = under_way;
        work.await
    };
    tokio::spawn(work.in_current_span()).await.unwrap_or_else(|_| Err(died()))
}

/// The outcome of a task that died.
pub(crate) fn died() -> Error {
    Error::new(ErrorKind::Interrupted, "a task of the authorization server died, ask again")
}

/// What is done in the end although it failed at first. Whoever begins something that must not stay
/// half done takes a place first, so that there is room to insist on it: where there is none, nothing is
/// begun. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Insistence {
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
    /// How many places each application has taken.
    shares: Arc<DashMap<ApplicationId, usize>>,
    names: Arc<DashSet<String>>,
}

/// Room to insist on one change.
#[derive(Debug)]
pub(crate) struct Place {
    insistence: Insistence,
    room: Room,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
struct Room {
    shares: Arc<DashMap<ApplicationId, usize>>,
    of: ApplicationId,
    _permit: OwnedSemaphorePermit,
}

impl Insistence {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (permits, shares, names) = (Semaphore::new(MOST), Arc::default(), Arc::default());
        Self { clock, permits: Arc::new(permits), shares, names }
    }

    /// Room for one change more, which is for an application.
    ///
    /// # Errors
    ///
    /// [`Error::is_overloaded`] when too many wait for the vault already, in all or of this application.
    pub(crate) fn place(&self, of: &ApplicationId) -> Result<Place, Error> {
        let crowded = || {
            let text = "too many changes of the server wait for the vault, try again shortly";
            Error::new(ErrorKind::Overloaded, text)
        };
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| crowded())?;
        let mut taken = self.shares.entry(of.clone()).or_default();
        if *taken >= MOST_OF_ONE {
            return Err(crowded());
        }
        *taken += 1;
        drop(taken);
        let room = Room { shares: Arc::clone(&self.shares), of: of.clone(), _permit: permit };
        Ok(Place { insistence: self.clone(), room })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(mut taken) = self.shares.get_mut(&self.of) {
            *taken -= 1;
        }
        self.shares.remove_if(&self.of, |_, taken| *taken == 0);
    }
}

impl Place {
    /// Tries `attempt` now and then until it succeeds, or fails for good. It may be acted on more than once. What
    /// is insisted on under `name` already is not once more.
    pub(crate) fn insist<F>(self, name: String, attempt: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Error>> + Send,
    {
        let Self { insistence: Insistence { clock, names, .. }, room } = self;
        if !names.insert(name.clone()) {
            return;
        }
        let held = Held { names, name, _room: room };
        tokio::spawn(async move {
            let _held = held;
            let mut wait = Duration::from_secs(1);
            loop {
                match attempt().await {
                    Err(error) if error.is_transient() => {}
                    Err(error) => {
                        tracing::error!(%error, "a change of the server was given up");
                        break;
                    }
                    Ok(()) => break,
                }
                clock.wait(wait).await;
                wait = LONGEST_WAIT.min(wait * 2);
            }
        });
    }
}

/// A name that is insisted on, with its room. Both are given back however that ends.
struct Held {
    names: Arc<DashSet<String>>,
    name: String,
    _room: Room,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.names.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Sources;

    #[tokio::test]
    async fn nothing_is_begun_that_could_not_be_insisted_on_and_nothing_is_insisted_on_twice() {
        let insistence = Insistence::new(Sources::system().clock);
        let one = "app_one".parse().expect("an id");
        let mut places: Vec<_> =
            (0..MOST_OF_ONE).map(|_| insistence.place(&one).expect("there is room")).collect();
        assert!(insistence.place(&one).expect_err("there is none").is_overloaded());

        let tries = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let tries = Arc::clone(&tries);
            places.pop().expect("a place").insist("one".to_owned(), move || {
                tries.fetch_add(1, Ordering::SeqCst);
                std::future::pending()
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(tries.load(Ordering::SeqCst), 1, "the second is the first");
        let _one = insistence.place(&one).expect("that of the second");
        assert!(insistence.place(&one).is_err(), "that of the first is taken while it is tried");
    }

    #[test]
    fn no_application_takes_the_places_of_another_until_all_are_taken() {
        let insistence = Insistence::new(Sources::system().clock);
        let id = |number: usize| format!("app_{number}").parse::<ApplicationId>().expect("an id");
        let all = |number| std::iter::from_fn(move || Some(id(number)));
        let mut places = Vec::new();
        for number in 0..MOST / MOST_OF_ONE {
            let theirs = all(number).map_while(|id| insistence.place(&id).ok());
            places.push(theirs.collect::<Vec<_>>());
            assert_eq!(places[number].len(), MOST_OF_ONE, "of application {number}");
        }
        let next = id(MOST);
        assert!(insistence.place(&next).expect_err("all are taken").is_overloaded());
        drop(places);
        assert!(insistence.place(&next).is_ok());
        assert_eq!(insistence.shares.len(), 0, "nothing is left of those who have none");
    }
}
