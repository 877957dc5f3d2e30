//! What was done to the disk, told step by step as events of the target `tokenward::vault::disk`: it
//! is there that tests cut the power and kill the process.

use std::path::Path;

/// What was written to `path` has not to be durable yet.
pub(crate) const WRITTEN: &str = "written";

/// What stands at `path` is durable: a file, or the files that an engine keeps in a directory.
pub(crate) const SYNCED: &str = "synced";

/// Something was moved to `path`, in place of what was there.
pub(crate) const RENAMED: &str = "renamed";

/// The entries of the directory at `path` are durable.
pub(crate) const ENTRIES_SYNCED: &str = "entries-synced";

/// What was at `path` is gone.
pub(crate) const REMOVED: &str = "removed";

/// Tells that `step` was done.
pub(crate) fn done(step: &'static str, path: &Path) {
    tracing::trace!(target: "tokenward::vault::disk", step, path = %path.display());
}
