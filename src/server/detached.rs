//! Work that goes on when its request does not: a client that hangs up, and a vault whose answer is lost,
//! must not leave a change without what follows from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::application::LONGEST_TOKEN_LIFETIME;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};

/// How many changes are insisted on at a time.
const MOST: usize = 1_000;

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

/// What is done in the end although it failed at first. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Insistence {
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
}

impl Insistence {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, permits: Arc::new(Semaphore::new(MOST)) }
    }

    /// Tries `attempt` now and then until it succeeds, fails for good, or an access token that was
    /// issued before has expired. It may be acted on more than once.
    pub(crate) fn on<F>(&self, attempt: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Error>> + Send,
    {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::error!("too many changes of the server wait for the vault, one is given up");
            return;
        };
        let clock = Arc::clone(&self.clock);
        tokio::spawn(async move {
            let (mut waited, mut wait) = (Duration::ZERO, Duration::from_secs(1));
            while waited < LONGEST_TOKEN_LIFETIME {
                match attempt().await {
                    Err(error) if error.is_transient() => {}
                    _ => break,
                }
                clock.wait(wait).await;
                waited += wait;
                wait = LONGEST_WAIT.min(wait * 2);
            }
            drop(permit);
        });
    }
}
