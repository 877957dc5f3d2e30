//! A provider on loopback that behaves like the real one, is as strict, and breaks on command.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::dialect::{
    Anthropic, GitHubCopilot, Google, MemoryBank, OpenAi, Orange, Paths, Refusal, Registration,
};
use super::server::{Server, bind};
use super::simulation::Simulation;
use super::{Counters, Endpoint, Faults, RecordedRequest, SimulatedProviderBuilder};
use crate::error::{Error, ErrorKind};
use crate::provider::ProviderSpec;
use crate::secret::Secret;

/// A simulated provider: a real HTTP server on the loopback address. Clones are the same server;
/// it stops when the last one is dropped.
///
/// ```
/// use tokenward::testing::Endpoint;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// assert_eq!(orange.token_requests(), 1);
/// let request = &orange.requests_at(Endpoint::Token)[0];
/// assert!(request.header("authorization").is_some_and(|it| it.starts_with("Basic ")));
///
/// orange.revoke_everything(); // As its operator could. Now see what the code under test does.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimulatedProvider(Arc<Inner>);

struct Inner {
    simulation: Arc<Simulation>,
    address: SocketAddr,
    /// None during an outage in which somebody else took the port.
    server: Mutex<Option<Server>>,
}

impl SimulatedProvider {
    pub(super) fn serve(simulation: Simulation) -> io::Result<Self> {
        let simulation = Arc::new(simulation);
        let (server, address) = Server::start(simulation.clone())?;
        Ok(Self(Arc::new(Inner { simulation, address, server: Mutex::new(Some(server)) })))
    }

    /// Anthropic: API keys, and OAuth with rotating refresh tokens.
    pub fn anthropic() -> SimulatedProviderBuilder {
        SimulatedProviderBuilder::new(Box::new(Anthropic))
    }

    /// `OpenAI`: API keys, and OAuth with rotating refresh tokens.
    pub fn openai() -> SimulatedProviderBuilder {
        SimulatedProviderBuilder::new(Box::new(OpenAi))
    }

    /// Google: API keys, and OAuth with refresh tokens that do not rotate.
    pub fn google() -> SimulatedProviderBuilder {
        SimulatedProviderBuilder::new(Box::new(Google))
    }

    /// Orange: client credentials, and its SMS service.
    pub fn orange() -> SimulatedProviderBuilder {
        SimulatedProviderBuilder::new(Box::new(Orange))
    }

    /// A Memory Bank: client credentials, and memories that are created, found, read and deleted.
    pub fn memory_bank() -> SimulatedProviderBuilder {
        SimulatedProviderBuilder::new(Box::new(MemoryBank))
    }

    /// GitHub Copilot: device code, and tokens that do not expire.
    pub fn github_copilot() -> SimulatedProviderBuilder {
        SimulatedProviderBuilder::new(Box::new(GitHubCopilot))
    }

