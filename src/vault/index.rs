//! The index: what is known of every record without opening it. It is kept in memory while the
//! vault is open, and sealed, entry by entry, beside the records.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::audit::SubjectId;
use super::names::BlindName;
use super::record::{Entry, Query, RecordKey, RecordKind, RecordVersion, Tags};
use super::seal::KeyId;
use super::slot::{Packed, Slot};
use crate::identity::{ProviderId, UserId};

/// The format of [`Meta`].
const FORMAT: u16 = 1;

/// Fields that a newer release wrote: kept when the record is written again.
pub(crate) type Unknown = BTreeMap<String, serde_json::Value>;

/// What an index entry seals, and what a record seals before its payload, so that the index can
/// be rebuilt from the records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    format: u16,
    kind: RecordKind,
    #[serde(deserialize_with = "UserId::deserialize_kept")]
    user: UserId,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<ProviderId>,
    /// This and the other times are microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<u64>,
    created: u64,
    updated: u64,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Why something is no index entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetaError {
    #[error("its content can not be read")]
    Malformed,
    #[error(
        "its content has format {0} and this release reads up to {FORMAT}, a newer release wrote it"
    )]
    Newer(u16),
}

impl MetaError {
    /// Why `plain` is no index entry of a format that this release reads. Of a newer one no more can
    /// be relied on than where it says its format.
    fn of(plain: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct JustFormat {
            format: u16,
        }
        match serde_json::from_slice(plain) {
            Ok(JustFormat { format }) if format > FORMAT => Self::Newer(format),
            _ => Self::Malformed,
        }
    }
}

impl Meta {
    /// Reads what was sealed. A newer format is told apart from damage.
    pub(crate) fn parse(plain: &[u8]) -> Result<Self, MetaError> {
        match serde_json::from_slice::<Self>(plain) {
            Ok(meta) if meta.format <= FORMAT => Ok(meta),
            Ok(meta) => Err(MetaError::Newer(meta.format)),
            Err(_) => Err(MetaError::of(plain)),
        }
    }

    pub(crate) fn new(entry: &Entry, unknown: Unknown) -> Self {
        Self {
            format: FORMAT,
            kind: entry.key.kind,
            user: entry.key.user.clone(),
            name: entry.key.name.clone(),
            provider: entry.tags.provider.clone(),
            due: entry.tags.due.map(to_micros),
            created: to_micros(entry.created),
            updated: to_micros(entry.updated),
            unknown,
        }
    }

    /// The slot that this describes, at `version`, sealed with `sealed_with`.
    pub(crate) fn into_slot(self, version: RecordVersion, sealed_with: KeyId) -> Slot {
        let entry = Entry {
            key: RecordKey { kind: self.kind, user: self.user, name: self.name },
            version,
            tags: Tags { provider: self.provider, due: self.due.map(from_micros) },
            created: from_micros(self.created),
            updated: from_micros(self.updated),
        };
        Slot { entry, unknown: self.unknown, sealed_with, proven: false }
    }
}

/// Every record's slot, found by name, user and due time. There may be a million of them, so they are
/// packed, and share the names of users, providers and credentials.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: BTreeMap<BlindName, Packed>,
    /// In microseconds since 1970.
    by_due: BTreeSet<(u64, BlindName)>,
    by_subject: HashMap<SubjectId, BlindName>,
    /// How many slots are sealed with each data key.
    by_key: BTreeMap<KeyId, usize>,
    /// The names that slots share.
    providers: HashSet<ProviderId>,
    /// The names of credentials, which many users have alike.
    names: HashSet<Arc<str>>,
}

/// The most slots that one search for what another key sealed looks at.
const MOST_LOOKED_AT: usize = 4096;

/// An index that is filled at once. Its trees have no room to spare then: filled one by one in the
/// order of their names, they would be half empty.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    index: Index,
    slots: Vec<(BlindName, Packed)>,
}

