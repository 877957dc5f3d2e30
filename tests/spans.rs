//! One request, and what a user does, followed through the actors that work for it: what each of them
//! does stands in a span beneath the request's own, and what several requests share follows from each
//! of them.
//!
//! Each test has a thread of its own, and listens to all spans of that.

#[path = "common/spans.rs"]
mod spans;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokenward::clock::Clock as _;
use tokenward::testing::{Endpoint, Fault, Gate, ManualClock, SimulatedProvider};
use tokenward::vault::Vault;
use tokenward::{DeviceLogin, EventKind, Notice, Runtime};
use tracing::{Instrument as _, info_span};

use crate::spans::{Opened, Record};

/// Stands in every token and code, and in the query of the requests.
const CANARY: &str = "Canary-2b7e15a0";

/// Runs `test` on this thread alone, with all of its spans. Whatever it waits for comes in time.
fn on_this_thread<F: Future<Output = ()>>(test: impl FnOnce(Record) -> F) {
    let (record, _listening) = Record::of_this_thread();
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let in_time = async {
        let ended = tokio::time::timeout(Duration::from_mins(2), test(record)).await;
        ended.expect("in two minutes");
    };
    threads.expect("threads").block_on(in_time);
}

/// Lets the others work until something is so. The clock stands still meanwhile.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

struct Host {
    clock: Arc<ManualClock>,
    openai: SimulatedProvider,
    google: SimulatedProvider,
    runtime: Runtime,
}

impl Host {
    async fn start() -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let openai = SimulatedProvider::openai().sources(clock.sources()).canary(CANARY);
        let openai = openai.start().await.expect("a port");
        let google = SimulatedProvider::google().sources(clock.sources()).canary(CANARY);
        let google = google.start().await.expect("a port");
        let builder = Runtime::builder().sources(clock.sources()).vault(Vault::in_memory());
        let builder = builder.provider(openai.spec()).provider(google.spec());
        let runtime = builder.start().await.expect("a runtime");
        Self { clock, openai, google, runtime }
    }
}

#[test]
fn a_request_is_followed_through_every_actor_that_works_for_it() {
    on_this_thread(followed);
}

async fn followed(record: Record) {
    let record = &record;
    let Host { clock, openai, runtime, .. } = Host::start().await;
    let ada = runtime.user("ada");
    let login = ada.sign_in("openai").in_browser().await.expect("a sign-in");
    let callback = openai.approve(login.url()).expect("consent");
    login.paste(&callback).await.expect("taken");
    login.finished().await.expect("signed in");
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
    gate.until_arrived(1).await;
    let two = asking("two");
    // It joins the renewal.
    until(|| record.named("renewal").iter().any(|renewal| !renewal.follows.is_empty())).await;
    gate.open();
    for asked in [one, two] {
        asked.await.expect("no panic").expect("an answer");
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
    let before = credential.snapshot();
    let end = before.expires_at().expect("it expires");
    clock.advance(end.duration_since(clock.now().wall).expect("to come"));
    until(|| credential.snapshot().generation() > before.generation()).await;
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
    none_tells_a_secret(record);
}

/// Every span is one that `docs/embedding.md` tells of, and has no path, query or secret among its fields.
fn none_tells_a_secret(record: &Record) {
    let ours = record.ours();
    assert!(ours.len() > 10, "{}", ours.len());
    for span in &ours {
        let told = format!("{:?}", span.fields);
        let requests = ["call", "renewal", "token request", "vault"];
        let of_users = ["sign-in", "sign-out", "session", "erasure"];
        let is_documented = requests.iter().chain(&of_users).any(|name| *name == span.name);
        assert!(is_documented, "{span:?} is not documented");
        for kept_out in [CANARY, "/v1/models", "page", "?", "Bearer"] {
            assert!(!told.contains(kept_out), "{kept_out} in {span:?}");
        }
    }
}

/// What the host opens around what it asks for.
async fn asked<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    work.instrument(info_span!("asked", name)).await
}

impl Record {
    /// What the host opened under this name.
    fn asked(&self, name: &str) -> Opened {
        let mut named = self.named("asked").into_iter().filter(|it| it.field("name") == name);
        let asked = named.next().unwrap_or_else(|| panic!("nobody asked for {name}"));
        assert!(named.next().is_none(), "asked once");
        asked
    }

