//! The head: a sealed summary of which record stands at which version, of how often the data key has
//! sealed, and of where the audit trail begins and ends. It is part of every commit, so that records
//! put back to an older state together with their index entries are found, and a trail that was cut
//! off.

use ring::hmac;

use super::audit::Trail;
use super::names::BlindName;
use super::record::RecordVersion;
use super::seal::KeyBytes;

/// What the head is stored under.
pub(crate) const HEAD_KEY: &[u8] = b"h";

/// The format before seals were counted and there was an audit trail.
const DIGEST_ALONE: u8 = 1;

const FORMAT: u8 = 2;

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// Which record stands at which version.
    pub(crate) digest: Digest,
    /// How often the data key that the head is sealed with has sealed, the head included.
    pub(crate) seals: u64,
    /// Where the audit trail begins and ends.
    pub(crate) trail: Trail,
}

impl Head {
    /// What is sealed.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let seals = self.seals.to_be_bytes();
        [&[FORMAT], self.digest.0.as_slice(), &seals, &self.trail.to_bytes()].concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let digest = Digest(*digest);
        match *format {
            DIGEST_ALONE if rest.is_empty() => Some(Self { digest, ..Self::default() }),
            FORMAT => {
                let (seals, trail) = rest.split_first_chunk()?;
                let (seals, trail) = (u64::from_be_bytes(*seals), Trail::parse(trail)?);
                Some(Self { digest, seals, trail })
            }
            _ => None,
        }
    }
}

/// The exclusive or of one keyed hash for each live record and its version. It changes with each
/// record by itself, so a commit costs no more than what it changes. Without the key nobody can
/// find other records and versions with the same summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Takes a record at a version in, or out again.
    pub(crate) fn toggle(&mut self, key: &DigestKey, name: &BlindName, version: RecordVersion) {
        let mut context = hmac::Context::with_key(&key.0);
        context.update(b"live record");
        context.update(name.as_bytes());
        context.update(&version.0.to_be_bytes());
        self.combine(context.sign().as_ref());
    }

    /// Takes everything in, or out again, that `other` was given.
    pub(crate) fn toggle_all(&mut self, other: Self) {
        self.combine(&other.0);
    }

    fn combine(&mut self, bytes: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(bytes) {
            *byte ^= other;
        }
    }
}

/// What a [`Digest`] is counted with, made for one operation: ring does not wipe its keys.
pub(crate) struct DigestKey(hmac::Key);

impl DigestKey {
    pub(crate) fn new(name_key: &KeyBytes) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &**name_key))
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
        let digest_key = DigestKey::new(&key);
        let mut digest = Digest::default();
        for (name, version) in live {
            let user = UserId::new("ada").expect("a name");
            let name = RecordKey::new(RecordKind::Session, user, name.to_string());
            digest.toggle(&digest_key, &BlindName::new(&key, &name), RecordVersion(version));
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
    fn it_reads_what_it_writes_and_what_format_1_wrote() {
        let head = Head { digest: digest([(1, 1)]), seals: 7, trail: Trail::default() };
        assert_eq!(Head::parse(&head.to_bytes()), Some(head));
        let old = [&[DIGEST_ALONE], head.digest.0.as_slice()].concat();
        assert_eq!(Head::parse(&old), Some(Head { seals: 0, ..head }));
        for wrong in [&b""[..], &[FORMAT; 20], &head.to_bytes()[..41], &[old, vec![0]].concat()] {
            assert_eq!(Head::parse(wrong), None);
        }
        assert_eq!(Head::parse(&[FORMAT + 1; 137]), None);
    }
}
