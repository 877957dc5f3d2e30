//! What is done to the vault at random, and what the records are that it leaves behind. The child does
//! it and the parent follows, so both know from the same few words what there is to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokenward::clock::Entropy as _;
use tokenward::identity::UserId;
use tokenward::testing::SeededEntropy;
use tokenward::vault::{RecordKey, RecordKind};
use zeroize::Zeroizing;

/// The users. Each does one thing after the other, and all of them at once.
pub(crate) const USERS: usize = 8;

/// The names that a user's records have.
const NAMES: u8 = 6;

/// How often something that touches the whole vault is done instead of something small.
const RARELY: u64 = 300;

/// One thing that a user does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Puts a record of so many bytes under each name, or deletes it, and records that, in one batch.
    Change {
        to: BTreeMap<u8, Option<usize>>,
        expecting_versions: bool,
    },
    /// The same, while something else is expected than what stands under the first name: it is
    /// refused.
    Conflict(BTreeMap<u8, Option<usize>>),
    /// Reads every name.
    Read,
    /// Notes something that changes nothing.
    Note,
    /// Erases the user.
    Erase,
    RotateDataKey,
    RotateMasterKey,
    Export,
    BackUp,
}

impl Work {
    pub(crate) fn random(chance: &Chance) -> Self {
        let rare = [
            (RARELY, Self::Export),
            (RARELY, Self::BackUp),
            (RARELY / 2, Self::RotateMasterKey),
            (RARELY / 2, Self::RotateDataKey),
            (RARELY / 4, Self::Erase),
        ];
        if let Some((_, work)) = rare.into_iter().find(|(times, _)| chance.one_in(*times)) {
            return work;
        }
        match chance.below(10) {
            0 => Self::Conflict(changes(chance)),
            1 | 2 => Self::Read,
            3 => Self::Note,
            _ => Self::Change { to: changes(chance), expecting_versions: chance.one_in(2) },
        }
    }

    /// What it is, for the figures.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Change { .. } => "batches",
            Self::Conflict(_) => "conflicts",
            Self::Read => "reads",
            Self::Note => "notes",
            Self::Erase => "erasures",
            Self::RotateDataKey => "data key rotations",
            Self::RotateMasterKey => "master key rotations",
            Self::Export => "exports",
            Self::BackUp => "backups",
        }
    }

    /// What its user has after it, done as `operation`.
    pub(crate) fn apply(&self, operation: u64, records: &Records) -> Records {
        let mut after = records.clone();
        match self {
            Self::Change { to, .. } => {
                for (name, length) in to {
                    match length {
                        Some(length) => after.insert(*name, Content { operation, length: *length }),
                        None => after.remove(name),
                    };
                }
            }
            Self::Erase => after.clear(),
            _ => {}
        }
        after
    }
}

/// One to three names, and the lengths of what is put there: from a few bytes to several parts.
fn changes(chance: &Chance) -> BTreeMap<u8, Option<usize>> {
    let count = 1 + chance.below(3);
    let one = |_| {
        let name = u8::try_from(chance.below(NAMES.into())).expect("small");
        let around = [0, 100, 2_000, 4_080, 9_000, 20_000][index(chance.below(6))];
        let length = (!chance.one_in(4)).then(|| around + index(chance.below(40)));
        (name, length)
    };
    (0..count).map(one).collect()
}

/// What a user has, by name.
pub(crate) type Records = BTreeMap<u8, Content>;

/// What stands in a record: which operation put it, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    operation: u64,
    length: usize,
}

impl Content {
    /// The payload. No two are alike, and no part of one stands in another.
    pub(crate) fn payload(self, user: usize, name: u8) -> Zeroizing<Vec<u8>> {
        let mut bytes = self.operation.to_be_bytes().to_vec();
        let mut rest = vec![0; self.length];
        let seed = self.operation * 256 + u64::try_from(user * 16).expect("small");
        SeededEntropy::new((seed + u64::from(name)).wrapping_mul(0x2545_f491_4f6c_dd1d))
            .fill(&mut rest)
            .expect("it never fails");
        bytes.extend(rest);
        Zeroizing::new(bytes)
    }

    /// What stands in a record with this payload, which has to be whole.
    pub(crate) fn of(payload: &Zeroizing<Vec<u8>>, user: usize, name: u8) -> Self {
        let (operation, rest) = payload.split_first_chunk().expect("eight bytes");
        let content = Self { operation: u64::from_be_bytes(*operation), length: rest.len() };
        assert!(content.payload(user, name) == *payload, "{name} of user {user}: it is whole");
        content
    }
}

pub(crate) fn user(number: usize) -> UserId {
    UserId::new(&format!("user {number}")).expect("a name")
}

pub(crate) fn key(number: usize, name: u8) -> RecordKey {
    RecordKey::new(RecordKind::Credential, user(number), name.to_string())
}

pub(crate) fn names() -> impl Iterator<Item = u8> {
    0..NAMES
}

/// Chance that repeats itself.
pub(crate) struct Chance(SeededEntropy);

impl Chance {
    /// The chance of one `round` of a vault with this seed, for one of those who take part in it.
    pub(crate) fn new(seed: u64, round: usize, part: usize) -> Self {
        let number = u64::try_from(round * 64 + part).expect("small");
        Self(SeededEntropy::new(seed.rotate_left(32) ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd)))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        let mut number = [0; 8];
        self.0.fill(&mut number).expect("it never fails");
        u64::from_le_bytes(number) % bound
    }

    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("small")
}
