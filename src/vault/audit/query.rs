//! Which entries are asked for, what is answered, and how long entries are kept: as data.

use std::time::{Duration, SystemTime};

use super::body::Open;
use super::chain::Span;
use super::entry::AuditKind;
use super::record::AuditRecord;
use crate::identity::{ProviderId, UserId};
use crate::vault::index::to_micros;

/// How many entries a page has at most, unless a query says otherwise.
const PAGE: usize = 100;

/// How many entries a page has at most, whatever a query says.
const LONGEST_PAGE: usize = 1_000;

/// Which entries are asked for: those that meet every condition. The oldest first, unless
/// [`AuditQuery::newest_first`] says otherwise.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::vault::audit::AuditQuery;
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
/// let mut query = AuditQuery::all()
///     .from(SystemTime::now() - Duration::from_hours(24))
///     .of_user(ada.id()?.clone())
///     .limit(100);
/// loop {
///     let page = runtime.audit().entries(query.clone()).await?;
///     for entry in &page.entries {
///         println!("{entry}");
///     }
///     let Some(next) = page.next else { break };
///     query = query.starting_at(next);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    pub(super) from: Option<SystemTime>,
    pub(super) until: Option<SystemTime>,
    pub(super) user: Option<UserId>,
    pub(super) provider: Option<ProviderId>,
    pub(super) kinds: Vec<AuditKind>,
    pub(super) start: Option<u64>,
    pub(super) backwards: bool,
    limit: usize,
}

impl AuditQuery {
    /// Every entry.
    pub const fn all() -> Self {
        Self {
            from: None,
            until: None,
            user: None,
            provider: None,
            kinds: Vec::new(),
            start: None,
            backwards: false,
            limit: PAGE,
        }
    }

    /// Only those of this time or later.
    #[must_use]
    pub fn from(mut self, time: SystemTime) -> Self {
        self.from = Some(time);
        self
    }

    /// Only those from before this time.
    #[must_use]
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// Only those about this user. Those of a user that was erased are found by nobody's name.
    #[must_use]
    pub fn of_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Only those about this provider.
    #[must_use]
    pub fn for_provider(mut self, provider: ProviderId) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Only those of this kind; called more than once: of any of these kinds.
    #[must_use]
    pub fn of_kind(mut self, kind: AuditKind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Only from the entry with this number on, in the order that is asked for. This is how the
    /// next page is had: see [`AuditPage::next`].
    #[must_use]
    pub fn starting_at(mut self, number: u64) -> Self {
        self.start = Some(number);
        self
    }

    /// The newest first.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// So many entries in a page: 100 unless set, and no more than 1,000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How many entries a page has.
    pub(crate) fn page(&self) -> usize {
        self.limit.clamp(1, LONGEST_PAGE)
    }

    /// Whether an entry meets the conditions, apart from the user.
    pub(super) fn wants(&self, entry: &Open) -> bool {
        let provider = self.provider.as_ref().map(ProviderId::as_str);
        self.may_want(Span { earliest: entry.at, latest: entry.at })
            && provider.is_none_or(|provider| entry.provider.as_deref() == Some(provider))
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
    }

    /// Whether an entry of one of these times may meet the conditions.
    pub(super) fn may_want(&self, span: Span) -> bool {
        self.from.is_none_or(|from| span.latest >= to_micros(from))
            && self.until.is_none_or(|until| span.earliest < to_micros(until))
    }

    /// Whether the conditions say something about the time.
    pub(super) fn is_about_time(&self) -> bool {
        self.from.is_some() || self.until.is_some()
    }
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self::all()
    }
}

/// A part of what was asked for.
///
/// ```
/// use tokenward::vault::audit::AuditQuery;
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
/// let first = runtime.audit().entries(AuditQuery::all().limit(1)).await?;
/// assert_eq!((first.entries.len(), first.unreadable.len()), (1, 0));
/// if let Some(next) = first.next {
///     let second = runtime.audit().entries(AuditQuery::all().starting_at(next)).await?;
///     println!("{} more", second.entries.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuditPage {
    /// The entries, in the order that was asked for.
    pub entries: Vec<AuditRecord>,
    /// The numbers of entries that do not open, whatever they were. A verification says more.
    pub unreadable: Vec<u64>,
    /// Where the next page starts ([`AuditQuery::starting_at`]); none when this was the last. There
    /// may be a next page although this one is not full, and the next one may be empty.
    pub next: Option<u64>,
}

/// How long entries are kept.
///
/// The oldest are removed in whole segments of 256, as soon as all of a segment are older than
/// `keep`, and never so many that fewer than `at_least` are left: so a clock that is wrong can not
/// empty the trail.
///
/// ```
/// use std::time::Duration;
/// use tokenward::Runtime;
/// use tokenward::vault::audit::AuditRetention;
///
/// // Two years, and the newest ten thousand entries in any case.
/// let two_years = AuditRetention {
///     keep: Some(Duration::from_hours(2 * 366 * 24)),
///     ..AuditRetention::default()
/// };
/// let builder = Runtime::builder().audit_retention(two_years);
/// # let _ = builder;
/// assert_eq!(AuditRetention::for_ever().keep, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRetention {
    /// For how long; none: for ever.
    pub keep: Option<Duration>,
    /// How many are kept in any case.
    pub at_least: u64,
}

impl Default for AuditRetention {
    /// 400 days, and the newest 10,000 in any case.
    fn default() -> Self {
        Self { keep: Some(Duration::from_hours(400 * 24)), at_least: 10_000 }
    }
}

impl AuditRetention {
    /// Nothing is removed.
    pub const fn for_ever() -> Self {
        Self { keep: None, at_least: 0 }
    }

    /// Whether a segment of these times, after which `left` entries are left, is removed at `now`.
    pub(super) fn removes(&self, span: Span, left: u64, now: SystemTime) -> bool {
        let limit = self.keep.and_then(|keep| now.checked_sub(keep));
        limit.is_some_and(|limit| span.latest < to_micros(limit)) && left >= self.at_least
    }
}
