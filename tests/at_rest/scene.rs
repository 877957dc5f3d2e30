//! A vault that is used for long, by several users, in every way that leaves something on the disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokenward::clock::Clock as _;
use tokenward::identity::{Label, Method};
use tokenward::testing::{ManualClock, RecordedRequest, SimulatedProvider};
use tokenward::vault::audit::AuditQuery;
use tokenward::vault::{Engine, ExportFile, MasterKey, Vault};
use tokenward::{Runtime, Secret};

/// Names that tell who it is.
pub(crate) const USERS: [&str; 3] =
    ["ada.lovelace@example.org", "grace.hopper@example.org", "tove.jansson@example.org"];
pub(crate) const LABELS: [&str; 2] = ["holiday-account", "account-of-the-club"];
pub(crate) const PROVIDERS: [&str; 4] = ["anthropic", "openai", "google", "orange"];
pub(crate) const METHODS: [&str; 3] = ["api-key", "authorization-code", "client-credentials"];

/// Stands in every token, code, key and secret of the providers.
const CANARY: &str = "Canary-9d41c7";

pub(crate) struct Scene {
    engine: Engine,
    folder: TempDir,
    clock: Arc<ManualClock>,
    providers: [SimulatedProvider; 4],
    runtime: Runtime,
    /// The master key in use.
    master: u8,
    /// Secrets and names as they come up.
    texts: BTreeSet<String>,
}

