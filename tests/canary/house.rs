//! A runtime in which every secret has the canary in it, and users who do all that users can do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use tempfile::TempDir;
use tokenward::Runtime;
use tokenward::clock::Clock as _;
use tokenward::credential::CredentialHandle;
use tokenward::identity::{CredentialId, Method};
use tokenward::login::Login;
use tokenward::service::memory_bank::{Hit, MemoryBank, NewMemory, Search};
use tokenward::service::orange::{Orange, Sms};
use tokenward::testing::{ManualClock, SimulatedProvider, SimulatedProviderBuilder};
use tokenward::vault::audit::AuditQuery;
use tokenward::vault::{MasterKey, Vault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::capture::Capture;

/// Stands in every token, code, key and client secret, and in the master key.
pub(crate) const CANARY: &str = "Canary-5b1f8e02";

/// Names that nobody must find in the files of the vault.
pub(crate) const ADA: &str = "ada.nachtigall@voliere.example";
pub(crate) const BOB: &str = "bob.zaunkoenig@voliere.example";
pub(crate) const LABEL: &str = "zweitkonto-im-garten";

pub(crate) struct House {
    pub(crate) capture: Capture,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) openai: SimulatedProvider,
    pub(crate) anthropic: SimulatedProvider,
    pub(crate) google: SimulatedProvider,
    pub(crate) orange: SimulatedProvider,
    pub(crate) bank: SimulatedProvider,
    pub(crate) runtime: Runtime,
    /// States of sign-ins: secrets in which the canary does not stand.
    pub(crate) states: Vec<String>,
    pub(crate) folder: TempDir,
}

