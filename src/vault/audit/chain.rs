//! The chain: how an entry hangs on the one before it, where the trail begins and ends, and which
//! part of it is one segment. All of it without a store.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::error::{Error, ErrorKind};
use crate::vault::seal::KeyBytes;

/// How many entries are removed together.
pub(super) const SEGMENT: u64 = 256;

const HASH: usize = 32;

/// A place in the trail: the number of an entry, and the hash that binds it and all before it.
///
/// Entries are numbered from 1. Whoever keeps the mark of the newest entry outside of the vault can
/// tell later whether the trail still has everything up to there, also when the whole vault was put
/// back to an older state. Its text holds nothing secret.
///
/// ```
/// use tokenward::vault::audit::AuditMark;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// // As text, in a place that whoever can write the vault can not reach.
/// let kept = runtime.audit().verify().await?.verified.to_string();
/// let mark: AuditMark = kept.parse()?;
/// assert!(mark.number() > 0);
/// let report = runtime.audit().verify_against(mark).await?;
/// assert_eq!(report.finding, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditMark {
    pub(crate) number: u64,
    pub(crate) hash: [u8; HASH],
}

impl AuditMark {
    /// The number of the entry; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The mark of the entry with `body` that follows this one.
    pub(super) fn followed_by(&self, key: &KeyBytes, body: &[u8]) -> Self {
        let number = self.number.saturating_add(1);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &**key);
        let mut context = hmac::Context::with_key(&key);
        context.update(b"tokenward audit");
        context.update(&number.to_be_bytes());
        context.update(&self.hash);
        context.update(body);
        let mut hash = [0; HASH];
        hash.copy_from_slice(context.sign().as_ref());
        Self { number, hash }
    }

    fn to_bytes(self) -> [u8; 8 + HASH] {
        let mut bytes = [0; 8 + HASH];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&self.hash);
        bytes
    }

    fn parse(bytes: &[u8; 8 + HASH]) -> Option<Self> {
        let (number, hash) = bytes.split_first_chunk()?;
        Some(Self { number: u64::from_be_bytes(*number), hash: hash.try_into().ok()? })
    }
}

impl fmt::Display for AuditMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, URL_SAFE_NO_PAD.encode(self.hash))
    }
}

impl FromStr for AuditMark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split_once(':').and_then(|(number, hash)| {
            let hash = URL_SAFE_NO_PAD.decode(hash).ok()?;
            Some(Self { number: number.parse().ok()?, hash: hash.try_into().ok()? })
        });
        parts.ok_or_else(|| {
            let text = "this is no mark of an audit trail, copy the whole NUMBER:HASH";
            Error::new(ErrorKind::InvalidInput, text)
        })
    }
}

/// The earliest and the latest time of the entries of a segment, up to one of them, in microseconds
/// since 1970. A clock that was set back is no reason to miss an entry in a query by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) earliest: u64,
    pub(super) latest: u64,
}

/// Where the trail begins and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trail {
    /// The last entry that was removed by policy; 0 when none was.
    pub(super) anchor: AuditMark,
    /// The newest entry; the anchor when there is none.
    pub(super) newest: AuditMark,
    /// The times of the newest entry's segment.
    pub(super) span: Span,
}

impl Trail {
    /// The numbers of the entries that there are.
    pub(in crate::vault) fn numbers(&self) -> RangeInclusive<u64> {
        self.anchor.number.saturating_add(1)..=self.newest.number
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.newest.number.saturating_sub(self.anchor.number)
    }

    /// The times of the segment with an entry more, of the time `at`.
    pub(super) fn span_with(&self, at: u64) -> Span {
        if self.newest.number.is_multiple_of(SEGMENT) {
            Span { earliest: at, latest: at }
        } else {
            let Span { earliest, latest } = self.span;
            Span { earliest: earliest.min(at), latest: latest.max(at) }
        }
    }

    /// The trail with an entry more, and the mark of that.
    pub(super) fn append(&mut self, key: &KeyBytes, span: Span, body: &[u8]) -> AuditMark {
        self.newest = self.newest.followed_by(key, body);
        self.span = span;
        self.newest
    }

