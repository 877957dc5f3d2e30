//! Which fault befalls which request: a script that a test writes while the provider runs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Endpoint, Fault};

/// The faults of one simulated provider. Clones are the same script.
///
/// Without [`Faults::on`] a script is about every endpoint. What was scripted for one endpoint
/// goes before what was scripted for all of them, and faults that were counted go before those
/// that are always there.
///
/// ```
/// use tokenward::testing::{Endpoint, Fault};
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
/// let faults = orange.faults().on(Endpoint::Token);
/// faults.next(2, Fault::LostAnswer); // twice, and
/// faults.always(Fault::ResetBeforeHeaders); // from then on
/// faults.clear(); // well again
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Faults {
    lines: Arc<Mutex<HashMap<Option<Endpoint>, Line>>>,
    endpoint: Option<Endpoint>,
}

#[derive(Debug, Default)]
struct Line {
    next: VecDeque<Fault>,
    always: Option<Fault>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self { lines: Arc::default(), endpoint: None }
    }

    /// The faults of one endpoint alone.
    #[must_use]
    pub fn on(&self, endpoint: Endpoint) -> Self {
        Self { lines: self.lines.clone(), endpoint: Some(endpoint) }
    }

    /// Lets `fault` befall the next `count` requests, after those that were scripted before.
    pub fn next(&self, count: usize, fault: Fault) {
        let faults = std::iter::repeat_n(fault, count);
        self.lines().entry(self.endpoint).or_default().next.extend(faults);
    }

    /// Lets `fault` befall every request, until [`Faults::clear`].
    pub fn always(&self, fault: Fault) {
        self.lines().entry(self.endpoint).or_default().always = Some(fault);
    }

    /// Forgets what is scripted: everything, or what was scripted for one endpoint. Requests that
    /// a fault holds already stay held.
    pub fn clear(&self) {
        match self.endpoint {
            None => self.lines().clear(),
            Some(_) => drop(self.lines().remove(&self.endpoint)),
        }
    }

    /// Takes the fault of a request that came in at `endpoint`.
    pub(super) fn take(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut lines = self.lines();
        let scopes = [Some(endpoint), None];
        let counted = scopes.iter().find_map(|scope| lines.get_mut(scope)?.next.pop_front());
        counted.or_else(|| scopes.iter().find_map(|scope| lines.get(scope)?.always.clone()))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Option<Endpoint>, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_faults_come_in_order_and_then_the_constant_one() {
        let faults = Faults::new();
        faults.always(Fault::Hang);
        faults.next(1, Fault::Garbage);
        faults.next(1, Fault::Huge);
        let taken = [(); 4].map(|()| faults.take(Endpoint::Token));
        let expected = [Fault::Garbage, Fault::Huge, Fault::Hang, Fault::Hang];
        assert_eq!(taken, expected.map(Some));
    }

    #[test]
    fn an_endpoint_of_its_own_goes_before_all() {
        let faults = Faults::new();
        faults.next(2, Fault::Hang);
        faults.on(Endpoint::Token).next(1, Fault::Garbage);
        assert_eq!(faults.take(Endpoint::Token), Some(Fault::Garbage));
        assert_eq!(faults.take(Endpoint::Token), Some(Fault::Hang));
        assert_eq!(faults.take(Endpoint::Resource), Some(Fault::Hang));
        assert_eq!(faults.take(Endpoint::Resource), None);
    }

    #[test]
    fn clearing_forgets_one_endpoint_or_everything() {
        let faults = Faults::new();
        faults.always(Fault::Hang);
        faults.on(Endpoint::Token).always(Fault::Garbage);
        faults.on(Endpoint::Token).clear();
        assert_eq!(faults.take(Endpoint::Token), Some(Fault::Hang));
        faults.clear();
        assert_eq!(faults.take(Endpoint::Token), None);
    }
}
