//! Calls through a session when the upstream is unwell: which are made again, how often and when,
//! and when none is made any more. Real sockets, and a clock that a test moves.

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::patience::{self, in_time, until};
use common::{Recorder, Refusing, Reply};
use futures_util::FutureExt as _;
use http::{Method, StatusCode};
use tokenward::event::EventKind;
use tokenward::http::Attempts;
use tokenward::resilience::{
    BreakerPolicy, BudgetPolicy, CallPolicy, GiveUp, Reason, RetryPolicy, State,
};
use tokenward::supervision::{Events, Notice};
use tokenward::testing::{Endpoint, Fault, ManualClock, SimulatedProvider};
use tokenward::{ProviderSpec, Runtime, Session, Vault, catalog};
use url::Url;

/// A host with one upstream, and a session that is signed in there.
struct Host {
    clock: Arc<ManualClock>,
    runtime: Runtime,
    session: Session,
}

impl Host {
    async fn calling(base_url: Url, policy: CallPolicy) -> Self {
        Self::with(catalog::openai().base_url(base_url).with_call_policy(policy)).await
    }

    async fn with(provider: ProviderSpec) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let runtime = Runtime::builder()
            .vault(Vault::in_memory())
            .sources(clock.sources())
            .provider(provider)
            .start()
            .await
            .expect("a runtime");
        let ada = runtime.user("ada");
        ada.sign_in("openai").with_api_key("sk-a-key-of-ada").await.expect("signed in");
        let session = ada.open_session().await.expect("a session");
        session.use_provider("openai").await.expect("signed in");
        Self { clock, runtime, session }
    }

    /// With a session that goes by tokens, which have to be renewed.
    async fn at_orange(orange: &SimulatedProvider, policy: CallPolicy) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let runtime = Runtime::builder()
            .vault(Vault::in_memory())
            .sources(clock.sources())
            .provider(orange.spec().with_call_policy(policy))
            .start()
            .await
            .expect("a runtime");
        let ada = runtime.user("ada");
        ada.sign_in("orange").with_client_credentials().await.expect("signed in");
        let session = ada.open_session().await.expect("a session");
        session.use_provider("orange").await.expect("signed in");
        Self { clock, runtime, session }
    }

    /// Lets time pass while `work` waits to make a call again, and only then.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        patience::patiently(&self.clock, work).await
    }

    async fn get(&self) -> Result<reqwest::Response, tokenward::Error> {
        self.patiently(self.session.client().get("/v1/models").send()).await
    }

    fn is_about_to_try_again(&self) -> bool {
        patience::is_about_to_try_again(&self.clock)
    }

    fn state(&self) -> State {
        self.runtime.upstream("openai").expect("the provider").status().state
    }
}

fn attempts(reply: &reqwest::Response) -> Attempts {
    *reply.extensions().get::<Attempts>().expect("each answer tells")
}

fn ok() -> Reply {
    Reply::json(200, "{}")
}

/// The next change of the breaker's state.
async fn change(events: &mut Events) -> (State, Reason) {
    loop {
        let notice = in_time(events.next()).await.expect("the runtime lives");
        if let Notice::Event(event) = notice
            && let EventKind::BreakerChanged { change, .. } = &event.kind
        {
            return (change.to, change.reason);
        }
    }
}

/// T-2 and T-3: what another attempt may mend, three attempts in all.
#[tokio::test]
async fn a_get_that_fails_is_made_again_and_the_answer_tells_how_often() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let upstream =
            Recorder::start([Reply::json(status, "{}"), Reply::json(status, "{}"), ok()]);
        let upstream = upstream.await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

        let reply = host.get().await.expect("an answer");

        assert_eq!(reply.status(), StatusCode::OK, "after {status}");
        assert_eq!(attempts(&reply).made, 3);
        assert_eq!(upstream.requests().len(), 3);
    }
}

