//! Whole sign-ins against simulated providers, over real sockets.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::identity::{Generation, Label, Method, UserId};
use crate::oauth::Transport;
use crate::provider::{Grant, ProviderSpec, catalog};
use crate::supervision::{EventBus, Events, Notice, Supervisor, Timekeeper};
use crate::testing::{Endpoint, Fault, Gate, ManualClock, SimulatedProvider};

/// A runtime's part that signs in, with a sink that keeps grants in memory.
struct House {
    clock: Arc<ManualClock>,
    root: Supervisor,
    logins: Logins,
    stored: Arc<Mutex<Vec<Grant>>>,
    /// What the sink says to the next grants, before it takes any.
    troubles: Arc<Mutex<Vec<Error>>>,
    events: Events,
}

impl House {
    async fn new() -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let (sources, bus) = (clock.sources(), EventBus::new(clock.sources()));
        let events = bus.subscribe();
        let root = Supervisor::start("root", sources.clone(), bus.clone()).await.expect("a root");
        let timekeeper = Timekeeper::start(&root, sources.clone(), bus.clone()).await;
        let timekeeper = timekeeper.expect("a timekeeper");
        let transport = Transport::new(sources.clone()).expect("a transport");
        let logins =
            Logins::start(&root, transport, timekeeper, sources, bus, None, Arc::new(|_| {}));
        let logins = logins.await.expect("logins");
        let (stored, troubles) = (Arc::default(), Arc::default());
        Self { clock, root, logins, stored, troubles, events }
    }

    async fn openai(&self) -> SimulatedProvider {
        let openai = SimulatedProvider::openai().sources(self.clock.sources());
        openai.start().await.expect("a simulated provider")
    }

    fn request(&self, provider: ProviderSpec) -> LoginRequest {
        let (stored, troubles) = (Arc::clone(&self.stored), Arc::clone(&self.troubles));
        LoginRequest {
            user: ada(),
            provider: Arc::new(provider),
            label: Label::default(),
            sink: Arc::new(move |grant| {
                let trouble = troubles.lock().expect("no panic").pop();
                let stored = Arc::clone(&stored);
                Box::pin(async move {
                    if let Some(trouble) = trouble {
                        return Err(trouble);
                    }
                    stored.lock().expect("no panic").push(grant);
                    Ok(Generation(1))
                })
            }),
        }
    }

    async fn begin(&self, provider: &SimulatedProvider) -> Login {
        self.logins
            .begin(self.request(provider.spec()), Receiver::Loopback)
            .await
            .expect("a sign-in")
    }

    fn stored(&self) -> usize {
        self.stored.lock().expect("no panic").len()
    }

    /// Waits for the first event that `wanted` wants.
    async fn event(&mut self, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
        loop {
            match self.events.next().await.expect("more events") {
                Notice::Event(event) if wanted(&event.kind) => return event.kind.clone(),
                _ => {}
            }
        }
    }
}

fn ada() -> UserId {
    UserId::new("ada").expect("a name")
}

/// A browser that opens `address`: the status and the page.
async fn browse(address: &str) -> (u16, String) {
    let url = Url::parse(address).expect("a url");
    let port = url.port().expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let host = url.host_str().expect("a host");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, answer)
}

fn with_state(address: &str, state: &str) -> String {
    let mut url = Url::parse(address).expect("a url");
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    url.query_pairs_mut().clear().extend_pairs(
        pairs.iter().map(|(name, value)| (name, if name == "state" { state } else { value })),
    );
    url.into()
}

#[tokio::test]
async fn the_browser_completes_a_sign_in() {
    let mut house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let started = house.event(|kind| matches!(kind, EventKind::LoginStarted { .. })).await;
    assert!(matches!(started, EventKind::LoginStarted { login: id, .. } if id == *login.id()));

    let (status, page) = browse(&openai.approve(login.url()).expect("approved")).await;
    assert_eq!(status, 200);
    assert!(page.contains("You are signed in"));
    let credential = login.finished().await.expect("signed in");
    assert_eq!(credential.user, ada());
    assert_eq!(credential.method, Method::AuthorizationCode);
    assert_eq!(house.stored(), 1, "stored before anyone was told");
    assert!(login.is_over());
    assert!(house.logins.pending(&ada()).is_empty());
}

