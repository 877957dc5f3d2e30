//! A gate at which a simulated provider holds requests, so that a test can act at an exact point
//! of an exchange.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// Holds requests until it is opened. Clones are the same gate.
///
/// Put it into a provider with `Fault::Hold` (the request has arrived, nothing is spent) or
/// `Fault::HoldAnswer` (the request is carried out, nobody knows yet).
///
/// ```
/// use tokenward::testing::{Endpoint, Fault, Gate};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// # let credential = ada.preferred_credential("orange").await?;
/// let gate = Gate::new();
/// orange.faults().on(Endpoint::Token).next(1, Fault::Hold(gate.clone()));
/// let renewal = tokio::spawn(async move { credential.refresh().await });
/// gate.until_arrived(1).await;
/// // In the middle of the renewal: here a test does what a second caller or a sign-out would.
/// assert!(!renewal.is_finished());
/// gate.open();
/// renewal.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<Passage>>);

#[derive(Clone, Copy, Debug, Default)]
struct Passage {
    arrived: usize,
    open: bool,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Passage::default())))
    }

    /// Resolves once `count` requests have come to the gate since it was made.
    pub async fn until_arrived(&self, count: usize) {
        self.until(|passage| passage.arrived >= count).await;
    }

    /// How many requests have come to the gate since it was made.
    pub fn arrived(&self) -> usize {
        self.0.borrow().arrived
    }

    /// Lets everyone through, those who come later too.
    pub fn open(&self) {
        self.0.send_modify(|passage| passage.open = true);
    }

    /// Arrives, and waits until the gate is open.
    pub(super) async fn pass(&self) {
        self.0.send_modify(|passage| passage.arrived += 1);
        self.until(|passage| passage.open).await;
    }

    async fn until(&self, reached: impl Fn(&Passage) -> bool) {
        // The sender is in `self`, so the channel is open for as long as this waits.
        let _ = self.0.subscribe().wait_for(reached).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Gate {
    /// Whether it is the same gate.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gate {}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Passage { arrived, open } = *self.0.borrow();
        f.debug_struct("Gate").field("arrived", &arrived).field("open", &open).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_holds_until_it_is_opened_and_stays_open() {
        let gate = Gate::new();
        let mut held = Box::pin(gate.pass());
        assert!(futures_util::poll!(&mut held).is_pending());
        gate.until_arrived(1).await;
        gate.open();
        held.await;
        gate.pass().await;
        assert_eq!(gate.arrived(), 2);
    }
}