/// T-2: what no other attempt mends.
#[tokio::test]
async fn what_would_fail_the_same_way_is_not_made_again() {
    for status in [400, 403, 404, 409, 422, 501, 505] {
        let upstream = Recorder::start([Reply::json(status, "{}"), ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

        let reply = host.get().await.expect("an answer");

        assert_eq!(reply.status().as_u16(), status);
        assert_eq!(upstream.requests().len(), 1);
    }
}

/// T-6: the last failure is told, not that attempts are used up.
#[tokio::test]
async fn the_last_answer_is_the_answer_when_all_attempts_are_used_up() {
    let body = r#"{"error":"the third one"}"#;
    let script = [Reply::json(503, "{}"), Reply::json(502, "{}"), Reply::json(500, body), ok()];
    let upstream = Recorder::start(script).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

    let reply = host.get().await.expect("an answer");

    let told = attempts(&reply);
    assert_eq!((told.made, told.gave_up), (3, Some(GiveUp::AttemptsUsedUp)));
    assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.text().await.expect("a body"), body);
}

/// T-1: nothing is carried out twice.
#[tokio::test]
async fn a_post_is_never_sent_twice_after_its_first_byte_left() {
    let replies = [Reply::json(503, "{}"), Reply::raw(""), Reply::raw("HTTP/1.1 200 OK\r\nconte")];
    for reply in replies {
        let upstream = Recorder::start([reply.clone(), ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

        let call = host.session.client().post("/v1/responses").json(&"once").send();
        let outcome = host.patiently(call).await;

        assert_ne!(outcome.ok().map(|reply| reply.status()), Some(StatusCode::OK), "{reply:?}");
        assert_eq!(upstream.requests().len(), 1, "{reply:?}");
    }
}

/// T-1: the same key and body on every attempt.
#[tokio::test]
async fn a_post_with_an_idempotency_key_is_made_again_with_the_same_key_and_body() {
    for failure in [Reply::json(503, "{}"), Reply::raw(""), Reply::raw("HTTP/1.1 200 OK\r\nconte")]
    {
        let upstream = Recorder::start([failure, ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

        let call = host.session.client().post("/v1/responses").header("Idempotency-Key", "k-1");
        let reply = host.patiently(call.json(&"twice").send()).await.expect("an answer");

        assert_eq!(reply.status(), StatusCode::OK);
        let requests = upstream.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0], requests[1]);
        assert_eq!(requests[1].header("idempotency-key"), Some("k-1"));
        assert_eq!(requests[1].body, "\"twice\"");
    }
}

/// T-1: what provably never left may leave again.
#[tokio::test]
async fn a_post_that_was_never_sent_is_made_again() {
    let nobody = Refusing::start();
    let host = Host::calling(nobody.url("/"), CallPolicy::default()).await;

    let call = host.session.client().post("/v1/responses").json(&"once").send();
    let error = host.patiently(call).await.expect_err("nobody listens");

    assert!(error.is_transient());
    assert!(error.to_string().contains("3 attempts"), "{error}");
}

/// T-1: attempts that found no connection are told apart from those that were sent.
#[tokio::test]
async fn an_answer_tells_how_many_attempts_were_sent() {
    let later = Refusing::start();
    let host = Host::calling(later.url("/"), CallPolicy::default()).await;
    let call = tokio::spawn(host.session.client().post("/v1/responses").json(&"once").send());
    until(|| host.is_about_to_try_again()).await;
    let upstream = later.listen([ok()]);

    let reply = host.patiently(call).await.expect("no panic").expect("an answer");

    assert_eq!((attempts(&reply).made, attempts(&reply).sent), (2, 1));
    assert_eq!(upstream.requests().len(), 1);
}

/// T-1: a key that is not sent, since it is of the caller's own connection, makes nothing
/// repeatable (RFC 9110 §7.6.1).
#[tokio::test]
async fn a_post_whose_idempotency_key_is_not_sent_is_not_made_again() {
    let upstream = Recorder::start([Reply::json(503, "{}"), ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

    let call = host.session.client().post("/v1/responses").header("Idempotency-Key", "k-1");
    let call = call.header("Connection", "keep-alive, idempotency-key").json(&"once");
    let reply = host.patiently(call.send()).await.expect("an answer");

    assert_eq!(attempts(&reply).gave_up, Some(GiveUp::NotSafe));
    assert_eq!(upstream.only_request().header("idempotency-key"), None);
}

/// H1: a body that can not be sent again is not.
#[tokio::test]
async fn a_body_that_is_a_stream_is_sent_once() {
    let upstream = Recorder::start([Reply::json(503, "{}"), ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>("{}")]);
    let body = reqwest::Body::wrap_stream(stream);

    let call = host.session.client().put("/v1/files").body(body).send();
    let reply = host.patiently(call).await.expect("an answer");

    assert_eq!(attempts(&reply).gave_up, Some(GiveUp::NotSafe));
    assert_eq!(upstream.requests().len(), 1);
}

/// T-4: seconds and dates, on 429 and 503.
#[tokio::test]
async fn an_upstream_is_left_alone_as_long_as_it_asks() {
    let date = "date: Fri, 01 Jan 2100 00:00:00 GMT\r\n\
                retry-after: Fri, 01 Jan 2100 00:00:03 GMT\r\n";
    let asked = [503, 429].into_iter().flat_map(|status| {
        let seconds = "retry-after: 3\r\n";
        [(status, seconds), (status, date)]
    });
    for (status, asks) in asked {
        let upstream = Recorder::start([Reply::with_headers(status, asks, "{}"), ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
        let before = host.clock.sources().now();

        let reply = host.get().await.expect("an answer");

        assert_eq!(reply.status(), StatusCode::OK);
        let waited = host.clock.sources().now().since(before);
        assert_eq!(waited, Duration::from_secs(3), "{asks}");
    }
}

/// T-4: beyond the cap the caller is told instead.
#[tokio::test]
async fn an_upstream_that_asks_for_too_long_is_not_asked_again() {
    let asks = Reply::with_headers(503, "retry-after: 31\r\n", "{}");
    let upstream = Recorder::start([asks, ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

    let reply = host.get().await.expect("an answer");

    assert_eq!(attempts(&reply).gave_up, Some(GiveUp::TooLongToWait));
    assert_eq!(reply.headers()["retry-after"], "31");
    assert_eq!(upstream.requests().len(), 1);
}

/// T-6 and B-7: the deadline is outermost.
#[tokio::test]
async fn no_attempt_begins_after_the_deadline() {
    let upstream =
        Recorder::start([Reply::with_headers(503, "retry-after: 3\r\n", "{}"), ok()]).await;
    let policy = CallPolicy { deadline: Duration::from_secs(2), ..CallPolicy::default() };
    let host = Host::calling(upstream.url("/"), policy).await;

    let reply = host.session.client().get("/v1/models").send().await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(upstream.requests().len(), 1);
}

/// B-7 and T-6: the wait for a place is within the deadline, and so is what follows it.
#[tokio::test]
async fn a_call_whose_place_was_free_late_is_answered_at_its_deadline() {
    let upstream = Recorder::start([Reply::Keep(Vec::new()), Reply::Keep(Vec::new())]).await;
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let policy = CallPolicy { concurrency: 1, retry, ..CallPolicy::default() };
    let host = Host::calling(upstream.url("/"), policy).await;
    let first = tokio::spawn(host.session.client().get("/v1/models").send());
    until(|| upstream.requests().len() == 1).await;
    let mut second = Box::pin(host.session.client().get("/v1/models").send());
    assert!((&mut second).now_or_never().is_none(), "it waits for a place");

    let just_before = Duration::from_millis(1);
    host.clock.advance(policy.deadline.saturating_sub(just_before));
    first.abort();
    assert!(first.await.expect_err("given up").is_cancelled());
    let second = tokio::spawn(second);
    until(|| upstream.requests().len() == 2).await;
    host.clock.advance(just_before);

    let error = second.await.expect("no panic").expect_err("nobody answers");
    assert!(error.to_string().contains("in time"), "{error}");
}

/// T-6: what kept a call from being made again does not hide why it failed.
#[tokio::test]
async fn a_retry_that_can_not_begin_leaves_the_last_failure_to_be_told() {
    let asks = Reply::with_headers(503, "retry-after: 3\r\n", "{}");
    let upstream = Recorder::start([asks, ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    let call = tokio::spawn(host.session.client().get("/v1/models").send());
    until(|| host.is_about_to_try_again()).await;
    let credential = host.session.client().credential().await.expect("hers");
    credential.sign_out().await.expect("signed out");

    let reply = host.patiently(call).await.expect("no panic").expect("an answer");

    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    let told = attempts(&reply);
    assert_eq!((told.made, told.gave_up), (1, Some(GiveUp::NotBegun)));
    assert_eq!(upstream.requests().len(), 1);
}

/// T-4: of other statuses it says nothing.
#[tokio::test]
async fn a_retry_after_of_another_status_than_429_and_503_is_not_heeded() {
    let asks = Reply::with_headers(500, "retry-after: 31\r\n", "{}");
    let upstream = Recorder::start([asks, ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    assert_eq!(host.get().await.expect("an answer").status(), StatusCode::OK);
}

/// T-1: a redirect is followed by what changes nothing, and by nothing else.
#[tokio::test]
async fn a_post_is_not_sent_to_a_second_address() {
    for status in [301, 302, 303, 307, 308] {
        let moved = Reply::with_headers(status, "location: /v2\r\n", "");
        let upstream = Recorder::start([moved.clone(), moved, ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

        let post = host.session.client().post("/v1/responses").header("Idempotency-Key", "k-1");
        let reply = host.patiently(post.json(&"once").send()).await.expect("an answer");
        assert_eq!(reply.status().as_u16(), status);
        assert_eq!(upstream.requests().len(), 1);

        let reply = host.get().await.expect("an answer");
        assert_eq!((reply.status(), reply.url().path()), (StatusCode::OK, "/v2"));
        let requests = upstream.requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[1].headers, requests[2].headers, "with its credential");
    }
}

/// A redirect that leads nowhere is the answer, and no failure.
#[tokio::test]
async fn a_redirect_that_leads_to_itself_is_followed_ten_times() {
    let moved = || Reply::with_headers(302, "location: /v1/models\r\n", "");
    let upstream = Recorder::start((0..20).map(|_| moved())).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    assert_eq!(host.get().await.expect("an answer").status(), StatusCode::FOUND);
    assert_eq!(upstream.requests().len(), 11);
}

/// T-7: what is held of a body takes as much memory as it is long, however small its pieces.
#[tokio::test]
async fn a_whole_body_that_comes_in_single_bytes_is_held_in_one_piece() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let raw = format!("{head}{}0\r\n\r\n", "1\r\nx\r\n".repeat(5_000));
    let upstream = Recorder::start([Reply::raw(raw)]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

    let call = host.session.client().get("/v1/models").whole_body(10_000).send();
    let mut reply = host.patiently(call).await.expect("an answer");

    let piece = reply.chunk().await.expect("read").expect("a piece");
    assert_eq!(piece.len(), 5_000);
    assert_eq!(reply.chunk().await.expect("read"), None);
}

/// T-5: a call that is held back is none.
#[tokio::test]
async fn calls_that_are_held_back_pay_for_no_retries() {
    let upstream = Recorder::start([Reply::json(503, "{}"), ok()]).await;
    let budget = BudgetPolicy { reserve_per_second: 0, ..BudgetPolicy::default() };
    let policy = CallPolicy { budget, ..CallPolicy::default() };
    let host = Host::calling(upstream.url("/"), policy).await;
    let breaker = host.runtime.upstream("openai").expect("the provider").breaker().clone();
    breaker.force_open();
    for _ in 0..10 {
        host.get().await.expect_err("held back");
    }
    breaker.close();

    let reply = host.get().await.expect("an answer");

    assert_eq!(attempts(&reply).gave_up, Some(GiveUp::BudgetEmpty));
}

/// T-3: the waits between three attempts are drawn at random, from nothing to 100 ms and then 200.
#[tokio::test]
async fn the_waits_between_attempts_are_within_their_bounds_and_differ() {
    let upstream = Recorder::start((0..30).map(|_| Reply::json(503, "{}"))).await;
    let breaker = BreakerPolicy { minimum_calls: 1_000, ..BreakerPolicy::default() };
    let host =
        Host::calling(upstream.url("/"), CallPolicy { breaker, ..CallPolicy::default() }).await;
    let mut waited = Vec::new();
    for _ in 0..10 {
        let before = host.clock.sources().now();
        host.get().await.expect("an answer");
        waited.push(host.clock.sources().now().since(before));
    }
    assert_eq!(upstream.requests().len(), 30);
    assert!(waited.iter().all(|wait| *wait <= Duration::from_millis(300)), "{waited:?}");
    waited.sort();
    waited.dedup();
    assert!(waited.len() > 5, "those who failed together do not come back together: {waited:?}");
}

/// T-2: a connection that breaks before, in the middle of, or right after the request, and in the
/// middle of the head of the answer.
#[tokio::test]
async fn a_get_survives_a_connection_that_breaks_at_any_stage_before_the_body() {
    let stages = [Reply::Slam, Reply::raw(""), Reply::raw("HT"), Reply::raw("HTTP/1.1 200 OK\r\n")];
    for stage in stages {
        let upstream = Recorder::start([stage.clone(), ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

        let reply = host.get().await.expect("an answer");

        assert_eq!(attempts(&reply).made, 2, "{stage:?}");
        assert_eq!(reply.status(), StatusCode::OK);
    }
}

/// T-2 and T-3: a connection that is reset in the middle of the request's body. What may be carried out
/// twice is sent again from its beginning, and a POST is not.
#[tokio::test]
async fn a_request_that_is_reset_in_its_middle_is_made_again_where_it_may_be() {
    let body = "x".repeat(1024 * 1024);
    for (method, key, requests) in
        [(Method::PUT, None, 2), (Method::POST, Some("a-key"), 2), (Method::POST, None, 1)]
    {
        let upstream = Recorder::start([Reply::Reset(64 * 1024), ok()]).await;
        let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
        let call = host.session.client().request(method, "/v1/files").body(body.clone());
        let call = if let Some(key) = key { call.header("idempotency-key", key) } else { call };

        let outcome = host.patiently(call.send()).await;

        let recorded = upstream.requests();
        assert_eq!(recorded.len(), requests);
        assert!(recorded[0].body.len() < body.len(), "the reset was in the middle");
        match outcome {
            Ok(reply) => assert_eq!((requests, attempts(&reply).made), (2, 2)),
            Err(error) => assert!(requests == 1 && error.is_transient(), "{error}"),
        }
        assert!(requests == 1 || recorded[1].body == body, "the whole of it");
    }
}

/// T-7: what has begun to answer is not asked again behind the back of its caller.
#[tokio::test]
async fn an_answer_that_breaks_off_is_the_callers_to_ask_for_again() {
    let torn = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    let upstream = Recorder::start([torn, ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

    let reply = host.get().await.expect("a head");

    reply.bytes().await.expect_err("the body is cut short");
    assert_eq!(upstream.requests().len(), 1);
}

/// B-7 and T-7: each attempt has a time-out of its own within the deadline.
#[tokio::test]
async fn an_attempt_without_an_answer_in_time_is_made_again_and_counts_as_a_failure() {
    let upstream = Recorder::start([Reply::Keep(Vec::new()), ok()]).await;
    let attempt_timeout = Duration::from_mins(1);
    let host =
        Host::calling(upstream.url("/"), CallPolicy { attempt_timeout, ..CallPolicy::default() });
    let host = host.await;
    let call = tokio::spawn(host.session.client().get("/v1/models").send());
    until(|| upstream.requests().len() == 1).await;

    host.clock.advance(attempt_timeout);
    let reply = host.patiently(call).await.expect("no panic").expect("an answer");

    assert_eq!((reply.status(), attempts(&reply).made), (StatusCode::OK, 2));
    let counts = host.runtime.upstream("openai").expect("the provider").status().counts;
    assert_eq!((counts.calls, counts.failures), (2, 1));
}

/// B-2: a brown-out opens the breaker at the tenth call, when half of them have failed.
#[tokio::test]
async fn an_upstream_of_which_every_second_call_fails_is_left_alone_after_ten() {
    let script = (0..40).map(|turn| Reply::json(if turn % 2 == 0 { 502 } else { 200 }, "{}"));
    let upstream = Recorder::start(script).await;
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let host = Host::calling(upstream.url("/"), CallPolicy { retry, ..CallPolicy::default() });
    let host = host.await;

    let mut held_back = 0;
    for _ in 0..40 {
        held_back += u32::from(host.get().await.is_err_and(|error| error.is_circuit_open()));
    }

    assert_eq!((upstream.requests().len(), held_back), (10, 30));
}

/// B-2: slow answers open it as failures do. The manual clock moves while the upstream thinks.
#[tokio::test]
async fn an_upstream_that_is_always_slow_is_left_alone() {
    let upstream = SimulatedProvider::openai().start().await.expect("a port");
    let gate = tokenward::testing::Gate::new();
    upstream.faults().on(Endpoint::Resource).always(Fault::Hold(gate.clone()));
    let host = Host::with(upstream.spec()).await;
    let key = upstream.issue_api_key();
    host.runtime.user("ada").sign_in("openai").with_api_key(key).await.expect("signed in");
    let calls: tokio::task::JoinSet<_> = (0..10)
        .map(|_| {
            let client = host.session.client();
            async move { client.get("/v1/models").send().await.map(|reply| reply.status()) }
        })
        .collect();
    in_time(gate.until_arrived(10)).await;

    host.clock.advance(Duration::from_mins(6));
    gate.open();

    for status in calls.join_all().await {
        assert_eq!(status.expect("an answer"), StatusCode::OK, "slow, but well");
    }
    assert!(matches!(host.state(), State::Open { .. }));
}

/// B-6: nothing is sent, and no token is fetched.
#[tokio::test]
async fn a_call_that_is_held_back_asks_for_no_token() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let runtime = Runtime::builder()
        .vault(Vault::in_memory())
        .sources(clock.sources())
        .provider(orange.spec())
        .start()
        .await
        .expect("a runtime");
    let ada = runtime.user("ada");
    let id = ada.sign_in("orange").with_client_credentials().await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("orange").await.expect("signed in");
    runtime.credential(&id).await.expect("it").invalidate().await.expect("invalidated");
    let before = orange.requests().len();
    runtime.upstream("orange").expect("the provider").breaker().force_open();

    let error = session.client().get("/").send().await.expect_err("held back");

    assert!(error.is_circuit_open());
    assert_eq!(orange.requests().len(), before);
}

/// Opens after two failures, probes with one call.
fn touchy() -> CallPolicy {
    CallPolicy {
        breaker: BreakerPolicy { minimum_calls: 2, probes: 1, ..BreakerPolicy::default() },
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        ..CallPolicy::default()
    }
}

/// B-4, B-6 and B-9: held back, probed, back; each change is told once.
#[tokio::test]
async fn an_upstream_that_fails_is_left_alone_and_used_again_within_one_probe() {
    let script =
        [Reply::json(500, "{}"), Reply::json(500, "{}"), Reply::json(500, "{}"), ok(), ok()];
    let upstream = Recorder::start(script).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    let mut events = host.runtime.events();
    for _ in 0..2 {
        host.get().await.expect("an answer");
    }

    for _ in 0..10 {
        let error = host.get().await.expect_err("held back");
        assert!(error.is_circuit_open() && error.is_transient());
        assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(36)));
    }
    assert_eq!(upstream.requests().len(), 2, "nothing is sent while calls are held back");
    let breaker = host.runtime.health().breaker("openai").expect("the provider");
    assert!(matches!(breaker.state, State::Open { .. }), "the provider's health tells of it");

    host.clock.advance(Duration::from_secs(36));
    host.get().await.expect("the probe's answer");
    host.get().await.expect_err("still down: held back for twice as long");
    host.clock.advance(Duration::from_secs(72));
    for _ in 0..2 {
        assert_eq!(host.get().await.expect("an answer").status(), StatusCode::OK);
    }
    assert_eq!(host.state(), State::Closed);
    assert_eq!(change(&mut events).await.1, Reason::Failures);
    assert_eq!(change(&mut events).await.1, Reason::TimeToProbe);
    assert_eq!(change(&mut events).await.1, Reason::ProbeFailed);
    assert_eq!(change(&mut events).await.1, Reason::TimeToProbe);
    assert_eq!(change(&mut events).await, (State::Closed, Reason::ProbesSucceeded));
}

/// B-6: a class of routes has a breaker of its own.
#[tokio::test]
async fn a_class_of_routes_that_fails_holds_nothing_else_back() {
    let upstream = Recorder::start([Reply::json(500, "{}"), Reply::json(500, "{}"), ok()]).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    let embed = || host.session.client().post("/v1/embeddings").route_class("embeddings").send();
    for _ in 0..2 {
        embed().await.expect("an answer");
    }

    let error = embed().await.expect_err("held back");

    assert!(error.is_circuit_open() && error.to_string().contains("(embeddings)"), "{error}");
    let shared = host.runtime.upstream("openai").expect("the provider");
    assert!(matches!(shared.route_class("embeddings").status().state, State::Open { .. }));
    assert_eq!(host.get().await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(host.state(), State::Closed);
    assert_eq!(upstream.requests().len(), 3);
}

/// Whoever holds an upstream back by hand holds back its classes of routes, and sees their breakers.
#[tokio::test]
async fn by_hand_an_upstream_is_held_back_with_its_classes_of_routes() {
    let upstream = Recorder::start([ok(), ok()]).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    let embed = || host.session.client().post("/v1/embeddings").route_class("embeddings").send();
    embed().await.expect("an answer");
    let shared = host.runtime.upstream("openai").expect("the provider");
    let name = format!("{} (embeddings)", shared.origin());
    assert!(host.runtime.breakers().contains_key(&name), "{:?}", host.runtime.breakers().keys());

    shared.breaker().force_open();
    let error = embed().await.expect_err("held back");

    assert!(error.is_circuit_open(), "{error}");
    shared.breaker().close();
    embed().await.expect("an answer");
    assert_eq!(upstream.requests().len(), 2);
}

/// B-3: a caller who gives an upstream no time says nothing about it.
#[tokio::test]
async fn a_caller_without_patience_opens_the_breaker_for_nobody() {
    let upstream = Recorder::start((0..4).map(|_| Reply::Keep(Vec::new()))).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    for sent in 1..=4 {
        let timeout = Duration::from_secs(20);
        let call = tokio::spawn(host.session.client().post("/v1/models").timeout(timeout).send());
        until(|| upstream.requests().len() == sent).await;
        host.clock.advance(timeout);
        call.await.expect("no panic").expect_err("no answer in time");
    }
    assert_eq!(host.state(), State::Closed);
    let counts = host.runtime.upstream("openai").expect("the provider").status().counts;
    assert_eq!(counts.calls, 0);
}

/// B-3: what is no failure of the upstream.
#[tokio::test]
async fn refusals_of_the_caller_do_not_open_the_breaker() {
    for status in [400, 401, 403, 404, 409, 412, 422, 429] {
        let upstream = Recorder::start((0..4).map(|_| Reply::json(status, "{}"))).await;
        let host = Host::calling(upstream.url("/"), touchy()).await;
        for _ in 0..4 {
            host.get().await.expect("an answer");
        }
        assert_eq!(host.state(), State::Closed, "{status}");
    }
}

/// B-3: a body that breaks off.
#[tokio::test]
async fn an_answer_that_is_cut_short_counts_as_a_failure() {
    let torn = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
    let upstream = Recorder::start([Reply::raw(torn), Reply::raw(torn)]).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    for _ in 0..2 {
        let reply = host.get().await.expect("a head");
        reply.bytes().await.expect_err("the body is cut short");
    }
    assert!(matches!(host.state(), State::Open { .. }));
}

/// B-3 and B-5: a cancelled probe gives its permit back, so that the next call can be one.
#[tokio::test]
async fn a_caller_that_gives_up_says_nothing_about_the_upstream() {
    let script = [Reply::json(500, "{}"), Reply::json(500, "{}"), Reply::Keep(Vec::new()), ok()];
    let upstream = Recorder::start(script).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    for _ in 0..2 {
        host.get().await.expect("an answer");
    }
    host.clock.advance(Duration::from_secs(36));
    let probe = tokio::spawn(host.session.client().get("/v1/models").send());
    until(|| upstream.requests().len() == 3).await;
    let error = host.get().await.expect_err("there is one probe");
    assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(1)), "{error}");

    probe.abort();
    assert!(probe.await.expect_err("given up").is_cancelled());

    assert_eq!(host.get().await.expect("the next probe").status(), StatusCode::OK);
    assert_eq!(host.state(), State::Closed);
}

/// B-3: what is the caller's own doing.
#[tokio::test]
async fn a_stream_of_the_callers_that_breaks_off_says_nothing_about_the_upstream() {
    let upstream = Recorder::start([]).await;
    let host = Host::calling(upstream.url("/"), touchy()).await;
    for _ in 0..4 {
        let torn = || std::io::Error::other("the disk is gone");
        let stream = futures_util::stream::iter([Ok("half of "), Err(torn())]);
        let body = reqwest::Body::wrap_stream(stream);
        let call = host.session.client().put("/v1/files").body(body).send();
        let error = host.patiently(call).await.expect_err("there is no whole request");
        assert!(error.is_invalid_input(), "{error}");
        assert!(error.to_string().contains("the disk is gone"), "{error}");
    }
    let status = host.runtime.upstream("openai").expect("the provider").status();
    assert_eq!((status.counts.calls, status.state), (0, State::Closed));
}

/// B-3 and B-7: an upstream that refuses a token at once has answered, however long the renewal takes;
/// and who waits for it takes nobody's place.
#[tokio::test]
async fn a_renewal_that_hangs_is_not_booked_on_the_upstream_that_refused_the_token() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let host = Host::at_orange(&orange, touchy()).await;
    let shared = host.runtime.upstream("orange").expect("the provider");
    let gate = tokenward::testing::Gate::new();
    orange.expire_access_tokens();
    orange.faults().on(Endpoint::Token).always(Fault::Hold(gate.clone()));

    let call = tokio::spawn(host.session.client().get("/smsmessaging/v1/nothing").send());
    in_time(gate.until_arrived(1)).await;

    let counts = shared.status().counts;
    assert_eq!((counts.calls, counts.failures), (1, 0), "the refusal is an answer");
    assert_eq!(shared.under_way(), 0);
    gate.open();
    let reply = call.await.expect("no panic").expect("an answer");
    assert_ne!(reply.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(shared.status().counts.calls, 2);
}

/// B-6: neither a place nor a probe is taken by those who wait for a token.
#[tokio::test]
async fn whoever_waits_for_a_token_takes_nobodys_place() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let policy = CallPolicy { concurrency: 1, ..touchy() };
    let host = Host::at_orange(&orange, policy).await;
    let bob = host.runtime.user("bob");
    bob.sign_in("orange").with_client_credentials().await.expect("signed in");
    let bobs = bob.open_session().await.expect("a session");
    bobs.use_provider("orange").await.expect("signed in");
    orange.faults().on(Endpoint::Resource).next(2, Fault::Status(500, "{}".to_owned()));
    for _ in 0..2 {
        bobs.client().get("/smsmessaging/v1/nothing").send().await.expect("an answer");
    }
    host.clock.advance(Duration::from_secs(36));
    let adas = host.session.client();
    adas.credential().await.expect("hers").invalidate().await.expect("invalidated");
    let gate = tokenward::testing::Gate::new();
    orange.faults().on(Endpoint::Token).always(Fault::Hold(gate.clone()));
    let mut waiting: tokio::task::JoinSet<_> =
        (0..5).map(|_| adas.get("/smsmessaging/v1/nothing").send()).collect();
    in_time(gate.until_arrived(1)).await;

    bobs.client().get("/smsmessaging/v1/nothing").send().await.expect("an answer: he is the probe");

    let shared = host.runtime.upstream("orange").expect("the provider");
    assert_eq!(shared.status().state, State::Closed);
    assert!(waiting.try_join_next().is_none(), "her calls wait still");
    gate.open();
    for call in waiting.join_all().await {
        call.expect("an answer, once there is a token");
    }
}

/// B-1: forced open and closed by hand.
#[tokio::test]
async fn by_hand_an_upstream_is_taken_out_of_use_and_put_back() {
    let upstream = Recorder::start([ok()]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    let breaker = host.runtime.upstream("openai").expect("the provider").breaker().clone();

    breaker.force_open();
    let error = host.get().await.expect_err("held back");
    assert!(error.is_circuit_open());
    assert_eq!(error.retry_after(), None);
    assert!(error.to_string().contains("by hand"), "{error}");

    breaker.close();
    assert_eq!(host.get().await.expect("an answer").status(), StatusCode::OK);
}

/// T-5: the budget bounds what an outage makes of a thousand calls.
#[tokio::test]
async fn a_thousand_calls_through_an_outage_are_all_answered_within_the_budget() {
    let upstream = SimulatedProvider::openai().start().await.expect("a port");
    upstream.faults().on(Endpoint::Resource).always(Fault::Status(503, "{}".to_owned()));
    let policy = CallPolicy {
        // So that the budget alone bounds what is sent.
        breaker: BreakerPolicy { minimum_calls: 100_000, ..BreakerPolicy::default() },
        budget: BudgetPolicy { reserve_per_second: 0, ..BudgetPolicy::default() },
        ..CallPolicy::default()
    };
    let host = Host::with(upstream.spec().with_call_policy(policy)).await;
    let calls: tokio::task::JoinSet<_> = (0..1_000)
        .map(|_| {
            let client = host.session.client();
            async move { client.get("/v1/models").send().await }
        })
        .collect();

    let answers = host.patiently(calls.join_all()).await;

    assert_eq!(answers.len(), 1_000);
    for answer in &answers {
        let answer = answer.as_ref().expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let sent = upstream.requests_at(Endpoint::Resource).len();
    assert!((1_000..=1_200).contains(&sent), "a fifth more than the calls: {sent}");
    drop(answers);
    let left = host.runtime.upstream("openai").expect("the provider").under_way();
    assert_eq!(left, 0, "no place is left taken");
}

/// H4: whatever became of the calls, nothing of them runs on.
#[tokio::test]
async fn a_thousand_calls_through_an_outage_leave_no_task_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let upstream = SimulatedProvider::openai().start().await.expect("a port");
    upstream.faults().on(Endpoint::Resource).always(Fault::ResetBeforeHeaders);
    let breaker = BreakerPolicy { minimum_calls: 100_000, ..BreakerPolicy::default() };
    let policy = CallPolicy { breaker, ..CallPolicy::default() };
    let host = Host::with(upstream.spec().with_call_policy(policy)).await;
    let before = tasks();
    let calls: tokio::task::JoinSet<_> =
        (0..1_000).map(|_| host.session.client().get("/v1/models").send()).collect();
    assert!(tasks() >= before + 1_000, "a caller is a task");

    let answers = host.patiently(calls.join_all()).await;

    for answer in &answers {
        assert!(answer.as_ref().is_err_and(tokenward::Error::is_transient), "{answer:?}");
    }
    let all_ended = until(|| tasks() <= before);
    let in_time = tokio::time::timeout(Duration::from_secs(30), all_ended).await;
    assert!(in_time.is_ok(), "{} tasks before, {} are left", before, tasks());
    assert_eq!(host.runtime.upstream("openai").expect("the provider").under_way(), 0);
}

/// B-2 and B-7: a rejection ends the retries.
#[tokio::test]
async fn a_thousand_calls_to_an_upstream_that_is_down_stop_once_that_is_known() {
    let upstream = SimulatedProvider::openai().start().await.expect("a port");
    upstream.faults().on(Endpoint::Resource).always(Fault::Status(503, "{}".to_owned()));
    let policy = CallPolicy { concurrency: 10, ..CallPolicy::default() };
    let host = Host::with(upstream.spec().with_call_policy(policy)).await;
    let calls: tokio::task::JoinSet<_> =
        (0..1_000).map(|_| host.session.client().get("/v1/models").send()).collect();

    let answers = host.patiently(calls.join_all()).await;

    assert_eq!(answers.len(), 1_000);
    let held_back = answers
        .iter()
        .filter(|answer| answer.as_ref().is_err_and(tokenward::Error::is_circuit_open));
    assert!(held_back.count() >= 980, "who waited for a place meets the breaker as it is then");
    let sent = upstream.requests_at(Endpoint::Resource).len();
    // Ten failures open it, while nine more may be under way.
    assert!((10..20).contains(&sent), "{sent}");
}

/// H4: bounded concurrency.
#[tokio::test]
async fn no_more_calls_than_places_are_under_way_at_once() {
    let upstream = SimulatedProvider::openai().start().await.expect("a port");
    let gate = tokenward::testing::Gate::new();
    upstream.faults().on(Endpoint::Resource).always(Fault::Hold(gate.clone()));
    let policy = CallPolicy { concurrency: 3, ..CallPolicy::default() };
    let host = Host::with(upstream.spec().with_call_policy(policy)).await;
    let shared = host.runtime.upstream("openai").expect("the provider");
    let calls: tokio::task::JoinSet<_> = (0..20)
        .map(|_| {
            let client = host.session.client();
            async move { client.get("/v1/models").send().await.is_ok() }
        })
        .collect();

    in_time(gate.until_arrived(3)).await;

    assert_eq!(shared.under_way(), 3);
    assert_eq!(gate.arrived(), 3, "the others wait for a place");
    gate.open();
    assert_eq!(host.patiently(calls.join_all()).await, [true; 20]);
}
