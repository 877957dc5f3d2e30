//! A copy of a store in the making: it is filled page by page, follows what is committed meanwhile,
//! and is opened again and compared before it counts. Between two pages the store is free for others.

use std::fmt;
use std::ops::ControlFlow;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{OpenStore, Scanned, StoreBatch, StoreError, Stored, VaultStore};

/// The most items and bytes of a page.
const MOST_ITEMS: usize = 256;
const MOST_BYTES: usize = 1024 * 1024;

/// How long one step waits for the copy to be opened again.
const SHORT_WAIT: Duration = Duration::from_millis(1);

/// A copy of a store in the making, in another store, which was empty. When it is done, it holds what
/// the store holds at that moment, each batch of it whole.
///
/// Of a value that is damaged, what is left is copied: it opens there as little as here, and is not
/// taken for absent.
pub(crate) struct Mirror {
    open: OpenStore,
    /// None while it is being opened again, and once it could not be.
    to: Option<Box<dyn VaultStore>>,
    /// What was committed while it was being opened again.
    behind: Vec<StoreBatch>,
    stage: Stage,
    /// The keys of the values that are damaged.
    damaged: Vec<Vec<u8>>,
    /// Why it could not follow.
    failed: Option<StoreError>,
}

/// What is being done, and the last key for which it is.
enum Stage {
    Copying(Option<Vec<u8>>),
    Reopening(Reopening),
    Comparing(Option<Vec<u8>>),
}

/// A copy that is closed and opened again on a thread of its own: large ones take their time.
struct Reopening(Option<JoinHandle<Result<Box<dyn VaultStore>, StoreError>>>);

impl Reopening {
    fn begin(to: Option<Box<dyn VaultStore>>, open: OpenStore) -> Result<Self, StoreError> {
        // What is told of the disk goes where it went before.
        let log = tracing::dispatcher::get_default(Clone::clone);
        let work = move || {
            tracing::dispatcher::with_default(&log, || {
                // One that holds the files has to let go of them first.
                drop(to);
                open()
            })
        };
        let thread = std::thread::Builder::new().name("tokenward-copy".to_owned());
        Ok(Self(Some(thread.spawn(work)?)))
    }

    /// Whether it is open again, after a short wait.
    fn is_over(&self) -> bool {
        let is_over = || self.0.as_ref().is_none_or(JoinHandle::is_finished);
        if !is_over() {
            std::thread::park_timeout(SHORT_WAIT);
        }
        is_over()
    }

    fn take(&mut self) -> Result<Box<dyn VaultStore>, StoreError> {
        let outcome = self.0.take().map(JoinHandle::join);
        outcome.and_then(Result::ok).unwrap_or_else(|| Err(not_open()))
    }
}

impl Drop for Reopening {
    /// Whoever gives a copy up removes its files next.
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Some items of a store, in the order of their keys.
struct Page {
    items: Vec<(Vec<u8>, Stored)>,
    /// Nothing stands behind them. What comes there later does not make the work longer.
    is_last: bool,
}

impl Page {
    fn last(&self) -> Option<Vec<u8>> {
        self.items.last().map(|(key, _)| key.clone())
    }
}

impl Mirror {
    /// Begins a copy in the store that `open` opens, more than once.
    pub(crate) fn begin(open: OpenStore) -> Result<Self, StoreError> {
        let to = Some(open()?);
        let (behind, damaged, stage) = (Vec::new(), Vec::new(), Stage::Copying(None));
        Ok(Self { open, to, behind, stage, damaged, failed: None })
    }

