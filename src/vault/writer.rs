//! The vault's own thread: it owns the opened vault, serves what has queued in groups, and outlives
//! the actor in front of it, so that a crash of the actor loses no acknowledged write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};

use ractor::concurrency::oneshot;
use tokio::sync::watch;

use super::audit::RetentionProgress;
use super::audit::{AuditMark, AuditPage, AuditProgress, AuditQuery, AuditRetention};
use super::batch::{Batch, MOST_BYTES, MOST_STEPS};
use super::commit::Failure;
use super::error::VaultError;
use super::export::{ExportFile, Exported};
use super::inspection::Inspection;
use super::keys::NewMaster;
use super::messages::Answer;
use super::opened::{OpenVault, Report};
use super::quarantine::{QuarantineId, Quarantined};
use super::record::{Entry, Query, Record, RecordKey};
use super::seal::VaultId;
use super::settings::Vault;
use super::store::StoreError;
use crate::clock::Sources;
use crate::identity::UserId;

/// How many requests are taken in a row before the batches among them are committed.
const MOST_REQUESTS: usize = 1024;

/// What the thread can be asked. Each is answered exactly once, unless the thread ends first; then
/// the answer's port closes and nobody waits.
pub(crate) enum Request {
    /// Opens the vault, unless it is open, and says whether it takes writes.
    Open {
        answer: Answer<bool>,
    },
    Close {
        answer: Answer<()>,
    },
    Read {
        key: RecordKey,
        answer: Answer<Option<Record>>,
    },
    Commit {
        batch: Batch,
        answer: Answer<()>,
    },
    List {
        query: Query,
        answer: Answer<Vec<Entry>>,
    },
    Inspect {
        answer: Answer<Inspection>,
    },
    ReadAudit {
        query: AuditQuery,
        answer: Answer<AuditPage>,
    },
    VerifyAudit {
        from: Option<AuditMark>,
        marked: Option<AuditMark>,
        answer: Answer<AuditProgress>,
    },
    ApplyAuditRetention {
        policy: AuditRetention,
        answer: Answer<RetentionProgress>,
    },
    Export {
        to: ExportFile,
        answer: Answer<Exported>,
    },
    Backup {
        to: PathBuf,
        answer: Answer<()>,
    },
    EraseUser {
        user: UserId,
        answer: Answer<usize>,
    },
    RotateMasterKey {
        new: Box<NewMaster>,
        answer: Answer<()>,
    },
    RotateDataKey {
        answer: Answer<()>,
    },
    Quarantined {
        answer: Answer<Vec<Quarantined>>,
    },
    Discard {
        id: QuarantineId,
        answer: Answer<()>,
    },
}

/// Whether the thread has the vault open.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    Open,
    /// It can be read, and refuses writes because of this.
    Refusing(VaultError),
    /// It is closed, because of this.
    Closed(VaultError),
}

/// The way to the vault's thread. When the last one is dropped, the thread serves what has queued,
/// closes the vault and ends.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Sender<Request>,
    status: watch::Receiver<Status>,
    /// Openings since the vault last took writes.
    failures: AtomicU32,
}

impl Writer {
    /// Starts the thread, with the vault still closed.
    pub(crate) fn start(
        vault: Vault,
        sources: Sources,
        report: Report,
    ) -> Result<Self, VaultError> {
        let (queue, requests) = channel();
        let closed = VaultError::unavailable("the vault is not open yet, try again");
        let (status, watched) = watch::channel(Status::Closed(closed));
        let mut keeper = Keeper {
            vault: None,
            held: None,
            seen: None,
            resting: false,
            status,
            settings: vault,
            sources,
            report,
            known: None,
            looked_back: false,
        };
        std::thread::Builder::new()
            .name("tokenward-vault".to_owned())
            .spawn(move || keeper.run(&requests))
            .map_err(|error| {
                VaultError::unavailable(format!("the vault's thread can not be started: {error}"))
            })?;
        Ok(Self { queue, status: watched, failures: AtomicU32::new(0) })
    }

    /// Hands `request` to the thread, and never blocks. What may wait here is bounded by the
    /// admission before the actor, whose permits are held until the answer.
    pub(crate) fn submit(&self, request: Request) {
        if let Err(SendError(request)) = self.queue.send(request) {
            request.refuse(ended());
        }
    }

