//! Someone who can write the vault's files but has no key, exhaustively: whatever is done to them is
//! found or harmless. There is never a wrong answer, never a missing one, never a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::vault::head::HEAD_KEY;
use crate::vault::opened::OpenVault;
use crate::vault::store::contract::everything;

/// Everything that a store holds.
type Snapshot = BTreeMap<Vec<u8>, Stored>;

/// A closed vault in memory, and what its store held after each commit.
struct Victim {
    store: MemoryStore,
    history: Vec<(Snapshot, Written)>,
}

/// What was last written under each name.
type Written = BTreeMap<&'static str, &'static str>;

const NAMES: [&str; 3] = ["one", "two", "three"];

impl Victim {
    /// Three records, each written three times, under two data keys.
    fn new() -> Self {
        let mut victim = Self { store: MemoryStore::default(), history: Vec::new() };
        let mut vault = victim.open().expect("a vault");
        let mut written = Written::new();
        for round in ["first", "second", "third"] {
            for name in NAMES {
                let batch = put(&key("ada", name), round.as_bytes(), Expect::Anything);
                vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
                written.insert(name, round);
                victim.history.push((victim.snapshot(), written.clone()));
            }
            if round == "second" {
                vault.rotate_data_key().expect("rotated");
                victim.history.push((victim.snapshot(), written.clone()));
            }
        }
        victim
    }

    fn open(&self) -> Result<OpenVault, VaultError> {
        let store = self.store.clone();
        let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
        let vault = Vault { place: settings::Place::Other("memory", open), ..Vault::in_memory() };
        OpenVault::open(&vault, Sources::system(), Arc::new(|_| {}))
    }

    fn snapshot(&self) -> Snapshot {
        everything(&self.store, b"").into_iter().collect()
    }

    /// Lets the store hold exactly this.
    fn set(&self, to: &Snapshot) {
        let now = self.snapshot();
        let mut batch = StoreBatch::default();
        for key in now.keys().chain(to.keys().filter(|key| !now.contains_key(*key))) {
            let standing = now.get(key).map(|stored| stored.version);
            batch.write(key.clone(), standing, to.get(key).cloned());
        }
        self.store.clone().commit(&batch).expect("a commit");
    }

    /// What is read is what was written last, or nothing is read. As of when, the head says: if that
    /// was put back, the vault is the older one as far as its files agree with it, and they have to.
    fn gives_no_wrong_answer(&self, attack: &str) {
        // Before it is opened, since what is rebuilt is written with a head.
        let head = self.store.read(HEAD_KEY).expect("a read");
        let Ok(mut vault) = self.open() else { return };
        let of_head = |(state, _): &&(Snapshot, Written)| state.get(HEAD_KEY) == head.as_ref();
        let (_, written) = self.history.iter().find(of_head).expect("a head that opens");
        gives_no_wrong_answer(&mut vault, written, attack);
    }

    /// Carries each attack out on the vault as it is, and looks what comes of it.
    fn survives(&self, attacks: impl IntoIterator<Item = (String, Snapshot)>) {
        let whole = self.snapshot();
        for (attack, to) in attacks {
            self.set(&to);
            self.gives_no_wrong_answer(&attack);
            self.set(&whole);
        }
        let mut vault = self.open().expect("a vault");
        for name in NAMES {
            assert!(vault.read(&key("ada", name)).expect("a read").is_some(), "all is well again");
        }
    }
}

fn gives_no_wrong_answer(vault: &mut OpenVault, written: &Written, attack: &str) {
    for name in NAMES {
        match vault.read(&key("ada", name)) {
            Ok(record) => {
                let found = record.as_ref().map(|record| record.payload.as_slice());
                let expected = written.get(name).map(|text| text.as_bytes());
                assert_eq!(found, expected, "{attack}: {name}");
            }
            Err(error) => assert!(error.is_quarantined(), "{attack}: {error}"),
        }
        // What was found is not overwritten unknowingly.
        if vault.read(&key("ada", name)).is_err() {
            let over = put(&key("ada", name), b"over it", Expect::Anything);
            let refused = vault.commit(vec![over]).verdicts.remove(0);
            assert!(refused.is_err_and(|error| error.is_quarantined()), "{attack}: {name}");
        }
    }
}

#[test]
fn no_byte_of_anything_can_be_changed() {
    let victim = Victim::new();
    let whole = victim.snapshot();
    let attacks = whole.iter().flat_map(|(key, stored)| {
        let whole = &whole;
        (0..stored.value.len()).map(move |at| {
            let mut changed = whole.clone();
            changed.get_mut(key).expect("it is there").value[at] ^= 1;
            (format!("byte {at} of {key:02x?}"), changed)
        })
    });
    victim.survives(attacks);
}

#[test]
fn nothing_can_be_cut_short_or_removed() {
    let victim = Victim::new();
    let whole = victim.snapshot();
    let attacks = whole.iter().flat_map(|(key, stored)| {
        let whole = &whole;
        let cut = (0..stored.value.len()).step_by(7).map(move |at| {
            let mut changed = whole.clone();
            changed.get_mut(key).expect("it is there").value.truncate(at);
            (format!("{key:02x?} cut to {at} bytes"), changed)
        });
        let mut without = whole.clone();
        without.remove(key);
        cut.chain([(format!("{key:02x?} removed"), without)])
    });
    victim.survives(attacks);
}

