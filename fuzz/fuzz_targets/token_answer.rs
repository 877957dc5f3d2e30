//! The answer of a token endpoint: the first byte picks the status and the provider, the rest is the
//! body. Whatever it is, nothing panics, nobody is signed out who must not be, and nothing is quoted.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use tokenward::clock::Moment;
use tokenward::{ProviderSpec, catalog};

#[path = "../../tests/token_answers/oracle.rs"]
mod oracle;

static PROVIDERS: LazyLock<[ProviderSpec; 4]> = LazyLock::new(|| {
    let mut elsewhere = catalog::orange();
    elsewhere.oauth.token_fields.access_token = vec!["data".into(), "token".into()];
    elsewhere.oauth.token_fields.expires_in = vec!["data".into(), "ttl".into()];
    [catalog::anthropic(), catalog::openai(), catalog::google(), elsewhere]
});

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let status = oracle::STATUSES[usize::from(first) % oracle::STATUSES.len()];
    let status = StatusCode::from_u16(status).expect("a status");
    let provider = &PROVIDERS[usize::from(first) / 64];
    let now =
        Moment { wall: std::time::UNIX_EPOCH + Duration::from_secs(1), monotonic: Duration::ZERO };
    let answer = provider.read_token_answer(status, &HeaderMap::new(), body, now);
    oracle::check(provider, status, body, &answer);
});