impl Filling {
    /// Adds what stands under `name`, which was not added before. In the order of their names, those
    /// of one user share that user's name.
    pub(crate) fn add(&mut self, name: BlindName, slot: Slot) {
        let mut slot = Packed::from(slot);
        self.index.share_names(&mut slot);
        if let Some((_, before)) = self.slots.last()
            && before.user == slot.user
        {
            slot.user = before.user.clone();
        }
        self.index.count(name, &slot);
        self.slots.push((name, slot));
    }

    /// Adds what another was filled with, whose names all come after these.
    pub(crate) fn append(&mut self, other: Self) {
        let Index { by_subject, by_key, .. } = other.index;
        self.index.by_subject.extend(by_subject);
        for (key, count) in by_key {
            *self.index.by_key.entry(key).or_default() += count;
        }
        self.slots.reserve_exact(other.slots.len());
        for (name, mut slot) in other.slots {
            self.index.share_names(&mut slot);
            self.slots.push((name, slot));
        }
    }

    pub(crate) fn finish(self) -> Index {
        let Self { mut index, slots } = self;
        let due = slots.iter().filter_map(|(name, slot)| Some((slot.due()?, *name)));
        index.by_due = due.collect();
        index.slots = slots.into_iter().collect();
        index
    }
}

impl Index {
    pub(crate) fn insert(&mut self, name: BlindName, slot: Slot) {
        self.remove(&name);
        let mut slot = Packed::from(slot);
        self.share_names(&mut slot);
        self.share_user(&name, &mut slot);
        if let Some(due) = slot.due() {
            self.by_due.insert((due, name));
        }
        self.count(name, &slot);
        self.slots.insert(name, slot);
    }

    pub(crate) fn remove(&mut self, name: &BlindName) -> Option<Slot> {
        let slot = self.slots.remove(name)?;
        if let Some(due) = slot.due() {
            self.by_due.remove(&(due, *name));
        }
        if let Some(subject) = SubjectId::of(&slot.key()) {
            self.by_subject.remove(&subject);
        }
        self.uncount(slot.sealed_with);
        self.stop_sharing(&slot);
        Some(Slot::from(&slot))
    }

    /// One copy of the text for all slots that have it.
    fn share_names(&mut self, slot: &mut Packed) {
        let Some(provider) = &mut slot.provider else { return };
        match self.providers.get(provider) {
            Some(shared) => *provider = shared.clone(),
            None => drop(self.providers.insert(provider.clone())),
        }
        if slot.kind != RecordKind::Credential {
            return;
        }
        match self.names.get(&slot.name) {
            Some(shared) => slot.name = shared.clone(),
            None => drop(self.names.insert(slot.name.clone())),
        }
    }

    /// Forgets a name when no slot but this one, which was removed, has it.
    fn stop_sharing(&mut self, slot: &Packed) {
        if Arc::strong_count(&slot.name) == 2 {
            self.names.remove(&slot.name);
        }
    }

    /// The slots of a user stand beside each other.
    fn share_user(&self, name: &BlindName, slot: &mut Packed) {
        let (first, last) = name.range_of_user();
        let mut others = self.slots.range(first..=last).map(|(_, other)| &other.user);
        if let Some(shared) = others.next().filter(|user| **user == slot.user) {
            slot.user = shared.clone();
        }
    }

    fn count(&mut self, name: BlindName, slot: &Packed) {
        if slot.kind == RecordKind::AuditIdentity
            && let Some(subject) = SubjectId::of(&slot.key())
        {
            self.by_subject.insert(subject, name);
        }
        *self.by_key.entry(slot.sealed_with).or_default() += 1;
    }

