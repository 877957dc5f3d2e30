//! An agent host for tests: a runtime over a vault in a folder of its own, simulated providers, and
//! one clock for all of them that moves only when a test says so.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokenward::Runtime;
use tokenward::clock::Sources;
use tokenward::credential::{CredentialHandle, SignInWith};
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{CredentialId, Label, Method, ProviderId, UserId};
use tokenward::oauth::{Limits, Pkce, Transport};
use tokenward::provider::{
    AssertionSource, AuthorizationRequest, CodeExchange, Provider as _, ProviderSpec,
};
use tokenward::secret::Secret;
use tokenward::supervision::{Events, Notice};
use tokenward::testing::{ManualClock, SimulatedProvider, VaultFaults};
use tokenward::vault::{Batch, Expect, MasterKey, Query, RecordKey, RecordKind, Tags, Vault};

use crate::patience;

/// The file in the host's folder that holds the assertion of its workload.
pub(crate) const ASSERTION: &str = "assertion.jwt";

/// The project that Google's requests are billed to.
pub(crate) const PROJECT: &str = "a-project-of-the-host";

/// How long what is real may take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Host {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) openai: SimulatedProvider,
    pub(crate) anthropic: SimulatedProvider,
    pub(crate) google: SimulatedProvider,
    pub(crate) orange: SimulatedProvider,
    pub(crate) github: SimulatedProvider,
    pub(crate) runtime: Runtime,
    pub(crate) folder: TempDir,
    /// What is wrong with the disk: nothing, unless a test says so.
    pub(crate) disk: VaultFaults,
}

impl Host {
    /// A host whose tokens live an hour.
    pub(crate) async fn start() -> Self {
        Self::with_lifetime(Duration::from_hours(1)).await
    }

    pub(crate) async fn with_lifetime(lifetime: Duration) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let sources = clock.sources();
        let on = |builder: tokenward::testing::SimulatedProviderBuilder| {
            builder.sources(sources.clone()).token_lifetime(lifetime).start()
        };
        let openai = on(SimulatedProvider::openai()).await.expect("a port");
        let anthropic = on(SimulatedProvider::anthropic()).await.expect("a port");
        let google = on(SimulatedProvider::google()).await.expect("a port");
        let orange = on(SimulatedProvider::orange()).await.expect("a port");
        let github = on(SimulatedProvider::github_copilot()).await.expect("a port");
        let folder = TempDir::new().expect("a folder");
        let providers = [&openai, &anthropic, &google, &orange, &github];
        let (runtime, disk) = start(&sources, &folder, providers, |spec| spec).await;
        Self { clock, openai, anthropic, google, orange, github, runtime, folder, disk }
    }

    /// Stops the runtime in good order and starts another one on the same vault.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(|spec| spec).await;
    }

    /// As [`Host::restart`], with other settings of the providers.
    pub(crate) async fn restart_with(&mut self, settings: impl Fn(ProviderSpec) -> ProviderSpec) {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new(), "everything ends in time");
        let Self { openai, anthropic, google, orange, github, .. } = &*self;
        let providers = [openai, anthropic, google, orange, github];
        (self.runtime, self.disk) =
            start(&self.clock.sources(), &self.folder, providers, settings).await;
    }

    /// Signs a user in at the simulated OpenAI by authorization code, and gives the credential.
    pub(crate) async fn sign_in_openai(&self, user: &str) -> CredentialHandle {
        self.sign_in_by_code(user, &self.openai).await
    }

    /// Signs a user in by authorization code, acting as browser and redirect receiver at once.
    pub(crate) async fn sign_in_by_code(
        &self,
        user: &str,
        provider: &SimulatedProvider,
    ) -> CredentialHandle {
        let id = CredentialId {
            user: UserId::new(user).expect("a name"),
            provider: ProviderId::new(provider.name()).expect("a name"),
            method: Method::AuthorizationCode,
            label: Label::default(),
        };
        let credential = self.runtime.credential(&id).await.expect("a credential");
        let spec = provider.spec();
        let pkce = Pkce::of(Secret::new("a-code-verifier-that-is-43-characters-long.."));
        let state = Secret::new("a-state-of-a-sign-in-in-a-test");
        let rules = spec.redirect().expect("a browser sign-in").clone();
        let redirect_uri = format!("http://{}:1455{}", rules.host, rules.path);
        let request = AuthorizationRequest::new(&redirect_uri, &pkce.challenge, &state);
        let url = spec.authorization_url(&request).expect("a url");
        let callback = provider.approve(&url).expect("consent");
        let callback = url::Url::parse(&callback).expect("a url");
        let code = callback
            .query_pairs()
            .find_map(|(name, value)| (name == "code").then(|| Secret::new(&value)))
            .expect("a code");
        let transport = Transport::new(self.clock.sources()).expect("a transport");
        let exchange = CodeExchange::new(&code, &state, &redirect_uri, &pkce.verifier);
        let grant = spec.exchange_code(&transport, exchange).await.expect("a grant");
        credential.sign_in(SignInWith::Grant(grant)).await.expect("signed in");
        credential
    }
}

