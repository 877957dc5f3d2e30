//! Who an entry is about, as far as that can be erased: the names in an entry are sealed under a key
//! of that one user, which is a record of the user and is deleted with the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::clock::{Entropy, EntropyError};
use crate::identity::UserId;
use crate::vault::keys::random_key;
use crate::vault::record::{RecordKey, RecordKind};
use crate::vault::seal::{self, KeyBytes, KeyId, OpenError, Place};

/// The format of an identity's record.
const FORMAT: u8 = 1;

/// The key id in the header of what an identity seals. There is one key per identity.
const OWN_KEY: KeyId = KeyId(0);

/// Stands for a user in entries. It is random, so it says nothing once the identity is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubjectId(pub(super) [u8; 16]);

impl SubjectId {
    /// The subject whose identity is the record with this key, if it is one.
    pub(crate) fn of(key: &RecordKey) -> Option<Self> {
        if key.kind == RecordKind::AuditIdentity { Self::parse(&key.name) } else { None }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(super) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The key of the record that holds the identity.
    pub(super) fn record_key(self, user: &UserId) -> RecordKey {
        RecordKey::new(RecordKind::AuditIdentity, user.clone(), self.to_text())
    }
}

/// Whom the names in an entry are about, as far as that can be told.
#[derive(Clone)]
pub(super) enum Subject {
    /// About nobody: they are not sealed once more.
    Nobody,
    /// The one with this identity.
    Known(Identity),
    /// One whose identity is gone.
    Erased,
    /// One whose identity is there and does not open, or may be.
    Unreadable,
}

/// A subject and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(super) subject: SubjectId,
    key: KeyBytes,
}

impl Identity {
    /// A fresh one.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut subject = [0; 16];
        entropy.fill(&mut subject)?;
        Ok(Self { subject: SubjectId(subject), key: random_key(entropy)? })
    }

    /// The identity that stands in the record of `subject`.
    pub(super) fn parse(subject: SubjectId, payload: &[u8]) -> Option<Self> {
        let (format, key) = payload.split_first()?;
        let key: &[u8; 32] = key.try_into().ok()?;
        (*format == FORMAT).then(|| Self { subject, key: Zeroizing::new(*key) })
    }

    /// The key of the record that holds it.
    pub(crate) fn record_key(&self, user: &UserId) -> RecordKey {
        self.subject.record_key(user)
    }

    /// What its record holds.
    pub(crate) fn to_payload(&self) -> Zeroizing<Vec<u8>> {
        let mut payload = Zeroizing::new(Vec::with_capacity(1 + self.key.len()));
        payload.push(FORMAT);
        payload.extend_from_slice(self.key.as_slice());
        payload
    }

    /// Seals the names of entry `number`.
    pub(super) fn seal(
        &self,
        number: u64,
        names: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, EntropyError> {
        seal::seal(OWN_KEY, &self.key, self.place(number), names, entropy)
    }

    /// Opens the names of entry `number`.
    pub(super) fn open(&self, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        seal::open(|id| (id == OWN_KEY).then_some(&self.key), self.place(number), sealed)
    }

    /// Bound to the subject rather than to the vault, so that a trail can be moved to another one.
    fn place(&self, number: u64) -> Place<'_> {
        Place { vault: &self.subject.0, key: b"audit names", version: number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn an_identity_opens_what_it_sealed_and_nothing_else() {
        let entropy = SystemEntropy::new();
        let [one, two] = [(); 2].map(|()| Identity::generate(&entropy).expect("randomness"));
        let sealed = one.seal(7, b"ada", &entropy).expect("sealed");
        let read = Identity::parse(one.subject, &one.to_payload()).expect("an identity");
        assert_eq!(&**read.open(7, &sealed).expect("it opens"), b"ada");
        assert!(read.open(8, &sealed).is_err(), "another entry");
        assert!(two.open(7, &sealed).is_err(), "another user");
        assert!(Identity::parse(one.subject, &[FORMAT + 1; 33]).is_none());
    }

    #[test]
    fn a_subject_is_found_again_by_the_key_of_its_record() {
        let identity = Identity::generate(&SystemEntropy::new()).expect("randomness");
        let key = identity.subject.record_key(&UserId::new("ada").expect("a name"));
        assert_eq!(SubjectId::of(&key), Some(identity.subject));
        let other = RecordKey { kind: RecordKind::Session, ..key };
        assert_eq!(SubjectId::of(&other), None);
    }
}
