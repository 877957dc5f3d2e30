//! An agent host with an authorization server and a guarded route, and a client that says exactly
//! what it sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::middleware::Next;
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use tempfile::TempDir;
use tokenward::server::{
    ApplicationChange, ApplicationSpec, AuthorizationServer, Caller, ClientAddress, Registered,
    ServerSettings,
};
use tokenward::testing::{ManualClock, VaultFaults};
use tokenward::vault::{MasterKey, Query, RecordKey, RecordKind, Vault};
use tokenward::{Error, Runtime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "https://api.example";

pub(crate) struct Host {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) runtime: Runtime,
    pub(crate) server: AuthorizationServer,
    /// What is wrong with the disk: nothing, unless a test says so.
    pub(crate) disk: VaultFaults,
    /// The requests that are being answered.
    traffic: watch::Sender<Traffic>,
    address: SocketAddr,
    serving: JoinHandle<()>,
    pub(crate) folder: TempDir,
    settings: ServerSettings,
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    begun: usize,
    under_way: usize,
}

/// A request that is being answered, until it is, or its client hangs up.
struct UnderWay(watch::Sender<Traffic>);

impl UnderWay {
    fn of(traffic: &watch::Sender<Traffic>) -> Self {
        traffic.send_modify(|it| {
            it.begun += 1;
            it.under_way += 1;
        });
        Self(traffic.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|it| it.under_way -= 1);
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::with(ServerSettings::new(ISSUER, AUDIENCE)).await
    }

    pub(crate) async fn with(settings: ServerSettings) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let folder = TempDir::new().expect("a folder");
        let (vault, disk) = VaultFaults::over(vault(&folder));
        let (runtime, server) = begin(&clock, vault, &settings).await;
        let traffic = watch::Sender::default();
        let (address, serving) = serve(&server, &traffic).await;
        Self { clock, runtime, server, disk, traffic, address, serving, folder, settings }
    }

    /// Stops everything in good order, and starts it again on the same vault.
    pub(crate) async fn restart(&mut self) {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new(), "everything ends in time");
        self.serving.abort();
        let vault = self.disk.again_over(vault(&self.folder));
        (self.runtime, self.server) = begin(&self.clock, vault, &self.settings).await;
        (self.address, self.serving) = serve(&self.server, &self.traffic).await;
    }

    /// Stops everything in good order, and opens the vault in a runtime without a server.
    pub(crate) async fn without_server(self) -> (Runtime, VaultFaults, Self) {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        assert_eq!(unfinished, Vec::<String>::new(), "everything ends in time");
        let vault = self.disk.again_over(vault(&self.folder));
        (open(&self.clock, vault).await, self.disk.clone(), self)
    }

    /// Damages a record on the disk, and lets the vault find that.
    pub(crate) async fn damage(&self, key: &RecordKey) {
        self.settle().await;
        self.disk.damage_next_read();
        let error = self.runtime.vault().read(key).await.expect_err("it does not open");
        assert!(error.is_quarantined(), "{error}");
    }

    /// The keys of all records of a kind.
    pub(crate) async fn records(&self, kind: RecordKind) -> Vec<RecordKey> {
        let entries = self.runtime.vault().list(Query::all(kind)).await.expect("a list");
        entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Starts the server on another runtime.
    pub(crate) async fn server_on(&self, runtime: &Runtime) -> Result<AuthorizationServer, Error> {
        AuthorizationServer::start(runtime, self.settings.clone()).await
    }

    /// Registers an application with these permissions.
    pub(crate) async fn register(&self, permissions: &str) -> Registered {
        let spec =
            ApplicationSpec::new("a client").permissions(permissions.parse().expect("a scope"));
        self.server.issuer().register(spec).await.expect("registered")
    }

    /// Asks for a token by client credentials, in a form and by HTTP Basic.
    pub(crate) async fn ask(&self, registered: &Registered, scope: &str) -> Answer {
        let body = match scope {
            "" => "grant_type=client_credentials".to_owned(),
            scope => format!("grant_type=client_credentials&scope={}", scope.replace(' ', "+")),
        };
        self.post("/auth/token", &[&FORM, &("authorization", &basic(registered))], &body).await
    }

    /// A token with all permissions of the application.
    pub(crate) async fn token(&self, registered: &Registered) -> String {
        let answer = self.ask(registered, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// Asks until the server does not say any more that it can not answer for now, while time passes.
    pub(crate) async fn until_answered(&self, ask: impl AsyncFn() -> Answer) -> Answer {
        let asking = async {
            loop {
                let answer = ask().await;
                if answer.status != 503 {
                    return answer;
                }
                self.clock.advance(Duration::from_millis(100));
            }
        };
        tokio::time::timeout(Duration::from_mins(2), asking).await.expect("an answer in time")
    }

    /// Everything that was noted so far is durable: what is written next is what is done next.
    pub(crate) async fn settle(&self) {
        let issuer = self.server.issuer();
        // Each of these is answered after the use of a secret that is being written, if one is.
        for application in issuer.applications() {
            issuer.change(application.id(), ApplicationChange::new()).await.expect("nothing");
        }
        self.runtime.vault().write_notes().await.expect("durable");
    }

    /// Sends a request, waits until a write of it is under way, and hangs up.
    pub(crate) async fn hang_up_on(&self, path: &str, headers: &[&(&str, &str)], body: &str) {
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: host\r\n");
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.extend([&format!("content-length: {}\r\n\r\n", body.len()), body]);
        self.settle().await;
        self.disk.hold();
        let begun = self.begun();
        let mut impatient = self.connect().await;
        impatient.write_all(request.as_bytes()).await.expect("sent");
        self.disk.until_held().await;
        drop(impatient);
        self.until_under_way(begun + 1, 0).await;
    }

    /// How many requests have begun so far.
    pub(crate) fn begun(&self) -> usize {
        self.traffic.borrow().begun
    }

    /// Waits until so many requests have begun, and just so many of them are being answered.
    pub(crate) async fn until_under_way(&self, begun: usize, under_way: usize) {
        let mut traffic = self.traffic.subscribe();
        let reached = traffic.wait_for(|it| it.begun >= begun && it.under_way == under_way);
        let reached = tokio::time::timeout(Duration::from_mins(1), reached).await;
        reached.expect("in time").expect("the host is there");
    }

    /// Calls the guarded route with a token.
    pub(crate) async fn call(&self, token: &str) -> Answer {
        self.get("/memories", &[("authorization", &format!("Bearer {token}"))]).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, "").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[&(&str, &str)], body: &str) -> Answer {
        let headers: Vec<_> = headers.iter().map(|header| **header).collect();
        self.send("POST", path, &headers, body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: host\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        self.exchange(&format!("{head}\r\n{body}")).await
    }

    /// Sends these bytes, and reads until the server closes.
    pub(crate) async fn exchange(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        read(&mut stream).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("json")
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// Everything but the time.
    pub(crate) fn without_date(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }
}

/// The header of an application that authenticates.
pub(crate) fn basic(registered: &Registered) -> String {
    basic_of(registered.application.id().as_str(), registered.secret.expose())
}

pub(crate) fn basic_of(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A part of a token, read: 0 is the header, 1 the claims.
pub(crate) fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).expect("a part");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("json")
}

pub(crate) async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().expect("a line").split(' ').nth(1).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_owned(), value.to_owned())
    };
    Answer {
        status: status.parse().expect("a number"),
        headers: lines.map(header).collect(),
        body: body.to_owned(),
    }
}