    /// Opens the vault, unless it is open. Answers whether it takes writes, or only reads for now.
    pub(crate) async fn open(&self) -> Result<bool, VaultError> {
        let outcome = self.ask(|answer| Request::Open { answer }).await;
        match &outcome {
            Ok(true) => self.failures.store(0, Ordering::Relaxed),
            Ok(false) | Err(_) => drop(self.failures.fetch_add(1, Ordering::Relaxed)),
        }
        outcome
    }

    /// Openings since the vault last took writes.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Closes the vault after everything that was submitted before.
    pub(crate) async fn close(&self) -> Result<(), VaultError> {
        self.ask(|answer| Request::Close { answer }).await
    }

    /// Resolves with the reason when the vault is closed or refuses writes, at once if it does.
    pub(crate) async fn unwell(&self) -> VaultError {
        let mut status = self.status.clone();
        let unwell = status.wait_for(|status| !matches!(status, Status::Open)).await;
        match unwell.as_deref() {
            Ok(Status::Closed(reason) | Status::Refusing(reason)) => reason.clone(),
            Ok(Status::Open) | Err(_) => ended(),
        }
    }

    /// Resolves when the vault takes writes. Never, once the thread has ended.
    pub(crate) async fn well(&self) {
        let mut status = self.status.clone();
        if status.wait_for(|status| matches!(status, Status::Open)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks the thread and waits for its answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        make: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, VaultError> {
        let (answer, answered) = oneshot();
        self.submit(make(answer.into()));
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn no_room() -> VaultError {
    StoreError::NoRoom.into()
}

fn ended() -> VaultError {
    VaultError::unavailable("the vault's thread has ended, start the runtime again")
}

impl Request {
    fn refuse(self, error: VaultError) {
        match self {
            Self::Open { answer } => reply(answer, Err(error)),
            Self::Close { answer }
            | Self::Commit { answer, .. }
            | Self::Backup { answer, .. }
            | Self::RotateMasterKey { answer, .. }
            | Self::RotateDataKey { answer }
            | Self::Discard { answer, .. } => reply(answer, Err(error)),
            Self::Read { answer, .. } => reply(answer, Err(error)),
            Self::List { answer, .. } => reply(answer, Err(error)),
            Self::Inspect { answer } => reply(answer, Err(error)),
            Self::ReadAudit { answer, .. } => reply(answer, Err(error)),
            Self::VerifyAudit { answer, .. } => reply(answer, Err(error)),
            Self::ApplyAuditRetention { answer, .. } => reply(answer, Err(error)),
            Self::Export { answer, .. } => reply(answer, Err(error)),
            Self::EraseUser { answer, .. } => reply(answer, Err(error)),
            Self::Quarantined { answer } => reply(answer, Err(error)),
        }
    }
}

/// Answers. Whoever asked may have given up; that is their right.
fn reply<T>(answer: Answer<T>, outcome: Result<T, VaultError>) {
    let _gave_up = answer.send(outcome);
}

/// What the thread owns.
struct Keeper {
    vault: Option<OpenVault>,
    /// A batch that did not fit into the last group.
    held: Option<Request>,
    /// What the vault said of itself last.
    seen: Option<Inspection>,
    /// Upkeep failed. It goes on after a write that succeeds, so that a store which opens and takes
    /// no write, as on a full disk, is not opened again and again for it.
    resting: bool,
    status: watch::Sender<Status>,
    settings: Vault,
    sources: Sources,
    report: Report,
    /// The vault that was opened first: no other may take its place.
    known: Option<VaultId>,
    /// Whether an erasure that a crash interrupted was looked for. Once is enough: what keeps it from
    /// being finished must not keep the vault from being opened.
    looked_back: bool,
}

/// Batches that are committed together, and who waits for each.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    answers: Vec<Answer<()>>,
    steps: usize,
    bytes: usize,
}

impl Group {
    fn has_room_for(&self, batch: &Batch) -> bool {
        self.batches.is_empty()
            || (self.steps + batch.len() <= MOST_STEPS && self.bytes + batch.bytes() <= MOST_BYTES)
    }

    fn add(&mut self, batch: Batch, answer: Answer<()>) {
        self.steps += batch.len();
        self.bytes += batch.bytes();
        self.batches.push(batch);
        self.answers.push(answer);
    }
}

impl Keeper {
    fn run(&mut self, requests: &Receiver<Request>) {
        loop {
            let needs_upkeep =
                !self.resting && self.vault.as_ref().is_some_and(OpenVault::needs_upkeep);
            let first = match self.held.take() {
                Some(held) => Ok(held),
                None if needs_upkeep => requests.try_recv(),
                None => requests.recv().map_err(|_| TryRecvError::Disconnected),
            };
            match first {
                Ok(first) => self.serve(first, requests),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            if needs_upkeep {
                // A small step between two groups, so that nobody waits long for it.
                self.upkeep();
            }
        }
    }

    fn upkeep(&mut self) {
        if self.vault.is_none() {
            return;
        }
        if let Err(error) = self.change(OpenVault::upkeep) {
            tracing::error!(%error, "the upkeep of the vault's keys failed, it waits for a write");
            self.resting = true;
        }
    }

    /// Serves `first` and what has queued behind it: reads at once, from what is durable; batches
    /// together at the end.
    fn serve(&mut self, first: Request, requests: &Receiver<Request>) {
        let mut group = Group::default();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(request) = next {
            taken += 1;
            match request {
                Request::Commit { batch, answer } if group.has_room_for(&batch) => {
                    group.add(batch, answer);
                }
                Request::Commit { .. }
                | Request::Open { .. }
                | Request::Close { .. }
                | Request::Export { .. }
                | Request::Backup { .. }
                | Request::EraseUser { .. }
                    if !group.batches.is_empty() =>
                {
                    self.held = Some(request);
                    break;
                }
                request => self.answer(request),
            }
            next = if taken < MOST_REQUESTS { requests.try_recv().ok() } else { None };
        }
        if !group.batches.is_empty() {
            self.commit(group);
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Open { answer } => reply(answer, self.open()),
            Request::Close { answer } => {
                self.close(VaultError::unavailable("the vault is closed, start the runtime again"));
                reply(answer, Ok(()));
            }
            Request::Read { key, answer } => reply(answer, self.with(|vault| vault.read(&key))),
            Request::List { query, answer } => {
                reply(answer, self.with(|vault| Ok(vault.list(&query))));
            }
            Request::ReadAudit { query, answer } => {
                reply(answer, self.with(|vault| vault.read_audit(&query)));
            }
            Request::VerifyAudit { from, marked, answer } => {
                reply(answer, self.with(|vault| vault.verify_audit(from, marked)));
            }
            Request::ApplyAuditRetention { policy, answer } => {
                reply(answer, self.change(|vault| vault.apply_audit_retention(policy)));
            }
            Request::Export { to, answer } => {
                let mut exported = Exported::default();
                let outcome = self.change(|vault| {
                    exported = to.take(vault)?;
                    Ok(())
                });
                reply(answer, outcome.map(|()| exported));
            }
            Request::Backup { to, answer } => {
                reply(answer, self.beside(|vault| vault.back_up(&to)));
            }
            Request::EraseUser { user, answer } => {
                reply(answer, self.change(|vault| vault.erase_user(&user)));
            }
            Request::Inspect { answer } => reply(answer, self.inspect()),
            Request::Quarantined { answer } => {
                reply(answer, self.with(|vault| Ok(vault.quarantined())));
            }
            Request::Discard { id, answer } => {
                reply(answer, self.change(|vault| vault.discard(&id.0)));
            }
            Request::RotateDataKey { answer } => {
                reply(answer, self.change(OpenVault::rotate_data_key));
            }
            Request::RotateMasterKey { new, answer } => {
                let settings = new.settings.clone();
                let outcome = self.change(|vault| vault.rotate_master_key(*new));
                if outcome.is_ok() {
                    self.settings.master_key = Some(settings);
                }
                reply(answer, outcome);
            }
            Request::Commit { batch, answer } => {
                let mut group = Group::default();
                group.add(batch, answer);
                self.commit(group);
            }
        }
    }

    fn commit(&mut self, group: Group) {
        let Group { batches, answers, .. } = group;
        let outcome = self.with(|vault| {
            let outcome = vault.commit(batches);
            Ok((outcome.verdicts, outcome.failed))
        });
        match outcome {
            Ok((verdicts, failed)) => {
                self.resting &= verdicts.iter().all(Result::is_err);
                if let Some(error) = failed {
                    self.close(error);
                } else if let Some(error) = verdicts
                    .iter()
                    .find_map(|verdict| verdict.as_ref().err().filter(|error| error.is_full()))
                {
                    self.status.send_replace(Status::Refusing(error.clone()));
                }
                for (answer, verdict) in answers.into_iter().zip(verdicts) {
                    reply(answer, verdict);
                }
                if self.vault.as_ref().is_some_and(OpenVault::wants_a_look) {
                    // What is wrong closes the vault, or is reported.
                    drop(self.open());
                }
            }
            Err(error) => {
                for answer in answers {
                    reply(answer, Err(error.clone()));
                }
            }
        }
    }

    /// Runs `work` on the opened vault, whose failures are about something else than the vault.
    fn beside<T>(
        &mut self,
        work: impl FnOnce(&mut OpenVault) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.with(|vault| Ok(work(vault)))?
    }

    /// What the vault says, or said before it was closed.
    fn inspect(&mut self) -> Result<Inspection, VaultError> {
        match (self.with(OpenVault::inspect), &self.seen) {
            (Ok(inspection), _) => {
                self.seen = Some(inspection.clone());
                Ok(inspection)
            }
            (Err(error), Some(seen)) if self.vault.is_none() => {
                let degraded = Some(error.to_string());
                Ok(Inspection { poisoned: true, degraded, ..seen.clone() })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Runs `work`, which changes the opened vault outside of a group. A failure of the store
    /// closes it.
    fn change<T>(
        &mut self,
        work: impl FnOnce(&mut OpenVault) -> Result<T, Failure>,
    ) -> Result<T, VaultError> {
        match self.with(|vault| Ok(work(vault)))? {
            Ok(done) => Ok(done),
            Err(Failure { error, closes }) => {
                if closes {
                    self.close(error.clone());
                } else if error.is_full() {
                    self.status.send_replace(Status::Refusing(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Runs `work` on the opened vault. A panic, and a failure of the store, close it.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut OpenVault) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let Some(vault) = &mut self.vault else {
            return Err(match &*self.status.borrow() {
                Status::Closed(reason) | Status::Refusing(reason) => reason.clone(),
                Status::Open => ended(),
            });
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(vault))).unwrap_or_else(|_| {
            Err(VaultError::unavailable("the vault failed unexpectedly and is opened again"))
        });
        if let Err(error) = &outcome
            && error.is_unavailable()
        {
            self.close(error.clone());
        }
        outcome
    }

    fn open(&mut self) -> Result<bool, VaultError> {
        self.open_closed()?;
        if !std::mem::replace(&mut self.looked_back, true)
            && let Err(error) = self.change(OpenVault::finish_erasure)
        {
            tracing::error!(%error, "an erasure was interrupted, its bytes are still in the files");
            self.open_closed()?;
        }
        let takes_writes = self.with(OpenVault::look_after)?;
        let status = if takes_writes { Status::Open } else { Status::Refusing(no_room()) };
        self.status.send_replace(status);
        Ok(takes_writes)
    }

    /// Opens the store, if it is closed.
    fn open_closed(&mut self) -> Result<(), VaultError> {
        if self.vault.is_some() {
            return Ok(());
        }
        self.open_store().inspect_err(|error| {
            self.status.send_replace(Status::Closed(error.clone()));
        })
    }

    fn open_store(&mut self) -> Result<(), VaultError> {
        let (settings, sources, report) = (&self.settings, &self.sources, &self.report);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            OpenVault::open(settings, sources.clone(), report.clone())
        }));
        let mut vault = opened.unwrap_or_else(|_| {
            Err(VaultError::damaged("the vault does not open, restore a backup"))
        })?;
        if self.known.is_some_and(|known| known != vault.header.vault) {
            return Err(VaultError::damaged(
                "another vault stands where this one was, put it back and start again",
            ));
        }
        self.known = Some(vault.header.vault);
        self.seen = vault.inspect().ok();
        // A directory that vanishes later, such as one that is not mounted, is no new vault.
        self.settings.create_if_missing = false;
        self.vault = Some(vault);
        Ok(())
    }

    fn close(&mut self, reason: VaultError) {
        let vault = self.vault.take();
        // A store that failed may panic once more on its way out; it is gone either way.
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(vault)));
        self.status.send_replace(Status::Closed(reason));
    }
}
