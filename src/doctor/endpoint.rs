//! One address, tried from the bottom up: its name, a connection, and a request without a credential.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::net::{TcpStream, lookup_host};
use url::Url;

use super::clock::Skew;
use super::proxy::Proxies;
use super::{Finding, Layer, Verdict};
use crate::clock::Sources;
use crate::oauth::{Clients, root_cause};
use crate::resilience::server_date;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of an address.
pub(super) struct Seen {
    pub(super) finding: Finding,
    /// How far its clock is from ours, where it told the time.
    pub(super) clock: Option<Skew>,
}

/// What there is to see of an address.
struct Answered {
    status: StatusCode,
    date: Option<SystemTime>,
}

/// Where it ended, and why.
struct Failed(Layer, String);

/// Tries the origin of `url`.
pub(super) async fn tried(
    url: &Url,
    clients: &Clients,
    proxies: &Proxies,
    sources: &Sources,
) -> Seen {
    let subject = url.origin().ascii_serialization();
    let began = sources.now();
    let outcome = climbed(url, clients, proxies, sources).await;
    let now = sources.now();
    let took = Some(now.monotonic.saturating_sub(began.monotonic));
    match outcome {
        Ok(Answered { status, date }) => {
            let finding = Finding::good(Layer::Http, subject, format!("it answers, with {status}"));
            let clock = date.map(|theirs| Skew::between(now.wall, theirs));
            Seen { finding: Finding { took, ..finding }, clock }
        }
        Err(Failed(layer, detail)) => {
            let finding = Finding::new(layer, subject, Verdict::Failed, detail);
            Seen { finding: Finding { took, ..finding }, clock: None }
        }
    }
}

async fn climbed(
    url: &Url,
    clients: &Clients,
    proxies: &Proxies,
    sources: &Sources,
) -> Result<Answered, Failed> {
    let proxy = proxies.before(url);
    // What is behind a proxy, this machine neither looks up nor connects to.
    let door = match &proxy {
        Some(proxy) => {
            Url::parse(proxy).map_err(|error| Failed(Layer::Proxy, error.to_string()))?
        }
        None => url.clone(),
    };
    let through = |layer: Layer| if proxy.is_some() { Layer::Proxy } else { layer };
    let addresses = looked_up(&door, sources).await;
    let addresses = addresses.map_err(|Failed(layer, why)| Failed(through(layer), why))?;
    connected(&addresses, sources).await.map_err(|why| Failed(through(Layer::Connection), why))?;
    requested(url, clients, sources).await
}

async fn looked_up(url: &Url, sources: &Sources) -> Result<Vec<SocketAddr>, Failed> {
    let dns = |why: String| Failed(Layer::Dns, why);
    let host = url.host_str().ok_or_else(|| dns("the address names no host".to_owned()))?;
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = sources.within(PATIENCE, lookup_host((bare, port))).await;
    match found {
        None => Err(dns(format!("nobody said in time where {bare} is, see to the name server"))),
        Some(Err(error)) => Err(dns(format!("{bare} has no address: {error}"))),
        Some(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() {
                Err(dns(format!("{bare} has no address")))
            } else {
                Ok(addresses)
            }
        }
    }
}

/// Connects to one of `addresses`, and hangs up.
async fn connected(addresses: &[SocketAddr], sources: &Sources) -> Result<(), String> {
    let mut why = String::new();
    for address in addresses {
        match sources.within(PATIENCE, TcpStream::connect(address)).await {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => why = format!("{address} takes no connection: {error}"),
            None => {
                why = format!("{address} does not answer, as behind a firewall that says nothing");
            }
        }
    }
    Err(why)
}

/// Asks for the root of the origin, as anybody may. Whatever the answer is, it is one.
async fn requested(url: &Url, clients: &Clients, sources: &Sources) -> Result<Answered, Failed> {
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    root.set_fragment(None);
    // A user and a password in an address are a credential.
    let _ = root.set_username("");
    let _ = root.set_password(None);
    let client = clients.for_url(&root).map_err(|error| Failed(Layer::Tls, error.to_string()))?;
    match sources.within(PATIENCE, client.head(root.clone()).send()).await {
        None => Err(Failed(Layer::Http, "it takes connections, but gives no answer".to_owned())),
        Some(Err(error)) => {
            // It was connected to a moment ago, so what fails about a connection is what comes next.
            let is_tls = root.scheme() == "https" && error.is_connect();
            let layer = if is_tls { Layer::Tls } else { Layer::Http };
            Err(Failed(layer, root_cause(&error)))
        }
        Some(Ok(answer)) => {
            Ok(Answered { status: answer.status(), date: server_date(answer.headers()) })
        }
    }
}
