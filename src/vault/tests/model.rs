//! The opened vault against a map: random groups of batches, reopenings, erasures, rotations of both
//! keys, exports and backups under way, and crashes in the middle of any of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::rotation::{Crashing, new_master};
use super::*;
use crate::vault::opened::OpenVault;

/// What a step of a random batch does and expects; the expectation is made true or not by the
/// model when it is applied.
#[derive(Debug, Clone)]
struct RandomStep {
    key: u8,
    put: Option<Vec<u8>>,
    expect: RandomExpect,
}

#[derive(Debug, Clone, Copy)]
enum RandomExpect {
    Anything,
    Absent,
    Right,
    Wrong,
}

#[derive(Debug, Clone)]
enum Action {
    Commit(Vec<Vec<RandomStep>>),
    Reopen,
    RotateDataKey,
    RotateMasterKey,
    /// Erases one of the two users.
    Erase(u8),
    /// So many steps of what the keys need.
    Upkeep(usize),
    /// After so many commits the store fails, until it is opened again.
    CrashAfter(usize),
    BeginExport,
    /// So many steps of an export, its end included.
    GoOnExporting(usize),
    BeginBackup,
    /// So many steps of a backup.
    GoOnBackingUp(usize),
}

/// A backup is a store on disk, which takes a while: without them more can be tried.
fn actions(backups: bool) -> impl Strategy<Value = Vec<Action>> {
    let exports = prop_oneof![
        1 => Just(Action::BeginExport),
        2 => (1..3_usize).prop_map(Action::GoOnExporting),
    ];
    let copies = prop_oneof![
        1 => Just(Action::BeginBackup),
        2 => (1..4_usize).prop_map(Action::GoOnBackingUp),
    ];
    let (many, copies) = if backups { (8, copies.boxed()) } else { (2, exports.clone().boxed()) };
    let expect = prop_oneof![
        4 => Just(RandomExpect::Anything),
        1 => Just(RandomExpect::Absent),
        3 => Just(RandomExpect::Right),
        1 => Just(RandomExpect::Wrong),
    ];
    let payload = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40));
    let batch = prop::collection::btree_map(0..4_u8, (payload, expect), 0..4).prop_map(|steps| {
        steps.into_iter().map(|(key, (put, expect))| RandomStep { key, put, expect }).collect()
    });
    let group = prop::collection::vec(batch, 1..5);
    let action = prop_oneof![
        6 => group.prop_map(Action::Commit),
        1 => Just(Action::Reopen),
        1 => Just(Action::RotateDataKey),
        1 => Just(Action::RotateMasterKey),
        1 => (0..2_u8).prop_map(Action::Erase),
        2 => (1..4_usize).prop_map(Action::Upkeep),
        2 => (0..3_usize).prop_map(Action::CrashAfter),
        2 => exports,
        many => copies,
    ];
    prop::collection::vec(action, 0..20)
}

fn owner(number: u8) -> String {
    format!("user {}", number % 2)
}

fn name(number: u8) -> RecordKey {
    key(&owner(number), &number.to_string())
}

/// The records and the versions that the vault should hold.
type Model = BTreeMap<u8, (u64, Vec<u8>)>;