/// C-LB-2: without a listener there is always the paste.
#[tokio::test]
async fn a_paste_completes_a_sign_in_whatever_was_copied() {
    let house = House::new().await;
    let openai = house.openai().await;
    let code = |callback: &str| {
        let url = Url::parse(callback).expect("a url");
        let code = url.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
        code.into_owned()
    };
    let state = |login: &Login| {
        let url = Url::parse(login.url()).expect("a url");
        let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1;
        state.into_owned()
    };
    for copied in 0..3 {
        let login = house.begin(&openai).await;
        let callback = openai.approve(login.url()).expect("approved");
        let text = match copied {
            0 => code(&callback),
            1 => format!(" \"{}#{}\"\n", code(&callback), state(&login)),
            _ => callback,
        };
        login.paste(&text).await.expect("signed in");
        login.finished().await.expect("signed in");
        assert_eq!(house.stored(), copied + 1);
    }
}

#[tokio::test]
async fn the_page_of_a_provider_that_shows_the_code_is_used_for_pasting() {
    let house = House::new().await;
    let anthropic = SimulatedProvider::anthropic().sources(house.clock.sources());
    let anthropic = anthropic.start().await.expect("a simulated provider");
    let request = house.request(anthropic.spec());
    let login = house.logins.begin(request, Receiver::Paste).await.expect("a sign-in");
    assert!(login.no_listener().is_none(), "none was wanted");
    let text = anthropic.approve_for_paste(login.url()).expect("approved");
    assert!(text.contains('#'), "code#state");
    login.paste(&text).await.expect("signed in");
    assert_eq!(house.stored(), 1);
}

