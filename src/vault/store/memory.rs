//! A store in memory, for tests and for runtimes that keep nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Scanned, StoreBatch, StoreError, StoreHealth, Stored, VaultStore, Visit, check_sizes,
    scan_start,
};

/// Keeps everything in memory. Clones share what is kept, so that a clone is what a file is to
/// the store on disk: the thing that is opened again.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore {
    kept: Arc<Mutex<BTreeMap<Vec<u8>, Stored>>>,
}

impl VaultStore for MemoryStore {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        check_sizes(batch)?;
        // No write below can fail half way, so what a poisoned lock guards is whole.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |key: &[u8], expect| kept.get(key).map(|stored| stored.version) == expect;
        if !batch.writes.iter().all(|write| holds(&write.key, write.expect)) {
            return Err(StoreError::Conflict);
        }
        for write in &batch.writes {
            match &write.to {
                Some(to) => kept.insert(write.key.clone(), to.clone()),
                None => kept.remove(&write.key),
            };
        }
        Ok(())
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.get(key).cloned())
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.get(key).map(|stored| stored.version))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded));
        for (key, stored) in found.take_while(|(key, _)| key.starts_with(prefix)) {
            if visit(key, Scanned { stored: stored.clone(), damage: None }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        Ok(StoreHealth::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[test]
    fn the_store_in_memory_keeps_the_contract() {
        contract::holds(|| {
            let store = MemoryStore::default();
            move || Box::new(store.clone())
        });
    }
}