    /// Notes that the record under `name` and its index entry are sealed with `key` now.
    pub(crate) fn resealed(&mut self, name: &BlindName, key: KeyId) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let former = std::mem::replace(&mut slot.sealed_with, key);
        *self.by_key.entry(key).or_default() += 1;
        self.uncount(former);
    }

    /// How many records are sealed with `key`.
    pub(crate) fn sealed_with(&self, key: KeyId) -> usize {
        self.by_key.get(&key).copied().unwrap_or_default()
    }

    /// At most `most` records after `after` that another key than `key` sealed, and where the
    /// search ended; none at the end of the index.
    pub(crate) fn not_sealed_with(
        &self,
        key: KeyId,
        after: Option<BlindName>,
        most: usize,
    ) -> (Vec<BlindName>, Option<BlindName>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = Vec::new();
        let mut last = None;
        for (name, slot) in self.slots.range((from, Bound::Unbounded)).take(MOST_LOOKED_AT) {
            if slot.sealed_with != key {
                found.push(*name);
            }
            last = Some(*name);
            if found.len() == most {
                break;
            }
        }
        (found, last)
    }

    fn uncount(&mut self, key: KeyId) {
        if let Some(count) = self.by_key.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.by_key.remove(&key);
            }
        }
    }

    pub(crate) fn get(&self, name: &BlindName) -> Option<Slot> {
        self.slots.get(name).map(Slot::from)
    }

    /// The version of the record under `name`.
    pub(crate) fn version(&self, name: &BlindName) -> Option<RecordVersion> {
        self.slots.get(name).map(|slot| slot.version)
    }

    /// The kind of the record under `name`.
    pub(crate) fn kind(&self, name: &BlindName) -> Option<RecordKind> {
        self.slots.get(name).map(|slot| slot.kind)
    }

    /// The key of the record that holds the audit identity of `subject`.
    pub(crate) fn subject(&self, subject: SubjectId) -> Option<RecordKey> {
        let name = self.by_subject.get(&subject)?;
        self.slots.get(name).map(Packed::key)
    }

    /// Every subject, and the name of the record that holds its audit identity.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = (SubjectId, BlindName)> {
        self.by_subject.iter().map(|(subject, name)| (*subject, *name))
    }

    /// The names from `first` to `last`.
    pub(crate) fn names(
        &self,
        first: BlindName,
        last: BlindName,
    ) -> impl Iterator<Item = BlindName> {
        self.slots.range(first..=last).map(|(name, _)| *name)
    }

    /// The names after `after`, in their order.
    pub(crate) fn names_after(&self, after: Option<BlindName>) -> impl Iterator<Item = BlindName> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.slots.range((from, Bound::Unbounded)).map(|(name, _)| *name)
    }

    /// Notes that the record under `name` was opened.
    pub(crate) fn prove(&mut self, name: &BlindName) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.proven = true;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Every record's name and version.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&BlindName, RecordVersion)> {
        self.slots.iter().map(|(name, slot)| (name, slot.version))
    }

    /// The entries that meet `query`: by due time where the query has one, else by key.
    /// `names_of` gives the range in which a user's names lie.
    pub(crate) fn list(
        &self,
        query: &Query,
        names_of: impl Fn(&UserId) -> (BlindName, BlindName),
    ) -> Vec<Entry> {
        let (after, before) = (query.due_after.map(to_micros), query.due_before.map(to_micros));
        let wanted = |slot: &&Packed| slot.meets(query, after, before);
        let is_by_due = after.is_some() || before.is_some();
        // The narrowest way in; whatever it does not decide is filtered.
        let mut found: Vec<Entry> = if let Some(user) = &query.user {
            let (first, last) = names_of(user);
            let slots = self.slots.range(first..=last).map(|(_, slot)| slot);
            slots.filter(wanted).map(Packed::entry).collect()
        } else if is_by_due {
            let from = |after| Bound::Excluded((after, BlindName::LAST));
            let from = (after.map_or(Bound::Unbounded, from), Bound::Unbounded);
            let due = self.by_due.range(from);
            let due = due.take_while(|(due, _)| before.is_none_or(|time| *due <= time));
            let slots = due.filter_map(|(_, name)| self.slots.get(name));
            slots.filter(wanted).map(Packed::entry).collect()
        } else {
            self.slots.values().filter(wanted).map(Packed::entry).collect()
        };
        if is_by_due {
            found.sort_by(|a, b| (a.tags.due, &a.key).cmp(&(b.tags.due, &b.key)));
        } else {
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        found
    }
}

