//! What the authorization server costs over its floors: a token over the bare signature and its
//! verification, and a request for one over the same server that answers a constant.
//!
//! `cargo bench --bench server` prints, for each row, the floor, the figure, their
//! ratio and the ratio to reach (`docs/performance.md`). Both sides take turns, so that a machine that
//! changes its mind changes it for both; figures are medians of the turns.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use tokenward::clock::SystemEntropy;
use tokenward::server::jws::{self, KeySet, SigningAlgorithm, SigningKey};
use tokenward::server::{ApplicationSpec, AuthorizationServer, RateLimit, ServerSettings};
use tokenward::{Runtime, Vault, catalog};

/// The issuer and the audience.
const NAME: &str = "https://host.example";

/// Turns of a loop each way, and what is done in one.
const TURNS: usize = 60;
const TIMES: u32 = 200;

/// Connections at a time, turns of a load each way, and the requests of one connection in a turn.
const CONNECTIONS: usize = 8;
const LOADS: usize = 15;
const REQUESTS: u32 = 250;

fn main() {
    println!("{:42} {:>11} {:>11} {:>7} {:>8}", "", "floor", "tokenward", "ratio", "target");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (host, server) = runtime.block_on(started());
    let (ours, request) = runtime.block_on(serving(&server));
    let floor = runtime.block_on(constant(exchange(ours, &request)));
    signatures();
    verification(&server, &exchange(ours, &request));
    load(floor, ours, &request);
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

#[allow(clippy::disallowed_methods, reason = "the floor is bare ring")]
fn randomness() -> SystemRandom {
    SystemRandom::new()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs both by turns, and gives the median time of one of each, in microseconds.
fn by_turns(floor: impl Fn(), figure: impl Fn()) -> [f64; 2] {
    let (mut floors, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for (work, times) in [(&floor as &dyn Fn(), &mut floors), (&figure, &mut figures)] {
            let began = now();
            for _ in 0..TIMES {
                work();
            }
            times.push((began.elapsed() / TIMES).as_secs_f64() * 1e6);
        }
    }
    [median(floors), median(figures)]
}

/// Claims as the server writes them.
const PAYLOAD: &str = r#"{"iss":"https://host.example","sub":"app_0123456789abcdef0123456789abcdef0123456789a","aud":"https://host.example","client_id":"app_0123456789abcdef0123456789abcdef0123456789a","iat":1800000000,"exp":1800000300,"jti":"0123456789abcdef0123456789abcdef0123456789a","scope":"memories:read"}"#;

fn signatures() {
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    signature("EdDSA", SigningAlgorithm::EdDsa, || {
        black_box(ed25519.sign(PAYLOAD.as_bytes()));
    });
    let (signs, randomness) = (&ECDSA_P256_SHA256_FIXED_SIGNING, randomness());
    let pair = EcdsaKeyPair::generate_pkcs8(signs, &randomness).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(signs, pair.as_ref(), &randomness).expect("a key");
    signature("ES256", SigningAlgorithm::Es256, || {
        black_box(pair.sign(&randomness, PAYLOAD.as_bytes()).expect("signed"));
    });
}

/// A token over a bare signature of its claims.
fn signature(name: &str, algorithm: SigningAlgorithm, floor: impl Fn()) {
    let key = SigningKey::generate(algorithm, &SystemEntropy::new()).expect("a key");
    let sign = || {
        black_box(jws::sign(&key, "at+jwt", PAYLOAD.as_bytes()).expect("signed"));
    };
    let [floor, figure] = by_turns(floor, sign);
    row(&format!("a token signed, {name}"), "us", floor, figure, "1.3");
}

/// The verification of a token by all rules over that of its bare signature.
fn verification(server: &AuthorizationServer, answer: &str) {
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: serde_json::Value = serde_json::from_str(body).expect("json");
    let token = body["access_token"].as_str().expect("a token");
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let signed = token.rsplit_once('.').expect("a token").0;
    let signature = pair.sign(signed.as_bytes());
    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref().to_vec());
    let floor = || public.verify(signed.as_bytes(), signature.as_ref()).expect("good");
    let verify = || {
        black_box(server.verify(token).expect("good"));
    };
    let [floor, figure] = by_turns(floor, verify);
    row("a token verified by all rules, EdDSA", "us", floor, figure, "1.3");

    let key = SigningKey::generate(SigningAlgorithm::Es256, &SystemEntropy::new()).expect("a key");
    let token = jws::sign(&key, "at+jwt", PAYLOAD.as_bytes()).expect("signed");
    let keys: KeySet = [key.verification_key().clone()].into_iter().collect();
    let (signs, randomness) = (&ECDSA_P256_SHA256_FIXED_SIGNING, randomness());
    let pair = EcdsaKeyPair::generate_pkcs8(signs, &randomness).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(signs, pair.as_ref(), &randomness).expect("a key");
    let signed = token.rsplit_once('.').expect("a token").0;
    let signature = pair.sign(&randomness, signed.as_bytes()).expect("signed");
    let public = pair.public_key().as_ref().to_vec();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
    let floor = || public.verify(signed.as_bytes(), signature.as_ref()).expect("good");
    let verify = || {
        black_box(jws::verify(&keys, "at+jwt", &token).expect("good"));
    };
    let [floor, figure] = by_turns(floor, verify);
    row("a signature verified, ES256", "us", floor, figure, "1.3");
}

async fn started() -> (Runtime, AuthorizationServer) {
    let runtime = Runtime::builder()
        .vault(Vault::in_memory())
        .provider(catalog::anthropic())
        .start()
        .await
        .expect("a runtime");
    let server = AuthorizationServer::start(&runtime, ServerSettings::new(NAME, NAME)).await;
    (runtime, server.expect("a server"))
}

/// Serves the server, and gives a request of an application for a token.
async fn serving(server: &AuthorizationServer) -> (SocketAddr, String) {
    let spec = ApplicationSpec::new("a client")
        .permissions("memories:read".parse().expect("one"))
        .rate_limit(RateLimit::Unlimited);
    let client = server.issuer().register(spec).await.expect("registered");
    let (id, secret) = (client.application.id().as_str(), client.secret.expose());
    let body = "grant_type=client_credentials";
    let request = format!(
        "POST /auth/token HTTP/1.1\r\nhost: host\r\nauthorization: Basic {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        STANDARD.encode(format!("{id}:{secret}")),
        body.len()
    );
    (served(server.router()).await, request)
}

/// The same server, with an answer of the same length that is always the same.
async fn constant(answer: String) -> SocketAddr {
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    let route = post(move |_: axum::body::Bytes| std::future::ready(body.clone()));
    served(Router::new().route("/auth/token", route)).await
}

async fn served(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = connected(address);
    let mut buffer = Vec::new();
    sent(&mut stream, request, &mut buffer);
    String::from_utf8(buffer).expect("text")
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Sends a request, and reads the whole of its answer, which has to be 200.
fn sent(stream: &mut TcpStream, request: &str, answer: &mut Vec<u8>) {
    stream.write_all(request.as_bytes()).expect("sent");
    answer.clear();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).expect("an answer");
        assert!(read > 0, "the server closed");
        answer.extend_from_slice(&part[..read]);
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = head else { continue };
        let head = std::str::from_utf8(&answer[..end]).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        if answer.len() == end + 4 + length {
            return;
        }
    }
}

/// Requests a second on several connections, of the server and of the same with a constant answer.
fn load(floor: SocketAddr, ours: SocketAddr, request: &str) {
    let (mut floors, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        for (address, rates) in [(floor, &mut floors), (ours, &mut figures)] {
            let began = now();
            std::thread::scope(|scope| {
                for _ in 0..CONNECTIONS {
                    scope.spawn(|| {
                        let (mut stream, mut answer) = (connected(address), Vec::new());
                        for _ in 0..REQUESTS {
                            sent(&mut stream, request, &mut answer);
                        }
                    });
                }
            });
            let requests =
                f64::from(REQUESTS) * f64::from(u32::try_from(CONNECTIONS).expect("few"));
            rates.push(requests / began.elapsed().as_secs_f64() / 1e3);
        }
    }
    row("/auth/token, client credentials", "k/s", median(floors), median(figures), ">= 0.5");
}
