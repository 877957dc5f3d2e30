//! A Memory Bank that answers what it should not: every answer has an end, a bound, and an error
//! without what stood in it.

use std::fmt::Write as _;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokenward::catalog;
use tokenward::service::memory_bank::{MemoryBank, MemoryBankLimits, NewMemory, Search};
use tokenward::service::{ServiceError, ServiceErrorKind};
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};

use crate::common::{Recorder, Reply};
use crate::host::{Host, all, clock, remember, with};

/// Stands in every hostile answer, and must not stand in an error.
const CANARY: &str = "canary-of-the-body";

fn assert_malformed(error: &ServiceError, what: &str) {
    assert_eq!(error.kind(), ServiceErrorKind::Malformed, "{what}: {error}");
    let told = format!("{error} {error:?}");
    assert!(!told.contains(CANARY), "{what}: {told}");
}

#[tokio::test]
async fn what_is_no_answer_is_a_clear_error_without_its_body() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    remember(&bank, 1).await;
    let faults = simulated.faults().on(Endpoint::Resource);
    let memory = json!({ "id": "m", "content": CANARY });
    let body = |items: Value| json!({ "items": items, "next_cursor": null }).to_string();
    let doubled = format!(r#"{{"items":[],"items":[{{"memory":{memory}}}]}}"#);
    let twice = format!(r#"{{"items":[{{"memory":{{"id":"m","id":"{CANARY}","content":""}}}}]}}"#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = CANARY.repeat(200);
    let many = Value::Array(vec![json!({ "memory": memory }); 21]);
    for (what, body) in [
        ("no body", String::new()),
        ("text", CANARY.to_owned()),
        ("another shape", json!([CANARY]).to_string()),
        ("a member that is doubled", doubled),
        ("a member of a memory that is doubled", twice),
        ("no items", "{}".to_owned()),
        ("items of another shape", body(json!([{ "memory": { "id": 7, "content": CANARY } }]))),
        (
            "an id that leads elsewhere",
            body(json!([{ "memory": { "id": "../x", "content": CANARY } }])),
        ),
        ("a cursor that is none", json!({ "items": [], "next_cursor": { CANARY: 1 } }).to_string()),
        ("a cursor that is too long", json!({ "items": [], "next_cursor": long }).to_string()),
        ("nesting without end", deep),
        ("more than was asked for", body(many)),
    ] {
        faults.next(1, Fault::Status(200, body));
        let error = bank.search(&Search::new("cat")).await.expect_err(what);
        assert_malformed(&error, what);
    }
    for fault in [Fault::Html200, Fault::TornJson, Fault::Garbage] {
        faults.next(1, fault.clone());
        let error = bank.search(&Search::new("cat")).await.expect_err("no json");
        assert_malformed(&error, &fault.to_string());
    }
    for status in [200, 204, 206, 301, 418, 451] {
        faults.next(1, Fault::Status(status, CANARY.to_owned()));
        let error = bank.create(&NewMemory::new("x")).await.expect_err("no creation");
        assert_malformed(&error, &status.to_string());
    }
    assert_eq!(all(&bank, Search::new("cat")).await.expect("it is well again"), ["cat 1"]);
}

#[tokio::test]
async fn a_refusal_with_content_in_its_names_does_not_get_it_into_the_error() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    let long = format!("{CANARY} {}", "x".repeat(100));
    let hostile =
        ["<b>canary-of-the-body</b>", "canary-of-the-body\nx", "canary-of-the-body-5b1f8e02"];
    for name in hostile.into_iter().chain([long.as_str()]) {
        let error = json!({ "code": name, "field": name, "scope": name, "message": CANARY });
        let refusal = json!({ "error": error }).to_string();
        for status in [400, 401, 403, 404, 409, 422, 429] {
            let faults = simulated.faults().on(Endpoint::Resource);
            faults.next(3, Fault::Status(status, refusal.clone()));
            let error = host.patiently(bank.search(&Search::new("x"))).await.expect_err("refused");
            faults.clear();
            let told = format!("{error} {error:?} {:?} {:?}", error.field(), error.scope());
            assert!(!told.contains(CANARY), "{told}");
        }
    }
}

#[tokio::test]
async fn a_million_items_are_not_read_to_their_end() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let limits = MemoryBankLimits { answer_bytes: 100_000, ..MemoryBankLimits::default() };
    let bank = host.bank().await.with_limits(limits);
    let mut million = "{\"items\":[".to_owned();
    for number in 0..1_000_000 {
        let _ = write!(million, "{{\"memory\":{{\"id\":\"{number}\",\"content\":\"\"}}}},");
    }
    simulated.faults().on(Endpoint::Resource).next(1, Fault::Status(200, million));
    let error = bank.search(&Search::new("x")).await.expect_err("too much");
    assert_malformed(&error, "a million");
    assert!(error.to_string().contains("more than 100000 bytes"), "{error}");

    simulated.faults().on(Endpoint::Resource).next(1, Fault::Huge);
    let error = host.bank().await.search(&Search::new("x")).await.expect_err("10 MiB");
    assert_malformed(&error, "10 MiB");
}