impl House {
    pub(crate) async fn open(capture: Capture) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let start = |builder: SimulatedProviderBuilder| {
            let builder = builder.sources(clock.sources()).token_lifetime(Duration::from_hours(1));
            builder.canary(CANARY).start()
        };
        let secret = format!("client-secret-{CANARY}");
        let google = SimulatedProvider::google().client_secret(secret.as_str());
        let orange = SimulatedProvider::orange().client_secret(secret.as_str());
        let bank = SimulatedProvider::memory_bank().client_secret(secret.as_str());
        let openai = start(SimulatedProvider::openai()).await.expect("a port");
        let anthropic = start(SimulatedProvider::anthropic()).await.expect("a port");
        let google = start(google).await.expect("a port");
        let orange = start(orange).await.expect("a port");
        let bank = start(bank).await.expect("a port");
        let folder = TempDir::new().expect("a folder");
        let vault = vault(&folder, master_key());
        let providers = [&openai, &anthropic, &google, &orange, &bank];
        let runtime = start_runtime(&clock, vault, providers).await;
        let runtime = runtime.expect("a runtime");
        capture.follow(runtime.events());
        let states = Vec::new();
        Self { capture, clock, openai, anthropic, google, orange, bank, runtime, states, folder }
    }

    pub(crate) fn providers(&self) -> [&SimulatedProvider; 5] {
        [&self.openai, &self.anthropic, &self.google, &self.orange, &self.bank]
    }

    /// Another runtime on the same vault, which this one may still have open.
    pub(crate) async fn another(&self, key: MasterKey) -> Result<Runtime, tokenward::Error> {
        start_runtime(&self.clock, vault(&self.folder, key), self.providers()).await
    }

    /// Stops the runtime in good order, and starts another one on the same vault.
    pub(crate) async fn restart(&mut self) {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new(), "everything ends in time");
        let key = MasterKey::from_bytes([7; 32]);
        self.capture.result(&self.another(key).await);
        self.runtime = self.another(master_key()).await.expect("a runtime");
        self.capture.follow(self.runtime.events());
    }

    /// Signs `user` in by a browser that comes back to the listener.
    pub(crate) async fn in_browser(
        &mut self,
        user: &str,
        provider: &SimulatedProvider,
    ) -> CredentialHandle {
        let user = self.runtime.user(user);
        let login = user.sign_in(provider.name()).in_browser().await.expect("a sign-in");
        self.see(&login);
        let callback = provider.approve(login.url()).expect("consent");
        assert!(callback.contains(CANARY), "the code");
        assert_eq!(visit(&callback).await, 200);
        let id = login.finished().await.expect("signed in");
        self.see(&login);
        self.runtime.credential(&id).await.expect("there")
    }

    /// Signs `user` in by a paste, under a label.
    pub(crate) async fn by_paste(&mut self, user: &str, provider: &SimulatedProvider) {
        let user = self.runtime.user(user);
        let sign_in = user.sign_in(provider.name()).label(LABEL);
        self.capture.show(&sign_in);
        let login = sign_in.by_paste().await.expect("a sign-in");
        self.see(&login);
        for wrong in [format!("{CANARY}#{CANARY}"), CANARY.to_owned(), format!("code={CANARY}")] {
            self.capture.result(&login.paste(&wrong).await);
        }
        let login = if login.is_over() {
            let again = user.sign_in(provider.name()).label(LABEL).by_paste().await;
            again.expect("a sign-in")
        } else {
            login
        };
        self.see(&login);
        let shown = provider.approve_for_paste(login.url()).expect("consent");
        login.paste(&shown).await.expect("accepted");
        self.capture.result(&login.finished().await);
    }

    /// Signs `user` in by an API key.
    pub(crate) async fn with_key(&self, user: &str, provider: &SimulatedProvider) -> CredentialId {
        let key = provider.issue_api_key();
        assert!(key.expose().contains(CANARY));
        self.capture.show(&key);
        let sign_in = self.runtime.user(user).sign_in(provider.name());
        let id = sign_in.with_api_key(key).await;
        self.capture.result(&id);
        id.expect("signed in")
    }

    /// Notes how a sign-in looks, and keeps its state for the search.
    pub(crate) fn see(&mut self, login: &Login) {
        self.capture.show(login);
        let url = Url::parse(login.url()).expect("a url");
        let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1;
        self.states.push(state.into_owned());
    }

    /// Makes one call by `method` in a new session, and notes everything on the way.
    pub(crate) async fn call(&self, user: &str, provider: &SimulatedProvider, method: Method) {
        let session = self.runtime.user(user).open_session().await.expect("a session");
        let label = tokenward::identity::Label::default();
        let active = session.use_credential(provider.name(), method, &label).await;
        self.capture.result(&active);
        active.expect("signed in");
        let request = session.client().get("/v1/models").query("page", "1");
        self.capture.show(&request);
        let reply = session.client().get("/v1/models").send().await;
        self.capture.result(&reply.map(|reply| reply.status()));
        self.capture.result(&session.authentication().await);
        self.capture.result(&session.acquire().await);
        self.capture.show(&session);
        self.capture.show(&session.client());
        self.capture.show(&session.view());
    }

    /// Calls both services in a new session, and notes everything on the way.
    pub(crate) async fn use_services(&self, user: &str) {
        let Self { capture, runtime, .. } = self;
        let session = runtime.user(user).open_session().await.expect("a session");
        let bank = MemoryBank::new(session.client_for("memory-bank").await.expect("signed in"));
        let orange = Orange::new(session.client_for("orange").await.expect("signed in"));
        capture.show(&bank);
        capture.show(&orange);
        let prepared = orange.request(http::Method::GET, "/sms/admin/v1/contracts").prepare().await;
        capture.result(&prepared);
        let (_, recovery) = prepared.expect("a request").into_parts();
        capture.show(&recovery);
        capture.result(&orange.headers().await);
        capture.result(&orange.token().await);
        let outcome = self.while_time_passes(async move {
            let created = bank.create(&NewMemory::new("tea")).await;
            let found: Result<Vec<Hit>, _> =
                bank.search_all(Search::new("tea").limit(1)).try_collect().await;
            let id = "m".parse().expect("an id");
            let (read, deleted) = (bank.get(&id).await, bank.delete(&id).await);
            let from = "+33600000000".parse().expect("a number");
            let to = "+33612345678".parse().expect("a number");
            let sent = orange.send_sms(&Sms::new(from, to, "hello")).await;
            (created, found, read, deleted, sent)
        });
        let (created, found, read, deleted, sent) = outcome.await;
        // The simulation has the canary also in the ids of what it keeps, which are no secrets.
        capture.result(&created.map(|memory| memory.content));
        capture.result(&found.map(|hits| hits.len()));
        capture.result(&read.map(|memory| memory.content));
        capture.result(&deleted);
        capture.result(&sent.map(drop));
    }

    /// Everything that can be shown of the runtime.
    pub(crate) async fn show_all(&self) {
        let Self { capture, runtime, .. } = self;
        capture.show(runtime);
        capture.show(&runtime.tree().await);
        capture.result(&runtime.inspect_vault().await);
        capture.show(runtime.vault());
        let mut entries = Vec::new();
        runtime.audit().export(&mut entries, AuditQuery::all()).await.expect("an export");
        assert!(!entries.is_empty(), "what happened is recorded");
        capture.note(String::from_utf8(entries).expect("text"));
        capture.show(runtime.sessions());
        capture.show(runtime.logins());
        capture.show(&vault(&self.folder, master_key()));
        capture.show(&master_key());
        for provider in self.providers() {
            let spec = provider.spec();
            capture.show(&spec);
            capture.note(serde_json::to_string(&spec).expect("json"));
            capture.show(&spec.oauth);
            capture.show(provider);
            // Without the ids of what it keeps, which are no secrets and have the canary in them.
            let mut memory: serde_json::Value =
                serde_json::from_str(&provider.memory().expect("json")).expect("json");
            memory["resources"].take();
            capture.note(memory);
            for request in provider.requests() {
                capture.show(&request);
            }
        }
        for provider in runtime.providers() {
            capture.show(&provider);
        }
        for user in [ADA, BOB] {
            let user = runtime.user(user);
            capture.show(&user);
            let credentials = user.credentials().await;
            capture.result(&credentials);
            for snapshot in credentials.expect("a list") {
                let handle = runtime.credential(snapshot.id()).await;
                capture.result(&handle);
                // As a host that logs the headers of its requests would write them.
                capture.show(&snapshot.headers(self.clock.now()));
            }
            capture.result(&user.sessions().await);
        }
    }

    /// Lets time pass while `work` goes on, since a slow answer waits for the clock.
    pub(crate) async fn while_time_passes<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let work = tokio::spawn(work);
        while !work.is_finished() {
            self.clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        work.await.expect("no panic")
    }

    /// Every file of the vault, as text: what is no text is of no interest here.
    pub(crate) fn files(&self) -> Vec<(PathBuf, String)> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(&path).expect("readable");
                    files.push((path, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
        files
    }
}

async fn start_runtime(
    clock: &Arc<ManualClock>,
    vault: Vault,
    providers: [&SimulatedProvider; 5],
) -> Result<Runtime, tokenward::Error> {
    let mut builder = Runtime::builder().sources(clock.sources()).vault(vault);
    for provider in providers {
        builder = builder.provider(provider.spec());
    }
    builder.start().await
}

fn vault(folder: &TempDir, key: MasterKey) -> Vault {
    // Without a reserve, which would be searched, too.
    Vault::open(folder.path().join("vault")).master_key(key).reserve(0)
}

fn master_key() -> MasterKey {
    let mut bytes = [b'.'; 32];
    bytes[..CANARY.len()].copy_from_slice(CANARY.as_bytes());
    MasterKey::from_bytes(bytes)
}

/// Opens `url` as a browser does, without a word in the log of this process, and gives the status.
pub(crate) async fn visit(url: &str) -> u16 {
    let url = Url::parse(url).expect("a url");
    let address = (url.host_str().expect("a host"), url.port().expect("a port"));
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = format!("{}:{}", address.0, address.1);
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("a page");
    page.split(' ').nth(1).expect("a status").parse().expect("a number")
}
