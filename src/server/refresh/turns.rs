//! One use of a family at a time, in this process. The compare-and-swap in the vault does not need it; who
//! presents a token again while its first use is under way does, since what that comes to depends on
//! whether somebody got the answer.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Whose turn it is, by family. Clones are the same; there is nothing of a family that nobody uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<DashMap<String, Arc<Mutex<()>>>>);

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    family: String,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until it is one's turn with `family`, in the order of asking.
    pub(super) async fn of(&self, family: &str) -> Turn {
        let lock = Arc::clone(&self.0.entry(family.to_owned()).or_default());
        // Before the wait, so that who gives up waiting leaves nothing behind.
        let mut turn = Turn { turns: self.clone(), family: family.to_owned(), held: None };
        turn.held = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        self.turns.0.remove_if(&self.family, |_, lock| Arc::strong_count(lock) == 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_after_the_other_and_nothing_is_left_behind() {
        let turns = Turns::default();
        let first = turns.of("a").now_or_never().expect("nobody is before it");
        let mut second = Box::pin(turns.of("a"));
        let mut third = Box::pin(turns.of("a"));
        for waiting in [&mut second, &mut third] {
            assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        }
        assert!(turns.of("b").now_or_never().is_some(), "another family does not");
        drop(third);
        drop(first);
        let second = second.now_or_never().expect("its turn");
        assert!(turns.of("a").now_or_never().is_none());
        drop(second);
        assert_eq!(turns.0.len(), 0);
    }
}
