//! Engines that panic where they should fail: on damaged files, and after a failure of the disk.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::StoreError;

/// Runs `work` of an engine that is open, and turns a panic into a failure that ends the use of this
/// opening.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StoreError::Poisoned(panic_text(panic.as_ref()))))
}

/// Opens an engine, and takes a panic for what it is there: damage.
pub(super) fn guarded_opening<T>(open: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(open))
        .map_err(|panic| StoreError::Damaged(panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::panic, reason = "as an engine does")]
    fn a_panic_is_told_as_what_it_means() {
        let working: Result<(), _> = guarded(|| panic!("page {} is free", 3));
        assert_eq!(working, Err(StoreError::Poisoned("page 3 is free".to_owned())));
        let opening: Result<(), _> = guarded_opening(|| panic!("no such page"));
        assert_eq!(opening, Err(StoreError::Damaged("no such page".to_owned())));
    }
}