/// `time` without what is finer than a microsecond, as it will come back.
pub(crate) fn whole_micros(time: SystemTime) -> SystemTime {
    from_micros(to_micros(time))
}

pub(crate) fn to_micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn from_micros(micros: u64) -> SystemTime {
    let since = Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn meets(entry: &Entry, query: &Query) -> bool {
        let due = entry.tags.due;
        let is_of = |wanted: &ProviderId| entry.tags.provider.as_ref() == Some(wanted);
        entry.key.kind == query.kind
            && query.user.as_ref().is_none_or(|user| *user == entry.key.user)
            && query.provider.as_ref().is_none_or(is_of)
            && query.due_after.is_none_or(|time| due.is_some_and(|due| due > time))
            && query.due_before.is_none_or(|time| due.is_some_and(|due| due <= time))
    }

    fn slots() -> impl Strategy<Value = Slot> {
        let kinds = prop_oneof![Just(RecordKind::Credential), Just(RecordKind::Session)];
        let providers = prop::option::of("[pq]");
        (kinds, "[ab]", "[xyz]", providers, prop::option::of(0..5_u64), 1..9_u64).prop_map(
            |(kind, user, name, provider, due, version)| Slot {
                entry: Entry {
                    key: RecordKey::new(kind, UserId::new(&user).expect("a name"), name),
                    version: RecordVersion(version),
                    tags: Tags {
                        provider: provider.map(|p| ProviderId::new(&p).expect("a name")),
                        due: due.map(at),
                    },
                    created: at(1),
                    updated: at(2),
                },
                unknown: Unknown::new(),
                sealed_with: KeyId(u32::from(version % 2 == 0)),
                proven: false,
            },
        )
    }

    proptest! {
        #[test]
        fn every_lookup_agrees_with_a_filter_over_everything(
            puts in prop::collection::vec((slots(), any::<bool>()), 0..30),
            user in prop::option::of("[ab]"),
            provider in prop::option::of("[pq]"),
            after in prop::option::of(0..5_u64),
            due in prop::option::of(0..5_u64),
            at_once in prop::option::of(1..9_usize),
        ) {
            let key = Zeroizing::new([1; 32]);
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (slot, remove) in puts {
                let record = slot.entry.key.clone();
                let name = BlindName::new(&key, &record);
                if remove {
                    prop_assert_eq!(index.remove(&name).map(|s| s.entry), model.remove(&record));
                } else {
                    model.insert(record, slot.entry.clone());
                    index.insert(name, slot);
                }
            }
            if let Some(part) = at_once {
                let mut filling = Filling::default();
                for names in index.names_after(None).collect::<Vec<_>>().chunks(part) {
                    let mut other = Filling::default();
                    for name in names {
                        other.add(*name, index.get(name).expect("it is there"));
                    }
                    filling.append(other);
                }
                index = filling.finish();
            }
            let shared = model.values().filter(|entry| {
                entry.key.kind == RecordKind::Credential && entry.tags.provider.is_some()
            });
            let names: HashSet<_> = shared.map(|entry| entry.key.name.as_str()).collect();
            prop_assert_eq!(index.names.iter().map(|name| &**name).collect::<HashSet<_>>(), names);
            let query = Query {
                kind: RecordKind::Credential,
                user: user.map(|u| UserId::new(&u).expect("a name")),
                provider: provider.map(|p| ProviderId::new(&p).expect("a name")),
                due_after: after.map(at),
                due_before: due.map(at),
            };
            let mut found = index.list(&query, |user| BlindName::of_user(&key, user));
            found.sort_by(|a, b| a.key.cmp(&b.key));
            let expected: Vec<Entry> =
                model.values().filter(|entry| meets(entry, &query)).cloned().collect();
            prop_assert_eq!(found, expected);
            for (key, parity) in [(KeyId(0), 1), (KeyId(1), 0)] {
                let sealed = model.values().filter(|entry| entry.version.0 % 2 == parity).count();
                prop_assert_eq!(index.sealed_with(key), sealed);
                let (mut others, mut after) = (0, None);
                while let (found, Some(last)) = index.not_sealed_with(key, after, 2) {
                    (others, after) = (others + found.len(), Some(last));
                }
                prop_assert_eq!(others, model.len() - sealed);
            }
            for name in index.names_after(None).collect::<Vec<_>>() {
                prop_assert!(index.remove(&name).is_some());
            }
            prop_assert!(index.names.is_empty(), "a name is shared by all who have it");
        }

        #[test]
        fn what_is_read_at_once_is_what_is_read_after_a_look_at_its_format(
            fields in fields(),
            cut in prop_oneof![4 => Just(0), 1 => 0..40_usize],
        ) {
            let text = format!("{{{}}}", fields.join(","));
            let plain = &text.as_bytes()[..text.len() - cut.min(text.len())];
            prop_assert_eq!(Meta::parse(plain), parse_format_first(plain), "{}", text);
        }
    }

    /// As it was read in two passes, whatever it is.
    fn parse_format_first(plain: &[u8]) -> Result<Meta, MetaError> {
        #[derive(Deserialize)]
        struct JustFormat {
            format: u16,
        }
        let JustFormat { format } =
            serde_json::from_slice(plain).map_err(|_| MetaError::Malformed)?;
        if format > FORMAT {
            return Err(MetaError::Newer(format));
        }
        serde_json::from_slice(plain).map_err(|_| MetaError::Malformed)
    }

    /// The fields of an index entry: as they are written, as a newer release may write them, or as none
    /// does.
    fn fields() -> impl Strategy<Value = Vec<&'static str>> {
        let format = prop::sample::select(vec![
            r#""format":1"#,
            r#""format":2"#,
            r#""format":0"#,
            r#""format":70000"#,
            r#""format":"1""#,
        ]);
        let usual = prop::sample::subsequence(
            vec![
                r#""kind":"session""#,
                r#""user":"ada""#,
                r#""name":"n""#,
                r#""created":1"#,
                r#""updated":2"#,
                r#""provider":"openai""#,
                r#""due":3"#,
            ],
            5..=7,
        );
        let others = prop::sample::subsequence(
            vec![
                r#""mood":{"good":[1,null]}"#,
                r#""due":null"#,
                r#""user":"""#,
                r#""kind":"of the future""#,
                r#""created":-1"#,
                r#""much":1e999"#,
                r#""half":"\ud800""#,
                r#""format":1"#,
            ],
            0..=2,
        );
        let all = |(format, usual, others)| [vec![format], usual, others].concat();
        (format, usual, others).prop_map(all).prop_shuffle()
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let newer = Meta::parse(br#"{"format":2,"something":"new"}"#);
        assert_eq!(newer, Err(MetaError::Newer(2)));
        for damaged in [&b"{\"form"[..], b"{}", br#"{"format":1}"#, br#"{"format":-1}"#] {
            assert_eq!(Meta::parse(damaged), Err(MetaError::Malformed));
        }
    }

    #[test]
    fn fields_of_a_newer_release_are_kept() {
        let text = r#"{"format":1,"kind":"session","user":"ada","name":"n","created":1,
            "updated":2,"mood":"good"}"#;
        let meta = Meta::parse(text.as_bytes()).expect("it reads");
        let slot = meta.clone().into_slot(RecordVersion(1), KeyId(1));
        let again = Meta::new(&slot.entry, slot.unknown);
        assert_eq!(again, meta);
        assert!(serde_json::to_string(&again).expect("text").contains(r#""mood":"good""#));
    }
}
