//! What the index holds of one record: as the vault works with it, and as it is kept, of which a vault
//! has as many as it has records.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::index::{Unknown, from_micros, to_micros};
use super::record::{Entry, Query, RecordKey, RecordKind, RecordVersion, Tags};
use super::seal::KeyId;
use crate::identity::{ProviderId, UserId};

/// What the index holds of one record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) entry: Entry,
    pub(crate) unknown: Unknown,
    /// The data key that the record and its index entry are sealed with.
    pub(crate) sealed_with: KeyId,
    /// Whether the record itself was opened, or written, since the vault was opened.
    pub(crate) proven: bool,
}

/// A [`Slot`] in little room. Times are microseconds since 1970.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) user: UserId,
    pub(super) provider: Option<ProviderId>,
    pub(super) name: Arc<str>,
    unknown: Option<Box<Unknown>>,
    pub(super) version: RecordVersion,
    created: u64,
    updated: u64,
    /// One more than it is, so that none takes no room.
    due: Option<NonZeroU64>,
    pub(super) sealed_with: KeyId,
    pub(super) kind: RecordKind,
    pub(super) proven: bool,
}

impl Packed {
    /// When it is due.
    pub(super) fn due(&self) -> Option<u64> {
        self.due.map(|due| due.get() - 1)
    }

    /// The key of the record.
    pub(super) fn key(&self) -> RecordKey {
        RecordKey::new(self.kind, self.user.clone(), &*self.name)
    }

    /// What is known of the record without opening it.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            key: self.key(),
            version: self.version,
            tags: Tags { provider: self.provider.clone(), due: self.due().map(from_micros) },
            created: from_micros(self.created),
            updated: from_micros(self.updated),
        }
    }

    /// Whether the entry meets `query`, whose times are `after` and `before`.
    pub(super) fn meets(&self, query: &Query, after: Option<u64>, before: Option<u64>) -> bool {
        let is_due = |wanted: &dyn Fn(u64) -> bool| self.due().is_some_and(wanted);
        self.kind == query.kind
            && query.user.as_ref().is_none_or(|user| *user == self.user)
            && query.provider.as_ref().is_none_or(|wanted| self.provider.as_ref() == Some(wanted))
            && after.is_none_or(|time| is_due(&|due| due > time))
            && before.is_none_or(|time| is_due(&|due| due <= time))
    }
}

impl From<Slot> for Packed {
    fn from(slot: Slot) -> Self {
        let Slot { entry, unknown, sealed_with, proven } = slot;
        let Entry { key, version, tags, created, updated } = entry;
        let due = tags.due.map(|due| NonZeroU64::MIN.saturating_add(to_micros(due)));
        Self {
            user: key.user,
            provider: tags.provider,
            name: key.name.into(),
            unknown: (!unknown.is_empty()).then(|| Box::new(unknown)),
            version,
            created: to_micros(created),
            updated: to_micros(updated),
            due,
            sealed_with,
            kind: key.kind,
            proven,
        }
    }
}

impl From<&Packed> for Slot {
    fn from(packed: &Packed) -> Self {
        Self {
            entry: packed.entry(),
            unknown: packed.unknown.as_deref().cloned().unwrap_or_default(),
            sealed_with: packed.sealed_with,
            proven: packed.proven,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_slot_is_unpacked_as_it_was() {
        let at = |micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        let user = UserId::new("ada").expect("a name");
        let slot = Slot {
            entry: Entry {
                key: RecordKey::new(RecordKind::Session, user, "a session"),
                version: RecordVersion(7),
                tags: Tags { provider: ProviderId::new("openai").ok(), due: Some(at(0)) },
                created: at(1_800_000_000_000_001),
                updated: at(1_800_000_000_000_002),
            },
            unknown: Unknown::from([("mood".to_owned(), "good".into())]),
            sealed_with: KeyId(3),
            proven: true,
        };
        assert_eq!(Slot::from(&Packed::from(slot.clone())), slot);

        let entry = Entry { tags: Tags::default(), ..slot.entry };
        let plain = Slot { entry, unknown: Unknown::new(), ..slot };
        assert_eq!(Slot::from(&Packed::from(plain.clone())), plain);
    }

    #[test]
    fn a_slot_takes_little_room() {
        assert!(size_of::<Packed>() <= 96, "{} bytes", size_of::<Packed>());
    }
}
