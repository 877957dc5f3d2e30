//! One request, followed through the actors that work for it: what each of them does stands in a span
//! beneath the request's own, and what several requests share follows from each of them.
//!
//! A file of its own, since it listens to all spans of its process.

#[path = "common/spans.rs"]
mod spans;

use std::time::{Duration, SystemTime};

use tokenward::Runtime;
use tokenward::testing::{Endpoint, Fault, Gate, ManualClock, SimulatedProvider};
use tokenward::vault::Vault;
use tracing::{Instrument as _, info_span};

use crate::spans::Record;

/// Stands in every token and code, and in the query of the requests.
const CANARY: &str = "Canary-2b7e15a0";

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(2), work).await.expect("in two minutes")
}

#[test]
fn a_request_is_followed_through_every_actor_that_works_for_it() {
    let record = Record::start();
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    threads.expect("threads").block_on(followed(&record));
}

async fn followed(record: &Record) {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let openai = SimulatedProvider::openai().sources(clock.sources()).canary(CANARY);
    let openai = openai.start().await.expect("a port");
    let builder = Runtime::builder().sources(clock.sources()).vault(Vault::in_memory());
    let runtime = builder.provider(openai.spec()).start().await.expect("a runtime");
    let ada = runtime.user("ada");
    let login = ada.sign_in("openai").in_browser().await.expect("a sign-in");
    let callback = openai.approve(login.url()).expect("consent");
    login.paste(&callback).await.expect("taken");
    in_time(login.finished()).await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("active");

    // Two requests whose token is refused, the second while it is renewed for the first.
    let gate = Gate::new();
    openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    openai.expire_access_tokens();
    let asking = |name: &'static str| {
        let session = session.clone();
        let span = info_span!("asked", name);
        tokio::spawn(
            async move { session.client().get("/v1/models").query("page", CANARY).send().await }
                .instrument(span),
        )
    };
    let one = asking("one");
    in_time(gate.until_arrived(1)).await;
    let two = asking("two");
    // It joins the renewal.
    let joined = async {
        while record.named("renewal").iter().all(|renewal| renewal.follows.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    in_time(joined).await;
    gate.open();
    for asked in [one, two] {
        in_time(asked).await.expect("no panic").expect("an answer");
    }

    let asked = record.named("asked");
    let [one, two] = &asked[..] else { panic!("two requests: {asked:?}") };
    let renewals = record.named("renewal");
    let [renewal] = &renewals[..] else { panic!("one renewal: {renewals:?}") };
    assert!(renewal.is_within(one), "it belongs to who came first");
    let calls = record.named("call");
    let of_two = calls.iter().find(|call| call.is_within(two)).expect("its call");
    assert_eq!(renewal.follows, [of_two.number], "and is waited for by the other");
    let beneath =
        |name: &str| record.named(name).iter().filter(|span| span.is_within(renewal)).count();
    assert_eq!(beneath("token request"), 1, "the way to the provider");
    assert!(beneath("vault") >= 2, "the intent, and what was granted");

    // By the alarm, on nobody's behalf.
    let credential = ada.preferred_credential("openai").await.expect("a credential");
    let before = credential.snapshot().generation();
    in_time(async {
        while credential.snapshot().generation() == before {
            clock.advance(Duration::from_mins(1));
            tokio::task::yield_now().await;
        }
    })
    .await;
    let by_the_alarm = record.named("renewal").pop().expect("a renewal");
    assert_eq!(by_the_alarm.within.len(), 1, "it stands beneath nothing: {by_the_alarm:?}");
    assert_eq!(by_the_alarm.follows, [0_u64; 0]);
    the_fields_are_as_documented(record, &openai);
    runtime.shutdown(Duration::from_secs(10)).await;
}

/// What `docs/embedding.md` says that each span has: these fields, and none with a path, a query or a secret.
fn the_fields_are_as_documented(record: &Record, openai: &SimulatedProvider) {
    let base = openai.base_url();
    let origin = base.origin().ascii_serialization();
    for call in record.named("call") {
        assert_eq!(call.field_names(), ["method", "upstream"]);
        assert_eq!((call.field("method"), call.field("upstream")), ("GET", &*origin));
    }
    for (number, renewal) in record.named("renewal").iter().enumerate() {
        assert_eq!(renewal.field_names(), ["credential", "generation", "outcome"]);
        assert_eq!(renewal.field("credential"), "ada/openai/authorization-code");
        assert_eq!(renewal.field("generation"), (number + 1).to_string());
        assert_eq!(renewal.field("outcome"), "renewed");
    }
    for request in record.named("token request") {
        assert_eq!(request.field_names(), ["host"]);
        assert_eq!(request.field("host"), base.authority());
    }
    let vault = record.named("vault");
    assert!(vault.iter().all(|request| request.field_names() == ["request"]));
    for kind in ["read", "commit"] {
        assert!(vault.iter().any(|request| request.field("request") == kind), "{kind}");
    }
    let ours = record.ours();
    assert!(ours.len() > 10, "{}", ours.len());
    for span in &ours {
        let told = format!("{:?}", span.fields);
        let names = ["call", "renewal", "token request", "vault"];
        assert!(names.contains(&span.name), "{span:?} is not documented");
        for kept_out in [CANARY, "/v1/models", "page", "?", "Bearer"] {
            assert!(!told.contains(kept_out), "{kept_out} in {span:?}");
        }
    }
}