async fn begin(
    clock: &Arc<ManualClock>,
    vault: Vault,
    settings: &ServerSettings,
) -> (Runtime, AuthorizationServer) {
    let runtime = open(clock, vault).await;
    let server = AuthorizationServer::start(&runtime, settings.clone()).await.expect("a server");
    (runtime, server)
}

async fn open(clock: &Arc<ManualClock>, vault: Vault) -> Runtime {
    let builder = Runtime::builder().sources(clock.sources()).vault(vault);
    let builder = builder.provider(tokenward::catalog::anthropic());
    builder.start().await.expect("a runtime")
}

/// The vault of a host, on disk.
fn vault(folder: &TempDir) -> Vault {
    let key = MasterKey::from_bytes([7; 32]);
    Vault::open(folder.path().join("vault")).master_key(key).reserve(0)
}

/// Serves the endpoints and two guarded routes that say who called.
async fn serve(
    server: &AuthorizationServer,
    traffic: &watch::Sender<Traffic>,
) -> (SocketAddr, JoinHandle<()>) {
    let traffic = traffic.clone();
    let who = |Extension(caller): Extension<Caller>| async move {
        format!("{} may {}", caller.client_id(), caller.permissions())
    };
    let guard = |permissions: &str| server.guard(permissions.parse().expect("a scope"));
    let app = Router::new()
        .route("/memories", get(who).layer(guard("memories:read")))
        .route("/both", get(who).layer(guard("memories:read memories:write")))
        .merge(server.router())
        // As a host behind a proxy does, which knows better than the connection who calls.
        .layer(axum::middleware::from_fn(async |mut request: Request, next: Next| {
            let told = request.headers().get("x-test-address");
            let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
            if let Some(address) = told {
                request.extensions_mut().insert(ClientAddress(address));
            }
            next.run(request).await
        }))
        .layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            let under_way = UnderWay::of(&traffic);
            async move {
                let answer = next.run(request).await;
                drop(under_way);
                answer
            }
        }));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving =
        tokio::spawn(async move { axum::serve(listener, service).await.expect("served") });
    (address, serving)
}
