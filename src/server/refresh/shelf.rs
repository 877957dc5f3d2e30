//! How many families an application has: no more than so many, of which the one that was used longest
//! ago makes room. What is known of them is in memory, and read from the index of the vault once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::server::application::ApplicationId;
use crate::vault::{Query, RecordKind, VaultHandle};

/// The most families of one application.
const MOST: usize = 1_000;

/// The families of one application, by when they were used.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    by_use: BTreeSet<(u64, String)>,
    uses: BTreeMap<String, u64>,
    next: u64,
}

impl Shelf {
    /// Notes that a family was used, or begun.
    fn touch(&mut self, family: &str) {
        if let Some(before) = self.uses.insert(family.to_owned(), self.next) {
            self.by_use.remove(&(before, family.to_owned()));
        }
        self.by_use.insert((self.next, family.to_owned()));
        self.next += 1;
    }

    /// Takes those out that are too many, with `more` to come: those that were used longest ago.
    fn make_room(&mut self, more: usize) -> Vec<String> {
        let mut gone = Vec::new();
        while self.by_use.len() + more > MOST
            && let Some((_, family)) = self.by_use.pop_first()
        {
            self.uses.remove(&family);
            gone.push(family);
        }
        gone
    }
}

/// The shelves of all applications.
#[derive(Debug, Default)]
pub(super) struct Shelves(DashMap<ApplicationId, Arc<OnceCell<Mutex<Shelf>>>>);

impl Shelves {
    /// Puts a family that is about to begin on its shelf. Answers which have to go for it.
    pub(super) async fn add(
        &self,
        application: &ApplicationId,
        family: &str,
        vault: &VaultHandle,
    ) -> Result<Vec<String>, Error> {
        let theirs = Arc::clone(&self.0.entry(application.clone()).or_default());
        let mut theirs = locked(theirs.get_or_try_init(|| read(application, vault)).await?);
        let gone = theirs.make_room(1);
        theirs.touch(family);
        Ok(gone)
    }

    /// Notes that a family was used.
    pub(super) fn touch(&self, application: &ApplicationId, family: &str) {
        let theirs = self.0.get(application).map(|theirs| Arc::clone(&theirs));
        if let Some(theirs) = theirs.as_ref().and_then(|theirs| theirs.get()) {
            locked(theirs).touch(family);
        }
    }

    /// Has a shelf read anew, after a write of which nobody knows whether it is there.
    pub(super) fn forget(&self, application: &ApplicationId) {
        self.0.remove(application);
    }
}

async fn read(application: &ApplicationId, vault: &VaultHandle) -> Result<Mutex<Shelf>, Error> {
    let query = Query::all(RecordKind::TokenFamily).of_user(application.owner());
    let mut entries = vault.list(query).await?;
    entries.sort_by_key(|entry| entry.updated);
    let mut shelf = Shelf::default();
    for entry in entries {
        shelf.touch(&entry.key.name);
    }
    Ok(Mutex::new(shelf))
}

fn locked(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    // Nothing between two changes can panic, so a poisoned one is whole.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_that_was_used_longest_ago_makes_room() {
        let mut shelf = Shelf::default();
        for number in 0..MOST {
            assert!(shelf.make_room(1).is_empty());
            shelf.touch(&number.to_string());
        }
        shelf.touch("0");
        assert_eq!(shelf.make_room(1), ["1"]);
        shelf.touch("another");
        assert_eq!((shelf.uses.len(), shelf.by_use.len()), (MOST, MOST));
    }
}
