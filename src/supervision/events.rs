//! How events reach their subscribers: a bounded broadcast. A subscriber that is too slow misses
//! the oldest events and is told how many; it never slows the runtime.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::clock::Sources;
use crate::event::{Event, EventKind};
use crate::metrics::Meters;

/// How many events are kept for a subscriber that has not taken them yet.
const KEPT: usize = 1_024;

/// Where the parts of one runtime report what happens. Cheap to clone.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::supervision::EventBus;
/// use tokenward::{EventKind, Notice};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::new(Sources::system());
/// bus.emit(EventKind::VaultRecovered); // Nobody listens: nothing is kept.
///
/// let mut events = bus.subscribe();
/// bus.emit(EventKind::ShuttingDown);
/// let Some(Notice::Event(event)) = events.next().await else { panic!("no event") };
/// assert_eq!(event.kind, EventKind::ShuttingDown);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<Event>>,
    sources: Sources,
    meters: Meters,
}

impl EventBus {
    /// A bus without subscribers, whose events carry the time of `sources`.
    pub fn new(sources: Sources) -> Self {
        let meters = Meters::new(sources.clone());
        Self { sender: broadcast::Sender::new(KEPT), sources, meters }
    }

    /// Reports `kind`, now. Never waits; without subscribers it costs next to nothing.
    pub fn emit(&self, kind: EventKind) {
        self.meters.event(&kind);
        if self.sender.receiver_count() == 0 {
            return;
        }
        let event = Event { at: self.sources.now().wall, kind };
        // The last subscriber may have left meanwhile; then no one misses it.
        let _ = self.sender.send(Arc::new(event));
    }

    /// Where the same parts count.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Everything that is reported from now on.
    pub fn subscribe(&self) -> Events {
        Events(self.sender.subscribe())
    }
}

/// What a subscriber receives.
///
/// ```
/// use tokenward::Notice;
///
/// # async fn example(mut events: tokenward::Events) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(notice) = events.next().await {
///     match notice {
///         Notice::Event(event) => println!("{:?}", event.kind),
///         // What is known from events is out of date: look anew, at User::credentials.
///         Notice::Missed(count) => println!("{count} events came too fast"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Something happened.
    Event(Arc<Event>),
    /// The subscriber was too slow: this many events are gone.
    Missed(u64),
}

/// One subscription.
///
/// ```
/// use tokenward::{EventKind, Notice};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let mut events = runtime.events();
/// ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
///
/// while let Some(notice) = events.next().await {
///     let Notice::Event(event) = notice else { continue };
///     if let EventKind::SignedIn { credential, .. } = &event.kind {
///         assert_eq!(credential.to_string(), "ada/anthropic/api-key");
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Arc<Event>>);

impl Events {
    /// The next notice, in order; `None` when the runtime is gone. Nothing is lost when the future
    /// is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(event) => Some(Notice::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_subscriber_sees_every_event_in_order() {
        let bus = EventBus::new(Sources::system());
        let (mut one, mut two) = (bus.subscribe(), bus.subscribe());
        bus.emit(EventKind::VaultRecovered);
        bus.emit(EventKind::ShuttingDown);
        for events in [&mut one, &mut two] {
            for expected in [EventKind::VaultRecovered, EventKind::ShuttingDown] {
                let Some(Notice::Event(event)) = events.next().await else { panic!("no event") };
                assert_eq!(event.kind, expected);
            }
        }
        drop(bus);
        assert_eq!(one.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_what_it_missed_and_gets_the_rest() {
        let bus = EventBus::new(Sources::system());
        let mut slow = bus.subscribe();
        for _ in 0..KEPT + 7 {
            bus.emit(EventKind::ShuttingDown);
        }
        assert_eq!(slow.next().await, Some(Notice::Missed(7)));
        assert!(matches!(slow.next().await, Some(Notice::Event(_))));
    }
}
