//! Group commit on the vault's thread: what queues while one group is made durable is the next.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use ractor::concurrency::oneshot;

use super::*;
use crate::vault::audit::Notebook;
use crate::vault::writer::{Request, Writer};

/// A store in memory whose every commit says that it began and waits to be let through.
#[derive(Debug)]
struct Gated {
    inner: MemoryStore,
    began: Sender<usize>,
    gate: Arc<Mutex<Receiver<()>>>,
}

impl VaultStore for Gated {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.began.send(batch.writes.len()).expect("the test listens");
        self.gate.lock().expect("a lock").recv().expect("the test opens the gate");
        self.inner.commit(batch)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
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
        self.inner.scan(prefix, after, visit)
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        self.inner.health()
    }
}

/// The vault's thread over a gated store, and both ends of the gate.
struct Stage {
    writer: Writer,
    began: Receiver<usize>,
    gate: Sender<()>,
}

impl Stage {
    async fn set() -> Self {
        let (began, commits) = channel();
        let (gate, waiting) = channel();
        let (inner, waiting) = (MemoryStore::default(), Arc::new(Mutex::new(waiting)));
        let open: OpenStore = Arc::new(move || {
            let (began, gate) = (began.clone(), Arc::clone(&waiting));
            Ok(Box::new(Gated { inner: inner.clone(), began, gate }))
        });
        let vault = Vault { place: settings::Place::Other("gated", open), ..Vault::in_memory() };
        let notes = Notebook::new(Sources::system());
        let writer = Writer::start(vault, notes, Sources::system(), Arc::new(|_| {}));
        let writer = writer.expect("a thread");
        gate.send(()).expect("the header");
        in_time(writer.open()).await.expect("a vault");
        let stage = Self { writer, began: commits, gate };
        stage.begins();
        stage
    }

    /// How many writes the group makes that is at its barrier now, or comes there next.
    fn begins(&self) -> usize {
        self.began.recv_timeout(PATIENCE).expect("a group comes to its barrier")
    }

    fn submit(&self, batch: Batch) -> impl Future<Output = Result<(), VaultError>> + use<> {
        let (answer, answered) = oneshot();
        self.writer.submit(Request::Message(VaultMessage::Commit { batch, reply: answer.into() }));
        async move { in_time(answered).await.expect("an answer") }
    }
}

#[tokio::test]
async fn what_queues_behind_a_barrier_shares_the_next() {
    let stage = Stage::set().await;
    let first = stage.submit(put(&key("ada", "first"), b"1", Expect::Absent));
    stage.begins();
    let rest: Vec<_> = (0..63)
        .map(|number: u8| stage.submit(put(&key("ada", &number.to_string()), b"1", Expect::Absent)))
        .collect();
    stage.gate.send(()).expect("open");
    stage.gate.send(()).expect("open");
    first.await.expect("durable");
    for outcome in futures_util::future::join_all(rest).await {
        outcome.expect("durable");
    }
    assert_eq!(stage.begins(), 2 * 63 + 1, "one group, and the head");
    assert!(stage.began.try_recv().is_err(), "there was no third");
}

#[tokio::test]
async fn no_group_is_larger_than_it_may_be() {
    let stage = Stage::set().await;
    let first = stage.submit(put(&key("ada", "first"), b"1", Expect::Absent));
    stage.begins();
    let large = |name: &str| put(&key("ada", name), &vec![0; 600 * 1024], Expect::Absent);
    let rest = [stage.submit(large("a")), stage.submit(large("b")), stage.submit(large("c"))];
    for _ in 0..4 {
        stage.gate.send(()).expect("open");
    }
    first.await.expect("durable");
    for outcome in futures_util::future::join_all(rest).await {
        outcome.expect("durable");
    }
    assert_eq!(stage.began.try_iter().collect::<Vec<_>>(), [3, 3, 3]);
}

#[tokio::test]
async fn nobody_sees_a_batch_before_its_barrier() {
    let stage = Stage::set().await;
    let record = key("ada", "one");
    let commit = stage.submit(put(&record, b"1", Expect::Absent));
    stage.begins();
    // Queued together with a batch, so that it is served from before that batch's barrier.
    let later = stage.submit(put(&record, b"2", Expect::Anything));
    let (answer, read) = oneshot();
    stage
        .writer
        .submit(Request::Message(VaultMessage::Read { key: record.clone(), reply: answer.into() }));
    stage.gate.send(()).expect("open");
    commit.await.expect("durable");
    let seen = read.await.expect("an answer").expect("a read").expect("a record");
    assert_eq!(*seen.payload, b"1".to_vec());
    stage.gate.send(()).expect("open");
    later.await.expect("durable");
}

#[tokio::test]
async fn a_vault_is_closed_only_after_what_was_asked_before() {
    let stage = Stage::set().await;
    let record = key("ada", "one");
    let first = stage.submit(put(&record, b"1", Expect::Absent));
    let second = stage.submit(put(&record, b"2", Expect::Anything));
    for _ in 0..2 {
        stage.gate.send(()).expect("open");
    }
    stage.writer.close().await.expect("closed");
    first.await.expect("durable");
    second.await.expect("durable");
    let refused = stage.submit(put(&record, b"3", Expect::Anything)).await;
    assert!(refused.is_err_and(|error| error.is_unavailable()));
    stage.writer.open().await.expect("it opens again");
    let read = |reply| Request::Message(VaultMessage::Read { key: record.clone(), reply });
    let found = stage.writer.ask(read).await.expect("a read").expect("a record");
    assert_eq!(*found.payload, b"2".to_vec());
}
