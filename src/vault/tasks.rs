//! What would hold the vault's thread for long: exports, backups and erasures. One is under way at a
//! time, a part of it between two groups of requests, so that nobody who reads or writes waits for it.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::export::{ExportFile, Exported, Exporting};
use super::keeper::{Keeper, reply};
use super::messages::Answer;
use super::opened::OpenVault;
use crate::identity::UserId;

/// What was asked for, and who waits for it.
pub(super) enum Task {
    Export(ExportFile, Answer<Exported>),
    Backup(PathBuf, Answer<()>),
    Erase(UserId, Answer<usize>),
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
}

/// What is under way, and what waits for its turn.
#[derive(Default)]
pub(super) struct Tasks {
    running: Option<Running>,
    waiting: VecDeque<Task>,
}

impl Tasks {
    pub(super) fn add(&mut self, task: Task) {
        self.waiting.push_back(task);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
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
            Task::Erase(user, answer) => match self.change(|vault| vault.delete_user(&user)) {
                Ok(records) => return Some(Running::Erase { records, answer }),
                Err(error) => reply(answer, Err(error)),
            },
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
            Running::Backup(answer) => match self.beside(OpenVault::continue_backup) {
                Ok(false) => return Some(Running::Backup(answer)),
                Ok(true) => reply(answer, Ok(())),
                Err(error) => reply(answer, Err(error)),
            },
            Running::Erase { records, answer } => match self.change(OpenVault::continue_erasure) {
                Ok(false) => return Some(Running::Erase { records, answer }),
                Ok(true) => {
                    tracing::info!(records, "a user was erased and the vault's files rewritten");
                    reply(answer, Ok(records));
                }
                Err(error) => reply(answer, Err(error)),
            },
        }
        None
    }
}