    /// The name of the provider that is simulated, as the catalogue has it.
    pub fn name(&self) -> &'static str {
        self.0.simulation.dialect.name()
    }

    /// Where requests to resources go: `http://127.0.0.1:port/`.
    pub fn base_url(&self) -> Url {
        self.url("/")
    }

    /// The URL of `path` at this server.
    ///
    /// # Panics
    ///
    /// When `path` does not begin with a slash, or can not stand in a URL.
    pub fn url(&self, path: &str) -> Url {
        assert!(path.starts_with('/'), "{path:?} does not begin with a slash");
        format!("http://{}{path}", self.0.address)
            .parse()
            .expect("an address and a path make a url")
    }

    /// Where the user consents; none when the provider has no users.
    pub fn authorization_endpoint(&self) -> Option<Url> {
        self.endpoint(self.0.simulation.dialect.paths().authorization)
    }

    /// Where tokens are issued.
    pub fn token_endpoint(&self) -> Url {
        self.url(self.0.simulation.dialect.paths().token)
    }

    /// Where tokens are revoked; none when the provider has no such endpoint.
    pub fn revocation_endpoint(&self) -> Option<Url> {
        self.endpoint(self.0.simulation.dialect.paths().revocation)
    }

    /// Where device codes are issued; none when the provider has no device sign-in.
    pub fn device_endpoint(&self) -> Option<Url> {
        self.endpoint(self.0.simulation.dialect.paths().device)
    }

    /// The client that is registered.
    pub fn client_id(&self) -> &str {
        &self.0.simulation.registration.client_id
    }

    /// The secret of the client; none for a public one.
    pub fn client_secret(&self) -> Option<&Secret> {
        self.0.simulation.registration.client_secret.as_ref()
    }

    /// Acts as the browser of a user who agrees: checks the authorization URL as the provider
    /// would, and gives the callback URL that the browser is sent to.
    ///
    /// # Errors
    ///
    /// When the URL is not at this provider, or the provider would refuse it.
    pub fn approve(&self, authorization_url: &str) -> Result<String, Error> {
        let query = self.query_of(authorization_url)?;
        self.0.simulation.approve(&query).map(|approval| approval.callback()).map_err(refused)
    }

    /// Acts as a user who agrees and copies what can be pasted: `code#state` where the provider
    /// shows it on a page, else the whole callback URL.
    ///
    /// # Errors
    ///
    /// As [`SimulatedProvider::approve`].
    pub fn approve_for_paste(&self, authorization_url: &str) -> Result<String, Error> {
        let query = self.query_of(authorization_url)?;
        self.0.simulation.approve(&query).map(|approval| approval.pasted()).map_err(refused)
    }

    /// Acts as the browser of a user who declines, and gives the callback URL that it is sent to.
    ///
    /// # Errors
    ///
    /// As [`SimulatedProvider::approve`].
    pub fn deny(&self, authorization_url: &str) -> Result<String, Error> {
        let query = self.query_of(authorization_url)?;
        self.0.simulation.deny(&query).map_err(refused)
    }

    /// Acts as a user who types `user_code` on another device, and agrees.
    ///
    /// # Errors
    ///
    /// When there is no such code, or it is over.
    pub fn approve_device(&self, user_code: &str) -> Result<(), Error> {
        self.decide_device(user_code, true)
    }

    /// Acts as a user who types `user_code` on another device, and declines.
    ///
    /// # Errors
    ///
    /// As [`SimulatedProvider::approve_device`].
    pub fn deny_device(&self, user_code: &str) -> Result<(), Error> {
        self.decide_device(user_code, false)
    }

    /// Issues an API key that the resources accept from now on.
    ///
    /// # Panics
    ///
    /// When the provider has no API keys, as Orange.
    pub fn issue_api_key(&self) -> Secret {
        let key = self.0.simulation.issue_api_key();
        key.unwrap_or_else(|| panic!("{} has no API keys", self.name()))
    }

    /// Acts as the issuer whom a federation rule trusts: gives an assertion that can be exchanged
    /// for `lifetime` from now on (RFC 7523).
    pub fn issue_assertion(&self, lifetime: Duration) -> Secret {
        self.0.simulation.issue_assertion(lifetime)
    }

    /// Lets the resources accept a key that was made elsewhere.
    pub fn accept_api_key(&self, key: &Secret) {
        self.0.simulation.memory(|memory| memory.ledger.add_api_key(key.expose()));
    }

    /// Ends the life of every access token now. Refresh tokens stay good.
    pub fn expire_access_tokens(&self) {
        let now = self.0.simulation.sources.now();
        self.0.simulation.memory(|memory| memory.ledger.expire_access_tokens(now));
    }

    /// Forgets every code, token and API key: all of them are refused from now on.
    pub fn revoke_everything(&self) {
        self.0.simulation.memory(|memory| memory.ledger.revoke_everything());
    }

    /// Whose account it is that the next users who consent sign in with.
    pub fn set_account(&self, account: &str) {
        self.0.simulation.memory(|memory| account.clone_into(&mut memory.account));
    }

    /// Lets every grant that can be renewed belong to `account`, so that the next renewal of each
    /// answers for somebody else: what no client may put up with.
    pub fn reassign_grants(&self, account: &str) {
        self.0.simulation.memory(|memory| memory.ledger.reassign_grants(account));
    }

    /// The memories that a simulated Memory Bank keeps, as its answers show them, the oldest first.
    pub fn memories(&self) -> Vec<Value> {
        self.0.simulation.memory(|memory| memory.resources.memories.all().to_vec())
    }

    /// The messages that a simulated SMS service of Orange has taken, as they were sent, the oldest
    /// first.
    pub fn messages(&self) -> Vec<Value> {
        self.0.simulation.memory(|memory| memory.resources.messages.clone())
    }

    /// The script of what goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.0.simulation.faults
    }

    /// Begins an outage: connections are cut, and new ones are refused. The port is kept.
    ///
    /// # Errors
    ///
    /// When another process takes the port in the instant in which it is free. The outage has begun all
    /// the same.
    pub async fn stop(&self) -> io::Result<()> {
        let mut server = self.0.server.lock().await;
        *server = match server.take() {
            Some(Server::Running(running)) => {
                Some(Server::Stopped(running.stop(self.0.address).await?))
            }
            other => other,
        };
        Ok(())
    }

    /// Ends an outage, at the same port and with everything that was issued before.
    ///
    /// # Errors
    ///
    /// When the operating system does not let it listen, such as while somebody else has the port. The
    /// outage goes on, and can be ended later.
    pub async fn restart(&self) -> io::Result<()> {
        let mut server = self.0.server.lock().await;
        let socket = match server.take() {
            Some(Server::Stopped(socket)) => socket,
            None => bind(self.0.address)?,
            running => {
                *server = running;
                return Ok(());
            }
        };
        *server = Some(Server::listen(socket, self.0.simulation.clone())?);
        Ok(())
    }

    /// How often what happened.
    pub fn counters(&self) -> Counters {
        *self.0.simulation.counters().borrow()
    }

    /// Resolves once the counters are as `reached` wants them: for waiting without sleeping.
    ///
    ///     # use tokenward::testing::SimulatedProvider;
    ///     # async fn example(provider: SimulatedProvider) {
    ///     provider.until(|counters| counters.token_requests == 1).await;
    ///     # }
    pub async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        // The sender lives in `self`, so the channel is open for as long as this waits.
        let _ = self.0.simulation.counters().wait_for(reached).await;
    }

    /// How many requests came to the token endpoint, whatever became of them.
    pub fn token_requests(&self) -> usize {
        self.counters().token_requests
    }

    /// How many renewals by refresh token were carried out.
    pub fn refreshes(&self) -> usize {
        self.counters().refreshes
    }

    /// How many times a refresh token came that was used up before.
    pub fn reused_refresh_tokens(&self) -> usize {
        self.counters().reused_refresh_tokens
    }

    /// The requests as they came, the earliest first; the last 20,000 are kept.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.0.simulation.requests()
    }

    /// The requests that came to `path`.
    pub fn requests_to(&self, path: &str) -> Vec<RecordedRequest> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// The requests that came to `endpoint`.
    pub fn requests_at(&self, endpoint: Endpoint) -> Vec<RecordedRequest> {
        self.requests().into_iter().filter(|request| request.endpoint == endpoint).collect()
    }

    /// What the provider knows of tokens, as JSON without a secret in it, for a simulation that
    /// goes on in another process: see [`SimulatedProviderBuilder::remember`]. What is issued later is not in
    /// it: [`SimulatedProviderBuilder::kept_in`] keeps a file that has it.
    ///
    /// # Errors
    ///
    /// When a token ends before 1970, which JSON can not tell.
    pub fn memory(&self) -> Result<String, Error> {
        self.0.simulation.memory(|memory| serde_json::to_string(memory)).map_err(|error| {
            let message =
                "the memory of the simulated provider can not be written, check its clock";
            Error::with_source(ErrorKind::InvalidInput, message, error)
        })
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.0.simulation.registration
    }

    pub(super) fn federation(&self) -> &'static [(&'static str, &'static str)] {
        self.0.simulation.dialect.federation()
    }

    pub(super) fn paths(&self) -> Paths {
        self.0.simulation.dialect.paths()
    }

    pub(super) fn catalogue_spec(&self) -> ProviderSpec {
        self.0.simulation.dialect.spec()
    }

    fn decide_device(&self, user_code: &str, agrees: bool) -> Result<(), Error> {
        if self.0.simulation.decide_device(user_code, agrees) {
            return Ok(());
        }
        let message = format!("{} has no pending device code {user_code}", self.name());
        Err(Error::new(ErrorKind::NotFound, message))
    }

    pub(super) fn endpoint(&self, path: &str) -> Option<Url> {
        (!path.is_empty()).then(|| self.url(path))
    }

    fn query_of(&self, authorization_url: &str) -> Result<String, Error> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let endpoint = self
            .authorization_endpoint()
            .ok_or_else(|| invalid(format!("{} has no users who consent", self.name())))?;
        authorization_url
            .strip_prefix(endpoint.as_str())
            .and_then(|rest| rest.strip_prefix('?'))
            .map(str::to_owned)
            .ok_or_else(|| invalid(format!("the authorization url does not begin with {endpoint}")))
    }
}

impl fmt::Debug for SimulatedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedProvider")
            .field("name", &self.name())
            .field("address", &self.0.address)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

fn refused(refusal: Refusal) -> Error {
    let message = format!("the provider refuses the authorization request: {refusal}");
    Error::new(ErrorKind::InvalidInput, message)
}