    /// What the vault's head seals of it.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Span { earliest, latest } = self.span;
        [
            self.anchor.to_bytes().as_slice(),
            &self.newest.to_bytes(),
            &earliest.to_be_bytes(),
            &latest.to_be_bytes(),
        ]
        .concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (anchor, rest) = bytes.split_first_chunk()?;
        let (newest, rest) = rest.split_first_chunk()?;
        let (earliest, latest) = rest.split_first_chunk()?;
        Some(Self {
            anchor: AuditMark::parse(anchor)?,
            newest: AuditMark::parse(newest)?,
            span: Span {
                earliest: u64::from_be_bytes(*earliest),
                latest: u64::from_be_bytes(latest.try_into().ok()?),
            },
        })
    }
}

/// The numbers of the segment that `number` is in.
pub(super) fn segment_of(number: u64) -> RangeInclusive<u64> {
    let first = (number.saturating_sub(1) / SEGMENT).saturating_mul(SEGMENT).saturating_add(1);
    first..=first.saturating_add(SEGMENT - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;

    fn key() -> KeyBytes {
        Zeroizing::new([5; 32])
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..12)
    }

    fn end_of(bodies: &[Vec<u8>]) -> AuditMark {
        bodies.iter().fold(AuditMark::default(), |mark, body| mark.followed_by(&key(), body))
    }

    proptest! {
        #[test]
        fn the_end_of_a_chain_tells_every_history_from_every_other(one in bodies(), two in bodies()) {
            prop_assert_eq!(end_of(&one) == end_of(&two), one == two);
        }

        #[test]
        fn the_end_of_a_chain_can_not_be_reached_by_another_order(
            bodies in bodies(), from: prop::sample::Index, to: prop::sample::Index,
        ) {
            let mut moved = bodies.clone();
            moved.swap(from.index(bodies.len()), to.index(bodies.len()));
            prop_assert_eq!(end_of(&moved) == end_of(&bodies), moved == bodies);
        }

        #[test]
        fn a_trail_knows_the_times_of_its_newest_segment(
            before in 0..600_u64, times in prop::collection::vec(0..100_u64, 1..600),
        ) {
            let mark = AuditMark { number: before, ..AuditMark::default() };
            let mut trail = Trail { newest: mark, ..Trail::default() };
            let mut of_segment = Vec::new();
            if !before.is_multiple_of(SEGMENT) {
                trail.span = Span { earliest: 50, latest: 50 };
                of_segment.push(50);
            }
            for at in times {
                if segment_of(trail.newest.number + 1).start() == &(trail.newest.number + 1) {
                    of_segment.clear();
                }
                of_segment.push(at);
                let span = trail.span_with(at);
                trail.append(&key(), span, b"body");
                prop_assert_eq!(Some(&span.earliest), of_segment.iter().min());
                prop_assert_eq!(Some(&span.latest), of_segment.iter().max());
            }
            prop_assert_eq!(Trail::parse(&trail.to_bytes()), Some(trail));
        }

        #[test]
        fn every_number_is_in_one_segment(number in 1..u64::MAX / 2) {
            let segment = segment_of(number);
            prop_assert!(segment.contains(&number));
            prop_assert_eq!(segment.end() - segment.start(), SEGMENT - 1);
            prop_assert_eq!(segment_of(*segment.end()), segment.clone());
            prop_assert_eq!(*segment_of(segment.end() + 1).start(), segment.end() + 1);
        }

        #[test]
        fn a_mark_reads_what_it_writes(number: u64, hash: [u8; 32]) {
            let mark = AuditMark { number, hash };
            prop_assert_eq!(mark.to_string().parse::<AuditMark>().ok(), Some(mark));
        }
    }

    #[test]
    fn another_key_gives_another_chain() {
        let mark = AuditMark::default();
        let other = Zeroizing::new([6; 32]);
        assert_ne!(mark.followed_by(&key(), b"body"), mark.followed_by(&other, b"body"));
    }

    #[test]
    fn what_is_no_mark_is_refused() {
        for text in ["", "7", "7:", "x:AAAA", "7:AAAA"] {
            assert!(
                text.parse::<AuditMark>().is_err_and(|error| error.is_invalid_input()),
                "{text}"
            );
        }
    }
}