/// The batch, and whether the model takes it. The versions are those of before the group, so a
/// right expectation is wrong by then if a batch of the same group was first.
fn build(steps: &[RandomStep], before: &Model, model: &mut Model, last: &mut u64) -> (Batch, bool) {
    let mut batch = Batch::new();
    let mut holds = true;
    for step in steps {
        let known = before.get(&step.key).map(|(version, _)| *version);
        let expect = match step.expect {
            RandomExpect::Anything => Expect::Anything,
            RandomExpect::Absent => Expect::Absent,
            RandomExpect::Right => {
                known.map_or(Expect::Absent, |version| Expect::Version(RecordVersion(version)))
            }
            RandomExpect::Wrong => Expect::Version(RecordVersion(u64::MAX)),
        };
        let standing = model.get(&step.key).map(|(version, _)| RecordVersion(*version));
        holds &= match expect {
            Expect::Absent => standing.is_none(),
            Expect::Version(version) => standing == Some(version),
            Expect::Anything | Expect::AnythingOrQuarantined => true,
        };
        batch = match &step.put {
            Some(payload) => {
                let payload = Zeroizing::new(payload.clone());
                batch.put(name(step.key), payload, expect, Tags::default())
            }
            None => batch.delete(name(step.key), expect),
        };
    }
    if holds {
        *last += 1;
        for step in steps {
            match &step.put {
                Some(payload) => model.insert(step.key, (*last, payload.clone())),
                None => model.remove(&step.key),
            };
        }
    }
    (batch, holds)
}

/// Whether the vault holds what the model does, and nothing else.
fn holds(vault: &mut OpenVault, model: &Model) -> bool {
    let same = (0..4).all(|number| {
        let record = vault.read(&name(number)).expect("a read");
        let found = record.map(|record| (record.version.0, record.payload.to_vec()));
        found.as_ref() == model.get(&number)
    });
    same && vault.index.len() == model.len() && vault.live() == vault.digest
}

/// The vault and what it should hold.
struct World {
    store: Crashing,
    vault: OpenVault,
    model: Model,
    master: u8,
    /// Where copies go.
    folder: tempfile::TempDir,
    copies: usize,
    /// The export under way, and what it should hold: what the vault held when it began.
    export: Option<(PathBuf, Model)>,
    backup: Option<PathBuf>,
}

impl World {
    fn new(torn: bool) -> Self {
        let store = Crashing::new(torn);
        Self {
            vault: Self::opened(&store, 1),
            store,
            model: Model::new(),
            master: 1,
            folder: tempfile::tempdir().expect("a folder"),
            copies: 0,
            export: None,
            backup: None,
        }
    }

    /// The vault in `store`, opened after a crash or in good order.
    fn opened(store: &Crashing, master: u8) -> OpenVault {
        store.allow(None);
        Self::open(&store.vault(master))
    }

    fn open(vault: &Vault) -> OpenVault {
        let report =
            |kind| assert!(!matches!(kind, EventKind::RecordQuarantined { .. }), "{kind:?}");
        OpenVault::open(vault, Sources::system(), Arc::new(report)).expect("a vault")
    }

    /// What was under way is over, and has left nothing.
    fn open_again(&mut self) {
        self.vault = Self::opened(&self.store, self.master);
        for path in self.export.take().map(|(path, _)| path).into_iter().chain(self.backup.take()) {
            assert!(!path.exists(), "no copy that is not whole");
        }
    }

    fn place_of_a_copy(&mut self) -> PathBuf {
        self.copies += 1;
        self.folder.path().join(self.copies.to_string())
    }

    /// Takes `action`, and says whether the store failed, so that the vault has to be opened again.
    fn take(&mut self, action: Action) -> bool {
        match action {
            Action::Reopen => return true,
            Action::CrashAfter(commits) => self.store.allow(Some(commits)),
            Action::RotateDataKey => return self.vault.rotate_data_key().is_err(),
            Action::RotateMasterKey => {
                let outcome = self.vault.rotate_master_key(new_master(self.master + 1));
                // Who is told that it did not happen goes on with the old key.
                self.master += u8::from(outcome.is_ok());
                return outcome.is_err();
            }
            Action::Upkeep(steps) => return (0..steps).any(|_| self.vault.upkeep().is_err()),
            Action::Erase(number) => {
                let before = self.model.clone();
                self.model.retain(|key, _| owner(*key) != owner(number));
                let outcome = self.vault.erase_user(&user(&owner(number)));
                self.go_on_from(before, outcome.is_err());
            }
            Action::Commit(group) => self.commit(&group),
            Action::BeginExport if self.export.is_none() => {
                let path = self.place_of_a_copy();
                let file = ExportFile::without_passphrase(path.clone(), &Sources::system());
                self.vault.begin_export(file);
                self.export = Some((path, self.model.clone()));
            }
            Action::GoOnExporting(steps) if self.export.is_some() => {
                return (0..steps).any(|_| self.go_on_exporting().is_err());
            }
            Action::BeginBackup if self.backup.is_none() => {
                let path = self.place_of_a_copy();
                self.vault.begin_backup(&path).expect("begun");
                self.backup = Some(path);
            }
            Action::GoOnBackingUp(steps) if self.backup.is_some() => {
                (0..steps).for_each(|_| self.go_on_backing_up());
            }
            // One is under way, or none is.
            Action::BeginExport
            | Action::GoOnExporting(_)
            | Action::BeginBackup
            | Action::GoOnBackingUp(_) => {}
        }
        false
    }

