//! What authenticated calls cost over their floor: a call through a session over the bare client with
//! fixed headers, and usable headers over the atomic pointer that they are read through.
//!
//! `cargo bench --bench http` prints, for each row, the floor, the figure, their ratio and the ratio
//! to reach (`docs/performance.md`). Both sides take turns, so that a machine that changes its mind changes it
//! for both; figures are medians of the turns.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokenward::credential::ProviderMessage;
use tokenward::testing::SimulatedProvider;
use tokenward::{CredentialHandle, Runtime, Session, Vault, catalog};
use url::Url;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Turns of a call each way.
const CALLS: u32 = 4_000;

/// Calls between two looks at the processor time.
const BATCH: u32 = 50;

/// Turns of a loop of reads each way, and the reads in one.
const TURNS: usize = 200;
const READS: u32 = 2_000;

/// What the floor of a look-up by name has in its map.
const ENTRIES: u32 = 100_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let base_url = server();
    println!("{:42} {:>11} {:>11} {:>7} {:>8}", "", "floor", "tokenward", "ratio", "target");
    let simulated = runtime.block_on(SimulatedProvider::orange().start()).expect("a port");
    let host = runtime.block_on(host(base_url.clone(), &simulated));
    let (session, key) = runtime.block_on(signed_in(&host));
    let token = runtime.block_on(with_a_token(&host));
    runtime.block_on(calls(&session, &base_url));
    runtime.block_on(held("headers from a held handle, a key", &key));
    runtime.block_on(held("the same, a token that expires", &token));
    two_threads("from 2 threads, throughput over 1, a key", &key);
    two_threads("the same, a token that expires", &token);
    runtime.block_on(by_session(&session));
    runtime.block_on(by_message(&key));
    runtime.block_on(host.shutdown(Duration::from_secs(5)));
}

fn row(name: &str, unit: &str, floor: f64, figure: f64, target: &str) {
    let [floor_text, text] = [floor, figure].map(|value| format!("{value:.1} {unit}"));
    println!("{name:42} {floor_text:>11} {text:>11} {:>7.3} {target:>8}", figure / floor);
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// What all threads of this process have used, the server's among them. Unlike the time that passes it
/// says something on a machine that has other things to do.
#[cfg(unix)]
fn processor_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a time since the start")
}

