//! A machine whose power can be cut at any step that the store tells of. Until a file is synced, any
//! part of what was written may be missing; until a directory is synced, its entries may be any that
//! it had since it was synced last.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::super::steps;
use super::{Noise, Tear};

/// What the disk holds after one cut.
pub(crate) struct Cut {
    /// A copy of the directory that was watched.
    pub(crate) path: PathBuf,
    /// The step before the cut.
    pub(crate) step: String,
    /// How many promises had been given.
    pub(crate) promised: usize,
}

/// Counts the promises that were given, each of which the disk has to keep from then on.
pub(crate) struct Promises(Arc<Mutex<Machine>>);

impl Promises {
    pub(crate) fn give(&self) {
        let mut machine = self.0.lock().expect("no panic");
        machine.promised += 1;
        machine.cut("promised");
    }
}

/// Does `work` in the directory `root`, and cuts the power after every step. What each cut leaves is
/// put in a directory beneath `copies`.
pub(crate) fn cut_at_every_step(
    root: &Path,
    copies: &Path,
    noise: &mut Noise,
    work: impl FnOnce(&Promises),
) -> Vec<Cut> {
    let mut machine = Machine {
        root: root.to_owned(),
        copies: copies.to_owned(),
        disk: Disk::default(),
        noise: std::mem::replace(noise, Noise::new()),
        promised: 0,
        cuts: Vec::new(),
    };
    // Whatever is there at the beginning is durable.
    machine.disk.look(root);
    machine.disk.sync_all();
    let machine = Arc::new(Mutex::new(machine));
    let log = tracing_subscriber::registry().with(Watching(machine.clone()));
    tracing::subscriber::with_default(log, || {
        // Tests on other threads, where nobody listens, may have made the step be passed over.
        steps::done(steps::WRITTEN, root);
        tracing::callsite::rebuild_interest_cache();
        work(&Promises(machine.clone()));
    });
    let mut machine = machine.lock().expect("no panic");
    *noise = std::mem::replace(&mut machine.noise, Noise::new());
    std::mem::take(&mut machine.cuts)
}

/// Sees what the store tells.
struct Watching(Arc<Mutex<Machine>>);

impl<S: tracing::Subscriber> Layer<S> for Watching {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "tokenward::vault::disk" {
            let mut told = Told::default();
            event.record(&mut told);
            self.0.lock().expect("no panic").step(&told.step, Path::new(&told.path));
        }
    }
}

#[derive(Default)]
struct Told {
    step: String,
    path: String,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            value.clone_into(&mut self.step);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "path" {
            self.path = format!("{value:?}");
        }
    }
}

struct Machine {
    root: PathBuf,
    copies: PathBuf,
    disk: Disk,
    noise: Noise,
    promised: usize,
    cuts: Vec<Cut>,
}

impl Machine {
    fn step(&mut self, step: &str, path: &Path) {
        self.disk.look(&self.root);
        if step == steps::SYNCED {
            self.disk.sync(path);
        } else if step == steps::ENTRIES_SYNCED {
            self.disk.sync_entries(path);
        }
        self.cut(&format!("{step} {}", path.display()));
    }

    fn cut(&mut self, step: &str) {
        self.disk.look(&self.root);
        let path = self.copies.join(self.cuts.len().to_string());
        let tear = match self.noise.below(4) {
            0 => Tear { share: 0, in_order: true },
            1 => Tear { share: 100, in_order: true },
            _ => Tear::random(&mut self.noise),
        };
        self.disk.write(&id(&self.root).expect("it is there"), &path, &tear, &mut self.noise);
        self.cuts.push(Cut { path, step: step.to_owned(), promised: self.promised });
    }
}

/// A file or a directory, whatever it is called: numbers are given anew after a removal.
type Id = (u64, Option<SystemTime>);

/// The entries of a directory, each with whether it is one itself.
type Listing = BTreeMap<OsString, (Id, bool)>;

#[derive(Default)]
struct Disk {
    /// What is durable of each file.
    durable: HashMap<Id, Vec<u8>>,
    /// What was seen last of each file.
    seen: HashMap<Id, Vec<u8>>,
    /// The entries of each directory: those that are durable, and what they were since, in order.
    listings: HashMap<Id, Vec<Listing>>,
}

