//! The way to the vault's own thread, which outlives the actor in front of it, so that a crash of the
//! actor loses no acknowledged write.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};

use ractor::concurrency::oneshot;
use tokio::sync::watch;

use super::audit::Notebook;
use super::error::VaultError;
use super::keeper::Keeper;
use super::keys::NewMaster;
use super::messages::{Answer, VaultMessage};
use super::opened::Report;
use super::settings::Vault;
use crate::clock::Sources;

/// What the thread can be asked. Each is answered once, unless the thread ends first; then the
/// answer's port closes and nobody waits.
pub(crate) enum Request {
    /// Opens the vault, unless it is open, and says whether it takes writes.
    Open(Answer<bool>),
    /// Closes the vault.
    Close(Answer<()>),
    /// Writes some of what was noted for the audit trail, at the end more than there is leave for, and
    /// says whether there was any.
    WriteNotes { is_the_end: bool, answer: Answer<bool> },
    /// Lets the vault hang on a master key that was looked for already.
    RotateMasterKey(Box<NewMaster>, Answer<()>),
    /// Whatever the actor was asked and does not do itself.
    Message(VaultMessage),
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
        notes: Notebook,
        sources: Sources,
        report: Report,
    ) -> Result<Self, VaultError> {
        let (queue, requests) = channel();
        let closed = VaultError::unavailable("the vault is not open yet, try again");
        let (status, watched) = watch::channel(Status::Closed(closed));
        let mut keeper = Keeper::new(vault, notes, sources, report, status);
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
        // Fails when the thread has ended; then whoever waits for the answer is told by its port.
        let _ended = self.queue.send(request);
    }

    /// Opens the vault, unless it is open. Answers whether it takes writes, or only reads for now.
    pub(crate) async fn open(&self) -> Result<bool, VaultError> {
        let outcome = self.ask(Request::Open).await;
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
        self.ask(Request::Close).await
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

pub(super) fn ended() -> VaultError {
    VaultError::unavailable("the vault's thread has ended, start the runtime again")
}
