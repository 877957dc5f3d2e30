//! Copying what one store keeps into another, which is empty, and comparing the two.

use std::ops::ControlFlow;

use ring::digest::{Context, Digest, SHA256};

use super::{Scanned, StoreBatch, StoreError, VaultStore};

/// The most items and bytes that are written at once.
const MOST_ITEMS: usize = 256;
const MOST_BYTES: usize = 1024 * 1024;

/// Copies everything that `from` keeps to `to`, byte for byte, and reads it again. Of a value that is
/// damaged, what is left is copied: it opens there as little as here, and is not taken for absent.
pub(crate) fn copy(from: &dyn VaultStore, to: &mut dyn VaultStore) -> Result<(), StoreError> {
    let mut batch = StoreBatch::default();
    let mut bytes = 0;
    let mut outcome = Ok(());
    from.scan(b"", None, &mut |key, Scanned { stored, damage }| {
        if let Some(damage) = damage {
            tracing::error!(
                damage,
                "the store holds a damaged value, what is left of it is copied"
            );
        }
        bytes += key.len() + stored.value.len();
        batch.write(key.to_vec(), None, Some(stored));
        if batch.writes.len() >= MOST_ITEMS || bytes >= MOST_BYTES {
            outcome = to.commit(&batch);
            (batch, bytes) = (StoreBatch::default(), 0);
        }
        // The rest would only fill memory.
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome?;
    if !batch.is_empty() {
        to.commit(&batch)?;
    }
    compare(from, to)
}

/// Checks that two stores keep the same.
pub(super) fn compare(one: &dyn VaultStore, two: &dyn VaultStore) -> Result<(), StoreError> {
    if fingerprint(one)?.as_ref() == fingerprint(two)?.as_ref() {
        Ok(())
    } else {
        Err(StoreError::Damaged("a copy differs from what was copied".to_owned()))
    }
}

fn fingerprint(store: &dyn VaultStore) -> Result<Digest, StoreError> {
    let mut context = Context::new(&SHA256);
    store.scan(b"", None, &mut |key, Scanned { stored, .. }| {
        for part in [key, &stored.version.to_be_bytes(), &stored.value] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        ControlFlow::Continue(())
    })?;
    Ok(context.finish())
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryStore, Stored};
    use super::*;

    fn of(items: u32) -> MemoryStore {
        let mut store = MemoryStore::default();
        for item in 0..items {
            let mut batch = StoreBatch::default();
            let length = usize::try_from(item * 37 % 20_000).expect("small");
            let stored = Stored { version: u64::from(item), value: vec![1; length] };
            batch.write(item.to_be_bytes().to_vec(), None, Some(stored));
            store.commit(&batch).expect("a commit");
        }
        store
    }

    #[test]
    fn a_copy_of_any_size_is_the_same() {
        for items in [0, 1, 255, 256, 257, 1_000] {
            let (from, mut to) = (of(items), MemoryStore::default());
            copy(&from, &mut to).expect("a copy");
            compare(&from, &to).expect("the same");
        }
    }

    #[test]
    fn nothing_is_copied_over_something() {
        assert_eq!(copy(&of(3), &mut of(2)), Err(StoreError::Conflict));
    }

    #[test]
    fn a_difference_is_found() {
        let differs = compare(&of(3), &of(4));
        assert!(matches!(differs, Err(StoreError::Damaged(_))));
    }
}
