//! Blinded names: what records are stored under. They say nothing about the user or the record to
//! whoever lacks the name key, and those of one user begin alike.

use std::fmt;

use ring::hmac;

use super::record::RecordKey;
use super::seal::KeyBytes;
use crate::identity::UserId;

const PART: usize = 16;

/// What stands before a record's name in the store.
const RECORD: u8 = b'r';

/// What stands before an index entry's name in the store.
const ENTRY: u8 = b'i';

/// A record's blinded name: 128 bits of its user, then 128 bits of its kind and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlindName([u8; 2 * PART]);

impl BlindName {
    /// The name of the record with `key`.
    pub(crate) fn new(name_key: &KeyBytes, key: &RecordKey) -> Self {
        let user = blind(name_key, &[b"user", key.user.as_str().as_bytes()]);
        let record = [
            b"record",
            key.user.as_str().as_bytes(),
            key.kind.as_str().as_bytes(),
            key.name.as_bytes(),
        ];
        Self::join(user, blind(name_key, &record))
    }

    /// The greatest name that there can be.
    pub(crate) const LAST: Self = Self([u8::MAX; 2 * PART]);

    /// The least and the greatest name that a record of `user` can have.
    pub(crate) fn of_user(name_key: &KeyBytes, user: &UserId) -> (Self, Self) {
        let user = blind(name_key, &[b"user", user.as_str().as_bytes()]);
        (Self::join(user, [0; PART]), Self::join(user, [u8::MAX; PART]))
    }

    /// The least and the greatest name that a record of the same user can have.
    pub(crate) fn range_of_user(&self) -> (Self, Self) {
        let mut user = [0; PART];
        user.copy_from_slice(&self.0[..PART]);
        (Self::join(user, [0; PART]), Self::join(user, [u8::MAX; PART]))
    }

    /// What the stored keys of `user`'s records, and of their index entries, begin with.
    pub(crate) fn stored_prefixes(name_key: &KeyBytes, user: &UserId) -> [Vec<u8>; 2] {
        let user = blind(name_key, &[b"user", user.as_str().as_bytes()]);
        [RECORD, ENTRY].map(|kind| [&[kind], user.as_slice()].concat())
    }

    /// The key that the record is stored under.
    pub(crate) fn record_key(&self) -> Vec<u8> {
        [&[RECORD], self.0.as_slice()].concat()
    }

    /// The key that the record's index entry is stored under.
    pub(crate) fn entry_key(&self) -> Vec<u8> {
        [&[ENTRY], self.0.as_slice()].concat()
    }

    /// The name in a key of the store.
    pub(crate) fn of_stored(key: &[u8]) -> Option<Self> {
        key.get(1..)?.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) const fn from_bytes(name: [u8; 2 * PART]) -> Self {
        Self(name)
    }

    pub(super) const fn to_bytes(self) -> [u8; 2 * PART] {
        self.0
    }

    fn join(user: [u8; PART], record: [u8; PART]) -> Self {
        let mut name = [0; 2 * PART];
        name[..PART].copy_from_slice(&user);
        name[PART..].copy_from_slice(&record);
        Self(name)
    }
}

/// A range of index entries in the store.
#[derive(Debug)]
pub(crate) struct EntryRange {
    /// The stored key after which it begins; none: with the first.
    after: Option<Vec<u8>>,
    /// The stored key before which it ends; none: with the last.
    before: Option<Vec<u8>>,
}

impl EntryRange {
    /// All of them.
    pub(crate) const ALL: Self = Self { after: None, before: None };

    /// The entries after that of `name`, in their order, as at most `count` ranges of about as many:
    /// names are keyed hashes, so their first bytes are spread evenly.
    pub(crate) fn behind(name: &BlindName, count: usize) -> Vec<Self> {
        let first = usize::from(name.0[0]);
        let cuts = (1..count).map(|part| first + (256 - first) * part / count);
        let mut cuts: Vec<Vec<u8>> = cuts
            .filter(|cut| *cut > first)
            .filter_map(|cut| Some(vec![ENTRY, u8::try_from(cut).ok()?]))
            .collect();
        cuts.dedup();
        let afters = std::iter::once(name.entry_key()).chain(cuts.clone());
        let befores = cuts.into_iter().map(Some).chain([None]);
        let range = |(after, before)| Self { after: Some(after), before };
        afters.zip(befores).map(range).collect()
    }