/// How many of `count` each of so many took.
fn each(count: usize, of: u32) -> f64 {
    f64::from(u32::try_from(count).expect("a small number")) / f64::from(of)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e9
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
async fn calls(session: &Session, base_url: &Url) {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring offers them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let bare = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build();
    let bare = bare.expect("a client");
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
    let (mut floors, mut figures) = (Vec::new(), Vec::new());
    for turn in 0..CALLS {
        // Each goes first as often as the other.
        for second in [false, true] {
            let began = now();
            if second == (turn % 2 == 0) {
                ours().await;
                figures.push(began.elapsed());
            } else {
                floor().await;
                floors.push(began.elapsed());
            }
        }
    }
    let [floor_time, time] = [floors, figures].map(|times| median(times) / 1e3);
    row("a call through session.client()", "us", floor_time, time, "1.03");

    #[cfg(unix)]
    {
        let (mut floors, mut figures) = (Vec::new(), Vec::new());
        for _ in 0..CALLS / BATCH {
            let began = processor_time();
            for _ in 0..BATCH {
                floor().await;
            }
            let between = processor_time();
            for _ in 0..BATCH {
                ours().await;
            }
            floors.push(between.saturating_sub(began) / BATCH);
            figures.push(processor_time().saturating_sub(between) / BATCH);
        }
        let [floor_time, time] = [floors, figures].map(|times| median(times) / 1e3);
        row("the same, processor time", "us", floor_time, time, "");
    }

    let region = Region::new(ALLOCATOR);
    for _ in 0..CALLS {
        floor().await;
    }
    let floor_count = region.change().allocations;
    let region = Region::new(ALLOCATOR);
    for _ in 0..CALLS {
        ours().await;
    }
    let count = region.change().allocations;
    let [floor_count, count] = [floor_count, count].map(|count| each(count, CALLS));
    row("the same, allocations", "", floor_count, count, "");
}

/// Runs both by turns, and gives the median time of one read of each, in nanoseconds.
async fn by_turns(floor: impl Fn(), figure: impl AsyncFn()) -> [f64; 2] {
    let (mut floors, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let began = now();
        for _ in 0..READS {
            floor();
        }
        floors.push(began.elapsed() / READS);
        let began = now();
        for _ in 0..READS {
            figure().await;
        }
        figures.push(began.elapsed() / READS);
    }
    [median(floors), median(figures)]
}

async fn held(name: &str, credential: &CredentialHandle) {
    let pointer = ArcSwap::from_pointee(7_u64);
    let load = || {
        black_box(**pointer.load());
    };
    let peek = async || {
        black_box(credential.peek().expect("usable").headers());
    };
    let [floor, figure] = by_turns(load, peek).await;
    row(name, "ns", floor, figure, "4");
    let region = Region::new(ALLOCATOR);
    for _ in 0..READS {
        peek().await;
    }
    let count = each(region.change().allocations, READS);
    println!("{:42} {:>11} {count:>11.1} {:>7} {:>8}", "the same, allocations", "", "", "0");
}

/// The throughput of two threads over that of one, for the pointer and for the handle.
fn two_threads(name: &str, credential: &CredentialHandle) {
    let pointer = ArcSwap::from_pointee(7_u64);
    let load = || {
        black_box(**pointer.load());
    };
    let peek = || {
        black_box(credential.peek().expect("usable").headers());
    };
    let floor = scaling(&load);
    let figure = scaling(&peek);
    row(name, "x", floor, figure, ">= 0.8");
}

fn scaling(read: &(impl Fn() + Sync)) -> f64 {
    let reads = READS * 100;
    let run = || {
        let began = now();
        for _ in 0..reads {
            read();
        }
        began.elapsed()
    };
    let ratios = (0..15).map(|_| {
        let one = run();
        let began = now();
        std::thread::scope(|scope| {
            scope.spawn(run);
            scope.spawn(run);
        });
        2.0 * one.as_secs_f64() / began.elapsed().as_secs_f64()
    });
    let mut ratios: Vec<_> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

async fn by_session(session: &Session) {
    let names = (0..ENTRIES).map(|number| (format!("user {number}/openai/default"), number));
    let map: DashMap<_, _> =
        names.map(|(name, number)| (name, Arc::new(ArcSwap::from_pointee(number)))).collect();
    let name = "user 4711/openai/default";
    let look_up = || {
        let found = map.get(name).expect("an entry");
        black_box(**found.load());
    };
    let acquire = async || {
        black_box(session.acquire().await.expect("usable"));
    };
    let [floor, figure] = by_turns(look_up, acquire).await;
    row("headers by user and session", "ns", floor, figure, "3");
}

/// An actor that answers, and has nothing else to do.
struct Bare;

type Question = RpcReplyPort<Arc<u64>>;

#[ractor::actor(message = Question, state = Arc<u64>)]
impl Bare {
    async fn pre_start(
        &self,
        _: ActorRef<Question>,
        (): (),
    ) -> Result<Arc<u64>, ActorProcessingErr> {
        Ok(Arc::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Question>,
        reply: Question,
        state: &mut Arc<u64>,
    ) -> Result<(), ActorProcessingErr> {
        let _ = reply.send(state.clone());
        Ok(())
    }
}

async fn by_message(credential: &CredentialHandle) {
    let (bare, _) = Actor::spawn(None, Bare, ()).await.expect("an actor");
    let handle = credential.actor();
    let (mut floors, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        let began = now();
        black_box(call!(bare, |reply| reply).expect("an answer"));
        floors.push(began.elapsed());
        let began = now();
        let answer = handle.ask_again(|reply| ProviderMessage::Acquire { reply }).await;
        black_box(answer.expect("an answer").expect("usable"));
        figures.push(began.elapsed());
    }
    bare.stop(None);
    row("Acquire by message", "ns", median(floors), median(figures), "1.3");
}
