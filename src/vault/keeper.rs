//! What the vault's thread does: it owns the opened vault, serves what has queued in groups, and does a
//! little of what takes long between two of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};

use tokio::sync::watch;

use super::audit::Notebook;
use super::batch::{Batch, MOST_BYTES, MOST_STEPS};
use super::commit::{Failure, GroupOutcome};
use super::error::VaultError;
use super::inspection::Inspection;
use super::messages::{Answer, VaultMessage};
use super::opened::{OpenVault, Report};
use super::seal::VaultId;
use super::settings::Vault;
use super::store::StoreError;
use super::tasks::{Task, Tasks};
use super::writer::{Request, Status, ended};
use crate::clock::Sources;

/// How many requests are taken in a row before the batches among them are committed.
const MOST_REQUESTS: usize = 1024;

/// Answers. Whoever asked may have given up; that is their right.
pub(super) fn reply<T>(answer: Answer<T>, outcome: Result<T, VaultError>) {
    let _gave_up = answer.send(outcome);
}

/// What the thread owns.
pub(super) struct Keeper {
    vault: Option<OpenVault>,
    /// A batch that did not fit into the last group.
    held: Option<Request>,
    /// What the vault said of itself last.
    seen: Option<Inspection>,
    /// Upkeep failed. It goes on after a write that succeeds, so that a store which opens and takes
    /// no write, as on a full disk, is not opened again and again for it.
    resting: bool,
    status: watch::Sender<Status>,
    /// With the master key, or where it is: after a failure the vault is opened again, and a host
    /// that gave the key itself can not be asked for it.
    settings: Vault,
    /// What is to be recorded although it changes nothing. Taken, written and forgotten on this thread
    /// alone, so that none of it is under way while a user is deleted.
    pub(super) notes: Notebook,
    pub(super) sources: Sources,
    pub(super) report: Report,
    /// The vault that was opened first: no other may take its place.
    known: Option<VaultId>,
    /// Whether an erasure that a crash interrupted was looked for. What keeps it from being finished must
    /// not keep the vault from being opened, so from then on it is a task.
    looked_back: bool,
    /// What takes many turns.
    pub(super) tasks: Tasks,
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
    pub(super) fn new(
        settings: Vault,
        notes: Notebook,
        sources: Sources,
        report: Report,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            vault: None,
            held: None,
            seen: None,
            resting: false,
            status,
            settings,
            notes,
            sources,
            report,
            known: None,
            looked_back: false,
            tasks: Tasks::default(),
        }
    }

    /// Serves requests until nobody can ask any more.
    pub(super) fn run(&mut self, requests: &Receiver<Request>) {
        loop {
            let needs_upkeep =
                !self.resting && self.vault.as_ref().is_some_and(OpenVault::needs_upkeep);
            let is_busy = needs_upkeep || !self.tasks.is_empty();
            let first = match self.held.take() {
                Some(held) => Ok(held),
                None if is_busy => requests.try_recv(),
                None => requests.recv().map_err(|_| TryRecvError::Disconnected),
            };
            match first {
                Ok(first) => self.serve(first, requests),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            // A small step between two groups, so that nobody waits long for it.
            if !self.tasks.is_empty() {
                self.do_some();
            } else if needs_upkeep {
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
                Request::Message(VaultMessage::Commit { batch, reply })
                    if group.has_room_for(&batch) =>
                {
                    group.add(batch, reply);
                }
                // What comes after a batch is to find it done.
                Request::Open(_)
                | Request::Close(_)
                | Request::WriteNotes { .. }
                | Request::Message(
                    VaultMessage::Commit { .. }
                    | VaultMessage::Export { .. }
                    | VaultMessage::Backup { .. }
                    | VaultMessage::EraseUser { .. },
                ) if !group.batches.is_empty() => {
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
        if self.vault.is_some() {
            self.retry_rewriting();
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Open(answer) => reply(answer, self.open()),
            Request::Close(answer) => {
                self.close(VaultError::unavailable("the vault is closed, start the runtime again"));
                reply(answer, Ok(()));
            }
            Request::WriteNotes { is_the_end, answer } => {
                let outcome = self.write_notes(is_the_end);
                reply(answer, outcome);
            }
            Request::RotateMasterKey(new, answer) => {
                let settings = new.settings.clone();
                let turned = self.change(|vault| vault.rotate_master_key(*new));
                let outcome = turned.and_then(|()| {
                    // The new key opens the vault from now on, whatever becomes of the rest.
                    self.settings.master_key = Some(settings);
                    let finished = self.change(OpenVault::finish_rotation);
                    finished.map_err(|error| error.of_unfinished_rotation())
                });
                reply(answer, outcome);
            }
            Request::Message(message) => self.answer_message(message),
        }
    }

    fn answer_message(&mut self, message: VaultMessage) {
        match message {
            VaultMessage::Read { key, reply: to } => reply(to, self.with(|vault| vault.read(&key))),
            VaultMessage::Commit { batch, reply } => {
                let mut group = Group::default();
                group.add(batch, reply);
                self.commit(group);
            }
            VaultMessage::List { query, reply: to } => {
                reply(to, self.with(|vault| Ok(vault.list(&query))));
            }
            VaultMessage::Inspect { reply: to } => reply(to, self.inspect()),
            VaultMessage::ReadAudit { query, reply: to } => {
                reply(to, self.with(|vault| vault.read_audit(&query)));
            }
            VaultMessage::VerifyAudit { from, marked, reply: to } => {
                reply(to, self.with(|vault| vault.verify_audit(from, marked)));
            }
            VaultMessage::ApplyAuditRetention { policy, reply: to } => {
                reply(to, self.change(|vault| vault.apply_audit_retention(policy)));
            }
            VaultMessage::Export { to, reply } => self.tasks.add(Task::Export(to, reply)),
            VaultMessage::Backup { to, reply } => self.tasks.add(Task::Backup(to, reply)),
            VaultMessage::EraseUser { user, reply } => self.tasks.add(Task::Erase(user, reply)),
            VaultMessage::RotateDataKey { reply: to } => {
                reply(to, self.change(OpenVault::rotate_data_key));
            }
            VaultMessage::Quarantined { reply: to } => {
                reply(to, self.with(|vault| Ok(vault.quarantined())));
            }
            VaultMessage::Discard { id, reply: to } => {
                reply(to, self.change(|vault| vault.discard(&id.into())));
            }
            // These are the actor's own.
            VaultMessage::WriteNotes { .. }
            | VaultMessage::RotateMasterKey { .. }
            | VaultMessage::Internal(_) => {}
        }
    }

    fn commit(&mut self, group: Group) {
        let Group { batches, answers, .. } = group;
        let verdicts = self.commit_all(batches);
        for (answer, verdict) in answers.into_iter().zip(verdicts) {
            reply(answer, verdict);
        }
        if self.vault.as_ref().is_some_and(OpenVault::wants_a_look) {
            // What is wrong closes the vault, or is reported.
            drop(self.open());
        }
    }

    /// Commits `batches` together, and says what became of each.
    fn commit_all(&mut self, batches: Vec<Batch>) -> Vec<Result<(), VaultError>> {
        let count = batches.len();
        let GroupOutcome { verdicts, failed } = match self.with(|vault| Ok(vault.commit(batches))) {
            Ok(outcome) => outcome,
            Err(error) => return vec![Err(error); count],
        };
        self.resting &= verdicts.iter().all(Result::is_err);
        if let Some(error) = failed {
            self.close(error);
        } else if let Some(error) = verdicts
            .iter()
            .find_map(|verdict| verdict.as_ref().err().filter(|error| error.is_full()))
        {
            self.status.send_replace(Status::Refusing(error.clone()));
        }
        verdicts
    }

    /// Writes the oldest of what was noted in one commit, and says whether there was any. What can not be
    /// written waits on.
    fn write_notes(&mut self, is_the_end: bool) -> Result<bool, VaultError> {
        let entries = self.notes.take(is_the_end);
        if entries.is_empty() {
            return Ok(false);
        }
        let batch = entries.iter().cloned().fold(Batch::new(), Batch::record);
        let written = self.commit_all(vec![batch]).into_iter().collect::<Result<(), _>>();
        if written.is_err() {
            self.notes.give_back(entries);
        }
        written.map(|()| true)
    }

    /// Runs `work` on the opened vault, whose failures are about something else than the vault.
    pub(super) fn beside<T>(
        &mut self,
        work: impl FnOnce(&mut OpenVault) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.with(|vault| Ok(work(vault)))?
    }

    /// What the vault says, or said before it was closed.
    fn inspect(&mut self) -> Result<Inspection, VaultError> {
        let mut inspection = match (self.with(OpenVault::inspect), &self.seen) {
            (Ok(inspection), _) => {
                self.seen = Some(inspection.clone());
                inspection
            }
            (Err(error), Some(seen)) if self.vault.is_none() => {
                let degraded = Some(error.to_string());
                Inspection { poisoned: true, degraded, ..seen.clone() }
            }
            (Err(error), _) => return Err(error),
        };
        inspection.warnings.extend(self.tasks.warning());
        Ok(inspection)
    }

    /// Runs `work`, which changes the opened vault outside of a group. A failure of the store
    /// closes it.
    pub(super) fn change<T>(
        &mut self,
        work: impl FnOnce(&mut OpenVault) -> Result<T, Failure>,
    ) -> Result<T, VaultError> {
        let outcome = self.change_much(work);
        if let Err(error) = &outcome
            && error.is_full()
            && self.vault.is_some()
        {
            self.status.send_replace(Status::Refusing(error.clone()));
        }
        outcome
    }

    /// As [`Keeper::change`], for what takes far more room than a write does: that there is none for it
    /// does not mean that writes are refused.
    pub(super) fn change_much<T>(
        &mut self,
        work: impl FnOnce(&mut OpenVault) -> Result<T, Failure>,
    ) -> Result<T, VaultError> {
        self.with(|vault| Ok(work(vault)))?.map_err(|Failure { error, closes }| {
            if closes {
                self.close(error.clone());
            }
            error
        })
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
            && let Err(error) = self.change_much(OpenVault::finish_erasure)
        {
            self.owe_rewriting(&error);
            self.open_closed()?;
        }
        let takes_writes = self.with(OpenVault::look_after)?;
        let status =
            if takes_writes { Status::Open } else { Status::Refusing(StoreError::NoRoom.into()) };
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
