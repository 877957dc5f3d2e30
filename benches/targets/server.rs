//! What the authorization server costs: a token over the bare signature and its verification, and a
//! request for one over the same server that answers a constant.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

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

use crate::measure::{by_turns, micros};
use crate::table::{Report, Row};

/// The issuer and the audience.
const NAME: &str = "https://host.example";

/// Turns of a loop each way, and what is done in one.
const TURNS: u32 = 60;
const TIMES: u32 = 200;

/// Connections at a time, turns of a load each way, and the requests of one connection in a turn.
const CONNECTIONS: u32 = 8;
const LOADS: u32 = 15;
const REQUESTS: u32 = 250;

pub(crate) fn run(report: &mut Report) {
    let runtime = crate::measure::tokio();
    let (host, server) = runtime.block_on(started());
    let (ours, request) = runtime.block_on(serving(&server));
    let floor = runtime.block_on(constant(exchange(ours, &request)));
    runtime.block_on(signatures(report));
    runtime.block_on(verification(report, &server, &exchange(ours, &request)));
    runtime.block_on(load(report, floor, ours, &request));
    runtime.block_on(host.shutdown(Duration::from_secs(5)));
}

#[allow(clippy::disallowed_methods, reason = "the floor is bare ring")]
fn randomness() -> SystemRandom {
    SystemRandom::new()
}

/// Claims as the server writes them.
const PAYLOAD: &str = r#"{"iss":"https://host.example","sub":"app_0123456789abcdef0123456789abcdef0123456789a","aud":"https://host.example","client_id":"app_0123456789abcdef0123456789abcdef0123456789a","iat":1800000000,"exp":1800000300,"jti":"0123456789abcdef0123456789abcdef0123456789a","scope":"memories:read"}"#;

async fn signatures(report: &mut Report) {
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    signature(report, "EdDSA", SigningAlgorithm::EdDsa, async || {
        black_box(ed25519.sign(PAYLOAD.as_bytes()));
    })
    .await;
    let (signs, randomness) = (&ECDSA_P256_SHA256_FIXED_SIGNING, randomness());
    let pair = EcdsaKeyPair::generate_pkcs8(signs, &randomness).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(signs, pair.as_ref(), &randomness).expect("a key");
    signature(report, "ES256", SigningAlgorithm::Es256, async || {
        black_box(pair.sign(&randomness, PAYLOAD.as_bytes()).expect("signed"));
    })
    .await;
}

/// A token over a bare signature of its claims.
async fn signature(
    report: &mut Report,
    name: &str,
    algorithm: SigningAlgorithm,
    floor: impl AsyncFn(),
) {
    let key = SigningKey::generate(algorithm, &SystemEntropy::new()).expect("a key");
    let sign = async || {
        black_box(jws::sign(&key, "at+jwt", PAYLOAD.as_bytes()).expect("signed"));
    };
    in_microseconds(report, &format!("a token signed, {name}"), floor, sign).await;
}

/// The verification of a token by all rules over that of its bare signature.
async fn verification(report: &mut Report, server: &AuthorizationServer, answer: &str) {
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: serde_json::Value = serde_json::from_str(body).expect("json");
    let token = body["access_token"].as_str().expect("a token");
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let signed = token.rsplit_once('.').expect("a token").0;
    let signature = pair.sign(signed.as_bytes());
    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref().to_vec());
    let floor = async || public.verify(signed.as_bytes(), signature.as_ref()).expect("good");
    let verify = async || {
        black_box(server.verify(token).expect("good"));
    };
    in_microseconds(report, "a token verified by all rules, EdDSA", floor, verify).await;

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
    let floor = async || public.verify(signed.as_bytes(), signature.as_ref()).expect("good");
    let verify = async || {
        black_box(jws::verify(&keys, "at+jwt", &token).expect("good"));
    };
    in_microseconds(report, "a signature verified, ES256", floor, verify).await;
}

async fn in_microseconds(
    report: &mut Report,
    name: &str,
    floor: impl AsyncFn(),
    figure: impl AsyncFn(),
) {
    let [floor, figure] = by_turns(report.turns(TURNS), TIMES, floor, figure).await.map(micros);
    report.add(Row::new(name, "µs", figure).over(floor).ratio_at_most(1.3));
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
async fn load(report: &mut Report, floor: SocketAddr, ours: SocketAddr, request: &str) {
    let turn = |address| {
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
    };
    let turns = report.turns(LOADS);
    let times = by_turns(turns, 1, async || turn(floor), async || turn(ours)).await;
    let rate = |time| f64::from(REQUESTS * CONNECTIONS) / time / 1e3;
    let [floor, figure] = times.map(rate);
    let name = "`/auth/token`, client credentials";
    report.add(Row::new(name, "k/s", figure).over(floor).ratio_at_least(0.5));
}
