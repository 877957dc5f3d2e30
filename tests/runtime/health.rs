//! P14: providers that are in use are looked at from time to time, without anybody's credential;
//! what is known is there to be read, and a change is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokenward::event::{EventKind, HealthState};
use tokenward::health::HealthPolicy;
use tokenward::provider::{HealthProbe, HealthSpec};
use tokenward::supervision::{Events, Notice};
use tokenward::testing::{Fault, ManualClock, SimulatedProvider};
use tokenward::{Runtime, RuntimeBuilder, Settings, Vault};

use crate::host::Host;
use crate::patience::until;

struct Scene {
    clock: Arc<ManualClock>,
    openai: SimulatedProvider,
    google: SimulatedProvider,
    runtime: Runtime,
    events: Events,
}

impl Scene {
    /// Two providers that could be looked at; ada uses one of them.
    async fn set(more: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let openai = SimulatedProvider::openai().sources(clock.sources()).start();
        let google = SimulatedProvider::google().sources(clock.sources()).start();
        let (openai, google) = (openai.await.expect("a port"), google.await.expect("a port"));
        let builder = Runtime::builder()
            .sources(clock.sources())
            .vault(Vault::in_memory())
            .provider(openai.spec())
            .provider(google.spec());
        let runtime = more(builder).start().await.expect("a runtime");
        let key = openai.issue_api_key();
        runtime.user("ada").sign_in("openai").with_api_key(key).await.expect("signed in");
        let events = runtime.events();
        Self { clock, openai, google, runtime, events }
    }

    /// Looks at the provider in use, one look after the other, until its health changes.
    async fn until_change(&mut self) -> (String, HealthState, Option<String>) {
        loop {
            while let Some(Some(Notice::Event(event))) = self.events.next().now_or_never() {
                if let EventKind::ProviderHealthChanged { provider, to, reason, .. } = &event.kind {
                    return (provider.to_string(), *to, reason.clone());
                }
            }
            self.one_look().await;
        }
    }

    /// Lets time pass until a look is due, and then no more: it is real, and may take its time.
    async fn one_look(&self) {
        let known = || self.runtime.health().of("openai").expect("known");
        // An answer of any kind: the watch is there, and has set its alarm.
        self.runtime.check_health("nobody").await.expect_err("there is none");
        let before = known();
        self.clock.advance(HealthPolicy::default().every);
        until(|| known() != before).await;
    }
}

/// A look is nobody's call, and that it is refused is as it should be.
#[tokio::test]
async fn a_look_counts_neither_as_a_call_nor_as_a_refusal() {
    let scene = Scene::set(|builder| builder).await;
    scene.runtime.check_health("openai").await.expect("it answers");
    let counters = scene.openai.counters();
    assert_eq!((counters.looks, counters.resource_requests, counters.refusals), (1, 0, 0));
}

#[tokio::test]
async fn a_provider_that_goes_is_told_of_and_one_that_is_back_too() {
    let mut scene = Scene::set(|builder| builder.health(HealthPolicy::default())).await;
    assert_eq!(scene.runtime.health().of("openai").expect("known").state, HealthState::Unknown);
    for _ in 0..2 {
        scene.openai.stop().await.expect("stopped");
        let (provider, to, reason) = scene.until_change().await;
        assert_eq!((provider.as_str(), to), ("openai", HealthState::Unhealthy));
        assert!(reason.expect("why").contains("127.0.0.1"));
        let health = scene.runtime.health().of("openai").expect("known");
        assert_eq!(health.state, HealthState::Unhealthy, "it can be read before it is told");
        assert!(health.consecutive_failures >= 2);
        assert!(health.last_failure.is_some());

        scene.openai.restart().await.expect("restarted");
        let (provider, to, reason) = scene.until_change().await;
        assert_eq!((provider.as_str(), to, reason), ("openai", HealthState::Healthy, None));
        let health = scene.runtime.health().of("openai").expect("known");
        assert_eq!(health.consecutive_failures, 0);
        assert!(health.latency.is_some());
        assert!(health.last_success > health.last_failure.as_ref().map(|failure| failure.at));
    }
    assert!(scene.google.requests_to("/").is_empty(), "nobody uses it");
    assert_eq!(scene.runtime.health().of("google").expect("known").state, HealthState::Unknown);
}

