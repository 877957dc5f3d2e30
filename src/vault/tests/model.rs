//! The opened vault against a map: random groups of batches, random reopenings.

use std::collections::BTreeMap;

use proptest::prelude::*;

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
    let action = prop_oneof![4 => group.prop_map(Action::Commit), 1 => Just(Action::Reopen)];
    prop::collection::vec(action, 0..12)
}

fn name(number: u8) -> RecordKey {
    key(&format!("user {}", number % 2), &number.to_string())
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_vault_holds_what_a_map_would(actions in actions()) {
        let settings = Vault::in_memory();
        let open = || {
            OpenVault::open(&settings, Sources::system(), Arc::new(|kind| panic!("{kind:?}")))
                .expect("a vault")
        };
        let mut vault = open();
        let mut model = Model::new();
        for action in actions {
            let Action::Commit(group) = action else {
                drop(vault);
                vault = open();
                continue;
            };
            let before = model.clone();
            let mut last = vault.last.0;
            let (batches, taken): (Vec<Batch>, Vec<bool>) = group
                .iter()
                .map(|steps| build(steps, &before, &mut model, &mut last))
                .unzip();
            let outcome = vault.commit(batches);
            prop_assert!(outcome.failed.is_none());
            let verdicts: Vec<bool> = outcome.verdicts.iter().map(Result::is_ok).collect();
            prop_assert_eq!(verdicts, taken);
            prop_assert_eq!(vault.live(), vault.digest);
            prop_assert_eq!(vault.index.len(), model.len());
            for number in 0..4 {
                let record = vault.read(&name(number)).expect("a read");
                let found = record.map(|record| (record.version.0, record.payload.to_vec()));
                prop_assert_eq!(found.as_ref(), model.get(&number));
            }
        }
    }
}
