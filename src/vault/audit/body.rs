//! What an entry seals: its own mark, what the vault may always know of it, and the names in it,
//! which are sealed once more under the key of the user that they are about.

use serde::{Deserialize, Deserializer, Serialize};

use super::chain::{AuditMark, Span};
use super::entry::{AuditEntry, AuditKind, What};
use super::identity::{Identity, Subject, SubjectId};
use super::record::{AuditRecord, AuditUser};
use crate::clock::Entropy;
use crate::identity::{Label, Method, SessionId, UserId};
use crate::vault::error::VaultError;
use crate::vault::index::from_micros;

/// The format of [`Open`].
const FORMAT: u16 = 1;

/// What the vault may always know of an entry. The names of its fields are short, since they stand
/// in every entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Open {
    #[serde(rename = "f")]
    format: u16,
    /// When, in microseconds since 1970, as the two times that follow.
    pub(super) at: u64,
    #[serde(rename = "lo")]
    earliest: u64,
    #[serde(rename = "hi")]
    latest: u64,
    #[serde(rename = "k")]
    pub(super) kind: AuditKind,
    #[serde(rename = "n", default = "once", skip_serializing_if = "is_once")]
    count: u64,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Whose names stand in the entry; none when they are about nobody.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
}

/// The names in an entry: what goes when its user is erased. A reason may name the user, too.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Names {
    #[serde(
        rename = "u",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "kept_user"
    )]
    user: Option<UserId>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    label: Option<Label>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// An entry as it is sealed, after its mark.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) open: Open,
    names: Vec<u8>,
}

impl Body {
    /// The body of entry `number`, with the names sealed by `identity`; without one they are about
    /// nobody.
    pub(super) fn encode(
        entry: &AuditEntry,
        number: u64,
        (at, span): (u64, Span),
        identity: Option<&Identity>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        let What { kind, user, provider, method, label, session, reason, origin } = &entry.what;
        let open = Open {
            format: FORMAT,
            at,
            earliest: span.earliest,
            latest: span.latest,
            kind: *kind,
            count: entry.count,
            provider: provider.as_ref().map(ToString::to_string),
            method: method.map(|method| method.as_str().to_owned()),
            subject: identity.map(|identity| identity.subject.to_text()),
        };
        let names = Names {
            user: user.clone(),
            label: label.clone(),
            session: session.clone(),
            reason: reason.as_deref().map(str::to_owned),
            origin: origin.map(str::to_owned),
        };
        let unwritable = |_| VaultError::invalid("an audit entry can not be written");
        let open = serde_json::to_vec(&open).map_err(unwritable)?;
        let mut names = serde_json::to_vec(&names).map_err(unwritable)?;
        if let Some(identity) = identity {
            names = identity.seal(number, &names, entropy)?;
        }
        let length = u32::try_from(open.len()).unwrap_or(u32::MAX);
        Ok([length.to_be_bytes().as_slice(), &open, &names].concat())
    }

    /// Reads what [`Body::encode`] wrote; none when it is not that.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (open, names) = rest.split_at_checked(length)?;
        Some(Self { open: serde_json::from_slice(open).ok()?, names: names.to_vec() })
    }

    /// The times of the entry's segment up to it.
    pub(super) fn span(&self) -> Span {
        Span { earliest: self.open.earliest, latest: self.open.latest }
    }

    /// Who the names are about.
    pub(super) fn subject(&self) -> Option<SubjectId> {
        self.open.subject.as_deref().and_then(SubjectId::parse)
    }

    /// The entry as it is shown, with the names that `subject` opens.
    pub(super) fn show(&self, mark: AuditMark, subject: &Subject) -> AuditRecord {
        let names: Option<Names> = match subject {
            Subject::Nobody => serde_json::from_slice(&self.names).ok(),
            Subject::Known(identity) => {
                let names = identity.open(mark.number, &self.names).ok();
                names.and_then(|names| serde_json::from_slice(&names).ok())
            }
            Subject::Erased | Subject::Unreadable => None,
        };
        let unnamed = match subject {
            Subject::Erased => AuditUser::Erased,
            Subject::Known(_) if names.is_none() => AuditUser::Unreadable,
            Subject::Unreadable => AuditUser::Unreadable,
            Subject::Nobody | Subject::Known(_) => AuditUser::Nobody,
        };
        let Names { user, label, session, reason, origin } = names.unwrap_or_default();
        AuditRecord {
            mark,
            at: from_micros(self.open.at),
            kind: self.open.kind,
            count: self.open.count,
            user: user.map_or(unnamed, AuditUser::Named),
            provider: self.open.provider.as_deref().and_then(|name| name.try_into().ok()),
            method: self.open.method.as_deref().and_then(|name| name.parse::<Method>().ok()),
            label,
            session,
            reason,
            origin,
        }
    }
}