    /// Those of this name that stand beneath `outer`.
    fn beneath(&self, outer: &Opened, name: &str) -> Vec<Opened> {
        self.named(name).into_iter().filter(|it| it.is_within(outer)).collect()
    }

    /// The one of this name that stands beneath `outer`.
    fn only_beneath(&self, outer: &Opened, name: &str) -> Opened {
        let mut found = self.beneath(outer, name);
        assert_eq!(found.len(), 1, "beneath {outer:?}: {found:?}");
        found.remove(0)
    }

    /// How many commits of the vault stand beneath `outer`.
    fn commits(&self, outer: &Opened) -> usize {
        self.all_commits().iter().filter(|it| it.is_within(outer)).count()
    }

    /// Every commit of the vault.
    fn all_commits(&self) -> Vec<Opened> {
        let vault = self.named("vault").into_iter();
        vault.filter(|it| it.field("request") == "commit").collect()
    }
}

/// Lets the time pass until the sign-in asks its provider again, and its answer be taken.
async fn next_poll(clock: &ManualClock, login: &DeviceLogin) {
    let mut progress = login.progress();
    let waits = progress.wait_for(|progress| progress.next_poll.is_some()).await;
    let before = *waits.expect("it is pending");
    let at = before.next_poll.expect("it waits for this");
    clock.advance(at.duration_since(clock.now().wall).expect("to come"));
    progress.wait_for(|progress| progress.polls > before.polls).await.expect("a poll");
}

#[test]
fn a_sign_in_is_followed_from_who_begins_it_to_who_completes_it_and_into_the_vault() {
    on_this_thread(signed_in);
}

