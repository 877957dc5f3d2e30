//! What the time of an answer tells: nothing of whether there is such a client. A hash takes a microsecond and a
//! request a thousand times as long, so one that is left out is not seen here; `application/tests.rs` measures the
//! work of the comparison itself.

use std::time::{Duration, Instant};

use tokenward::server::RefreshPolicy;

use crate::host::{Answer, FORM, Host, basic, basic_of};
use crate::refresh::register;

/// How many requests of each kind are measured at a time.
const TIMES: usize = 200;

/// How often is measured before two kinds count as told apart: whatever else the machine does comes and
/// goes, and what the server does stays.
const TRIES: usize = 5;

/// Asks for a token, each time from another address, so that nobody is slowed down.
async fn ask(host: &Host, authorization: &str) -> Answer {
    let address = format!("2001:db8:{:x}::1", host.begun());
    let headers = [&FORM, &("authorization", authorization), &("x-test-address", &*address)];
    host.post("/auth/token", &headers, "grant_type=client_credentials").await
}

/// How long requests of two kinds take, by turns.
async fn measured(host: &Host, kinds: [&str; 2]) -> [Vec<Duration>; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..TIMES {
        for (authorization, took) in kinds.iter().zip(&mut took) {
            let began = now();
            ask(host, authorization).await;
            took.push(began.elapsed());
        }
    }
    took
}

/// Whether two kinds differ by more than each differs from itself, and by a tenth.
fn differ([one, other]: &[Vec<Duration>; 2]) -> bool {
    let noise = [one, other].map(|kind| {
        let half = |of: usize| median(kind.iter().skip(of).step_by(2).copied().collect());
        half(0).abs_diff(half(1))
    });
    let [one, other] = [one, other].map(|kind| median(kind.clone()));
    one.abs_diff(other) > one.min(other) / 10 + 3 * noise[0].max(noise[1])
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

#[allow(clippy::disallowed_methods, reason = "it is the real time that is measured")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn s_auth_5_an_unknown_client_can_not_be_told_from_a_wrong_secret_by_time() {
    let host = Host::start().await;
    let client = register(&host, "a", RefreshPolicy::new()).await;
    let id = client.application.id().as_str();
    let (last, rest) = (id.chars().last().expect("a letter"), &id[..id.len() - 1]);
    let other = if last == 'x' { 'y' } else { 'x' };
    let secret = "x".repeat(client.secret.expose().len());
    let wrong = basic_of(id, &secret);
    let unknown = basic_of(&format!("{rest}{other}"), &secret);
    let answers = [ask(&host, &wrong).await, ask(&host, &unknown).await].map(Answer::without_date);
    assert_eq!(answers[0].status, 401);
    assert_eq!(answers[0], answers[1], "nor by what the answer says");

    let mut told_apart = 0;
    while told_apart < TRIES && differ(&measured(&host, [&wrong, &unknown]).await) {
        told_apart += 1;
    }
    assert!(told_apart < TRIES, "they were told apart {TRIES} times");

    // The same look does see what takes longer: here a family that is written to the disk.
    let mut same = 0;
    while same < TRIES && !differ(&measured(&host, [&wrong, &basic(&client)]).await) {
        same += 1;
    }
    assert!(same < TRIES, "what takes longer was not seen {TRIES} times");
}
