//! What authenticated calls cost: a call through a session over the bare client with fixed headers, and
//! usable headers over the atomic pointer that they are read through.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use ractor::{Actor, call};
use tokenward::credential::ProviderMessage;
use tokenward::testing::SimulatedProvider;
use tokenward::{CredentialHandle, Runtime, Session, Vault, catalog};
use url::Url;

use crate::bare::{Bare, client};
use crate::measure::{allocations, by_turns, median, micros, nanos, now};
use crate::table::{Report, Row};

/// Turns of a call each way.
const CALLS: u32 = 4_000;

/// Calls between two looks at the processor time.
#[cfg(unix)]
const BATCH: u32 = 50;

/// Turns of a loop of reads each way, and the reads in one.
const TURNS: u32 = 200;
const READS: u32 = 2_000;

/// Turns of messages each way.
const MESSAGES: u32 = 20_000;

/// What the floor of a look-up by name has in its map.
const ENTRIES: u32 = 100_000;

pub(crate) fn run(report: &mut Report) {
    let runtime = crate::measure::tokio();
    let base_url = server();
    let simulated = runtime.block_on(SimulatedProvider::orange().start()).expect("a port");
    let host = runtime.block_on(host(base_url.clone(), &simulated));
    let (session, key) = runtime.block_on(signed_in(&host));
    let token = runtime.block_on(with_a_token(&host));
    runtime.block_on(calls(report, &session, &base_url));
    runtime.block_on(held(report, "headers from a held handle, an API key", &key));
    runtime.block_on(held(report, "headers from a held handle, a token that expires", &token));
    two_threads(report, "an API key", &key);
    two_threads(report, "a token that expires", &token);
    runtime.block_on(by_session(report, &session));
    runtime.block_on(by_message(report, &key));
    runtime.block_on(host.shutdown(Duration::from_secs(5)));
}

/// A server on loopback that answers each request with the same bytes and allocates nothing for it.
fn server() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let mut length = 0;
                while let Ok(read) = stream.read(&mut head[length..])
                    && read > 0
                {
                    length += read;
                    if head[..length].ends_with(b"\r\n\r\n") {
                        length = 0;
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                        stream.write_all(answer).expect("the client stays");
                    }
                }
            });
        }
    });
    Url::parse(&url).expect("a url")
}

async fn host(base_url: Url, simulated: &SimulatedProvider) -> Runtime {
    let builder = Runtime::builder()
        .vault(Vault::in_memory())
        .provider(catalog::openai().base_url(base_url))
        .provider(simulated.spec());
    builder.start().await.expect("a runtime")
}

/// Ada's session, and the API key that it uses.
async fn signed_in(host: &Runtime) -> (Session, CredentialHandle) {
    let ada = host.user("ada");
    let id = ada.sign_in("openai").with_api_key("sk-a-key-of-ada").await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    (session, host.credential(&id).await.expect("a credential"))
}

/// A credential with a token that expires, though not soon.
async fn with_a_token(host: &Runtime) -> CredentialHandle {
    let signed_in = host.user("ada").sign_in("orange").with_client_credentials().await;
    host.credential(&signed_in.expect("signed in")).await.expect("a credential")
}

/// A call through the session, and the same request by a reqwest client that has the headers.
async fn calls(report: &mut Report, session: &Session, base_url: &Url) {
    let bare = client();
    let url = base_url.join("/v1/models").expect("a url");
    let headers = session.authentication().await.expect("usable").headers;
    let client = session.client();
    let floor = async || {
        let request = bare.get(url.clone()).headers(headers.clone());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.bytes().await.expect("a body").len(), 2);
    };
    let ours = async || {
        let answer = client.get("/v1/models").send().await.expect("an answer");
        assert_eq!(answer.bytes().await.expect("a body").len(), 2);
    };
    let turns = report.turns(CALLS);
    let [bare, time] = by_turns(turns, 1, floor, ours).await.map(micros);
    let name = "a call through `session.client()`";
    report.add(Row::new(name, "µs", time).over(bare).ratio_at_most(1.03));
    #[cfg(unix)]
    {
        use crate::measure::processor_time_by_turns;
        let times = processor_time_by_turns(turns / BATCH, BATCH, floor, ours).await;
        let [bare, time] = times.map(micros);
        report.add(Row::new("the same, processor time of all threads", "µs", time).over(bare));
    }
    let [bare, count] = [allocations(turns, floor).await, allocations(turns, ours).await];
    report.add(Row::new("the same, allocations", "", count).over(bare));
}