#[tokio::test]
async fn another_holder_of_the_handle_completes_a_sign_in() {
    let house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let found = house.logins.find(&ada(), login.id()).expect("it is pending");
    let bob = UserId::new("bob").expect("a name");
    assert!(house.logins.find(&bob, login.id()).is_none(), "it is not his");

    let waiting = tokio::spawn(async move { login.finished().await });
    found.paste(&openai.approve(found.url()).expect("approved")).await.expect("signed in");
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn bad_answers_are_refused_and_the_sign_in_goes_on_waiting() {
    let house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let callback = openai.approve(login.url()).expect("approved");
    let forged = with_state(&callback, "somebody-else");

    let (status, page) = browse(&forged).await;
    assert_eq!(status, 400);
    assert!(page.contains("belongs to another sign-in"));
    assert_eq!(browse(&callback.replace("/auth/callback", "/favicon.ico")).await.0, 404);
    assert_eq!(browse(&with_state(&openai.deny(login.url()).expect("denied"), "x")).await.0, 400);
    for text in ["", "two words", &forged, "abc#somebody-else", login.url()] {
        let error = login.paste(text).await.expect_err(text);
        assert!(error.is_invalid_input(), "{text}: {error}");
    }
    assert!(!login.is_over());
    assert_eq!(openai.token_requests(), 0, "no code was sent anywhere");
    assert_eq!(browse(&callback).await.0, 200);
    assert_eq!(openai.token_requests(), 1);
}

#[tokio::test]
async fn a_user_who_declines_ends_the_sign_in() {
    let mut house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let (status, page) = browse(&openai.deny(login.url()).expect("denied")).await;
    assert_eq!(status, 403);
    assert!(page.contains("access_denied"));
    let error = login.finished().await.expect_err("declined");
    assert!(error.needs_reauthorization(), "{error}");
    house.event(|kind| matches!(kind, EventKind::LoginFailed { .. })).await;
    assert_eq!(house.stored(), 0);
}

#[tokio::test]
async fn a_code_is_exchanged_once_and_a_second_answer_is_told_so() {
    let house = House::new().await;
    let openai = house.openai().await;
    let gate = Gate::new();
    openai.faults().on(Endpoint::Token).next(1, Fault::Hold(gate.clone()));
    let login = house.begin(&openai).await;
    let callback = openai.approve(login.url()).expect("approved");
    let first = tokio::spawn({
        let callback = callback.clone();
        async move { browse(&callback).await.0 }
    });
    gate.until_arrived(1).await;
    assert_eq!(browse(&callback).await.0, 409);
    let error = login.paste(&callback).await.expect_err("in progress");
    assert!(error.is_transient(), "{error}");
    gate.open();
    assert_eq!(first.await.expect("no panic"), 200);
    assert_eq!(openai.token_requests(), 1);
}

#[tokio::test]
async fn a_code_that_could_not_be_sent_is_tried_again_with_the_same_page() {
    let house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let callback = openai.approve(login.url()).expect("approved");
    openai.stop().await.expect("stopped");
    let (status, page) = browse(&callback).await;
    assert_eq!(status, 503);
    assert!(page.contains("Load this page again"));
    assert!(login.paste(&callback).await.is_err_and(|error| error.is_transient()));
    assert!(!login.is_over());

    openai.restart().await.expect("restarted");
    assert_eq!(browse(&callback).await.0, 200);
    assert!(login.finished().await.is_ok());
}

#[tokio::test]
async fn a_code_that_was_sent_in_vain_ends_the_sign_in_and_is_not_sent_again() {
    let refused = r#"{"error":{"code":"token_exchange_failed"}}"#.to_owned();
    for fault in [
        Fault::LostAnswer,
        Fault::TornJson,
        Fault::Html200,
        Fault::Garbage,
        Fault::Huge,
        Fault::Status(503, String::new()),
        Fault::Status(400, refused),
        Fault::RateLimited { retry_after: None },
    ] {
        let house = House::new().await;
        let openai = house.openai().await;
        openai.faults().on(Endpoint::Token).next(1, fault.clone());
        let login = house.begin(&openai).await;
        let (status, _) = browse(&openai.approve(login.url()).expect("approved")).await;
        assert_eq!(status, 502, "{fault}");
        let error = login.finished().await.expect_err("failed");
        assert!(error.to_string().contains("could not be exchanged"), "{error}");
        assert!(!error.to_string().contains("same code"), "{error}");
        assert_eq!(openai.token_requests(), 1, "{fault}: never sent twice");
        assert_eq!(house.stored(), 0);
    }
}

#[tokio::test]
async fn a_sign_in_that_nobody_completes_expires_and_closes_its_port() {
    let house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let callback = openai.approve(login.url()).expect("approved");
    house.clock.advance(Duration::from_mins(10));
    let error = login.finished().await.expect_err("expired");
    assert!(error.is_expired(), "{error}");
    let late = login.paste(&callback).await.expect_err("too late");
    assert!(late.is_expired(), "{late}");
    let port = Url::parse(&callback).expect("a url").port().expect("a port");
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(openai.token_requests(), 0);
}

#[tokio::test]
async fn a_sign_in_expires_although_the_machine_slept() {
    let house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    house.clock.suspend(Duration::from_hours(8));
    let callback = openai.approve(login.url()).expect("approved");
    assert_eq!(browse(&callback).await.0, 410, "before any alarm rang");
    assert!(login.finished().await.is_err_and(|error| error.is_expired()));
}

#[tokio::test]
async fn a_sign_in_that_dies_says_to_start_again() {
    let mut house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    let name = login.messages().name().to_owned();
    assert!(house.root.crash_child(&format!("logins/{name}")).await);
    let error = login.finished().await.expect_err("it died");
    assert!(error.to_string().contains("start it again"), "{error}");
    house.event(|kind| matches!(kind, EventKind::LoginFailed { .. })).await;
    assert!(login.paste("abc").await.is_err());
    assert!(house.logins.find(&ada(), login.id()).is_none());
    assert!(house.begin(&openai).await.no_listener().is_none(), "another one can begin");
}

#[tokio::test]
async fn a_cancelled_sign_in_is_over() {
    let house = House::new().await;
    let openai = house.openai().await;
    let login = house.begin(&openai).await;
    login.cancel().await;
    let error = login.finished().await.expect_err("cancelled");
    assert!(error.to_string().contains("cancelled"), "{error}");
    login.cancel().await;
}

#[tokio::test]
async fn taken_ports_leave_the_paste() {
    let house = House::new().await;
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0"));
    let sockets = futures_util::future::try_join_all(sockets).await.expect("two ports");
    let ports: Vec<_> =
        sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect();
    let openai = SimulatedProvider::openai().sources(house.clock.sources());
    let openai = openai.redirect_ports(&ports).start().await.expect("a simulated provider");
    let login = house.begin(&openai).await;
    let error = login.no_listener().expect("no port is free");
    assert!(error.to_string().contains("paste"), "{error}");
    login.paste(&openai.approve(login.url()).expect("approved")).await.expect("signed in");
}

#[tokio::test]
async fn a_drained_runtime_finishes_the_sign_in_whose_code_was_sent() {
    let house = House::new().await;
    let openai = house.openai().await;
    let gate = Gate::new();
    openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    let (sent, waiting) = (house.begin(&openai).await, house.begin(&openai).await);
    let callback = openai.approve(sent.url()).expect("approved");
    let browser = tokio::spawn(async move { browse(&callback).await.0 });
    gate.until_arrived(1).await;
    let root = house.root.clone();
    let drained = tokio::spawn(async move { root.drain(Duration::from_mins(1)).await });
    let error = waiting.finished().await.expect_err("the runtime stops");
    assert!(error.is_shutting_down(), "{error}");
    gate.open();
    assert!(sent.finished().await.is_ok());
    assert_eq!(browser.await.expect("no panic"), 200);
    assert_eq!(house.stored(), 1);
    assert_eq!(drained.await.expect("no panic"), Vec::<String>::new());
}

#[tokio::test]
async fn storing_is_tried_again_when_that_may_help() {
    let house = House::new().await;
    let openai = house.openai().await;
    let restarting = || Error::new(ErrorKind::Interrupted, "the actor was restarted");
    house.troubles.lock().expect("no panic").extend([restarting(), restarting()]);
    let login = house.begin(&openai).await;
    let callback = openai.approve(login.url()).expect("approved");
    let browser = tokio::spawn(async move { browse(&callback).await.0 });
    for pause in [250, 500].map(Duration::from_millis) {
        while house.clock.next_wait() != Some(pause) {
            tokio::task::yield_now().await;
        }
        house.clock.advance(pause);
    }
    assert_eq!(browser.await.expect("no panic"), 200);
    assert_eq!(house.stored(), 1);

    let locked = Error::new(ErrorKind::VaultLocked, "the vault has another key");
    house.troubles.lock().expect("no panic").push(locked);
    let login = house.begin(&openai).await;
    let error = login.paste(&openai.approve(login.url()).expect("approved")).await;
    assert!(error.expect_err("not stored").is_vault_locked());
    assert!(login.finished().await.is_err_and(|error| error.is_vault_locked()));
    openai.until(|counters| counters.revocation_requests == 1).await;
    assert_eq!(house.stored(), 1, "the other one is revoked: nobody would ever see it");
}

#[tokio::test]
async fn a_provider_without_a_browser_sign_in_is_a_clear_error() {
    let house = House::new().await;
    let error = house
        .logins
        .begin(house.request(catalog::orange()), Receiver::Loopback)
        .await
        .expect_err("none");
    assert!(error.is_configuration(), "{error}");
    let error = house
        .logins
        .begin(house.request(catalog::anthropic()), Receiver::Loopback)
        .await
        .expect_err("none");
    assert!(error.is_configuration(), "no client id: {error}");
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_sign_ins_pending() {
    let house = House::new().await;
    let openai = house.openai().await;
    let mut pending = Vec::new();
    for _ in 0..16 {
        pending.push(house.begin(&openai).await);
    }
    let refused = house
        .logins
        .begin(house.request(openai.spec()), Receiver::Loopback)
        .await
        .expect_err("too many");
    assert!(refused.is_overloaded(), "{refused}");
    pending[0].cancel().await;
    drop(house.begin(&openai).await);
}

#[tokio::test]
async fn the_limit_holds_when_sign_ins_begin_at_once() {
    let house = House::new().await;
    let openai = house.openai().await;
    let begun =
        (0..40).map(|_| house.logins.begin(house.request(openai.spec()), Receiver::Loopback));
    let begun = futures_util::future::join_all(begun).await;
    assert_eq!(begun.iter().filter(|login| login.is_ok()).count(), 16);
    assert_eq!(house.logins.pending(&ada()).len(), 16);
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let mut house = House::new().await;
    let openai = SimulatedProvider::openai().sources(house.clock.sources()).canary("canary");
    let openai = openai.start().await.expect("a simulated provider");
    let login = house.begin(&openai).await;
    let callback = openai.approve(login.url()).expect("approved");
    let state = Url::parse(&callback).expect("a url");
    let state = state.query_pairs().find(|(name, _)| name == "state").expect("a state").1;
    let wrong = login.paste(&format!("canary#{state}x")).await.expect_err("another state");
    let (_, page) = browse(&callback).await;
    let request = house.request(openai.spec());
    let mut shown = vec![format!("{wrong:?} {page} {login:?} {request:?}")];
    shown.push(format!("{:?}", login.finished().await));
    while let Some(Notice::Event(event)) = house.events.next().now_or_never().flatten() {
        shown.push(format!("{event:?}"));
    }
    let shown = shown.join("\n");
    assert!(shown.contains("LoginStarted"));
    for secret in ["canary", &state] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
