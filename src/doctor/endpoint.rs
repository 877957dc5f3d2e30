//! One address, tried from the bottom up: its name, a connection, and a request without a credential.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use futures_util::future::select_ok;
use http::StatusCode;
use http::header::AGE;
use rustls::CertificateError;
use tokio::net::{TcpStream, lookup_host};
use url::Url;

use super::clock::Skew;
use super::proxy::Proxies;
use super::{Finding, Layer, Verdict};
use crate::clock::Sources;
use crate::oauth::{Clients, root_cause};
use crate::resilience::server_date;

/// How long a name and a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a request may take: longer than its client waits for a connection with TLS, so that the one
/// can be told from the other.
const PATIENCE_FOR_AN_ANSWER: Duration = Duration::from_secs(15);

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
            let finding = if status.is_server_error() {
                let detail = format!("it answers, but with {status}");
                Finding::new(Layer::Http, subject, Verdict::Doubtful, detail)
            } else {
                Finding::good(Layer::Http, subject, format!("it answers, with {status}"))
            };
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
        Some(proxy) if proxy.starts_with("socks") => {
            let why =
                format!("{proxy} speaks SOCKS, which is not supported: use one that speaks http");
            return Err(Failed(Layer::Proxy, why));
        }
        Some(proxy) => {
            Url::parse(proxy).map_err(|error| Failed(Layer::Proxy, error.to_string()))?
        }
        None => url.clone(),
    };
    let through = |layer: Layer| if proxy.is_some() { Layer::Proxy } else { layer };
    let addresses = looked_up(&door, sources).await;
    let addresses = addresses.map_err(|Failed(layer, why)| Failed(through(layer), why))?;
    connected(&addresses, sources).await.map_err(|why| Failed(through(Layer::Connection), why))?;
    requested(url, proxy.is_some(), clients, sources).await
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

/// Connects to one of `addresses`, whichever is the first to take a connection, and hangs up.
async fn connected(addresses: &[SocketAddr], sources: &Sources) -> Result<(), String> {
    let attempts = addresses.iter().map(|address| Box::pin(TcpStream::connect(address)));
    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    match sources.within(PATIENCE, select_ok(attempts)).await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(format!("nobody takes a connection at {shown}: {error}")),
        None => Err(format!("nobody answers at {shown}, as behind a firewall that says nothing")),
    }
}

/// Asks for the root of the origin, as anybody may. Whatever the answer is, it is one.
async fn requested(
    url: &Url,
    through_proxy: bool,
    clients: &Clients,
    sources: &Sources,
) -> Result<Answered, Failed> {
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    root.set_fragment(None);
    // A user and a password in an address are a credential.
    let _ = root.set_username("");
    let _ = root.set_password(None);
    let client = clients.for_url(&root).map_err(|error| Failed(Layer::Tls, error.to_string()))?;
    match sources.within(PATIENCE_FOR_AN_ANSWER, client.head(root.clone()).send()).await {
        None => Err(Failed(Layer::Http, "it takes connections, but gives no answer".to_owned())),
        Some(Err(error)) => Err(broken(&error, root.scheme() == "https", through_proxy)),
        Some(Ok(answer)) => {
            let headers = answer.headers();
            // What was kept on the way has the date of when it was made (RFC 9111 §5.1).
            let date = server_date(headers).filter(|_| !headers.contains_key(AGE));
            Ok(Answered { status: answer.status(), date })
        }
    }
}

/// Why there is no answer. A connection was to be had a moment ago, so what fails about it is what comes
/// next: the way through the proxy, or TLS.
fn broken(error: &reqwest::Error, secure: bool, through_proxy: bool) -> Failed {
    let (tls, cause) = (of_tls(error), root_cause(error));
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) if is_about_time(why) => {
            Failed(Layer::Tls, format!("{cause}; or the clock of this machine is wrong"))
        }
        None if through_proxy && error.is_connect() => Failed(Layer::Proxy, cause),
        Some(_) => Failed(Layer::Tls, cause),
        None if secure && error.is_connect() => Failed(Layer::Tls, cause),
        None => Failed(Layer::Http, cause),
    }
}

fn is_about_time(why: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// What TLS says, where it is the cause. An error of input and output does not count what it holds among
/// its causes, and may hold another one of its kind; so it is asked.
fn of_tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        cause = match inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => inner.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use hyper_util::client::proxy::matcher::Matcher;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::oauth::Tls;

    /// Looks at an address through `proxies`, whatever the environment of the test names.
    async fn seen(url: &str, proxies: Matcher) -> Finding {
        let tls = Tls::of_the_platform().expect("tls");
        let clients =
            Clients::new(&tls, || reqwest::Client::builder().no_proxy()).expect("clients");
        let (url, sources) = (Url::parse(url).expect("a url"), Sources::system());
        tried(&url, &clients, &Proxies::named(proxies), &sources).await.finding
    }

    /// A port of loopback that nobody listens at, for as long as it is held.
    fn refusing() -> (TcpSocket, SocketAddr) {
        let nobody = TcpSocket::new_v4().expect("a socket");
        nobody.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = nobody.local_addr().expect("an address");
        (nobody, address)
    }

    /// Takes connections, reads a little, and hangs up.
    async fn hanging_up() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 64];
                let _ = stream.read(&mut head).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn the_lowest_layer_that_fails_is_named() {
        let (_nobody, refusing) = refusing();
        let hanging_up = hanging_up().await;
        // No resolver is asked for a name with a part of more than 63 letters (RFC 1035 §2.3.4).
        let no_name = format!("https://{}.example/", "a".repeat(64));
        for (url, layer, says) in [
            (no_name, Layer::Dns, "has no address"),
            (format!("http://{refusing}/"), Layer::Connection, "nobody takes a connection at 127"),
            (format!("https://{hanging_up}/"), Layer::Tls, ""),
            (format!("http://{hanging_up}/"), Layer::Http, ""),
        ] {
            let finding = seen(&url, Matcher::builder().build()).await;
            assert_eq!((finding.layer, finding.verdict), (layer, Verdict::Failed), "{finding}");
            assert!(finding.detail.contains(says), "{finding}");
        }
    }

    #[tokio::test]
    async fn what_is_behind_a_proxy_is_not_looked_for_here() {
        let (_nobody, refusing) = refusing();
        for (proxy, says) in [
            (format!("http://ada:s3cret@{refusing}"), "nobody takes a connection"),
            (format!("socks5://ada:s3cret@{refusing}"), "SOCKS"),
        ] {
            let proxies = Matcher::builder().all(proxy).build();
            let finding = seen("https://no-such-host.invalid/", proxies).await;
            assert_eq!(
                (finding.layer, finding.verdict),
                (Layer::Proxy, Verdict::Failed),
                "{finding}"
            );
            assert!(finding.detail.contains(says), "{finding}");
            assert!(!finding.to_string().contains("s3cret"), "{finding}");
        }
    }
}
