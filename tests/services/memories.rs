//! What a Memory Bank is used for, while everything works.

use std::time::Duration;

use http::StatusCode;
use tokenward::service::ServiceErrorKind;
use tokenward::service::memory_bank::{Cursor, MemoryBankLimits, MemoryId, NewMemory, Search};
use tokenward::testing::{Endpoint, SimulatedProvider};

use crate::host::{all, remember, with};

#[tokio::test]
async fn a_memory_is_created_found_read_and_deleted() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;

    let new = NewMemory::new("Ada likes tea").tag("taste").metadata("from", "a mail");
    let created = bank.create(&new).await.expect("created");
    assert_eq!(created.content, "Ada likes tea");
    assert_eq!(created.tags, ["taste"]);
    assert_eq!(created.metadata["from"], "a mail");
    assert_eq!(created.created_at, Some(host.clock.sources().now().wall));

    let page = bank.search(&Search::new("TEA").tag("taste")).await.expect("a page");
    assert_eq!(page.hits.len(), 1);
    assert_eq!(page.hits[0].memory, created);
    assert_eq!(page.hits[0].score, Some(1.0));
    assert_eq!(page.next, None);
    assert_eq!(bank.get(&created.id).await.expect("a memory"), created);

    bank.delete(&created.id).await.expect("deleted");
    assert_eq!(simulated.memories(), [] as [serde_json::Value; 0]);
    for error in [
        bank.get(&created.id).await.expect_err("it is gone"),
        bank.delete(&created.id).await.expect_err("it is gone"),
    ] {
        assert_eq!(error.kind(), ServiceErrorKind::NotFound);
        assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
    }
}

#[tokio::test]
async fn requests_are_those_of_an_ordinary_client() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    bank.create(&NewMemory::new("x")).await.expect("created");
    bank.search(&Search::new("a & b").tag("c d").limit(7)).await.expect("a page");

    let token = &simulated.requests_at(Endpoint::Token)[0];
    assert_eq!(token.path, "/auth/token");
    let form = [("grant_type", "client_credentials"), ("scope", "memories:read memories:write")];
    assert_eq!(token.form(), form.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(token.header("authorization").is_some_and(|it| it.starts_with("Basic ")));
    let [create, search] = &simulated.requests_at(Endpoint::Resource)[..] else {
        panic!("two requests");
    };
    assert_eq!((create.method.as_str(), create.path.as_str()), ("POST", "/v1/memories"));
    assert_eq!(create.json(), serde_json::json!({ "content": "x" }));
    assert!(create.header("idempotency-key").is_some_and(|key| key.len() == 43));
    assert_eq!(search.query.as_deref(), Some("query=a+%26+b&tag=c+d&limit=7"));
    for request in [create, search] {
        assert_eq!(request.header("accept"), Some("application/json"));
        assert!(request.header("authorization").is_some_and(|it| it.starts_with("Bearer ")));
    }
}

#[tokio::test]
async fn a_search_goes_page_by_page_and_over_all_pages() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    remember(&bank, 25).await;
    let search = Search::new("cat").limit(10);

    let mut sizes = Vec::new();
    let mut next = None;
    loop {
        let here = next.map_or(search.clone(), |next| search.clone().starting_at(next));
        let page = bank.search(&here).await.expect("a page");
        sizes.push(page.hits.len());
        // A cursor can be kept as text.
        next = page.next.map(|cursor| Cursor::new(cursor.as_str()));
        if next.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5]);

    let requests = simulated.requests_at(Endpoint::Resource).len();
    let found = all(&bank, search).await.expect("all of them");
    let expected: Vec<_> = (1..=25).rev().map(|number| format!("cat {number}")).collect();
    assert_eq!(found, expected, "each of them once");
    assert_eq!(simulated.requests_at(Endpoint::Resource).len() - requests, 3);
}

#[tokio::test]
async fn a_stream_fetches_no_page_before_it_is_needed() {
    use futures_util::StreamExt as _;
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    remember(&bank, 5).await;
    let before = simulated.requests_at(Endpoint::Resource).len();
    let mut hits = Box::pin(bank.search_all(Search::new("cat").limit(2)));
    assert_eq!(simulated.requests_at(Endpoint::Resource).len(), before);
    for pages in [1, 1, 2] {
        hits.next().await.expect("a memory").expect("found");
        assert_eq!(simulated.requests_at(Endpoint::Resource).len(), before + pages);
    }
}