async fn start(
    sources: &Sources,
    folder: &TempDir,
    providers: [&SimulatedProvider; 5],
    settings: impl Fn(ProviderSpec) -> ProviderSpec,
) -> (Runtime, VaultFaults) {
    let key = MasterKey::from_bytes([7; 32]);
    let vault = Vault::open(folder.path().join("vault")).master_key(key).reserve(0);
    let (vault, disk) = VaultFaults::over(vault);
    let mut builder = Runtime::builder()
        .sources(sources.clone())
        .vault(vault)
        .token_request_limits(Limits { deadline: Duration::from_secs(20), ..Limits::default() });
    for provider in providers {
        let assertion = AssertionSource::file(folder.path().join(ASSERTION));
        let spec = provider.spec().assertion(assertion);
        builder = builder.provider(settings(match provider.name() {
            "google" => spec.token_header("x-goog-user-project", PROJECT),
            _ => spec,
        }));
    }
    (builder.start().await.expect("a runtime"), disk)
}

/// Overwrites the record of this kind of the one credential that there is with what nobody can read, and restarts.
pub(crate) async fn damage(host: &mut Host, kind: RecordKind) {
    let vault = host.runtime.vault();
    let credentials = vault.list(Query::all(RecordKind::Credential)).await.expect("a list");
    let RecordKey { user, name, .. } = credentials[0].key.clone();
    let nonsense = zeroize::Zeroizing::new(b"{\"format\":1,\"generation\":\"ninety\"".to_vec());
    let key = RecordKey::new(kind, user, name);
    let batch = Batch::new().put(key, nonsense, Expect::Anything, Tags::default());
    vault.commit(batch).await.expect("written");
    host.restart().await;
}

/// Lets `edit` change the files of a vault that is closed, through sled. While the runtime runs, it tries to open
/// them again by itself, and has them for a moment.
pub(crate) async fn edit_files(host: &Host, edit: impl FnOnce(&sled::Db)) {
    let store = host.folder.path().join("vault").join("store");
    let mut db = None;
    patience::until(|| {
        db = sled::Config::new().path(&store).use_compression(false).open().ok();
        db.is_some()
    })
    .await;
    let db = db.expect("its files");
    edit(&db);
    db.flush().expect("flushed");
}

/// Waits for an event that `wanted` recognizes. One that never comes fails the test: what is real,
/// such as a disk and a request, answers to no clock of ours.
pub(crate) async fn until(events: &mut Events, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
    let found = async {
        loop {
            match events.next().await.expect("the runtime goes on") {
                Notice::Event(event) if wanted(&event.kind) => return event.kind.clone(),
                Notice::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it is told of")
}

/// Waits until a credential is in `state`.
pub(crate) async fn until_state(events: &mut Events, state: CredentialState) {
    until(events, |kind| matches!(kind, EventKind::StateChanged { to, .. } if *to == state)).await;
}
