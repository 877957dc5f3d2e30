//! Many callers of one credential whose token has expired: how often the provider is asked, and when the last
//! of them has its answer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokenward::clock::{Clock as _, Sources, SystemClock, SystemEntropy};
use tokenward::testing::ManualClock;
use tokenward::{CredentialHandle, Runtime, Vault, catalog};

use crate::bare::client;
use crate::measure::{median, millis, now};
use crate::table::{Report, Row, thousands};

const CALLERS: u32 = 100_000;

/// How long the provider takes.
const TAKES: Duration = Duration::from_millis(50);

const TURNS: u32 = 5;

/// How long a token lives.
const LIFETIME: Duration = Duration::from_hours(1);

pub(crate) fn run(report: &mut Report) {
    let provider = SlowProvider::start();
    crate::measure::tokio().block_on(async {
        // Token after token expires by a clock that is moved by hand.
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + LIFETIME * 500_000);
        let host = Runtime::builder()
            .vault(Vault::in_memory())
            .provider(provider.spec())
            .sources(Sources { clock: clock.clone(), entropy: Arc::new(SystemEntropy::new()) })
            .start()
            .await
            .expect("a runtime");
        let signed_in = host.user("ada").sign_in("orange").with_client_credentials().await;
        let credential = host.credential(&signed_in.expect("signed in")).await.expect("it");
        let turns = report.turns(TURNS);
        let (mut alone, mut woken) = (Vec::new(), Vec::new());
        let (mut served, mut refused) = (Turns::default(), Turns::default());
        for _ in 0..turns {
            for failing in [false, true] {
                provider.failing.store(failing, Ordering::Relaxed);
                // As when the machine sleeps: nothing is renewed by itself before somebody asks.
                clock.suspend(LIFETIME);
                let before = provider.requests.load(Ordering::Relaxed);
                let turn = if failing { &mut refused } else { &mut served };
                turn.take(all_at_once(&credential).await, failing);
                let after = provider.requests.load(Ordering::Relaxed);
                turn.requests = turn.requests.max(after - before);
            }
            alone.push(provider.request().await);
            woken.push(bare_callers(&provider).await);
        }
        told(report, served, refused, median(alone), median(woken));
        host.shutdown(Duration::from_secs(5)).await;
    });
}

fn told(report: &mut Report, served: Turns, refused: Turns, alone: f64, woken: f64) {
    let name = format!("{} callers, one expired token: token requests", thousands(CALLERS));
    report.add(Row::new(name, "", served.requests.into()).over(1.0).ratio_at_most(1.0));
    let last = millis(median(served.last));
    let row = Row::new("the same: the last has it, over the request alone", "ms", last);
    report.add(row.over(millis(alone)).ratio_at_most(1.5));
    let name = "the same, over as many bare tasks that wait for the request";
    report.add(Row::new(name, "ms", last).over(millis(woken)));
    let name = "the same, the provider fails: token requests";
    report.add(Row::new(name, "", refused.requests.into()).over(1.0).ratio_at_most(1.0));
    let name = "the same, the provider fails: different failures";
    let different = u32::try_from(refused.failures).expect("fewer than callers");
    report.add(Row::new(name, "", different.into()).over(1.0).ratio_at_most(1.0));
    let name = "the same, the provider fails: the last knows, over the request alone";
    report.add(Row::new(name, "ms", millis(median(refused.last))).over(millis(alone)));
}

/// What the callers of several turns got.
#[derive(Default)]
struct Turns {
    /// The most requests of a turn.
    requests: u32,
    /// When the last of them had an answer, in seconds.
    last: Vec<f64>,
    /// The most failures of a turn that are told apart by their texts.
    failures: usize,
}

impl Turns {
    fn take(&mut self, (last, answers): (Duration, Vec<Result<(), String>>), failing: bool) {
        assert!(answers.iter().all(|answer| answer.is_err() == failing));
        self.last.push(last.as_secs_f64());
        let failures: HashSet<_> = answers.into_iter().filter_map(Result::err).collect();
        self.failures = self.failures.max(failures.len());
    }
}

/// When the last caller had an answer, and all of them.
async fn all_at_once(credential: &CredentialHandle) -> (Duration, Vec<Result<(), String>>) {
    let credential = credential.clone();
    let caller = move || {
        let credential = credential.clone();
        async move {
            let answer = credential.acquire().await.map(drop);
            (now(), answer)
        }
    };
    let (began, answers) = callers(caller).await;
    let last = answers.iter().map(|(at, _)| at.duration_since(began)).max().expect("callers");
    let text =
        |(_, answer): (_, Result<(), tokenward::Error>)| answer.map_err(|error| error.to_string());
    (last, answers.into_iter().map(text).collect())
}

/// When the last of as many tasks knows that the request was answered, in seconds.
async fn bare_callers(provider: &SlowProvider) -> f64 {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    let caller = move || {
        let mut answered = receiver.clone();
        async move {
            answered.wait_for(|answered| *answered).await.expect("an answer");
            now()
        }
    };
    let answered = async {
        provider.request().await;
        sender.send_replace(true);
    };
    let ((began, answers), ()) = tokio::join!(callers(caller), answered);
    answers.into_iter().max().expect("callers").duration_since(began).as_secs_f64()
}

/// Starts every caller as a task, and gives when the first of them was started, and what they bring.
async fn callers<F>(caller: impl Fn() -> F + Send + 'static) -> (Instant, Vec<F::Output>)
where
    F: Future<Output: Send> + Send + 'static,
{
    // From a task, as in a host: what is started outside of the runtime stands in a line of its own.
    let started = tokio::spawn(async move {
        let began = now();
        (began, (0..CALLERS).map(|_| tokio::spawn(caller())).collect::<Vec<_>>())
    });
    let (began, tasks) = started.await.expect("it ends");
    let mut brought = Vec::with_capacity(tasks.len());
    for task in tasks {
        brought.push(task.await.expect("it ends"));
    }
    (began, brought)
}

/// A token endpoint on loopback that takes its time. It has a thread of its own, as if it were elsewhere.
struct SlowProvider {
    address: SocketAddr,
    requests: Arc<AtomicU32>,
    failing: Arc<AtomicBool>,
}

impl SlowProvider {
    fn start() -> Self {
        let (requests, failing) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (count, fails) = (requests.clone(), failing.clone());
        let route = post(async move || {
            count.fetch_add(1, Ordering::Relaxed);
            SystemClock::new().wait(TAKES).await;
            if fails.load(Ordering::Relaxed) {
                return (StatusCode::SERVICE_UNAVAILABLE, String::new());
            }
            let lifetime = LIFETIME.as_secs();
            let answer = format!(
                r#"{{"access_token":"a-token","token_type":"Bearer","expires_in":{lifetime}}}"#
            );
            (StatusCode::OK, answer)
        });
        let (tell, address) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
                let listener = listener.expect("a port");
                tell.send(listener.local_addr().expect("an address")).expect("somebody waits");
                axum::serve(listener, Router::new().route("/token", route)).await
            })
        });
        Self { address: address.recv().expect("it starts"), requests, failing }
    }

    fn spec(&self) -> tokenward::ProviderSpec {
        let url = format!("http://{}/token", self.address).parse().expect("a url");
        catalog::orange().client("a-client").client_secret("a-secret").token_endpoint(url)
    }

    /// How long a bare request takes, in seconds.
    async fn request(&self) -> f64 {
        let client = client();
        let began = now();
        let answer = client.post(format!("http://{}/token", self.address)).send().await;
        answer.expect("an answer").bytes().await.expect("a body");
        began.elapsed().as_secs_f64()
    }
}
