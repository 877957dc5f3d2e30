//! A runtime whose secrets all have the canary in them, and the ways of signing in that the other canary
//! does not go.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokenward::clock::Sources;
use tokenward::identity::{CredentialId, Label};
use tokenward::provider::AssertionSource;
use tokenward::testing::{ManualClock, SimulatedProvider, SimulatedProviderBuilder};
use tokenward::vault::ExportFile;
use tokenward::{Error, MasterKey, Method, Runtime, Secret, Session, User, Vault};

use crate::capture::Capture;
use crate::hasty::{Hasty, Temper};
use crate::patience::{in_time, while_time_passes};

/// Stands in every token, code, key, assertion and client secret, and in the passphrase of the exports.
pub(crate) const CANARY: &str = "Canary-9e4c71d3";

pub(crate) struct Cage {
    pub(crate) capture: Capture,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) openai: SimulatedProvider,
    pub(crate) anthropic: SimulatedProvider,
    pub(crate) google: SimulatedProvider,
    pub(crate) github: SimulatedProvider,
    /// When the provider that stands before the simulated OpenAI panics.
    pub(crate) temper: Temper,
    pub(crate) runtime: Runtime,
    /// The vault, its backups and its exports.
    pub(crate) folder: TempDir,
    /// Where the platform of a workload puts its assertion.
    platform: TempDir,
}

impl Cage {
    pub(crate) async fn open(capture: Capture) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let start = async |builder: SimulatedProviderBuilder| {
            let builder = builder.sources(clock.sources()).token_lifetime(Duration::from_hours(1));
            builder.canary(CANARY).start().await.expect("a port")
        };
        let secret = format!("client-secret-{CANARY}");
        let openai = start(SimulatedProvider::openai()).await;
        let anthropic = start(SimulatedProvider::anthropic()).await;
        let google = start(SimulatedProvider::google().client_secret(secret)).await;
        let github = start(SimulatedProvider::github_copilot()).await;
        let (folder, platform) = (folder(), folder());
        let temper = Temper::default();
        let assertion = AssertionSource::file(platform.path().join("assertion"));
        let key = MasterKey::from_bytes([7; 32]);
        // Without a reserve, which would be searched, too.
        let vault = Vault::open(folder.path().join("vault")).master_key(key).reserve(0);
        let runtime = Runtime::builder()
            .sources(clock.sources())
            .vault(vault)
            .provider(Hasty::new(openai.spec(), &temper))
            .provider(anthropic.spec().assertion(assertion))
            .provider(google.spec())
            .provider(github.spec())
            .start()
            .await
            .expect("a runtime");
        capture.follow(runtime.events());
        Self {
            capture,
            clock,
            openai,
            anthropic,
            google,
            github,
            temper,
            runtime,
            folder,
            platform,
        }
    }

    pub(crate) fn providers(&self) -> [&SimulatedProvider; 4] {
        [&self.openai, &self.anthropic, &self.google, &self.github]
    }

    pub(crate) fn ada(&self) -> User {
        self.runtime.user("ada")
    }

    /// Lets time pass while `work` goes on.
    pub(crate) async fn passing<T>(&self, work: impl Future<Output = T>) -> T {
        while_time_passes(&self.clock, work).await
    }

    /// The platform of a workload replaces its assertion.
    pub(crate) fn issue_assertion(&self) {
        let assertion = self.anthropic.issue_assertion(Duration::from_hours(3));
        self.write_assertion(assertion.expose());
    }

    pub(crate) fn write_assertion(&self, text: &str) {
        std::fs::write(self.platform.path().join("assertion"), text).expect("written");
    }

    /// Ada signs in on another device, and consents at once.
    pub(crate) async fn by_device(
        &self,
        provider: &SimulatedProvider,
    ) -> Result<CredentialId, Error> {
        let login = self.ada().sign_in(provider.name()).with_device_code().await?;
        self.capture.show(&login);
        provider.approve_device(login.user_code()).expect("it is known");
        let ended = self.passing(login.finished()).await;
        self.capture.show(&login);
        self.capture.result(&ended);
        ended
    }

    /// Ada's session at `provider`, by `method`.
    pub(crate) async fn session(&self, provider: &str, method: Method) -> Session {
        let session = self.ada().open_session().await.expect("a session");
        let used = session.use_credential(provider, method, &Label::default()).await;
        used.expect("signed in");
        session
    }

    /// Calls, and notes everything on the way.
    pub(crate) async fn call(&self, session: &Session, path: &str) {
        let Self { capture, .. } = self;
        let reply = self.passing(session.client().get(path).send()).await;
        if let Ok(reply) = &reply {
            capture.note(format!("{:?}", reply.extensions().get::<tokenward::Fallback>()));
        }
        capture.result(&reply.map(|reply| reply.status()));
        capture.result(&self.passing(session.authentication()).await);
        capture.result(&self.passing(session.acquire()).await);
        let choice = session.explain().await;
        if let Ok(choice) = &choice {
            capture.note(choice);
        }
        capture.result(&choice);
    }

    /// All that tells an operator how things stand.
    pub(crate) async fn everything_is_told(&self, name: &str) {
        let Self { capture, runtime, .. } = self;
        capture.show(&runtime.metrics());
        capture.note(runtime.metrics().encode());
        let diagnosis = in_time(runtime.doctor()).await;
        capture.note(&diagnosis);
        capture.show(&diagnosis);
        for provider in self.providers() {
            capture.result(&self.passing(runtime.check_health(provider.name())).await);
        }
        capture.show(&runtime.health().all());
        capture.show(runtime.health());
        capture.show(&runtime.tree().await);
        capture.show(&runtime.breakers());
        capture.result(&runtime.audit().verify().await);
        capture.result(&self.ada().credentials().await);

        let path = self.folder.path().join(format!("{name}.export"));
        let passphrase = Secret::from(format!("passphrase-{CANARY}"));
        let file = ExportFile::create(path, passphrase, &Sources::system()).await.expect("a file");
        capture.show(&file);
        let exported = runtime.vault().export(file).await;
        capture.result(&exported);
        assert!(exported.expect("exported").records > 0);
        let backup = runtime.vault().back_up(self.folder.path().join(format!("{name}.backup")));
        backup.await.expect("a backup");
    }
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}
