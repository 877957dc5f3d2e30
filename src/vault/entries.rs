//! Reading the index entries when a vault is opened: each is opened, its seal verified, and counted as
//! the head counts it. Where there are many, several threads read a range of names each.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

use super::error::VaultError;
use super::head::{Digest, DigestKey};
use super::index::{Filling, Meta, MetaError};
use super::keys::KeyRing;
use super::names::{BlindName, ENTRIES, EntryRange};
use super::opened::open_stored;
use super::record::RecordVersion;
use super::seal::{Header, VaultId};
use super::store::{Scanned, Stored, VaultStore};

/// How many entries the opener's thread reads before it asks others to read with it. A vault that has
/// no more of them starts no thread.
const FEW: usize = 1_000;

/// The most threads that read.
const MOST_THREADS: usize = 4;

/// What index entries were found to say.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Those that open.
    pub(super) filling: Filling,
    /// What the head says when it counts those that open.
    pub(super) digest: Digest,
    /// The names of those that do not open.
    pub(super) unopened: BTreeSet<BlindName>,
}

impl Entries {
    /// Adds what was found in names that all come after these.
    fn append(&mut self, other: Self) {
        self.filling.append(other.filling);
        self.digest.toggle_all(other.digest);
        self.unopened.extend(other.unopened);
    }
}

/// Reads the index entries of a vault that is being opened.
pub(super) struct EntryReader<'a> {
    store: &'a dyn VaultStore,
    keys: &'a KeyRing,
    vault: &'a VaultId,
    digest_key: DigestKey,
}

impl<'a> EntryReader<'a> {
    /// Of the vault `vault` with `keys`, which is kept in `store`.
    pub(super) fn new(store: &'a dyn VaultStore, keys: &'a KeyRing, vault: &'a VaultId) -> Self {
        Self { store, keys, vault, digest_key: DigestKey::new(&keys.name_key) }
    }

    /// Reads all of them. Fails with what comes first in the order of names: a store that can not be
    /// read, or an entry that a newer release wrote.
    pub(super) fn read(&self) -> Result<Entries, VaultError> {
        match self.threads() {
            1 => self.read_range(&EntryRange::ALL),
            threads => self.read_shared(FEW, threads),
        }
    }

    /// How many threads are to read where there are many entries.
    fn threads(&self) -> usize {
        if !self.store.is_faster_at_once() {
            return 1;
        }
        thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS)
    }

    /// Reads `few` of them, and then the others, if there are any, on `threads` threads, of which this
    /// is one.
    pub(super) fn read_shared(&self, few: usize, threads: usize) -> Result<Entries, VaultError> {
        let mut entries = Entries::default();
        let Some(last) = self.read_some(&EntryRange::ALL, few, &mut entries)? else {
            return Ok(entries);
        };
        let ranges = EntryRange::behind(&last, threads);
        let Some((first, others)) = ranges.split_first() else { return Ok(entries) };
        thread::scope(|scope| {
            let read_on_thread = |range| {
                let thread = Builder::new().name("tokenward-opening".to_owned());
                (range, thread.spawn_scoped(scope, move || self.read_range(range)))
            };
            let readings: Vec<_> = others.iter().map(read_on_thread).collect();
            self.read_some(first, usize::MAX, &mut entries)?;
            for (range, reading) in readings {
                entries.append(match reading {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                    // There are no more threads to be had.
                    Err(_) => self.read_range(range)?,
                });
            }
            Ok(entries)
        })
    }

    /// Reads those in `range`.
    fn read_range(&self, range: &EntryRange) -> Result<Entries, VaultError> {
        let mut entries = Entries::default();
        self.read_some(range, usize::MAX, &mut entries)?;
        Ok(entries)
    }

    /// Adds those in `range` to `entries`, until there are no more or `most` were read, which is not none.
    /// Gives the name of the last one if there may be more.
    fn read_some(
        &self,
        range: &EntryRange,
        most: usize,
        entries: &mut Entries,
    ) -> Result<Option<BlindName>, VaultError> {
        let (mut read, mut outcome) = (0, Ok(None));
        self.store.scan(ENTRIES, range.after(), &mut |key, Scanned { stored, .. }| {
            if range.ends_before(key) {
                return ControlFlow::Break(());
            }
            let Some(name) = BlindName::of_stored(key) else { return ControlFlow::Continue(()) };
            read += 1;
            outcome = match self.add(key, name, &stored, entries) {
                Ok(()) if read < most => return ControlFlow::Continue(()),
                Ok(()) => Ok(Some(name)),
                // It is sealed, so no damage looks like this.
                Err(error) => Err(VaultError::newer_format(format!(
                    "an index entry of the vault can not be used, update tokenward: {error}"
                ))),
            };
            ControlFlow::Break(())
        })?;
        outcome
    }

    /// Adds the entry `name`, of which `stored` stands under `key`. Fails when a newer release wrote it.
    fn add(
        &self,
        key: &[u8],
        name: BlindName,
        stored: &Stored,
        entries: &mut Entries,
    ) -> Result<(), MetaError> {
        let version = RecordVersion(stored.version);
        // What is left of a damaged one does not open, as all that is sealed.
        let plain = open_stored(self.keys, self.vault, key, version, stored);
        match (plain.map(|plain| Meta::parse(&plain)), Header::of(&stored.value)) {
            (Ok(Ok(meta)), Ok(sealed)) => {
                entries.digest.toggle(&self.digest_key, &name, version);
                entries.filling.add(name, meta.into_slot(version, sealed.key_id));
            }
            (Ok(Err(error @ MetaError::Newer(_))), _) => return Err(error),
            _ => drop(entries.unopened.insert(name)),
        }
        Ok(())
    }
}