#[tokio::test]
async fn nothing_is_looked_at_by_itself_unless_the_host_wants_it() {
    let scene = Scene::set(|builder| builder).await;
    for _ in 0..1_000 {
        scene.clock.advance(Duration::from_mins(1));
        tokio::task::yield_now().await;
    }
    assert!(scene.openai.requests_to("/").is_empty());
    scene.runtime.check_health("openai").await.expect("healthy");
    assert_eq!(scene.openai.requests_to("/").len(), 1, "asked for");
    assert_eq!(scene.runtime.health().of("openai").expect("known").state, HealthState::Healthy);
}

#[tokio::test]
async fn a_check_carries_no_credential_and_an_answer_below_500_will_do() {
    let host = Host::start().await;
    host.sign_in_by_code("ada", &host.anthropic).await;
    let key = host.openai.issue_api_key();
    host.runtime.user("ada").sign_in("openai").with_api_key(key).await.expect("signed in");
    for provider in [&host.anthropic, &host.openai, &host.google, &host.github] {
        host.runtime.check_health(provider.name()).await.expect("it answers");
        let asked = provider.requests_to("/");
        assert_eq!(asked.len(), 1, "{}", provider.name());
        assert_eq!(asked[0].method, "GET");
        assert!(asked[0].body.is_empty() && asked[0].query.is_none());
        let names = asked[0].header_names();
        for carries in ["authorization", "x-api-key", "x-goog-api-key", "cookie"] {
            assert!(!names.contains(&carries), "{}: {names:?}", provider.name());
        }
    }
    host.openai.faults().next(1, Fault::Status(502, String::new()));
    let error = host.runtime.check_health("openai").await.expect_err("it fails");
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("502"), "{error}");
    let health = host.runtime.health().of("openai").expect("known");
    assert_eq!(health.state, HealthState::Healthy, "one failure is no outage");
    assert_eq!(health.consecutive_failures, 1);
    assert!(health.last_failure.as_ref().expect("why").reason.contains("502"));
}

#[tokio::test]
async fn a_crash_of_the_watch_forgets_nothing_and_disturbs_nobody() {
    let mut scene = Scene::set(|builder| builder.health(HealthPolicy::default())).await;
    scene.openai.stop().await.expect("stopped");
    scene.until_change().await;
    let before = scene.runtime.health().of("openai").expect("known");

    assert!(scene.runtime.crash_actor("health").await);
    assert_eq!(scene.runtime.health().of("openai").expect("known").state, before.state);
    scene.openai.restart().await.expect("restarted");
    let (_, to, _) = scene.until_change().await;
    assert_eq!(to, HealthState::Healthy, "it is watched again, from where it was");
    let credential = scene.runtime.user("ada").preferred_credential("openai").await.expect("there");
    credential.acquire().await.expect("usable all the while");
}

#[tokio::test]
async fn settings_say_whether_and_how() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let openai = SimulatedProvider::openai().sources(clock.sources()).start();
    let openai = openai.await.expect("a port");
    let text = format!(
        "[health]\nenabled = true\nevery = \"20s\"\n\
         [providers.openai]\nbase_url = \"{0}\"\nhealth.path = \"/v1/models\"\n\
         [providers.mine]\nbase_url = \"{0}\"\nmethods = [\"api-key\"]\nhealth.probe = \"off\"\n",
        openai.base_url()
    );
    let runtime = Runtime::builder()
        .sources(clock.sources())
        .vault(Vault::in_memory())
        .settings(Settings::new().with_variables(|_| None).with_toml("test.toml", &text))
        .start()
        .await
        .expect("a runtime");
    let key = openai.issue_api_key();
    runtime.user("ada").sign_in("openai").with_api_key(key).await.expect("signed in");
    let events = runtime.events();
    let google = SimulatedProvider::google().start().await.expect("a port");
    let mut scene = Scene { clock, openai, google, runtime, events };

    scene.openai.stop().await.expect("stopped");
    scene.until_change().await;
    scene.openai.restart().await.expect("restarted");
    scene.runtime.check_health("openai").await.expect("it answers");
    assert!(!scene.openai.requests_to("/v1/models").is_empty(), "where the settings say");

    let error = scene.runtime.check_health("mine").await.expect_err("switched off");
    assert!(error.is_invalid_input(), "{error}");
}

#[tokio::test]
async fn a_token_probe_without_client_credentials_is_refused_before_the_start() {
    let openai = SimulatedProvider::openai().start().await.expect("a port");
    let probe = HealthSpec { probe: HealthProbe::Token, ..HealthSpec::default() };
    let spec = openai.spec().with_health(probe);
    let started = Runtime::builder().vault(Vault::in_memory()).provider(spec).start().await;
    let error = started.expect_err("refused");
    assert!(error.to_string().contains("health.probe"), "{error}");
}