    /// Copies, or compares, a page, and says whether that was the last. After a failure the copy is of
    /// no use.
    pub(crate) fn step(&mut self, from: &dyn VaultStore) -> Result<bool, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match &mut self.stage {
            Stage::Copying(after) => {
                let page = page(from, after.as_deref(), &mut self.damaged)?;
                let (last, is_last) = (page.last(), page.is_last);
                self.write(page)?;
                self.stage = Stage::Copying(last);
                if is_last {
                    let reopening = Reopening::begin(self.to.take(), self.open.clone())?;
                    self.stage = Stage::Reopening(reopening);
                }
                Ok(false)
            }
            Stage::Reopening(reopening) => {
                if reopening.is_over() {
                    let mut to = reopening.take()?;
                    for batch in self.behind.drain(..) {
                        to.commit(&batch)?;
                    }
                    self.to = Some(to);
                    self.stage = Stage::Comparing(None);
                }
                Ok(false)
            }
            Stage::Comparing(after) => {
                let after = after.take();
                let expected = page(from, after.as_deref(), &mut Vec::new())?;
                let found = page(self.store()?, after.as_deref(), &mut Vec::new())?;
                if found.items != expected.items {
                    let differs = "a copy differs from what was copied".to_owned();
                    return Err(StoreError::Damaged(differs));
                }
                self.stage = Stage::Comparing(found.last());
                Ok(expected.is_last)
            }
        }
    }

    /// Does with the copy what was just done with the store, as far as it is copied.
    pub(crate) fn follow(&mut self, batch: &StoreBatch) {
        let mut known = StoreBatch::default();
        for write in batch.writes.iter().filter(|write| self.has_reached(&write.key)) {
            known.write(write.key.clone(), write.expect, write.to.clone());
        }
        if known.is_empty() {
            return;
        }
        match &mut self.to {
            Some(to) => {
                if let Err(error) = to.commit(&known) {
                    self.failed.get_or_insert(error);
                }
            }
            None => self.behind.push(known),
        }
    }

    /// The keys of the values that are damaged, as far as they were copied.
    pub(crate) fn damaged(&self) -> &[Vec<u8>] {
        &self.damaged
    }

    /// The copy, once it is done.
    pub(super) fn into_store(self) -> Result<Box<dyn VaultStore>, StoreError> {
        self.to.ok_or_else(not_open)
    }

    fn store(&self) -> Result<&dyn VaultStore, StoreError> {
        self.to.as_deref().ok_or_else(not_open)
    }