impl Scene {
    pub(crate) async fn open(engine: Engine) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let secret = format!("client-secret-{CANARY}");
        let builders = [
            SimulatedProvider::anthropic(),
            SimulatedProvider::openai(),
            SimulatedProvider::google().client_secret(secret.as_str()),
            SimulatedProvider::orange().client_secret(secret.as_str()),
        ];
        let start = builders.map(|builder| {
            let builder = builder.sources(clock.sources()).canary(CANARY);
            builder.token_lifetime(Duration::from_hours(1)).start()
        });
        let providers = futures_util::future::try_join_all(start).await.expect("ports");
        let providers: [_; 4] = providers.try_into().expect("four of them");
        let folder = TempDir::new().expect("a folder");
        let (master, texts) = (b'k', BTreeSet::new());
        let runtime = start_runtime(folder.path(), engine, master, &clock, &providers).await;
        Self { engine, folder, clock, providers, runtime, master, texts }
    }

    pub(crate) async fn everybody_signs_in(&mut self) {
        for user in USERS {
            let user = self.runtime.user(user);
            for (number, label) in LABELS.iter().enumerate() {
                let provider = &self.providers[number * 2];
                let key = provider.issue_api_key();
                self.texts.insert(key.expose().to_owned());
                let sign_in = user.sign_in(provider.name()).label(label);
                sign_in.with_api_key(key).await.expect("signed in");
            }
            for (number, provider) in self.providers[..3].iter().enumerate() {
                let sign_in = user.sign_in(provider.name());
                let sign_in = if number == 2 { sign_in.label(LABELS[1]) } else { sign_in };
                let login = sign_in.by_paste().await.expect("a sign-in");
                let shown = provider.approve_for_paste(login.url()).expect("consent");
                login.paste(&shown).await.expect("accepted");
                login.finished().await.expect("signed in");
            }
            user.sign_in("orange").with_client_credentials().await.expect("signed in");
        }
    }

    pub(crate) async fn everything_is_used(&mut self) {
        for user in USERS {
            let session = self.runtime.user(user).open_session().await.expect("a session");
            self.texts.insert(session.id().to_string());
            for (provider, method) in [
                ("anthropic", Method::AuthorizationCode),
                ("openai", Method::AuthorizationCode),
                ("orange", Method::ClientCredentials),
            ] {
                let label = Label::default();
                session.use_credential(provider, method, &label).await.expect("signed in");
                session.client().get("/v1/models").send().await.expect("an answer");
            }
        }
    }

    /// Several times, since a log-structured file remembers what was replaced.
    pub(crate) async fn tokens_are_renewed(&mut self) {
        for _ in 0..3 {
            self.clock.advance(Duration::from_mins(30));
            for user in USERS {
                for snapshot in self.runtime.user(user).credentials().await.expect("a list") {
                    let credential = self.runtime.credential(snapshot.id()).await.expect("there");
                    if snapshot.id().method != Method::ApiKey {
                        credential.refresh().await.expect("renewed");
                    }
                    let snapshot = credential.inspect().await.expect("the vault is heard");
                    let headers = snapshot.headers(self.clock.now()).expect("usable");
                    for value in headers.values() {
                        let value = value.to_str().expect("text");
                        let secret = value.rsplit(' ').next().expect("a word");
                        if secret.contains(CANARY) {
                            self.texts.insert(secret.to_owned());
                        }
                    }
                }
            }
        }
    }

    pub(crate) async fn sessions_are_opened_and_closed(&mut self) {
        for user in USERS {
            let user = self.runtime.user(user);
            let (one, two) = (user.open_session().await, user.open_session().await);
            let (one, two) = (one.expect("a session"), two.expect("a session"));
            self.texts.extend([one.id().to_string(), two.id().to_string()]);
            for provider in ["openai", "orange", "openai"] {
                one.use_provider(provider).await.expect("signed in");
            }
            two.use_provider("anthropic").await.expect("signed in");
            one.close().await.expect("closed");
        }
    }

    pub(crate) async fn keys_are_rotated(&mut self) {
        let vault = self.runtime.vault();
        vault.rotate_data_key().await.expect("rotated");
        self.master += 1;
        vault.rotate_master_key(MasterKey::from_bytes([self.master; 32])).await.expect("rotated");
        // Until nothing is sealed with the old key any more.
        let sweeping =
            async { while vault.inspect().await.expect("an inspection").data_keys.len() > 1 {} };
        tokio::time::timeout(Duration::from_mins(5), sweeping).await.expect("it comes to an end");
    }

    /// A backup, an export, and what is restored and imported from them.
    pub(crate) async fn copies_are_made(&mut self, round: usize) {
        let at = |name: &str| self.folder.path().join(format!("{name}-{round}"));
        let vault = self.runtime.vault();
        vault.back_up(at("backup")).await.expect("backed up");
        let passphrase = || Secret::new("correct horse battery staple");
        let to = ExportFile::create(at("export"), passphrase(), &self.clock.sources()).await;
        vault.export(to.expect("a file")).await.expect("exported");
        let restored = settings(&at("restored"), self.engine, self.master);
        restored.restore(at("backup")).await.expect("restored");
        let imported = settings(&at("imported"), self.engine, 7);
        imported.import(at("export"), passphrase()).await.expect("imported");
        let mut entries = Vec::new();
        self.runtime.audit().export(&mut entries, AuditQuery::all()).await.expect("an export");
        let entries = String::from_utf8(entries).expect("text");
        assert!(entries.contains(USERS[0]), "the trail tells of them, to whoever has the key");
    }

    pub(crate) async fn restart(&mut self) {
        self.close().await;
        let Self { folder, engine, master, clock, providers, .. } = &*self;
        self.runtime = start_runtime(folder.path(), *engine, *master, clock, providers).await;
    }

    pub(crate) async fn one_user_is_erased(&mut self) {
        let user = self.runtime.user(USERS[2]);
        assert!(user.erase().await.expect("erased") > 0);
        assert_eq!(user.credentials().await.expect("a list").len(), 0);
    }

    pub(crate) async fn close(&mut self) {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new());
    }

    /// Every name, and every secret that ever was in use.
    pub(crate) fn texts(&self) -> Vec<String> {
        let names = USERS.iter().chain(&LABELS).chain(&PROVIDERS).chain(&METHODS);
        let mut texts: BTreeSet<String> = names.map(|name| (*name).to_owned()).collect();
        texts.extend([CANARY, "credential", "session", "refresh_token"].map(str::to_owned));
        texts.extend(self.texts.iter().cloned());
        let requests = self.providers.iter().flat_map(SimulatedProvider::requests);
        texts.extend(requests.flat_map(|request| secrets(&request)));
        texts.into_iter().collect()
    }

    /// Every file beneath the folder.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    files.push((path, bytes));
                }
            }
        }
        files
    }
}

/// What a request for tokens carried that nobody else may know.
fn secrets(request: &RecordedRequest) -> Vec<String> {
    let names = ["refresh_token", "code", "code_verifier", "client_secret"];
    let json = request.json();
    let in_json = names.iter().filter_map(|name| json[name].as_str().map(str::to_owned));
    let in_form = request.form().into_iter().filter(|(name, _)| names.contains(&name.as_str()));
    in_json.chain(in_form.map(|(_, value)| value)).collect()
}

fn settings(path: &Path, engine: Engine, master: u8) -> Vault {
    let key = MasterKey::from_bytes([master; 32]);
    // A small reserve, which is searched, too.
    Vault::open(path).engine(engine).master_key(key).reserve(4_096)
}

async fn start_runtime(
    folder: &Path,
    engine: Engine,
    master: u8,
    clock: &Arc<ManualClock>,
    providers: &[SimulatedProvider],
) -> Runtime {
    let vault = settings(&folder.join("vault"), engine, master);
    let builder = Runtime::builder().sources(clock.sources()).vault(vault);
    let builder = providers.iter().fold(builder, |builder, it| builder.provider(it.spec()));
    builder.start().await.expect("a runtime")
}
