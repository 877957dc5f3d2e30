//! What would hold the vault's thread for long: exports, backups and erasures. One is under way at a
//! time, a part of it between two groups of requests, so that nobody who reads or writes waits for it.
//! What an erasure owes and could not do is tried again until it is done.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use super::error::VaultError;
use super::export::{ExportFile, Exported, Exporting};
use super::keeper::{Keeper, reply};
use super::messages::Answer;
use super::opened::OpenVault;
use crate::clock::Moment;
use crate::event::EventKind;
use crate::identity::UserId;

/// How long after a rewriting of the files that failed it is tried again; it doubles with each failure,
/// since it reads and writes the whole vault.
const FIRST_WAIT: Duration = Duration::from_mins(1);

/// How often that doubles: the longest wait is about an hour.
const MOST_DOUBLINGS: u32 = 6;

/// What was asked for, and who waits for it.
pub(super) enum Task {
    Export(ExportFile, Answer<Exported>),
    Backup(PathBuf, Answer<()>),
    Erase(UserId, Answer<usize>),
    /// What an erasure still owes.
    Rewrite,
}

/// What is under way, and who waits for it.
enum Running {
    Export(Answer<Exported>),
    Backup(Answer<()>),
    /// The records are deleted; their bytes are not.
    Erase {
        records: usize,
        answer: Answer<usize>,
    },
    Rewrite,
}

/// The bytes of a user that was deleted still stand in the files.
struct Owed {
    /// Why rewriting them failed last, when, and how often in a row.
    reason: VaultError,
    tried: Moment,
    failures: u32,
}

impl Owed {
    fn wait(&self) -> Duration {
        FIRST_WAIT.saturating_mul(1 << self.failures.saturating_sub(1).min(MOST_DOUBLINGS))
    }
}

/// What is under way, and what waits for its turn.
#[derive(Default)]
pub(super) struct Tasks {
    running: Option<Running>,
    waiting: VecDeque<Task>,
    owed: Option<Owed>,
}

impl Tasks {
    pub(super) fn add(&mut self, task: Task) {
        self.waiting.push_back(task);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// What is to be said as long as an erasure is not done.
    pub(super) fn warning(&self) -> Option<String> {
        self.owed.as_ref().map(|Owed { reason, .. }| {
            format!(
                "the bytes of an erased user still stand in the vault's files, which could not be \
                 rewritten and will be tried again: {reason}"
            )
        })
    }
}

impl Keeper {
    /// Does a part of what is under way, or begins with what waits.
    pub(super) fn do_some(&mut self) {
        self.tasks.running = match self.tasks.running.take() {
            Some(running) => self.go_on(running),
            None => self.tasks.waiting.pop_front().and_then(|task| self.begin(task)),
        };
    }

    fn begin(&mut self, task: Task) -> Option<Running> {
        match task {
            Task::Export(file, answer) => {
                let begun = self.beside(|vault| {
                    vault.begin_export(file);
                    Ok(())
                });
                match begun {
                    Ok(()) => return Some(Running::Export(answer)),
                    Err(error) => reply(answer, Err(error)),
                }
            }
            Task::Backup(to, answer) => match self.beside(|vault| vault.begin_backup(&to)) {
                Ok(()) => return Some(Running::Backup(answer)),
                Err(error) => reply(answer, Err(error)),
            },
            Task::Erase(user, answer) => {
                let deleted = self.change(|vault| vault.delete_user(&user));
                // Also if it failed: nobody knows whether it is durable then.
                self.notes.forget(&user);
                match deleted {
                    Ok(records) => return Some(Running::Erase { records, answer }),
                    Err(error) => {
                        // Nor does anybody else rewrite the files, if it is.
                        if error.is_unavailable() && !error.is_full() {
                            self.owe_rewriting(&error);
                        }
                        reply(answer, Err(error));
                    }
                }
            }
            Task::Rewrite => return Some(Running::Rewrite),
        }
        None
    }

    fn go_on(&mut self, running: Running) -> Option<Running> {
        match running {
            Running::Export(answer) => match self.beside(OpenVault::continue_export) {
                Ok(false) => return Some(Running::Export(answer)),
                Ok(true) => {
                    let ended = self.change(OpenVault::end_export);
                    reply(answer, ended.and_then(Exporting::finish));
                }
                Err(error) => reply(answer, Err(error)),
            },
            Running::Backup(answer) => match self.back_up_some() {
                Ok(false) => return Some(Running::Backup(answer)),
                Ok(true) => reply(answer, Ok(())),
                Err(error) => reply(answer, Err(error)),
            },
            Running::Erase { records, answer } => match self.rewrite_some() {
                Ok(false) => return Some(Running::Erase { records, answer }),
                Ok(true) => {
                    tracing::info!(records, "a user was erased and the vault's files rewritten");
                    reply(answer, Ok(records));
                }
                Err(error) => reply(answer, Err(error)),
            },
            Running::Rewrite => match self.rewrite_some() {
                Ok(false) => return Some(Running::Rewrite),
                Ok(true) => {
                    tracing::info!("an erasure was finished, the vault's files are rewritten");
                }
                // It was told, and is tried again.
                Err(_) => {}
            },
        }
        None
    }

    /// Does a part of a backup, and says whether that was the last. A copy that is made while the former
    /// master key still opens the vault would be opened by it for good, so that is ended first.
    fn back_up_some(&mut self) -> Result<bool, VaultError> {
        if self.beside(|vault| Ok(vault.unfinished_rotation))?
            && let Err(error) = self.change(OpenVault::finish_rotation)
        {
            self.beside(|vault| {
                vault.give_up_backup();
                Ok(())
            })?;
            return Err(error.of_unfinished_rotation());
        }
        self.beside(OpenVault::continue_backup)
    }

    /// Does a part of rewriting the files, and says whether nothing of it is left to do.
    fn rewrite_some(&mut self) -> Result<bool, VaultError> {
        let outcome = self.change_much(OpenVault::continue_erasure);
        match &outcome {
            Ok(true) => self.tasks.owed = None,
            Ok(false) => {}
            Err(error) => self.owe_rewriting(error),
        }
        outcome
    }

    /// Notes that the files could not be rewritten, and tells of it the first time.
    pub(super) fn owe_rewriting(&mut self, reason: &VaultError) {
        let failures = self.tasks.owed.as_ref().map_or(0, |owed| owed.failures);
        let (tried, reason) = (self.sources.now(), reason.clone());
        tracing::error!(%reason, failures, "the bytes of an erased user still stand in the files");
        self.tasks.owed = Some(Owed { reason, tried, failures: failures.saturating_add(1) });
        if failures == 0
            && let Some(warning) = self.tasks.warning()
        {
            (self.report)(EventKind::VaultWarning { warning });
        }
    }

    /// Begins anew with a rewriting that failed, once it was waited for long enough.
    pub(super) fn retry_rewriting(&mut self) {
        let now = self.sources.now();
        let is_due = |owed: &Owed| now.since(owed.tried) >= owed.wait();
        if self.tasks.is_empty() && self.tasks.owed.as_ref().is_some_and(is_due) {
            self.tasks.add(Task::Rewrite);
        }
    }
}
