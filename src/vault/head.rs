//! The head: a sealed summary of which record stands at which version. It is part of every commit,
//! so that records put back to an older state together with their index entries are found.

use ring::hmac;

use super::names::BlindName;
use super::record::RecordVersion;
use super::seal::KeyBytes;

/// What the head is stored under.
pub(crate) const HEAD_KEY: &[u8] = b"h";

const FORMAT: u8 = 1;

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

    /// What the head seals.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&[FORMAT], self.0.as_slice()].concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (format, digest) = bytes.split_first()?;
        (*format == FORMAT).then_some(Self(digest.try_into().ok()?))
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
        let one = digest([(1, 1)]);
        assert_eq!(Digest::parse(&one.to_bytes()), Some(one));
        assert_eq!(Digest::parse(b""), None);
        assert_eq!(Digest::parse(&[FORMAT; 20]), None);
    }
}
