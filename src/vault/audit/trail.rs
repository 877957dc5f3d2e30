//! The trail in an opened vault: entries are appended within a commit, read by number, and verified
//! along the chain. No call reads more than a bounded part of it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::body::Body;
use super::chain::{AuditMark, Trail, segment_of};
use super::entry::AuditEntry;
use super::identity::{Identity, Subject, SubjectId};
use super::query::{AuditPage, AuditQuery};
use crate::identity::UserId;
use crate::vault::commit::Failure;
use crate::vault::error::VaultError;
use crate::vault::index::to_micros;
use crate::vault::opened::{OpenVault, open_stored};
use crate::vault::record::{Query, RecordKind, RecordVersion};
use crate::vault::store::{StoreBatch, StoreError};

/// What the key of every entry begins with in the store. The number follows, so a scan of the
/// prefix gives the entries in their order.
const TRAIL: &[u8] = b"a";

/// How many entries one call reads at most, so that nobody who writes waits for long.
pub(super) const MOST_READS: usize = 1_024;

/// What is wrong with an entry.
///
/// An [`AuditFinding`] names it.
///
/// ```
/// use tokenward::vault::audit::AuditProblem;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let mark = format!("1:{}", "A".repeat(43)).parse()?;
/// # runtime.user("ada").sign_in("orange").with_client_credentials().await?;
/// // The mark was taken before somebody put the vault back to an older state.
/// let report = runtime.audit().verify_against(mark).await?;
/// let finding = report.finding.expect("the history is another one");
/// assert_eq!(finding.problem, AuditProblem::NotAsMarked);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditProblem {
    /// It is not there: it was removed, or the end of the trail was cut off.
    Missing,
    /// It does not open: it was edited, or moved here from elsewhere.
    Edited,
    /// It opens, but the chain says that another one was written here: it is of another history of
    /// this vault.
    Replaced,
    /// Something stands after the end of the trail.
    AfterTheEnd,
    /// A mark that was kept outside is not in the trail: the vault was put back to an older state.
    NotAsMarked,
}

/// The first entry that is not as it was written.
///
/// [`Audit::verify`](super::Audit::verify) answers with the first, where there is any.
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
/// if let Some(finding) = runtime.audit().verify().await?.finding {
///     // The entries before it are as they were written.
///     eprintln!("{finding}; compare a backup, from entry {} on", finding.number);
/// }
/// # let mark = format!("1:{}", "A".repeat(43)).parse()?;
/// # let finding = runtime.audit().verify_against(mark).await?.finding.expect("another history");
/// # assert_eq!(finding.to_string(), "entry 1 is not the one that was marked");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFinding {
    /// Its number.
    pub number: u64,
    /// What is wrong with it.
    pub problem: AuditProblem,
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            AuditProblem::Missing => "is missing",
            AuditProblem::Edited => "was edited or moved",
            AuditProblem::Replaced => "is not the one that was written there",
            AuditProblem::AfterTheEnd => "stands after the end of the trail",
            AuditProblem::NotAsMarked => "is not the one that was marked",
        };
        write!(f, "entry {} {problem}", self.number)
    }
}

/// How far a verification got.
///
/// [`VaultHandle::verify_audit`](crate::vault::VaultHandle::verify_audit) answers with it, and
/// [`Audit::verify`](super::Audit::verify) asks until all is done.
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
/// // A part at a time, as `Audit::verify` does, to show how far it is.
/// let mut from = None;
/// loop {
///     let progress = runtime.vault().verify_audit(from, None).await?;
///     println!("verified up to entry {}", progress.verified.number());
///     if progress.done {
///         assert_eq!(progress.finding, None);
///         break;
///     }
///     from = Some(progress.verified);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditProgress {
    /// The first entry that there is; the older ones were removed by policy.
    pub first: u64,
    /// The last entry that was verified: where to go on.
    pub verified: AuditMark,
    /// Whether this was the end of the trail.
    pub done: bool,
    /// The first entry that is not as it was written.
    pub finding: Option<AuditFinding>,
}

/// An entry that opened.
pub(super) struct Opened {
    pub(super) mark: AuditMark,
    pub(super) body: Body,
    bytes: Vec<u8>,
}

impl OpenVault {
    /// Adds an entry to `batch` and to `trail`. The caller writes the head with this trail in the
    /// same batch, and takes the trail over once that is durable.
    pub(in crate::vault) fn append_audit(
        &self,
        batch: &mut StoreBatch,
        trail: &mut Trail,
        entry: &AuditEntry,
        identity: Option<&Identity>,
    ) -> Result<(), VaultError> {
        let number = trail.newest.number.saturating_add(1);
        let at = to_micros(entry.at.unwrap_or_else(|| self.sources.now().wall));
        let span = trail.span_with(at);
        let body = Body::encode(entry, number, (at, span), identity, &*self.sources.entropy)?;
        let mark = trail.append(&self.keys.audit_key, span, &body);
        let plain = [mark.hash.as_slice(), &body].concat();
        let key = entry_key(number);
        let sealed = self.seal(&key, RecordVersion(number), &plain)?;
        batch.write(key, None, Some(sealed));
        Ok(())
    }

