//! What takes many turns: between two of them the vault's thread answers others.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::concurrency::oneshot;

use super::*;
use crate::secret::Secret;
use crate::vault::audit::Notebook;
use crate::vault::messages::Answer;
use crate::vault::writer::{Request, Writer};

/// More than a page.
const RECORDS: usize = 300;

/// A store in memory that, once it is told to, counts what is read and rewritten, and stops before
/// calls of certain numbers until it is let go on. It is rewritten in two parts.
#[derive(Debug, Clone, Default)]
struct Stopping {
    inner: MemoryStore,
    stops: Arc<Mutex<Option<Stops>>>,
    parts: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Stops {
    at: Vec<usize>,
    calls: usize,
    stopped: Sender<()>,
    go_on: Receiver<()>,
}

impl Stopping {
    fn call(&self) {
        let mut stops = self.stops.lock().expect("a lock");
        let Some(stops) = stops.as_mut() else { return };
        stops.calls += 1;
        if stops.at.contains(&stops.calls) {
            stops.stopped.send(()).expect("the test listens");
            stops.go_on.recv().expect("the test lets it go on");
        }
    }
}

impl VaultStore for Stopping {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.inner.commit(batch)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.call();
        self.inner.read(key)
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        self.inner.version(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.call();
        self.inner.scan(prefix, after, visit)
    }

    fn compact_some(&mut self) -> Result<bool, StoreError> {
        self.call();
        Ok(self.parts.fetch_add(1, Ordering::SeqCst) == 1)
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        self.inner.health()
    }
}

/// Asks for what takes many turns, and, while the vault's thread is in the first of them, for a write.
/// That one is answered before the last turn, at which the thread stops again. The thread is asked
/// without its actor: what is submitted has queued when the call returns, so that the thread can not
/// have taken all its turns before it sees the write.
async fn a_write_is_answered_before<T>(
    stops: [usize; 2],
    long: impl FnOnce(Answer<T>) -> VaultMessage,
) -> (Writer, T)
where
    T: Send + 'static,
{
    let store = Stopping::default();
    let opened = store.clone();
    let open: OpenStore = Arc::new(move || Ok(Box::new(opened.clone())));
    let vault = Vault { place: settings::Place::Other("stopping", open), ..Vault::in_memory() };
    // A copy is made of what has a key of its own.
    let vault = vault.master_key(MasterKey::from_bytes([7; 32]));
    let notes = Notebook::new(Sources::system());
    let writer = Writer::start(vault, notes, Sources::system(), Arc::new(|_| {}));
    let writer = writer.expect("a thread");
    writer.open().await.expect("a vault");
    for number in 0..RECORDS {
        let batch = put(&key("ada", &number.to_string()), b"x", Expect::Absent);
        submit(&writer, |reply| VaultMessage::Commit { batch, reply }).await.expect("durable");
    }
    let ((stopped, has_stopped), (go_on, waits)) = (channel(), channel());
    let at = stops.to_vec();
    *store.stops.lock().expect("a lock") = Some(Stops { at, calls: 0, stopped, go_on: waits });

    let mut long = submit(&writer, long);
    has_stopped.recv_timeout(PATIENCE).expect("the first turn");
    let batch = put(&key("bob", "new"), b"x", Expect::Absent);
    let write = submit(&writer, |reply| VaultMessage::Commit { batch, reply });
    go_on.send(()).expect("it waits");
    in_time(write).await.expect("durable, while the last turn waits");
    has_stopped.recv_timeout(PATIENCE).expect("the last turn");
    assert!(futures_util::poll!(&mut long).is_pending(), "it is still under way");
    go_on.send(()).expect("it waits");
    let done = in_time(long).await.expect("it is done");
    (writer, done)
}

/// What the thread will answer to what has queued now.
fn submit<T: Send + 'static>(
    writer: &Writer,
    message: impl FnOnce(Answer<T>) -> VaultMessage,
) -> BoxFuture<'static, Result<T, VaultError>> {
    let (answer, answered) = oneshot();
    writer.submit(Request::Message(message(answer.into())));
    async move { answered.await.expect("an answer") }.boxed()
}

#[tokio::test]
async fn a_write_is_answered_while_an_export_is_under_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("all.export");
    let secret = Secret::new("correct horse battery staple");
    let to = ExportFile::create(&path, secret, &Sources::system()).await.expect("a file");
    let stops = [1, RECORDS];
    let export = |reply| VaultMessage::Export { to, reply };
    let (writer, exported) = a_write_is_answered_before(stops, export).await;
    assert_eq!(exported.records, RECORDS, "the write came later than the export");
    writer.close().await.expect("closed");
}

#[tokio::test]
async fn a_write_is_answered_while_a_backup_is_under_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().join("backup");
    // The first two calls look at the headers.
    let back_up = |reply| VaultMessage::Backup { to, reply };
    let (writer, ()) = a_write_is_answered_before([3, 6], back_up).await;
    writer.close().await.expect("closed");
}

#[tokio::test]
async fn a_write_is_answered_while_a_user_is_erased() {
    let erase = |reply| VaultMessage::EraseUser { user: user("ada"), reply };
    // Two scans for what is to be deleted, and two parts of the rewriting.
    let (writer, erased) = a_write_is_answered_before([1, 4], erase).await;
    assert_eq!(erased, RECORDS);
    let key = key("bob", "new");
    let found = submit(&writer, |reply| VaultMessage::Read { key, reply }).await;
    assert_eq!(*found.expect("a read").expect("a record").payload, b"x".to_vec());
    writer.close().await.expect("closed");
}
