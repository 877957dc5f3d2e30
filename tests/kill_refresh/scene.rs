//! The parent's side: a vault, a provider that outlives the processes, and what is found after each
//! of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokenward::Runtime;
use tokenward::clock::Clock as _;
use tokenward::credential::CredentialHandle;
use tokenward::event::CredentialState;
use tokenward::identity::Generation;
use tokenward::testing::{Counters, ManualClock, SimulatedProvider};
use tokenward::vault::{Query, RecordKind};

use crate::child::{Cause, LIFETIME, Orders, credential_of_ada, start};
use crate::killing;

/// One vault and one provider, and the processes that die one after another.
pub(super) struct Scene {
    test: &'static str,
    folder: TempDir,
    pub(super) provider: SimulatedProvider,
    /// What the clocks show; each round is a little later than the one before.
    pub(super) clock: Arc<ManualClock>,
    /// The bystanders of all rounds, with their keys.
    keys: Vec<(String, String)>,
}

/// What is found after one kill.
pub(super) struct Found {
    pub(super) runtime: Runtime,
    pub(super) credential: CredentialHandle,
    pub(super) cause: Cause,
    /// The generation that ada's sign-in was acknowledged with.
    pub(super) signed_in: Generation,
    /// What the provider had counted before the child, and after it.
    before: Counters,
    pub(super) after: Counters,
}

impl Scene {
    pub(super) async fn new(test: &'static str) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let builder = SimulatedProvider::openai().sources(clock.sources());
        let provider = builder.token_lifetime(LIFETIME).start().await.expect("a port");
        let folder = TempDir::new().expect("a folder");
        Self { test, folder, provider, clock, keys: Vec::new() }
    }

    /// Lets a child die at `step`, and opens what it left.
    pub(super) async fn kill(&mut self, step: &str, cause: Cause) -> Found {
        let before = self.provider.counters();
        self.clock.advance(Duration::from_secs(10));
        let bystander = format!("bystander {}", self.keys.len());
        let key = self.provider.issue_api_key().expose().to_owned();
        self.keys.push((bystander.clone(), key.clone()));
        let signed_in = self
            .run_child(&Orders {
                vault: self.vault(),
                provider: self.provider.spec(),
                clock: self.clock.now().wall,
                bystander,
                key,
                cause,
                step: step.to_owned(),
            })
            .await;
        let after = self.provider.counters();
        self.clock.advance(cause.age());
        let runtime = self.open().await;
        let credential = credential_of_ada(&runtime).await;
        Found { runtime, credential, cause, signed_in, before, after }
    }

    /// The generation that ada's sign-in was acknowledged with; the bystander's was, too.
    async fn run_child(&self, orders: &Orders) -> Generation {
        let mut child = killing::child(self.test, orders);
        // All is on loopback, and reading the platform's certificates would be most of the work.
        child.env("SSL_CERT_FILE", "/dev/null");
        // The provider answers it meanwhile.
        let ended = tokio::task::spawn_blocking(move || killing::suicide::run(child)).await;
        let (acknowledged, killed) = ended.expect("it ended");
        assert!(killed, "it dies at {}", orders.step);
        Generation(acknowledged[0].parse().expect("a number"))
    }

    pub(super) async fn open(&self) -> Runtime {
        start(&self.vault(), self.clock.sources(), self.provider.spec()).await
    }

    fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    /// Every sign-in that was ever acknowledged is there; the last bystander's key is the right one.
    pub(super) async fn check_acknowledged(&self, runtime: &Runtime) {
        let stored = runtime.vault().list(Query::all(RecordKind::Credential)).await;
        assert_eq!(stored.expect("a list").len(), 1 + self.keys.len());
        let (bystander, key) = self.keys.last().expect("one");
        self.check_key(runtime, bystander, key).await;
    }

    async fn check_key(&self, runtime: &Runtime, bystander: &str, key: &str) {
        let user = runtime.user(bystander);
        let credential = user.preferred_credential("openai").await.expect("signed in");
        let snapshot = credential.acquire().await.expect("usable");
        let headers = snapshot.headers(self.clock.now()).expect("usable");
        assert!(headers["authorization"] == format!("Bearer {key}"), "the key of {bystander}");
    }

    /// Ends a round in good order.
    pub(super) async fn close(&self, runtime: Runtime) {
        let inspection = runtime.inspect_vault().await.expect("an inspection");
        assert_eq!((inspection.quarantined, inspection.poisoned), (0, false));
        // How full the disk is says nothing about the vault.
        let of_the_vault = inspection.warnings.iter().find(|it| !it.contains("% free"));
        assert_eq!(of_the_vault, None);
        let unfinished = runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new());
    }

    /// After the last round: no bystander was lost on the way, nor were two mixed up. Tells how it
    /// went.
    pub(super) async fn check_everybody(&self) {
        let runtime = self.open().await;
        for (bystander, key) in &self.keys {
            self.check_key(&runtime, bystander, key).await;
        }
        self.close(runtime).await;
        println!(
            "{}: {} kills: 0 acknowledged sign-ins lost, 0 failed openings",
            self.test,
            self.keys.len()
        );
    }
}

impl Found {
    /// What the child's renewal did at the provider.
    pub(super) fn refreshes_of_the_child(&self) -> usize {
        self.after.refreshes - self.before.refreshes
    }

    pub(super) async fn check(&self, state: CredentialState, generation: Generation) {
        let seen = self.credential.inspect().await.expect("readable");
        let expected = (state, generation);
        assert_eq!((seen.state(), seen.generation()), expected, "{:?}", self.cause);
    }
}
