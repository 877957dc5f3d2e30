//! One life of the host's process: an async runtime of its own on one thread, which can be stopped at
//! any point as `kill -9` does, and which can tell when everything in it has come to rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokenward::clock::{Entropy, Sources};
use tokenward::identity::{CredentialId, UserId};
use tokenward::session::SessionPolicy;
use tokenward::supervision::ChildStatus;
use tokenward::testing::VaultFaults;
use tokenward::vault::{RecordKey, RecordKind, Vault};
use tokenward::{CredentialHandle, Events, Runtime, RuntimeBuilder};
use tokio::sync::Notify;

use crate::authority::Authority;
use crate::chance::{Chance, Instants};
use crate::time::Time;

/// How often the vault may have to be asked before it has done all it was asked for. Far more than is ever
/// needed: on a machine that is busy its thread may get no turn while this one has many.
const MOST_ROUNDS: usize = 10_000;

/// How often this thread stands back for the vault's where that is at work, or can not be asked.
const YIELDS: usize = 50;

/// A process. What it is made of is dropped in this order.
pub(crate) struct Process {
    threads: tokio::runtime::Runtime,
    pub(crate) runtime: Runtime,
    pub(crate) events: Events,
    idle: Arc<Idle>,
    disk: VaultFaults,
    /// Calls of the store when it was seen to rest.
    calls: u64,
    entropy: Arc<Instants>,
}

/// Tells when no task can go on by itself.
#[derive(Debug, Default)]
struct Idle {
    wanted: AtomicBool,
    reached: Notify,
}

impl Idle {
    fn parks(&self) {
        if self.wanted.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    async fn reached(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.reached.notified().await;
    }
}

impl Process {
    /// Starts the runtime over `vault`.
    pub(crate) fn start(
        vault: Vault,
        disk: &VaultFaults,
        authorities: &[Authority],
        time: &Time,
        chance: &Chance,
    ) -> Self {
        let idle = Arc::new(Idle::default());
        let parking = Arc::clone(&idle);
        let threads = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parking.parks())
            .build()
            .expect("a runtime");
        let entropy = Arc::new(Instants::new(time.clock.clone(), chance));
        let dynamic: Arc<dyn Entropy> = entropy.clone();
        let sources = Sources { clock: time.clock.clone(), entropy: dynamic };
        let hours =
            SessionPolicy { timeout: Duration::from_hours(24 * 30), ..SessionPolicy::default() };
        let minutes = Duration::from_mins(3);
        let builder = Runtime::builder().sources(sources).vault(vault);
        let builder = builder.sessions(hours).idle_after(minutes);
        let builder = authorities.iter().cloned().fold(builder, RuntimeBuilder::provider);
        let runtime = threads.block_on(builder.start()).expect("a runtime on a vault that is well");
        let events = runtime.events();
        Self { threads, runtime, events, idle, disk: disk.clone(), calls: 0, entropy }
    }

    /// Starts a task in it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.threads.spawn(task)
    }

    /// What a task came to that has ended.
    pub(crate) fn outcome<T>(
        &self,
        task: tokio::task::JoinHandle<T>,
    ) -> Result<T, tokio::task::JoinError> {
        self.threads.block_on(task)
    }

    /// The address of a credential, where its actor runs already.
    pub(crate) fn credential(&self, id: &CredentialId) -> Option<CredentialHandle> {
        let found = async { self.runtime.credential(id).now_or_never() };
        self.threads.block_on(found).and_then(Result::ok)
    }

    /// Kills the actor at `path`.
    pub(crate) fn crash(&self, path: &str) -> bool {
        self.threads.block_on(self.runtime.crash_actor(path))
    }

    /// Lets everything go on until nothing can without time passing; what waits for a store that is
    /// `held` waits on.
    pub(crate) fn settle(&mut self, held: bool) {
        let Self { threads, runtime, idle, disk, calls, .. } = self;
        let vault = runtime.vault();
        let nobody = UserId::new("nobody").expect("a name");
        let nothing = RecordKey::new(RecordKind::Credential, nobody, "nothing");
        threads.block_on(async {
            for _ in 0..MOST_ROUNDS {
                idle.reached().await;
                if held {
                    return;
                }
                if vault.messages().status() == ChildStatus::Restarting {
                    // Nobody can be asked, and its thread may be at work still.
                    (0..YIELDS).for_each(|_| std::thread::yield_now());
                    return;
                }
                // It is answered after whatever the vault was asked before.
                drop(vault.read(&nothing).await);
                idle.reached().await;
                let calls_now = disk.calls();
                if vault.messages().waiting() == 0 && *calls == calls_now {
                    return;
                }
                *calls = calls_now;
                (0..YIELDS).for_each(|_| std::thread::yield_now());
            }
            let waiting = vault.messages().waiting();
            panic!("the vault does not come to rest: {waiting} wait, {calls} calls of the store");
        });
    }

    /// The process ends, whatever is under way. Returns when its vault is closed.
    pub(crate) fn die(self) {
        let Self { threads, runtime, events, entropy, .. } = self;
        drop(threads);
        drop((runtime, events));
        // The vault's thread serves what has reached it, and lets go of its sources at its end.
        while Arc::strong_count(&entropy) > 1 {
            std::thread::yield_now();
        }
    }
}
