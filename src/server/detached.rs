//! Work that goes on when its request does not: a client that hangs up, and a vault whose answer is lost,
//! must not leave a change without what follows from it.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashSet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind};

/// How many changes are made or insisted on at a time. A thousand bytes for each is not much, and a
/// change that is refused is one that nobody was told is done.
const MOST: usize = 10_000;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Does `work` in a task of its own, and waits for it as long as somebody waits for this.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(died()))
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
    names: Arc<DashSet<String>>,
}

/// Room to insist on one change.
#[derive(Debug)]
pub(crate) struct Place {
    insistence: Insistence,
    permit: OwnedSemaphorePermit,
}

impl Insistence {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, permits: Arc::new(Semaphore::new(MOST)), names: Arc::default() }
    }

    /// Room for one change more.
    ///
    /// # Errors
    ///
    /// [`Error::is_overloaded`] when too many wait for the vault already.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let text = "too many changes of the server wait for the vault, try again shortly";
            Error::new(ErrorKind::Overloaded, text)
        })?;
        Ok(Place { insistence: self.clone(), permit })
    }
}

impl Place {
    /// Tries `attempt` now and then until it succeeds, or fails for good. It may be acted on more than once. What
    /// is insisted on under `name` already is not once more.
    pub(crate) fn insist<F>(self, name: String, attempt: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Error>> + Send,
    {
        let Self { insistence: Insistence { clock, names, .. }, permit } = self;
        if !names.insert(name.clone()) {
            return;
        }
        let held = Held { names, name, _permit: permit };
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
    _permit: OwnedSemaphorePermit,
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
        let mut places: Vec<_> =
            (0..MOST).map(|_| insistence.place().expect("there is room")).collect();
        assert!(insistence.place().expect_err("there is none").is_overloaded());

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
        let _one = insistence.place().expect("that of the second");
        assert!(insistence.place().is_err(), "that of the first is taken while it is tried");
    }
}
