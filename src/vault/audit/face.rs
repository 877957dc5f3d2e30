//! The audit trail as a host uses it: queries, export, verification and retention, each of them as
//! many messages to the vault as it takes, so that nobody who writes waits for long.

use std::io::Write;

use futures_util::stream::{self, Stream, TryStreamExt as _};

use super::chain::AuditMark;
use super::query::{AuditPage, AuditQuery, AuditRetention};
use super::trail::AuditFinding;
use crate::error::{Error, ErrorKind};
use crate::vault::handle::VaultHandle;

/// How many entries are read at a time for an export.
const EXPORT_PAGE: usize = 1_000;

/// The audit trail of a vault. Cheap to clone.
///
/// What was noted before is written before anything is read, so a caller finds what it has caused.
///
/// ```
/// use tokenward::vault::audit::{AuditKind, AuditQuery};
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
/// let audit = runtime.audit();
/// let signed_in = AuditQuery::all().of_kind(AuditKind::SignedIn);
/// let page = audit.entries(signed_in).await?;
/// assert_eq!(page.entries[0].user.name(), Some(ada.id()?));
///
/// let report = audit.verify().await?;
/// assert!(report.finding.is_none(), "every entry is as it was written");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Audit(VaultHandle);

/// What a verification of the whole trail found.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let kept = runtime.audit().verify().await?.verified.to_string();
/// // Later: is this the history that the mark was taken from?
/// let report = runtime.audit().verify_against(kept.parse()?).await?;
/// assert!(report.finding.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// The number of the first entry that there is; the older ones were removed by policy.
    pub first: u64,
    /// The last entry that was verified. Without a finding it is the newest: keep it outside of the
    /// vault, and [`Audit::verify_against`] finds a vault that was put back to an older state.
    pub verified: AuditMark,
    /// The first entry that is not as it was written; none when all are.
    pub finding: Option<AuditFinding>,
}

/// What retention did.
///
/// ```
/// use tokenward::vault::audit::AuditRetention;
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
/// let removal = runtime.audit().apply_retention(AuditRetention::default()).await?;
/// assert_eq!(removal.removed, 0, "all of them are newer than 400 days");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuditRemoval {
    /// How many entries were removed.
    pub removed: u64,
    /// How many users are named by no entry and no record any more, and were forgotten.
    pub forgotten: usize,
    /// The entry that is not as it was written, and keeps its segment from being removed.
    pub blocked: Option<AuditFinding>,
}

impl Audit {
    /// The trail of `vault`.
    pub fn new(vault: VaultHandle) -> Self {
        Self(vault)
    }

    /// The entries that meet `query`: a page that is full, or the last one.
    ///
    /// # Errors
    ///
    /// When the vault can not be read for now.
    pub async fn entries(&self, query: AuditQuery) -> Result<AuditPage, Error> {
        self.write_notes().await;
        let mut page = AuditPage::default();
        let (mut left, mut query) = (query.page(), query);
        loop {
            let part = self.0.read_audit(query.clone().limit(left)).await?;
            left = left.saturating_sub(part.entries.len());
            page.entries.extend(part.entries);
            page.unreadable.extend(part.unreadable);
            page.next = part.next;
            match page.next {
                Some(next) if left > 0 => query = query.starting_at(next),
                _ => return Ok(page),
            }
        }
    }

    /// The entries that meet `query`, all of them, as lines of JSON without their ends. See
    /// [`AuditRecord::to_json`](super::AuditRecord::to_json); of an entry that does not open there
    /// is a line with its number and `"unreadable":true`.
    ///
    /// # Errors
    ///
    /// An item, and the last, when the vault can not be read for now.
    pub fn lines(&self, query: AuditQuery) -> impl Stream<Item = Result<String, Error>> + Send {
        let (audit, query) = (self.clone(), query.limit(EXPORT_PAGE));
        let pages = stream::try_unfold(Some(query), move |rest| {
            let audit = audit.clone();
            async move {
                let Some(query) = rest else { return Ok::<_, Error>(None) };
                let page = audit.entries(query.clone()).await?;
                let lines = stream::iter(lines_of(&page, query.backwards).into_iter().map(Ok));
                Ok(Some((lines, page.next.map(|next| query.starting_at(next)))))
            }
        });
        pages.try_flatten()
    }

    /// Writes the entries that meet `query`, all of them, as [lines](Audit::lines) to `writer`, and
    /// says how many they were.
    ///
    /// # Errors
    ///
    /// When the vault can not be read for now, or `writer` fails: the lines before were written.
    pub async fn export(
        &self,
        writer: &mut (impl Write + Send + ?Sized),
        query: AuditQuery,
    ) -> Result<u64, Error> {
        let mut lines = std::pin::pin!(self.lines(query));
        let mut written = 0;
        let failed = |error: std::io::Error| {
            let text = "the export can not be written, check its disk and path";
            Error::with_source(ErrorKind::InvalidInput, text, error)
        };
        while let Some(mut line) = lines.try_next().await? {
            line.push('\n');
            writer.write_all(line.as_bytes()).map_err(failed)?;
            written += 1;
        }
        writer.flush().map_err(failed)?;
        Ok(written)
    }

    /// Verifies every entry along the chain.
    ///
    /// # Errors
    ///
    /// When the vault can not be read for now. What is wrong with the trail is no error but the
    /// report's finding.
    pub async fn verify(&self) -> Result<AuditReport, Error> {
        self.verify_with(None).await
    }

    /// As [`Audit::verify`], and that the trail still has what it had at `mark`.
    ///
    /// # Errors
    ///
    /// As [`Audit::verify`].
    pub async fn verify_against(&self, mark: AuditMark) -> Result<AuditReport, Error> {
        self.verify_with(Some(mark)).await
    }

    /// Removes what is older than `policy` keeps, and what the names of users were sealed with whom no
    /// entry and no record names any more.
    ///
    /// # Errors
    ///
    /// When the vault can not be written for now.
    pub async fn apply_retention(&self, policy: AuditRetention) -> Result<AuditRemoval, Error> {
        let mut total = AuditRemoval::default();
        loop {
            let step = self.0.apply_audit_retention(policy).await?;
            total.removed += step.removed;
            total.forgotten += step.forgotten;
            total.blocked = step.blocked;
            if step.done {
                return Ok(total);
            }
        }
    }

    /// A vault that only takes reads for now is read all the same.
    async fn write_notes(&self) {
        if let Err(error) = self.0.write_notes().await {
            tracing::debug!(%error, "what was noted for the audit trail waits on");
        }
    }

    async fn verify_with(&self, marked: Option<AuditMark>) -> Result<AuditReport, Error> {
        self.write_notes().await;
        let mut from = None;
        loop {
            let step = self.0.verify_audit(from, marked).await?;
            if step.done {
                let (first, verified, finding) = (step.first, step.verified, step.finding);
                return Ok(AuditReport { first, verified, finding });
            }
            from = Some(step.verified);
        }
    }
}

/// The lines of a page, in its order.
fn lines_of(page: &AuditPage, backwards: bool) -> Vec<String> {
    let unreadable = |number: &u64| format!("{{\"number\":{number},\"unreadable\":true}}");
    let mut lines: Vec<_> =
        page.entries.iter().map(|entry| (entry.mark.number(), entry.to_json())).collect();
    lines.extend(page.unreadable.iter().map(|number| (*number, unreadable(number))));
    lines.sort_by_key(|(number, _)| *number);
    if backwards {
        lines.reverse();
    }
    lines.into_iter().map(|(_, line)| line).collect()
}
