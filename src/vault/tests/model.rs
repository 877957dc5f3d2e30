//! The opened vault against a map: random groups of batches, reopenings, erasures, rotations of both
//! keys, and crashes in the middle of any of them.

use std::collections::BTreeMap;

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
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
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

/// The vault in `store`, opened after a crash or in good order.
fn open(store: &Crashing, master: u8) -> OpenVault {
    let report = |kind| assert!(!matches!(kind, EventKind::RecordQuarantined { .. }), "{kind:?}");
    store.allow(None);
    OpenVault::open(&store.vault(master), Sources::system(), Arc::new(report)).expect("a vault")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_vault_holds_what_a_map_would(actions in actions(), torn: bool) {
        let store = Crashing::new(torn);
        let mut master = 1;
        let mut vault = open(&store, master);
        let mut model = Model::new();
        for action in actions {
            // Whether the store failed, so that the vault has to be opened again.
            let failed = match action {
                Action::Reopen => true,
                Action::CrashAfter(commits) => {
                    store.allow(Some(commits));
                    false
                }
                Action::RotateDataKey => vault.rotate_data_key().is_err(),
                Action::RotateMasterKey => {
                    let outcome = vault.rotate_master_key(new_master(master + 1));
                    // Who is told that it did not happen goes on with the old key.
                    master += u8::from(outcome.is_ok());
                    outcome.is_err()
                }
                Action::Erase(number) => {
                    let before = model.clone();
                    model.retain(|key, _| owner(*key) != owner(number));
                    let outcome = vault.erase_user(&user(&owner(number)));
                    if outcome.is_err() {
                        // Nobody was told that they are gone: all of them are, or none.
                        vault = open(&store, master);
                        if !holds(&mut vault, &model) {
                            model = before;
                        }
                    }
                    false
                }
                Action::Upkeep(steps) => (0..steps).any(|_| vault.upkeep().is_err()),
                Action::Commit(group) => {
                    let before = model.clone();
                    let mut last = vault.last.0;
                    let (batches, taken): (Vec<Batch>, Vec<bool>) = group
                        .iter()
                        .map(|steps| build(steps, &before, &mut model, &mut last))
                        .unzip();
                    let outcome = vault.commit(batches);
                    if outcome.failed.is_none() {
                        let verdicts: Vec<bool> =
                            outcome.verdicts.iter().map(Result::is_ok).collect();
                        prop_assert_eq!(verdicts, taken);
                    } else {
                        // Nobody was told that it is durable: all of the group is there, or nothing.
                        vault = open(&store, master);
                        if !holds(&mut vault, &model) {
                            model = before;
                        }
                    }
                    false
                }
            };
            if failed {
                vault = open(&store, master);
            }
            prop_assert!(holds(&mut vault, &model));
            let keys = vault.inspect().expect("an inspection").data_keys;
            prop_assert_eq!(keys.iter().map(|key| key.records).sum::<usize>(), model.len());
        }
        let mut vault = open(&store, master);
        rotation::keep_up(&mut vault);
        prop_assert!(holds(&mut vault, &model));
        prop_assert_eq!(vault.inspect().expect("an inspection").data_keys.len(), 1);
    }
}