impl Disk {
    /// Sees what there is in `directory`.
    fn look(&mut self, directory: &Path) {
        let (Some(own), Ok(entries)) = (id(directory), fs::read_dir(directory)) else { return };
        let mut listing = Listing::new();
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let id = id_of(&metadata);
            if metadata.is_dir() {
                self.look(&path);
            } else {
                // A thread of the engine may just have removed it.
                let Ok(content) = fs::read(&path) else { continue };
                if is_synced_by_sled(&entry.file_name().to_string_lossy()) {
                    self.durable.insert(id, content.clone());
                }
                self.seen.insert(id, content);
            }
            listing.insert(entry.file_name(), (id, metadata.is_dir()));
        }
        let known = self.listings.entry(own).or_insert_with(|| vec![Listing::new()]);
        if known.last() != Some(&listing) {
            known.push(listing);
        }
    }

    fn sync_all(&mut self) {
        self.durable.clone_from(&self.seen);
        self.listings.values_mut().for_each(|listings| drop(listings.drain(..listings.len() - 1)));
    }

    /// What stands at `path`, or in the directory there, is durable.
    fn sync(&mut self, path: &Path) {
        let Some(own) = id(path) else { return };
        let files: Vec<Id> = match self.listings.get(&own).and_then(|listings| listings.last()) {
            Some(listing) => listing.values().map(|(id, _)| *id).collect(),
            None => vec![own],
        };
        for file in files {
            if let Some(seen) = self.seen.get(&file) {
                self.durable.insert(file, seen.clone());
            }
        }
    }

    fn sync_entries(&mut self, path: &Path) {
        if let Some(listings) = id(path).and_then(|own| self.listings.get_mut(&own)) {
            listings.drain(..listings.len() - 1);
        }
    }

    /// Writes to `to` what is found of the directory `own` after a cut.
    fn write(&self, own: &Id, to: &Path, tear: &Tear, noise: &mut Noise) {
        fs::create_dir_all(to).expect("a directory");
        let Some(listings) = self.listings.get(own) else { return };
        let newest = listings.len() - 1;
        let at = match tear.share {
            0 => 0,
            100 => newest,
            _ => noise.below(newest + 1),
        };
        for (name, (id, is_directory)) in &listings[at] {
            let to = to.join(name);
            if *is_directory {
                self.write(id, &to, tear, noise);
            } else {
                let of = |files: &HashMap<Id, Vec<u8>>| files.get(id).cloned().unwrap_or_default();
                let torn = tear.apply(&of(&self.durable), &of(&self.seen), noise);
                fs::write(to, torn).expect("written");
            }
        }
    }
}

/// sled writes these aside, syncs them, and moves them to where they belong.
fn is_synced_by_sled(name: &str) -> bool {
    name == "conf" || name.starts_with("snap.")
}

fn id(path: &Path) -> Option<Id> {
    fs::symlink_metadata(path).ok().map(|metadata| id_of(&metadata))
}

fn id_of(metadata: &Metadata) -> Id {
    (metadata.ino(), metadata.created().ok())
}

mod tests {
    use super::super::super::directory::replace;
    use super::*;

    const OLD: &[u8] = &[1; 20_000];
    const NEW: &[u8] = &[2; 20_000];

    /// What is in the file after each of many cuts of `work`.
    fn after_cuts(work: impl Fn(&Path)) -> Vec<Vec<u8>> {
        let mut noise = Noise::new();
        let folder = tempfile::tempdir().expect("a folder");
        let live = folder.path().join("live");
        fs::create_dir(&live).expect("a folder");
        let mut found = Vec::new();
        for round in 0..20 {
            fs::write(live.join("file"), OLD).expect("written");
            let copies = folder.path().join(round.to_string());
            let cuts = cut_at_every_step(&live, &copies, &mut noise, |_| work(&live));
            found.extend(cuts.iter().map(|cut| fs::read(cut.path.join("file")).expect("there")));
        }
        found
    }

    #[test]
    fn what_is_synced_before_it_is_moved_is_whole() {
        let found = after_cuts(|live| replace(&live.join("file"), NEW).expect("replaced"));
        assert!(found.iter().any(|content| content == OLD));
        assert!(found.iter().any(|content| content == NEW));
        assert!(found.iter().all(|content| content == OLD || content == NEW));
    }

    #[test]
    fn what_is_moved_without_being_synced_is_torn_at_times() {
        let found = after_cuts(|live| {
            fs::write(live.join("new"), NEW).expect("written");
            fs::rename(live.join("new"), live.join("file")).expect("moved");
            steps::done(steps::RENAMED, &live.join("file"));
        });
        assert!(found.iter().any(|content| content != OLD && content != NEW));
    }
}