    fn write(&mut self, page: Page) -> Result<(), StoreError> {
        let mut batch = StoreBatch::default();
        for (key, stored) in page.items {
            batch.write(key, None, Some(stored));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.to.as_deref_mut().ok_or_else(not_open)?.commit(&batch)
    }

    fn has_reached(&self, key: &[u8]) -> bool {
        match &self.stage {
            Stage::Copying(last) => last.as_deref().is_some_and(|last| key <= last),
            Stage::Reopening(_) | Stage::Comparing(_) => true,
        }
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("to", &self.to).finish_non_exhaustive()
    }
}

fn page(
    store: &dyn VaultStore,
    after: Option<&[u8]>,
    damaged: &mut Vec<Vec<u8>>,
) -> Result<Page, StoreError> {
    let mut page = Page { items: Vec::new(), is_last: true };
    let mut bytes = 0;
    store.scan(b"", after, &mut |key, Scanned { stored, damage }| {
        if damage.is_some() {
            damaged.push(key.to_vec());
        }
        bytes += key.len() + stored.value.len();
        page.items.push((key.to_vec(), stored));
        page.is_last = page.items.len() < MOST_ITEMS && bytes < MOST_BYTES;
        if page.is_last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(page)
}

fn not_open() -> StoreError {
    StoreError::Poisoned("a copy of it could not be opened again".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::MemoryStore;
    use super::super::contract::{everything, put, stored};
    use super::*;

    fn of(items: u32) -> MemoryStore {
        let mut store = MemoryStore::default();
        for item in 0..items {
            let length = usize::try_from(item * 37 % 20_000).expect("small");
            let value = stored(u64::from(item), &vec![1; length]);
            put(&mut store, &item.to_be_bytes(), None, value).expect("a commit");
        }
        store
    }

    fn into(to: &MemoryStore) -> Mirror {
        let to = to.clone();
        Mirror::begin(Arc::new(move || Ok(Box::new(to.clone())))).expect("a store")
    }

    #[test]
    fn a_copy_of_any_size_is_the_same() {
        for items in [0, 1, 255, 256, 257, 1_000] {
            let (from, to) = (of(items), MemoryStore::default());
            let mut mirror = into(&to);
            while !mirror.step(&from).expect("a step") {}
            assert_eq!(everything(&to, b""), everything(&from, b""));
        }
    }

    #[test]
    fn what_is_committed_between_two_pages_is_in_the_copy_and_nothing_else() {
        let (mut from, to) = (of(2_000), MemoryStore::default());
        let mut mirror = into(&to);
        let mut version = 10_000;
        while !mirror.step(&from).expect("a step") {
            version += 1;
            let mut batch = StoreBatch::default();
            // What was copied already, what was not, what is new, and what goes.
            for key in [3_u32, 1_900, 5_000 + u32::try_from(version).expect("small")] {
                let key = key.to_be_bytes();
                let standing = from.version(&key).expect("a version");
                batch.write(key.to_vec(), standing, Some(stored(version, b"new")));
            }
            let gone = u32::try_from(version % 2_000).expect("small").to_be_bytes();
            let standing = from.version(&gone).expect("a version");
            if !batch.writes.iter().any(|write| write.key == gone) {
                batch.write(gone.to_vec(), standing, None);
            }
            from.commit(&batch).expect("a commit");
            mirror.follow(&batch);
            assert!(version < 20_000, "it comes to an end");
        }
        assert_eq!(everything(&to, b""), everything(&from, b""));
    }

    #[test]
    fn the_store_is_used_as_ever_while_the_copy_is_opened_again() {
        let (mut from, to) = (of(600), MemoryStore::default());
        let (opened, may_open) = std::sync::mpsc::channel();
        let may_open = std::sync::Mutex::new(may_open);
        opened.send(()).expect("the first opening");
        let copy = to.clone();
        let mut mirror = Mirror::begin(Arc::new(move || {
            may_open.lock().expect("a lock").recv().expect("the test lives");
            Ok(Box::new(copy.clone()))
        }))
        .expect("a store");
        while !matches!(mirror.stage, Stage::Reopening(_)) {
            assert_eq!(mirror.step(&from), Ok(false));
        }
        for version in 1_000..1_010 {
            assert_eq!(mirror.step(&from), Ok(false), "no step waits for the opening");
            let mut batch = StoreBatch::default();
            let standing = from.version(&[0; 4]).expect("a version");
            batch.write(vec![0; 4], standing, Some(stored(version, b"new")));
            from.commit(&batch).expect("a commit");
            mirror.follow(&batch);
        }
        assert!(matches!(mirror.stage, Stage::Reopening(_)));
        opened.send(()).expect("the second opening");
        while !mirror.step(&from).expect("a step") {}
        assert_eq!(everything(&to, b""), everything(&from, b""));
    }

    #[test]
    fn nothing_is_copied_over_something() {
        assert_eq!(into(&of(2)).step(&of(3)), Err(StoreError::Conflict));
    }

    #[test]
    fn a_difference_is_found() {
        let (from, mut to) = (of(600), MemoryStore::default());
        let mut mirror = into(&to);
        while !matches!(mirror.stage, Stage::Comparing(_)) {
            mirror.step(&from).expect("a step");
        }
        let last = 599_u32.to_be_bytes();
        put(&mut to, &last, Some(599), stored(599, b"else")).expect("a commit");
        let differs = loop {
            match mirror.step(&from) {
                Ok(done) => assert!(!done),
                Err(error) => break error,
            }
        };
        assert!(matches!(differs, StoreError::Damaged(_)));
    }

    #[test]
    fn a_copy_that_could_not_follow_is_of_no_use() {
        let (from, mut to) = (of(600), MemoryStore::default());
        let mut mirror = into(&to);
        mirror.step(&from).expect("a step");
        put(&mut to, &[0; 4], Some(0), stored(77, b"else")).expect("a commit");
        let mut batch = StoreBatch::default();
        batch.write(vec![0; 4], Some(0), Some(stored(700, b"new")));
        mirror.follow(&batch);
        assert_eq!(mirror.step(&from), Err(StoreError::Conflict));
    }
}