#[tokio::test]
async fn a_refusal_with_too_long_a_body_is_the_refusal_that_it_is() {
    for (status, kind) in [
        (401, ServiceErrorKind::Unauthorized),
        (404, ServiceErrorKind::NotFound),
        (429, ServiceErrorKind::RateLimited),
        (503, ServiceErrorKind::Unavailable),
    ] {
        let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
        let limits = MemoryBankLimits { answer_bytes: 1_000, ..MemoryBankLimits::default() };
        let bank = host.bank().await.with_limits(limits);
        let refusal = Fault::Status(status, CANARY.repeat(1_000));
        simulated.faults().on(Endpoint::Resource).always(refusal);
        let error = host.patiently(bank.search(&Search::new("x"))).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
        assert_eq!(error.is_transient(), matches!(status, 429 | 503), "{error}");
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
}

#[tokio::test]
async fn a_cursor_that_comes_back_ends_the_search_after_what_was_found() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    remember(&bank, 4).await;
    // The second page, over and over.
    let always = Fault::SetField("next_cursor".to_owned(), "YXQgMg".into());
    simulated.faults().on(Endpoint::Resource).always(always);
    let before = simulated.requests_at(Endpoint::Resource).len();
    let (found, error) = until_error(&bank, Search::new("cat").limit(2)).await;
    assert_eq!(found, ["cat 4", "cat 3", "cat 2", "cat 1"]);
    assert_malformed(&error, "a loop");
    assert!(error.to_string().contains("same cursor twice"), "{error}");
    assert_eq!(simulated.requests_at(Endpoint::Resource).len() - before, 2);
}

#[tokio::test]
async fn pages_without_end_are_followed_so_far_and_no_further() {
    let page = |number: i32| {
        let memory = json!({ "id": number.to_string(), "content": format!("cat {number}") });
        json!({ "items": [{ "memory": memory }], "next_cursor": number.to_string() })
    };
    let replies = (0..20).map(|number| Reply::json(200, &page(number).to_string()));
    let grant = json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 3600 });
    let grant = Reply::json(200, &grant.to_string());
    let server = Recorder::start(std::iter::once(grant).chain(replies)).await;
    let spec = catalog::memory_bank(server.url("/")).client("id").client_secret("secret");
    let host = Host::calling(spec, clock()).await;
    let limits = MemoryBankLimits { pages: 3, ..MemoryBankLimits::default() };
    let bank = host.bank().await.with_limits(limits);
    let (found, error) = until_error(&bank, Search::new("x")).await;
    assert_eq!(found, ["cat 0", "cat 1", "cat 2"], "all that was fetched");
    assert_malformed(&error, "endless pages");
    assert!(error.to_string().contains("more pages than are followed"), "{error}");
    assert_eq!(server.requests().len(), 1 + 3);
}

/// What a search gives, one after the other, until its error, after which there is nothing.
async fn until_error(bank: &MemoryBank, search: Search) -> (Vec<String>, ServiceError) {
    let mut hits = Box::pin(bank.search_all(search));
    let mut found = Vec::new();
    loop {
        match hits.next().await.expect("it does not end without an error") {
            Ok(hit) => found.push(hit.memory.content),
            Err(error) => {
                assert!(hits.next().await.is_none(), "it ends with its error");
                return (found, error);
            }
        }
    }
}

#[tokio::test]
async fn no_link_and_no_redirect_takes_the_credential_elsewhere() {
    let elsewhere = Recorder::start([Reply::json(200, "{}")]).await;
    let grant = json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 3600 });
    let link = elsewhere.url("/v1/memories/search");
    let linked = json!({ "items": [], "next": link, "next_cursor": link });
    let server = Recorder::start([
        Reply::json(200, &grant.to_string()),
        Reply::with_headers(307, &format!("location: {link}\r\n"), "{}"),
        Reply::json(200, &linked.to_string()),
        Reply::json(200, r#"{"items":[]}"#),
    ])
    .await;
    let spec = catalog::memory_bank(server.url("/")).client("id").client_secret("secret");
    let host = Host::calling(spec, clock()).await;
    let bank = host.bank().await;

    let error = bank.search(&Search::new("x")).await.expect_err("a redirect");
    assert_malformed(&error, "a redirect");
    assert!(error.to_string().contains("redirect that is not followed"), "{error}");
    assert_eq!(all(&bank, Search::new("x")).await.expect("two pages"), [""; 0]);

    assert_eq!(elsewhere.requests(), []);
    let last = server.requests().pop().expect("four requests");
    assert!(last.line.starts_with("GET /v1/memories/search?"), "{}", last.line);
    assert!(last.line.contains("cursor=http%3A%2F%2F127.0.0.1"), "a cursor is text: {}", last.line);
}

#[tokio::test]
async fn what_is_unknown_in_an_answer_is_kept() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    let memory = json!({ "id": "m", "content": "c", "mood": "good", "created_at": "yesterday" });
    let body = json!({ "items": [{ "memory": memory, "why": 1 }], "took": 3 }).to_string();
    simulated.faults().on(Endpoint::Resource).next(1, Fault::Status(200, body));
    let page = bank.search(&Search::new("x")).await.expect("a page");
    assert_eq!(page.hits[0].memory.more["mood"], "good");
    assert_eq!(page.hits[0].memory.created_at, None);
    assert_eq!(page.next, None);
}