fn kept_user<'de, D: Deserializer<'de>>(from: D) -> Result<Option<UserId>, D::Error> {
    UserId::deserialize_kept(from).map(Some)
}

fn once() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_once(count: &u64) -> bool {
    *count == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemEntropy;
    use crate::identity::CredentialId;

    fn encoded(entry: &AuditEntry, number: u64, identity: Option<&Identity>) -> Vec<u8> {
        let span = Span { earliest: 3, latest: 9 };
        Body::encode(entry, number, (7, span), identity, &SystemEntropy::new()).expect("a body")
    }

    fn mark(number: u64) -> AuditMark {
        AuditMark { number, ..AuditMark::default() }
    }

    proptest! {
        #[test]
        fn an_entry_is_shown_as_it_was_recorded_until_its_user_is_erased(
            (user, label) in ("[a-zé\"]{1,50}", "[a-zé\"]{1,50}"),
            provider in "[a-z]{1,20}",
            number: u64,
            count: u64,
        ) {
            let id = CredentialId {
                user: user.as_str().try_into().expect("a name"),
                provider: provider.as_str().try_into().expect("a name"),
                method: Method::DeviceCode,
                label: label.as_str().try_into().expect("a name"),
            };
            let entry = AuditEntry::of_credential(AuditKind::GenerationFailed, &id)
                .because("the provider is away")
                .origin("credentials")
                .times(count);
            let identity = Identity::generate(&SystemEntropy::new()).expect("randomness");
            let bytes = encoded(&entry, number, Some(&identity));
            prop_assert!(!bytes.windows(user.len()).any(|part| part == user.as_bytes()) || user.len() < 4);
            let body = Body::parse(&bytes).expect("a body");
            prop_assert_eq!(body.span(), Span { earliest: 3, latest: 9 });
            prop_assert_eq!(body.subject(), Some(identity.subject));

            let shown = body.show(mark(number), &Subject::Known(identity));
            prop_assert_eq!(&shown.user, &AuditUser::Named(id.user));
            prop_assert_eq!(shown.provider.as_ref(), Some(&id.provider));
            prop_assert_eq!((shown.method, shown.label), (Some(id.method), Some(id.label)));
            prop_assert_eq!(shown.reason.as_deref(), Some("the provider is away"));
            prop_assert_eq!((shown.count, shown.at), (count, from_micros(7)));

            let other = Identity::generate(&SystemEntropy::new()).expect("randomness");
            for (subject, user) in [
                (Subject::Erased, AuditUser::Erased),
                (Subject::Unreadable, AuditUser::Unreadable),
                (Subject::Known(other), AuditUser::Unreadable),
            ] {
                let unnamed = body.show(mark(number), &subject);
                prop_assert_eq!(unnamed.user, user);
                prop_assert_eq!(unnamed.provider.as_ref(), Some(&id.provider));
                prop_assert_eq!((unnamed.label, unnamed.reason), (None, None));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(body) = Body::parse(&bytes) {
                body.show(mark(1), &Subject::Nobody);
            }
        }
    }

    #[test]
    fn an_entry_about_nobody_needs_no_identity() {
        let entry = AuditEntry::new(AuditKind::DataKeyRotated).because("it was due");
        let body = Body::parse(&encoded(&entry, 1, None)).expect("a body");
        let shown = body.show(mark(1), &Subject::Nobody);
        assert_eq!(shown.user, AuditUser::Nobody);
        assert_eq!(shown.reason.as_deref(), Some("it was due"));
    }

    #[test]
    fn the_longest_entry_is_far_from_what_the_store_would_split() {
        let longest = "\"".repeat(200);
        let id = CredentialId {
            user: longest.as_str().try_into().expect("a name"),
            provider: longest.as_str().try_into().expect("a name"),
            method: Method::AuthorizationCode,
            label: longest.as_str().try_into().expect("a name"),
        };
        let error = std::io::Error::other("\"".repeat(1_000));
        let entry =
            AuditEntry::of_credential(AuditKind::GenerationFailed, &id).because_of(&error).times(9);
        let identity = Identity::generate(&SystemEntropy::new()).expect("randomness");
        assert!(encoded(&entry, u64::MAX, Some(&identity)).len() < 3 * 1024);
    }
}