    fn commit(&mut self, group: &[Vec<RandomStep>]) {
        let before = self.model.clone();
        let mut last = self.vault.last.0;
        let (batches, taken): (Vec<Batch>, Vec<bool>) =
            group.iter().map(|steps| build(steps, &before, &mut self.model, &mut last)).unzip();
        let outcome = self.vault.commit(batches);
        if outcome.failed.is_none() {
            let verdicts: Vec<bool> = outcome.verdicts.iter().map(Result::is_ok).collect();
            assert_eq!(verdicts, taken);
        }
        self.go_on_from(before, outcome.failed.is_some());
    }

    /// After a failure nobody was told that what was to be done is durable: all of it is, or nothing.
    fn go_on_from(&mut self, before: Model, failed: bool) {
        if failed {
            self.open_again();
            if !holds(&mut self.vault, &self.model) {
                self.model = before;
            }
        }
    }

    fn go_on_exporting(&mut self) -> Result<(), commit::Failure> {
        let Some((path, model)) = &self.export else { return Ok(()) };
        if self.vault.continue_export()? {
            let exported = self.vault.end_export()?.finish()?;
            assert_eq!((exported.records, exported.left_out), (model.len(), 0));
            let found: BTreeMap<RecordKey, Vec<u8>> =
                ExportFile::read(path).into_iter().map(|(key, it)| (key, it.to_vec())).collect();
            let expected = model.iter().map(|(key, (_, payload))| (name(*key), payload.clone()));
            assert_eq!(found, expected.collect());
            self.export = None;
        }
        Ok(())
    }

    fn go_on_backing_up(&mut self) {
        if let Some(path) = &self.backup
            && self.vault.continue_backup().expect("a step")
        {
            let vault = Vault::open(path).master_key(MasterKey::from_bytes([self.master; 32]));
            let mut copy = Self::open(&vault.reserve(0).create_if_missing(false));
            assert!(holds(&mut copy, &self.model), "it shows the vault as it is now");
            self.backup = None;
        }
    }
}

fn the_vault_holds_what_a_map_would(actions: Vec<Action>, torn: bool) {
    let mut world = World::new(torn);
    for action in actions {
        if world.take(action) {
            world.open_again();
        }
        assert!(holds(&mut world.vault, &world.model));
        let keys = world.vault.inspect().expect("an inspection").data_keys;
        assert_eq!(keys.iter().map(|key| key.records).sum::<usize>(), world.model.len());
    }
    world.open_again();
    rotation::keep_up(&mut world.vault);
    assert!(holds(&mut world.vault, &world.model));
    assert_eq!(world.vault.inspect().expect("an inspection").data_keys.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn with_exports_the_vault_holds_what_a_map_would(actions in actions(false), torn: bool) {
        the_vault_holds_what_a_map_would(actions, torn);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn with_backups_the_vault_holds_what_a_map_would(actions in actions(true), torn: bool) {
        the_vault_holds_what_a_map_would(actions, torn);
    }
}
