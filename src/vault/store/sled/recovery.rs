//! Opening sled: what it can not do by itself after a kill or on damaged files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::super::directory::{copy_all, remove, rename, sync_entries};
use super::super::guard::guarded_opening;
use super::{damaged_path, translate, unfinished_copy_path};
use crate::vault::store::StoreError;

/// What sled may keep of its pages in memory; it takes up to 2.5 times as much.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How often sled writes out and syncs what is left over.
const FLUSH_EVERY_MS: u64 = 500;

/// Opens sled; if what it finds is damaged, sets a copy aside and tries once more without
/// snapshots, which only speed an opening up.
pub(super) fn open_or_recover(data: &Path) -> Result<sled::Db, StoreError> {
    remove_snapshots(data, |name| name.ends_with(".generating"))?;
    let reason = match open_sled(data) {
        Err(StoreError::Damaged(reason)) => reason,
        other => return other,
    };
    let aside = damaged_path(data);
    set_aside(data, &aside)?;
    tracing::error!(
        reason,
        copy = %aside.display(),
        "vault store does not open, trying without snapshots"
    );
    remove_snapshots(data, |_| true)?;
    open_sled(data)
}

/// Copies `data` to `aside`, whole or not at all, unless that was done before.
fn set_aside(data: &Path, aside: &Path) -> Result<(), StoreError> {
    let copy = unfinished_copy_path(data);
    // A copy that was cut off is none.
    remove(&copy)?;
    if !aside.exists() {
        copy_all(data, &copy)?;
        rename(&copy, aside)?;
        aside.parent().map_or(Ok(()), sync_entries)?;
    }
    Ok(())
}

/// Opens sled. A former opening by this process may still be winding down in sled's threads, which
/// give no notice when they let go of the file; the lock around it proves that it is no one else.
fn open_sled(data: &Path) -> Result<sled::Db, StoreError> {
    const TRIES: usize = 500;
    let config = sled::Config::new()
        .path(data)
        .use_compression(false)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    for _ in 0..TRIES {
        match guarded_opening(|| config.open())? {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            other => return other.map_err(translate),
        }
    }
    Err(StoreError::Locked(data.display().to_string()))
}

/// Removes the snapshots whose file name `which` picks.
fn remove_snapshots(data: &Path, which: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    if !data.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