    /// The stored key after which it begins.
    pub(crate) fn after(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }

    /// Whether the stored `key` comes after all that are in it.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        self.before.as_deref().is_some_and(|before| before <= key)
    }
}

impl fmt::Debug for BlindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What every record's key begins with.
pub(crate) const RECORDS: &[u8] = &[RECORD];

/// What every index entry's key begins with.
pub(crate) const ENTRIES: &[u8] = &[ENTRY];

/// HMAC-SHA-256 over the parts, each after its length, cut to 128 bits.
fn blind<const N: usize>(name_key: &KeyBytes, parts: &[&[u8]; N]) -> [u8; PART] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &**name_key));
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        context.update(&length.to_be_bytes());
        context.update(part);
    }
    let mut blinded = [0; PART];
    blinded.copy_from_slice(&context.sign().as_ref()[..PART]);
    blinded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::vault::RecordKind;

    fn key(kind: RecordKind, user: &str, name: &str) -> RecordKey {
        RecordKey::new(kind, UserId::new(user).expect("a name"), name)
    }

    /// Names of which many begin alike, or are the last ones.
    fn names() -> impl Strategy<Value = BlindName> {
        let first = prop::sample::select(vec![0, 1, 127, 128, 253, 254, 255]);
        (first, any::<[u8; 2 * PART]>()).prop_map(|(first, mut name)| {
            name[0] = first;
            BlindName(name)
        })
    }

    proptest! {
        #[test]
        fn different_records_have_different_names(
            (user_a, name_a, user_b, name_b) in ("[a-c]{1,3}", "[a-c]{0,3}", "[a-c]{1,3}", "[a-c]{0,3}"),
        ) {
            let secret = Zeroizing::new([1; 32]);
            let one = key(RecordKind::Credential, &user_a, &name_a);
            let two = key(RecordKind::Credential, &user_b, &name_b);
            let equal = BlindName::new(&secret, &one) == BlindName::new(&secret, &two);
            prop_assert_eq!(equal, one == two);
            let other_kind = RecordKey { kind: RecordKind::Session, ..one.clone() };
            prop_assert_ne!(BlindName::new(&secret, &one), BlindName::new(&secret, &other_kind));
        }

        #[test]
        fn ranges_hold_every_name_that_comes_after_and_no_user_s_names_are_cut(
            after in names(),
            name in names(),
            other: [u8; PART],
            count in 1..9_usize,
        ) {
            let ranges = EntryRange::behind(&after, count);
            prop_assert!((1..=count).contains(&ranges.len()));
            let of = |name: &BlindName| {
                let key = name.entry_key();
                let holds = |range: &EntryRange| {
                    range.after().is_none_or(|after| after < &*key) && !range.ends_before(&key)
                };
                ranges.iter().enumerate().filter(|(_, it)| holds(it)).map(|(at, _)| at).collect()
            };
            let found: Vec<usize> = of(&name);
            prop_assert_eq!(found.len(), usize::from(name > after));
            let (user, _) = name.range_of_user();
            let sibling = BlindName::join(user.0[..PART].try_into().expect("a part"), other);
            prop_assert!(sibling <= after || name <= after || of(&sibling) == found);
        }

        #[test]
        fn all_names_of_a_user_lie_in_the_user_s_range(user in "[a-z]{1,9}", name in ".{0,20}") {
            let secret = Zeroizing::new([1; 32]);
            let (first, last) = BlindName::of_user(&secret, &UserId::new(&user).expect("a name"));
            let name = BlindName::new(&secret, &key(RecordKind::Login, &user, &name));
            prop_assert!(first <= name && name <= last);
            prop_assert_eq!(name.range_of_user(), (first, last));
        }
    }

    #[test]
    fn another_name_key_gives_other_names() {
        let key = key(RecordKind::Credential, "ada", "openai");
        let [one, two] = [1, 2].map(|byte| BlindName::new(&Zeroizing::new([byte; 32]), &key));
        assert_ne!(one, two);
        assert_eq!(BlindName::of_stored(&one.record_key()), Some(one));
        assert_eq!(BlindName::of_stored(&one.entry_key()), Some(one));
    }
}