#[tokio::test]
async fn a_search_is_narrowed_by_tags_and_by_time() {
    let (host, _simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    for (content, tags) in [("cat one", vec!["a"]), ("cat two", vec!["a", "b"])] {
        let memory = tags.into_iter().fold(NewMemory::new(content), NewMemory::tag);
        bank.create(&memory).await.expect("created");
        host.clock.advance(Duration::from_mins(1));
    }
    let between = host.clock.sources().now().wall - Duration::from_secs(90);
    for (search, found) in [
        (Search::new("cat").tag("a"), vec!["cat two", "cat one"]),
        (Search::new("cat").tag("a").tag("b"), vec!["cat two"]),
        (Search::new("cat").created_after(between), vec!["cat two"]),
        (Search::new("cat").created_before(between), vec!["cat one"]),
        (Search::new("dog"), vec![]),
    ] {
        assert_eq!(all(&bank, search.clone()).await.expect("a page"), found, "{search:?}");
    }
}

#[tokio::test]
async fn a_memory_bank_is_called_beside_the_active_provider() {
    let clock = crate::host::clock();
    let on = |builder: tokenward::testing::SimulatedProviderBuilder| {
        builder.sources(clock.sources()).start()
    };
    let simulated = on(SimulatedProvider::memory_bank()).await.expect("a port");
    let openai = on(SimulatedProvider::openai()).await.expect("a port");
    let runtime = tokenward::Runtime::builder()
        .vault(tokenward::Vault::in_memory())
        .sources(clock.sources())
        .provider(simulated.spec())
        .provider(openai.spec())
        .start()
        .await
        .expect("a runtime");
    let ada = runtime.user("ada");
    let session = ada.open_session().await.expect("a session");
    let error = session.client_for("memory-bank").await.expect_err("not signed in");
    assert!(error.needs_reauthorization());
    ada.sign_in("memory-bank").with_client_credentials().await.expect("signed in");
    ada.sign_in("openai").with_api_key(openai.issue_api_key()).await.expect("signed in");
    session.use_provider("openai").await.expect("signed in");

    let client = session.client_for("memory-bank").await.expect("signed in");
    let bank = tokenward::service::memory_bank::MemoryBank::new(client);
    bank.create(&NewMemory::new("x")).await.expect("created");
    session.client().get("/v1/models").send().await.expect("an answer");

    assert_eq!(simulated.memories().len(), 1);
    assert_eq!(openai.requests_at(Endpoint::Resource).len(), 1);
    let active = session.active().expect("open").expect("active");
    assert_eq!(active.provider.as_str(), "openai", "nothing was switched");
}

#[tokio::test]
async fn what_no_memory_bank_would_take_is_not_sent() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let limits = MemoryBankLimits { content_bytes: 10, ..MemoryBankLimits::default() };
    let bank = host.bank().await.with_limits(limits);
    let long = "x".repeat(3_000);
    for (new, field) in [
        (NewMemory::new(" "), "content"),
        (NewMemory::new("eleven bytes"), "content"),
        (NewMemory::new("x").tag(""), "tags"),
        (NewMemory::new("x").idempotency_key(""), "idempotency-key"),
        (NewMemory::new("x").idempotency_key("a\r\nb: c"), "idempotency-key"),
    ] {
        let error = bank.create(&new).await.expect_err("it can not be sent");
        assert_eq!(error.kind(), ServiceErrorKind::Invalid);
        assert_eq!(error.field(), Some(field));
    }
    for (search, field) in [
        (Search::new(""), "query"),
        (Search::new(long), "query"),
        (Search::new("x").limit(0), "limit"),
        (Search::new("x").limit(101), "limit"),
        (Search::new("x").tag(" "), "tags"),
    ] {
        let error = bank.search(&search).await.expect_err("it can not be sent");
        assert_eq!(error.field(), Some(field));
    }
    for id in ["..", ".", "a/b", "a?b", "a b", "ä"] {
        let error = id.parse::<MemoryId>().expect_err(id);
        assert_eq!(error.field(), Some("id"));
    }
    assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 0);
}
