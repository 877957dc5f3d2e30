//! One request, followed through the actors that work for it: what each of them does stands in a span
//! beneath the request's own, and what several requests share follows from each of them.
//!
//! A file of its own, since it listens to all spans of its process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokenward::Runtime;
use tokenward::testing::{Endpoint, Fault, Gate, ManualClock, SimulatedProvider};
use tokenward::vault::Vault;
use tracing::span::{Attributes, Id};
use tracing::{Instrument as _, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// A span as it was opened.
#[derive(Debug, Clone)]
struct Opened {
    number: u64,
    name: &'static str,
    /// It and all above it, the innermost first: by number.
    within: Vec<u64>,
    follows: Vec<u64>,
}

impl Opened {
    fn is_within(&self, outer: &Self) -> bool {
        self.within.contains(&outer.number)
    }
}

/// Every span that was opened.
#[derive(Debug, Clone, Default)]
struct Record(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// In their order.
    opened: Vec<Opened>,
    /// Those that are open, by number. An id is given again once its span is closed.
    numbers: HashMap<Id, u64>,
}

impl Record {
    fn named(&self, name: &str) -> Vec<Opened> {
        let inside = self.0.lock().expect("not poisoned");
        inside.opened.iter().filter(|span| span.name == name).cloned().collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Record {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut inside = self.0.lock().expect("not poisoned");
        let Inside { opened, numbers } = &mut *inside;
        let number = opened.len() as u64;
        numbers.insert(id.clone(), number);
        let within = context.span(id).map_or_else(Vec::new, |span| {
            span.scope().filter_map(|span| numbers.get(&span.id()).copied()).collect()
        });
        let name = attributes.metadata().name();
        opened.push(Opened { number, name, within, follows: Vec::new() });
    }

    fn on_follows_from(&self, span: &Id, follows: &Id, _: Context<'_, S>) {
        let mut inside = self.0.lock().expect("not poisoned");
        let Inside { opened, numbers } = &mut *inside;
        if let (Some(span), Some(follows)) = (numbers.get(span), numbers.get(follows))
            && let Some(span) = opened.get_mut(usize::try_from(*span).expect("an index"))
        {
            span.follows.push(*follows);
        }
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(2), work).await.expect("in two minutes")
}

#[test]
fn a_request_is_followed_through_every_actor_that_works_for_it() {
    let record = Record::default();
    let subscriber = tracing_subscriber::registry().with(record.clone());
    tracing::subscriber::set_global_default(subscriber).expect("the only one of this process");
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    threads.expect("threads").block_on(followed(&record));
}

async fn followed(record: &Record) {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let openai =
        SimulatedProvider::openai().sources(clock.sources()).start().await.expect("a port");
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
            async move { session.client().get("/v1/models").send().await }.instrument(span),
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
    runtime.shutdown(Duration::from_secs(10)).await;
}