#[test]
fn no_two_things_can_be_swapped() {
    let victim = Victim::new();
    let whole = victim.snapshot();
    let pairs = whole.keys().flat_map(|one| whole.keys().map(move |two| (one, two)));
    let attacks = pairs.filter(|(one, two)| one < two).flat_map(|(one, two)| {
        let swapped = |versions: bool| {
            let mut changed = whole.clone();
            let (first, second) = (whole[one].clone(), whole[two].clone());
            let (of_first, of_second) = (first.version, second.version);
            let kept = |stored: Stored, version| {
                if versions { stored } else { Stored { version, ..stored } }
            };
            changed.insert(one.clone(), kept(second, of_first));
            changed.insert(two.clone(), kept(first, of_second));
            (format!("{one:02x?} and {two:02x?} swapped"), changed)
        };
        [swapped(true), swapped(false)]
    });
    victim.survives(attacks.collect::<Vec<_>>());
}

#[test]
fn nothing_older_can_be_put_back_beside_a_newer_head() {
    let victim = Victim::new();
    let whole = victim.snapshot();
    let keys: Vec<&Vec<u8>> = whole.keys().collect();
    let mut attacks = Vec::new();
    for (age, (older, _)) in victim.history.iter().enumerate() {
        // Every choice of things to put back together.
        for choice in 1..(1_u32 << keys.len()) {
            let mut changed = whole.clone();
            for (at, key) in keys.iter().enumerate() {
                if choice & (1 << at) != 0 {
                    match older.get(*key) {
                        Some(stored) => changed.insert((*key).clone(), stored.clone()),
                        None => changed.remove(*key),
                    };
                }
            }
            if changed != whole {
                attacks.push((format!("{choice:b} of state {age} put back"), changed));
            }
        }
    }
    victim.survives(attacks);
}

/// A vault on disk, and what its files hold while it is closed.
struct Files {
    engine: Engine,
    whole: BTreeMap<PathBuf, Vec<u8>>,
}

impl Files {
    /// Three records, each written twice, some in several parts; rewritten since, if so asked.
    fn of(engine: Engine, rewritten: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut vault = Self::open(directory.path(), engine).expect("a vault");
        for round in ["old", "new"] {
            for name in NAMES {
                let batch = put(&key("ada", name), &content(round, name), Expect::Anything);
                vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
            }
        }
        if rewritten {
            vault.erase_user(&user("bob")).expect("rewritten");
        }
        drop(vault);
        Self { engine, whole: files(directory.path()) }
    }

    /// A vault that is missing may be created, as by default.
    fn open(directory: &Path, engine: Engine) -> Result<OpenVault, VaultError> {
        let vault = on_disk(directory).engine(engine);
        OpenVault::open(&vault, Sources::system(), Arc::new(|_| {}))
    }

    /// Opens the vault when `file` was cut to `cut` bytes, or removed. It says that it is damaged, or holds
    /// what it held.
    fn attack(&self, file: &Path, cut: Option<usize>) {
        let copy = tempfile::tempdir().expect("a directory");
        for (name, bytes) in &self.whole {
            let to = copy.path().join(name);
            std::fs::create_dir_all(to.parent().expect("a directory")).expect("created");
            let kept = if name == file { cut } else { Some(bytes.len()) };
            if let Some(kept) = kept {
                std::fs::write(to, &bytes[..kept]).expect("a copy");
            }
        }
        let length = self.whole[file].len();
        let attack = format!("{}: {}: {cut:?} of {length} bytes", self.engine, file.display());
        // What an opening did to the files must not make the next one take them for another vault.
        for again in [false, true] {
            let attack = format!("{attack}, opened again: {again}");
            match Self::open(copy.path(), self.engine) {
                Ok(mut vault) => {
                    for name in NAMES {
                        let record = vault.read(&key("ada", name));
                        let record = record.unwrap_or_else(|error| panic!("{attack}: {error}"));
                        let record = record.unwrap_or_else(|| panic!("{attack}: {name} is gone"));
                        assert!(*record.payload == content("new", name), "{attack}: {name}");
                    }
                }
                Err(error) => assert!(error.is_damaged(), "{attack}: {error:?}"),
            }
        }
    }
}

/// What stands in a record: short, a page long, or of several parts.
fn content(round: &str, name: &str) -> Vec<u8> {
    round
        .repeat(match name {
            "one" => 1,
            "two" => 1_000,
            _ => 4_000,
        })
        .into_bytes()
}

fn no_file_can_be_cut_short_or_removed(engine: Engine) {
    for rewritten in [false, true] {
        let files = Files::of(engine, rewritten);
        assert!(files.whole.len() >= 4, "the lock, the mark, the reserve and the data");
        for (file, bytes) in &files.whole {
            let length = bytes.len();
            let cuts = (0..16).map(|part| length * part / 16);
            let cuts: BTreeSet<usize> =
                cuts.chain([1, 8, 512, 4_096, length.saturating_sub(1)]).collect();
            for cut in cuts.into_iter().filter(|cut| *cut < length) {
                files.attack(file, Some(cut));
            }
            files.attack(file, None);
        }
    }
}

#[test]
fn no_file_of_sled_s_can_be_cut_short_or_removed_unnoticed() {
    no_file_can_be_cut_short_or_removed(Engine::Sled);
}

#[cfg(feature = "redb")]
#[test]
fn no_file_of_redb_s_can_be_cut_short_or_removed_unnoticed() {
    no_file_can_be_cut_short_or_removed(Engine::Redb);
}

/// Every file below `directory`, by its path from there.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("below it").to_owned();
                files.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    files
}