async fn held(report: &mut Report, name: &str, credential: &CredentialHandle) {
    let pointer = ArcSwap::from_pointee(7_u64);
    let load = async || {
        black_box(**pointer.load());
    };
    let peek = async || {
        black_box(credential.peek().expect("usable").headers());
    };
    let [floor, figure] = by_turns(report.turns(TURNS), READS, load, peek).await.map(nanos);
    report.add(Row::new(name, "ns", figure).over(floor).ratio_at_most(4.0));
    let count = allocations(READS, peek).await;
    report.add(Row::new("the same, allocations", "", count).nothing());
}

/// The throughput of two threads over that of one, for the pointer and for the handle, and as it is.
fn two_threads(report: &mut Report, what: &str, credential: &CredentialHandle) {
    let pointer = ArcSwap::from_pointee(7_u64);
    let floor = throughput(|| {
        black_box(**pointer.load());
    });
    let figure = throughput(|| {
        black_box(credential.peek().expect("usable").headers());
    });
    let name = format!("2 threads that read one handle, {what}: throughput over that of one");
    report.add(Row::new(name, "×", figure.over_one).over(floor.over_one));
    let name = format!("2 threads that read one handle, {what}: reads of both in a second");
    let row = Row::new(name, "M/s", figure.millions).over(floor.millions);
    report.add(row.ratio_at_least(0.8));
}

/// What two threads come to that read at once.
struct Throughput {
    over_one: f64,
    /// Reads of both in a second.
    millions: f64,
}

fn throughput(read: impl Fn() + Sync) -> Throughput {
    let reads = READS * 100;
    let run = || {
        let began = now();
        for _ in 0..reads {
            read();
        }
        began.elapsed()
    };
    let turns = (0..15).map(|_| {
        let one = run();
        let began = now();
        std::thread::scope(|scope| {
            scope.spawn(run);
            scope.spawn(run);
        });
        let both = began.elapsed().as_secs_f64();
        (2.0 * one.as_secs_f64() / both, f64::from(2 * reads) / both / 1e6)
    });
    let (ratios, millions) = turns.unzip();
    Throughput { over_one: median(ratios), millions: median(millions) }
}

async fn by_session(report: &mut Report, session: &Session) {
    let names = (0..ENTRIES).map(|number| (format!("user {number}/openai/default"), number));
    let map: DashMap<_, _> =
        names.map(|(name, number)| (name, Arc::new(ArcSwap::from_pointee(number)))).collect();
    let name = "user 4711/openai/default";
    let look_up = async || {
        let found = map.get(name).expect("an entry");
        black_box(**found.load());
    };
    let acquire = async || {
        black_box(session.acquire().await.expect("usable"));
    };
    let times = by_turns(report.turns(TURNS), READS, look_up, acquire).await;
    let [floor, figure] = times.map(nanos);
    let name = "headers by user and session, over a map look-up and a load";
    report.add(Row::new(name, "ns", figure).over(floor).ratio_at_most(3.0));
}

async fn by_message(report: &mut Report, credential: &CredentialHandle) {
    let (bare, _) = Actor::spawn(None, Bare, ()).await.expect("an actor");
    let handle = credential.actor();
    let floor = async || {
        black_box(call!(bare, |reply| reply).expect("an answer"));
    };
    let figure = async || {
        let answer = handle.ask_again(|reply| ProviderMessage::Acquire { reply }).await;
        black_box(answer.expect("an answer").expect("usable"));
    };
    let times = by_turns(report.turns(MESSAGES), 1, floor, figure).await;
    bare.stop(None);
    let [floor, figure] = times.map(nanos);
    let name = "`Acquire` by message, over a bare call of ractor";
    report.add(Row::new(name, "ns", figure).over(floor).ratio_at_most(1.3));
}
