//! The decision of a group commit: which batches of the group are applied and which are refused,
//! as a function of what stands in the vault. Nothing here reads, seals or writes.

use std::collections::HashMap;
use std::hash::Hash;

use super::batch::Expect;
use super::record::RecordVersion;

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Absent,
    /// A record of this version, that opens.
    Present(RecordVersion),
    /// Something that does not open.
    Quarantined,
}

/// What a batch does under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Put,
    Delete,
    Nothing,
}

/// One step of a batch, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intent<N> {
    pub(crate) name: N,
    pub(crate) expect: Expect,
    pub(crate) effect: Effect,
}

/// Why a batch is refused, and which of its steps is the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something else stands there than was expected.
    Conflict { step: usize, found: Standing },
    /// What stands there does not open and may not be overwritten unknowingly.
    Quarantined { step: usize },
}

/// Decides a group: for each batch, in order, the version it gets or why it is refused.
///
/// A batch sees what the batches before it in the group did. One that is refused changes nothing
/// and costs no version.
pub(crate) fn decide<N: Copy + Eq + Hash>(
    group: &[Vec<Intent<N>>],
    standing: impl Fn(&N) -> Standing,
    last: RecordVersion,
) -> Vec<Result<RecordVersion, Refusal>> {
    let mut last = last;
    let mut changed = HashMap::new();
    let decide_batch = |batch: &Vec<Intent<N>>| {
        let found = |name: &N| changed.get(name).copied().unwrap_or_else(|| standing(name));
        for (step, intent) in batch.iter().enumerate() {
            check(step, intent.expect, found(&intent.name))?;
        }
        last = RecordVersion(last.0 + 1);
        for intent in batch {
            match intent.effect {
                Effect::Put => changed.insert(intent.name, Standing::Present(last)),
                Effect::Delete => changed.insert(intent.name, Standing::Absent),
                Effect::Nothing => None,
            };
        }
        Ok(last)
    };
    group.iter().map(decide_batch).collect()
}

fn check(step: usize, expect: Expect, found: Standing) -> Result<(), Refusal> {
    match (expect, found) {
        (Expect::AnythingOrQuarantined, _)
        | (Expect::Anything, Standing::Absent | Standing::Present(_))
        | (Expect::Absent, Standing::Absent) => Ok(()),
        (Expect::Version(expected), Standing::Present(version)) if expected == version => Ok(()),
        (_, Standing::Quarantined) => Err(Refusal::Quarantined { step }),
        (Expect::Absent | Expect::Version(_), found) => Err(Refusal::Conflict { step, found }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u8, Standing>;

    fn expects() -> impl Strategy<Value = Expect> {
        prop_oneof![
            Just(Expect::Anything),
            Just(Expect::Absent),
            Just(Expect::AnythingOrQuarantined),
            (0..8_u64).prop_map(|version| Expect::Version(RecordVersion(version))),
        ]
    }

    fn standings() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Absent),
            (0..4_u64).prop_map(|version| Standing::Present(RecordVersion(version))),
            Just(Standing::Quarantined),
        ]
    }

    fn batches() -> impl Strategy<Value = Vec<Intent<u8>>> {
        let effects = prop_oneof![Just(Effect::Put), Just(Effect::Delete), Just(Effect::Nothing)];
        prop::collection::btree_map(0..4_u8, (expects(), effects), 0..4).prop_map(|steps| {
            let intent = |(name, (expect, effect))| Intent { name, expect, effect };
            steps.into_iter().map(intent).collect()
        })
    }

    /// The simple model: one batch at a time, on a whole copy of the world.
    fn apply(world: &Model, batch: &[Intent<u8>], version: RecordVersion) -> Option<Model> {
        let mut after = world.clone();
        for intent in batch {
            let found = world.get(&intent.name).copied().unwrap_or(Standing::Absent);
            let holds = match intent.expect {
                Expect::AnythingOrQuarantined => true,
                Expect::Anything => found != Standing::Quarantined,
                Expect::Absent => found == Standing::Absent,
                Expect::Version(version) => found == Standing::Present(version),
            };
            if !holds {
                return None;
            }
            match intent.effect {
                Effect::Put => after.insert(intent.name, Standing::Present(version)),
                Effect::Delete => after.insert(intent.name, Standing::Absent),
                Effect::Nothing => None,
            };
        }
        Some(after)
    }

    proptest! {
        #[test]
        fn a_group_is_decided_as_if_its_batches_came_one_by_one(
            world in prop::collection::btree_map(0..4_u8, standings(), 0..5),
            group in prop::collection::vec(batches(), 0..8),
        ) {
            let standing = |name: &u8| world.get(name).copied().unwrap_or(Standing::Absent);
            let verdicts = decide(&group, standing, RecordVersion(3));
            prop_assert_eq!(verdicts.len(), group.len());
            let mut model = world.clone();
            let mut last = RecordVersion(3);
            for (batch, verdict) in group.iter().zip(verdicts) {
                let next = RecordVersion(last.0 + 1);
                match apply(&model, batch, next) {
                    Some(after) => {
                        prop_assert_eq!(verdict, Ok(next));
                        (model, last) = (after, next);
                    }
                    None => prop_assert!(verdict.is_err()),
                }
            }
        }

        #[test]
        fn of_two_batches_on_the_same_version_exactly_one_is_applied(count in 2..20_usize) {
            let expect = Expect::Version(RecordVersion(1));
            let batch = vec![Intent { name: 0_u8, expect, effect: Effect::Put }];
            let group = vec![batch; count];
            let standing = |_: &u8| Standing::Present(RecordVersion(1));
            let verdicts = decide(&group, standing, RecordVersion(1));
            prop_assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
        }
    }

    #[test]
    fn a_quarantined_record_is_only_replaced_on_purpose() {
        let put = |expect| vec![Intent { name: 0_u8, expect, effect: Effect::Put }];
        let version = Expect::Version(RecordVersion(1));
        for expect in [Expect::Anything, Expect::Absent, version] {
            let verdicts = decide(&[put(expect)], |_| Standing::Quarantined, RecordVersion(1));
            assert_eq!(verdicts, [Err(Refusal::Quarantined { step: 0 })], "{expect:?}");
        }
        let replacing = [put(Expect::AnythingOrQuarantined), put(Expect::Anything)];
        let verdicts = decide(&replacing, |_| Standing::Quarantined, RecordVersion(1));
        assert_eq!(verdicts, [Ok(RecordVersion(2)), Ok(RecordVersion(3))]);
    }
}
