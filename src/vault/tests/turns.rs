//! What takes many turns: between two of them the vault's thread answers others.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::secret::Secret;

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

/// Asks for what takes many turns, and, while the vault is in the first of them, for a write. That one
/// is answered before the last turn, at which the vault stops again.
async fn a_write_is_answered_before<T>(
    stops: [usize; 2],
    long: impl AsyncFnOnce(VaultHandle) -> Result<T, VaultError> + 'static,
) -> (Running, T)
where
    T: 'static,
{
    let store = Stopping::default();
    let opened = store.clone();
    let open: OpenStore = Arc::new(move || Ok(Box::new(opened.clone())));
    let place = settings::Place::Other("stopping", open);
    let running = Running::start(Vault { place, ..Vault::in_memory() }).await.expect("a vault");
    for number in 0..RECORDS {
        let batch = put(&key("ada", &number.to_string()), b"x", Expect::Absent);
        running.vault.commit(batch).await.expect("durable");
    }
    let ((stopped, has_stopped), (go_on, waits)) = (channel(), channel());
    let at = stops.to_vec();
    *store.stops.lock().expect("a lock") = Some(Stops { at, calls: 0, stopped, go_on: waits });

    let vault = running.vault.clone();
    let local = tokio::task::LocalSet::new();
    let done = local
        .run_until(async {
            let long = tokio::task::spawn_local(long(vault.clone()));
            let has_stopped = until_stopped(has_stopped).await;
            let write = vault.commit(put(&key("bob", "new"), b"x", Expect::Absent));
            let mut write = std::pin::pin!(write);
            assert!(futures_util::poll!(&mut write).is_pending());
            go_on.send(()).expect("it waits");
            write.await.expect("durable");
            until_stopped(has_stopped).await;
            assert!(!long.is_finished(), "it is still under way");
            go_on.send(()).expect("it waits");
            long.await.expect("it does not panic").expect("it is done")
        })
        .await;
    (running, done)
}

/// Waits off the test's thread until the store has stopped.
async fn until_stopped(stopped: Receiver<()>) -> Receiver<()> {
    let wait = move || {
        stopped.recv().expect("the store lives");
        stopped
    };
    tokio::task::spawn_blocking(wait).await.expect("it does not panic")
}

#[tokio::test]
async fn a_write_is_answered_while_an_export_is_under_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("all.export");
    let secret = Secret::new("correct horse battery staple");
    let file = ExportFile::create(&path, secret, &Sources::system()).await.expect("a file");
    let stops = [1, RECORDS];
    let export = async move |vault: VaultHandle| vault.export(file).await;
    let (running, exported) = a_write_is_answered_before(stops, export).await;
    assert_eq!(exported.records, RECORDS, "the write came later than the export");
    running.stop().await;
}

#[tokio::test]
async fn a_write_is_answered_while_a_backup_is_under_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().join("backup");
    let back_up = async move |vault: VaultHandle| vault.back_up(to).await;
    let (running, ()) = a_write_is_answered_before([1, 4], back_up).await;
    running.stop().await;
}

#[tokio::test]
async fn a_write_is_answered_while_a_user_is_erased() {
    let erase = async |vault: VaultHandle| vault.erase_user(&user("ada")).await;
    // Two scans for what is to be deleted, and two parts of the rewriting.
    let (running, erased) = a_write_is_answered_before([1, 4], erase).await;
    assert_eq!(erased, RECORDS);
    assert_eq!(payload(&running.vault, &key("bob", "new")).await, Some(b"x".to_vec()));
    running.stop().await;
}
