//! The head: a sealed summary of which record stands at which version, and of where the audit trail
//! begins and ends. It is part of every commit, so that records put back to an older state together
//! with their index entries are found, and a trail that was cut off.

use ring::hmac;

use super::audit::Trail;
use super::names::BlindName;
use super::record::RecordVersion;
use super::seal::KeyBytes;

/// What the head is stored under.
pub(crate) const HEAD_KEY: &[u8] = b"h";

/// The format before there was an audit trail.
const WITHOUT_TRAIL: u8 = 1;

const FORMAT: u8 = 2;

/// The exclusive or of one keyed hash for each live record and its version. It changes with each
/// record by itself, so a commit costs no more than what it changes. Without the key nobody can
/// find other records and versions with the same summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Takes a record at a version in, or out again.
    pub(crate) fn toggle(&mut self, key: &KeyBytes, name: &BlindName, version: RecordVersion) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &**key);
        let mut context = hmac::Context::with_key(&key);
        context.update(b"live record");
        context.update(name.as_bytes());
        context.update(&version.0.to_be_bytes());
        for (byte, hashed) in self.0.iter_mut().zip(context.sign().as_ref()) {
            *byte ^= hashed;
        }
    }
}

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) digest: Digest,
    pub(crate) trail: Trail,
}

impl Head {
    /// What is sealed.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&[FORMAT], self.digest.0.as_slice(), &self.trail.to_bytes()].concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (digest, trail) = rest.split_first_chunk()?;
        let trail = match *format {
            WITHOUT_TRAIL if trail.is_empty() => Trail::default(),
            FORMAT => Trail::parse(trail)?,
            _ => return None,
        };
        Some(Self { digest: Digest(*digest), trail })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::identity::UserId;
    use crate::vault::{RecordKey, RecordKind};

    fn digest(live: impl IntoIterator<Item = (u8, u64)>) -> Digest {
        let key = Zeroizing::new([1; 32]);
        let mut digest = Digest::default();
        for (name, version) in live {
            let user = UserId::new("ada").expect("a name");
            let name = RecordKey::new(RecordKind::Session, user, name.to_string());
            digest.toggle(&key, &BlindName::new(&key, &name), RecordVersion(version));
        }
        digest
    }

    proptest! {
        #[test]
        fn it_depends_on_what_is_live_and_not_on_the_way_there(
            one in prop::collection::btree_map(0..5_u8, 0..4_u64, 0..5),
            two in prop::collection::btree_map(0..5_u8, 0..4_u64, 0..5),
        ) {
            let backwards = digest(one.clone().into_iter().rev());
            prop_assert_eq!(digest(one.clone()), backwards);
            prop_assert_eq!(digest(one.clone()) == digest(two.clone()), one == two);
        }
    }

    #[test]
    fn it_reads_what_it_writes() {
        let one = Head { digest: digest([(1, 1)]), trail: Trail::default() };
        assert_eq!(Head::parse(&one.to_bytes()), Some(one));
        assert_eq!(Head::parse(b""), None);
        assert_eq!(Head::parse(&[FORMAT; 20]), None);
        assert_eq!(Head::parse(&[FORMAT + 1; 129]), None);
    }

    #[test]
    fn a_head_from_before_there_was_a_trail_has_an_empty_one() {
        let digest = digest([(1, 1)]);
        let former = [&[WITHOUT_TRAIL], digest.0.as_slice()].concat();
        assert_eq!(Head::parse(&former), Some(Head { digest, trail: Trail::default() }));
    }
}