async fn signed_in(record: Record) {
    let Host { clock, openai, google, runtime } = Host::start().await;
    let ada = runtime.user("ada");

    let login = asked("a browser", ada.sign_in("openai").in_browser()).await.expect("a sign-in");
    let callback = openai.approve(login.url()).expect("consent");
    asked("a paste", login.paste(&callback)).await.expect("taken");
    let sign_in = record.only_beneath(&record.asked("a browser"), "sign-in");
    assert_eq!(sign_in.field_names(), ["credential"]);
    assert_eq!(sign_in.field("credential"), "ada/openai/authorization-code");
    assert_eq!(record.beneath(&sign_in, "token request").len(), 1, "its code is exchanged");
    assert!(record.commits(&sign_in) >= 1, "and what it brought is durable");
    let paste = record.asked("a paste");
    assert_eq!(sign_in.follows, [paste.number], "by somebody else than who began it");
    assert!(record.beneath(&paste, "vault").is_empty(), "each thing is done for one");

    // By the alarm, which is nobody's.
    let login = ada.sign_in("google").with_device_code();
    let login = asked("a device", login).await.expect("a code");
    google.approve_device(login.user_code()).expect("consent");
    next_poll(&clock, &login).await;
    login.finished().await.expect("signed in");
    let sign_in = record.only_beneath(&record.asked("a device"), "sign-in");
    assert_eq!(sign_in.field("credential"), "ada/google/device-code");
    assert!(record.beneath(&sign_in, "token request").len() >= 2, "the code, and a poll at least");
    assert!(record.commits(&sign_in) >= 1);
    assert_eq!(sign_in.follows, [0_u64; 0]);

    let key = openai.issue_api_key();
    let stored = ada.sign_in("openai").label("work").with_verified_api_key(key);
    asked("a key", stored).await.expect("taken");
    let sign_in = record.only_beneath(&record.asked("a key"), "sign-in");
    assert_eq!(sign_in.field("credential"), "ada/openai/api-key/work");
    assert_eq!(record.beneath(&sign_in, "token request").len(), 1, "whether it is a key");
    assert!(record.commits(&sign_in) >= 1);
    assert_eq!(record.named("sign-in").len(), 3, "one each");
    none_tells_a_secret(&record);
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[test]
fn a_sign_in_follows_from_a_span_of_another_and_from_no_other() {
    on_this_thread(completed);
}

async fn completed(record: Record) {
    let Host { openai, runtime, .. } = Host::start().await;
    let ada = runtime.user("ada");
    let begin = || async { ada.sign_in("openai").in_browser().await.expect("a sign-in") };
    let followed = || record.named("sign-in").pop().expect("a sign-in").follows;

    let login = asked("to begin", begin()).await;
    let callback = openai.approve(login.url()).expect("consent");
    login.paste(&callback).await.expect("taken");
    assert_eq!(followed(), [0_u64; 0], "whoever completes it has no span");

    let in_one = async {
        let login = begin().await;
        let callback = openai.approve(login.url()).expect("consent");
        login.paste(&callback).await.expect("taken");
    };
    asked("for all of it", in_one).await;
    assert_eq!(followed(), [0_u64; 0], "it stands beneath that already");

    let login = asked("to begin another", begin()).await;
    asked("to cancel", login.cancel()).await;
    assert_eq!(followed(), [record.asked("to cancel").number]);
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[test]
fn sessions_sign_outs_and_an_erasure_are_followed_into_the_vault() {
    on_this_thread(used_and_left);
}

async fn used_and_left(record: Record) {
    let Host { clock, openai, google, runtime } = Host::start().await;
    let ada = runtime.user("ada");
    for (provider, simulated) in [("openai", &openai), ("google", &google)] {
        let login = ada.sign_in(provider).in_browser().await.expect("a sign-in");
        let callback = simulated.approve(login.url()).expect("consent");
        login.paste(&callback).await.expect("taken");
        ada.sign_in(provider).with_api_key(simulated.issue_api_key()).await.expect("taken");
    }

    let session = asked("to open", ada.open_session()).await.expect("a session");
    // The second waits until the first is durable.
    let (one, two) = tokio::join!(
        asked("to switch", session.use_provider("openai")),
        asked("to switch back", session.use_provider("google")),
    );
    one.and(two).expect("switched");
    asked("to come back", ada.session(&session.id())).await.expect("open");
    asked("to close", session.close()).await.expect("closed");
    for (name, request, commits) in [
        ("to open", "open", 1),
        ("to switch", "switch", 1),
        ("to switch back", "switch", 1),
        ("to come back", "attach", 0),
        ("to close", "close", 1),
    ] {
        let of_session = record.only_beneath(&record.asked(name), "session");
        assert_eq!(of_session.field_names(), ["request", "user"]);
        assert_eq!((of_session.field("request"), of_session.field("user")), (request, "ada"));
        assert_eq!(record.commits(&of_session), commits, "{name}");
    }

    let left = asked("to leave", ada.sign_out("openai")).await.expect("signed out");
    let sign_outs = record.beneath(&record.asked("to leave"), "sign-out");
    assert_eq!(sign_outs.len(), left.len());
    for (sign_out, (id, outcome)) in sign_outs.iter().zip(&left) {
        assert_eq!(sign_out.field_names(), ["credential"]);
        assert_eq!(sign_out.field("credential"), id.to_string());
        assert!(record.commits(sign_out) >= 1, "{id}");
        let asked = record.beneath(sign_out, "token request").len();
        assert_eq!(asked, usize::from(outcome.revoked), "{id} at the provider");
    }
    assert!(left.iter().any(|(_, outcome)| outcome.revoked), "{left:?}");

    ada.open_session().await.expect("a session");
    asked("to be forgotten", ada.erase()).await.expect("erased");
    let erasure = record.only_beneath(&record.asked("to be forgotten"), "erasure");
    assert_eq!((erasure.field_names(), erasure.field("user")), (vec!["user"], "ada"));
    assert_eq!(record.beneath(&erasure, "sign-out").len(), 2, "of google");
    let of_sessions = record.beneath(&erasure, "session");
    assert!(of_sessions.iter().any(|it| it.field("request") == "close"), "{of_sessions:?}");
    assert!(record.commits(&erasure) >= 3);

    // Nobody asks for its end.
    ada.open_session().await.expect("a session");
    let before = record.all_commits().len();
    let mut events = runtime.events();
    clock.advance(Duration::from_hours(25));
    let is_over = |kind: &EventKind| matches!(kind, EventKind::SessionExpired { .. });
    while !matches!(events.next().await.expect("more"), Notice::Event(it) if is_over(&it.kind)) {}
    let since = record.all_commits().split_off(before);
    assert!(!since.is_empty(), "it is removed");
    assert!(since.iter().all(|it| it.within.len() == 1), "beneath nothing: {since:?}");
    none_tells_a_secret(&record);
    runtime.shutdown(Duration::from_secs(10)).await;
}