    /// Records what changes no record, durably.
    pub(in crate::vault) fn record(&mut self, entry: &AuditEntry) -> Result<(), Failure> {
        let (mut batch, mut trail) = (StoreBatch::default(), self.trail);
        self.append_audit(&mut batch, &mut trail, entry, None)?;
        let version = RecordVersion(self.last.0.saturating_add(1));
        self.commit_with_head(batch, version, self.digest, trail)
    }

    /// The identity under which entries about `user` are written; none when there is none that
    /// opens, of those that are not `leaving`.
    pub(in crate::vault) fn audit_identity(
        &mut self,
        user: &UserId,
        leaving: impl Fn(&crate::vault::RecordKey) -> bool,
    ) -> Result<Option<Identity>, VaultError> {
        let query = Query::all(RecordKind::AuditIdentity).of_user(user.clone());
        for entry in self.list(&query) {
            let Some(subject) = SubjectId::of(&entry.key) else { continue };
            if leaving(&entry.key) {
                continue;
            }
            match self.read(&entry.key) {
                Ok(record) => {
                    let identity = record.and_then(|it| Identity::parse(subject, &it.payload));
                    if identity.is_some() {
                        return Ok(identity);
                    }
                }
                // Its former entries have lost their names; the next ones need not.
                Err(error) if error.is_quarantined() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A page of what `query` asks for.
    pub(crate) fn read_audit(&mut self, query: &AuditQuery) -> Result<AuditPage, VaultError> {
        let mut page = AuditPage::default();
        let numbers = self.trail.numbers();
        let subjects = query.user.as_ref().map(|user| self.subjects_of(user));
        if numbers.is_empty() || subjects.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(page);
        }
        let edge = if query.backwards { *numbers.end() } else { *numbers.start() };
        let start = query.start.unwrap_or(edge);
        let mut at =
            if query.backwards { start.min(*numbers.end()) } else { start.max(*numbers.start()) };
        let mut known = HashMap::new();
        for _ in 0..MOST_READS {
            if !numbers.contains(&at) {
                return Ok(page);
            }
            if page.entries.len() == query.page() {
                break;
            }
            let segment = segment_of(at);
            let enters = at == if query.backwards { *segment.end() } else { *segment.start() };
            if query.is_about_time()
                && (enters || at == edge)
                && !self.segment_may_have(at, query)?
            {
                at = next(if query.backwards { *segment.start() } else { *segment.end() }, query);
                continue;
            }
            match self.read_entry(at)? {
                Ok(opened) => {
                    let subject = opened.body.subject();
                    let is_theirs = subjects
                        .as_ref()
                        .is_none_or(|all| subject.is_some_and(|subject| all.contains(&subject)));
                    if is_theirs && query.wants(&opened.body.open) {
                        let subject = match subject {
                            Some(subject) => self.who_is(subject, &mut known)?,
                            None => Subject::Nobody,
                        };
                        page.entries.push(opened.body.show(opened.mark, &subject));
                    }
                }
                Err(_) => page.unreadable.push(at),
            }
            at = next(at, query);
        }
        page.next = numbers.contains(&at).then_some(at);
        Ok(page)
    }

    /// Verifies a part of the chain: from the beginning, or from where the last part ended. `marked`
    /// is a mark that was kept outside.
    pub(crate) fn verify_audit(
        &self,
        from: Option<AuditMark>,
        marked: Option<AuditMark>,
    ) -> Result<AuditProgress, VaultError> {
        let Trail { anchor, newest, .. } = self.trail;
        // What was to be verified next may have been removed by policy meanwhile.
        let mut at = from.filter(|mark| mark.number >= anchor.number).unwrap_or(anchor);
        let is_as_marked = |at: AuditMark| {
            marked.is_none_or(|mark| mark.number != at.number || mark.hash == at.hash)
        };
        let progress = |verified, done, finding| AuditProgress {
            first: anchor.number.saturating_add(1),
            verified,
            done,
            finding,
        };
        let found = |number, problem| Some(AuditFinding { number, problem });
        if !is_as_marked(at) {
            return Ok(progress(at, true, found(at.number, AuditProblem::NotAsMarked)));
        }
        for _ in 0..MOST_READS {
            if at.number >= newest.number {
                break;
            }
            let number = at.number.saturating_add(1);
            match self.follow(at)? {
                Ok(next) if !is_as_marked(next) => {
                    return Ok(progress(at, true, found(number, AuditProblem::NotAsMarked)));
                }
                Ok(next) => at = next,
                Err(problem) => return Ok(progress(at, true, found(number, problem))),
            }
        }
        if at.number < newest.number {
            return Ok(progress(at, false, None));
        }
        let after = newest.number.saturating_add(1);
        let finding = if at != newest {
            found(at.number, AuditProblem::Replaced)
        } else if self.store.version(&entry_key(after))?.is_some() {
            found(after, AuditProblem::AfterTheEnd)
        } else if marked.is_some_and(|mark| mark.number > newest.number) {
            found(after, AuditProblem::NotAsMarked)
        } else {
            None
        };
        Ok(progress(at, true, finding))
    }

    /// Whether the newest entry is the one that the head names: a look at one end, since opening a
    /// vault must not read the whole trail.
    pub(in crate::vault) fn check_audit_end(&self) -> Result<Option<AuditFinding>, VaultError> {
        let newest = self.trail.newest;
        if self.trail.len() == 0 {
            return Ok(None);
        }
        let problem = match self.read_entry(newest.number)? {
            Ok(opened) if opened.mark == newest => return Ok(None),
            Ok(_) => AuditProblem::Replaced,
            Err(problem) => problem,
        };
        Ok(Some(AuditFinding { number: newest.number, problem }))
    }

    /// The mark of the entry after `at`, if that is the one that was written there.
    pub(super) fn follow(
        &self,
        at: AuditMark,
    ) -> Result<Result<AuditMark, AuditProblem>, VaultError> {
        Ok(self.read_entry(at.number.saturating_add(1))?.and_then(|opened| {
            let mark = at.followed_by(&self.keys.audit_key, &opened.bytes);
            if mark == opened.mark { Ok(mark) } else { Err(AuditProblem::Replaced) }
        }))
    }

    /// Whether the segment of `number` may have what is asked for. The last entry of a segment
    /// knows the times of all.
    fn segment_may_have(&self, number: u64, query: &AuditQuery) -> Result<bool, VaultError> {
        let last = (*segment_of(number).end()).min(self.trail.newest.number);
        let opened = self.read_entry(last)?;
        Ok(opened.map_or(true, |opened| query.may_want(opened.body.span())))
    }

    fn subjects_of(&self, user: &UserId) -> BTreeSet<SubjectId> {
        let query = Query::all(RecordKind::AuditIdentity).of_user(user.clone());
        self.list(&query).iter().filter_map(|entry| SubjectId::of(&entry.key)).collect()
    }

    /// Who a subject is, looked up once per call.
    fn who_is(
        &mut self,
        subject: SubjectId,
        known: &mut HashMap<SubjectId, Subject>,
    ) -> Result<Subject, VaultError> {
        if let Some(found) = known.get(&subject) {
            return Ok(found.clone());
        }
        let found = match self.index.subject(subject) {
            Some(key) => match self.read(&key) {
                Ok(Some(record)) => Identity::parse(subject, &record.payload)
                    .map_or(Subject::Unreadable, Subject::Known),
                Ok(None) => Subject::Erased,
                Err(error) if error.is_quarantined() => Subject::Unreadable,
                Err(error) => return Err(error),
            },
            // Of some records that do not open nothing is known: it may be one of these.
            None if self.quarantine.keys().any(|name| self.index.version(name).is_none()) => {
                Subject::Unreadable
            }
            None => Subject::Erased,
        };
        known.insert(subject, found.clone());
        Ok(found)
    }

    pub(super) fn read_entry(
        &self,
        number: u64,
    ) -> Result<Result<Opened, AuditProblem>, VaultError> {
        let key = entry_key(number);
        let stored = match self.store.read(&key) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Err(AuditProblem::Missing)),
            Err(StoreError::Damaged(_)) => return Ok(Err(AuditProblem::Edited)),
            Err(error) => return Err(error.into()),
        };
        let version = RecordVersion(number);
        let plain = open_stored(&self.keys, &self.header.vault, &key, version, &stored).ok();
        let opened = plain.as_deref().and_then(|plain| {
            let (hash, bytes) = plain.split_first_chunk()?;
            let mark = AuditMark { number, hash: *hash };
            Some(Opened { mark, body: Body::parse(bytes)?, bytes: bytes.to_vec() })
        });
        Ok(opened.ok_or(AuditProblem::Edited))
    }
}

/// The number after `at` in the order that is asked for; 0 is no entry's.
fn next(at: u64, query: &AuditQuery) -> u64 {
    if query.backwards { at.saturating_sub(1) } else { at.saturating_add(1) }
}

/// What entry `number` is stored under.
pub(in crate::vault) fn entry_key(number: u64) -> Vec<u8> {
    [TRAIL, &number.to_be_bytes()].concat()
}
