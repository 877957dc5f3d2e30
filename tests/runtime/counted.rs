//! O3: what goes wrong is counted, and what stands wrong is told: breakers, health, quarantines, queues.

use std::time::Duration;

use tokenward::event::{EventKind, HealthState};
use tokenward::testing::{Endpoint, Fault};

use crate::host::{Host, edit_files, until};
use crate::metrics::{read, value};
use crate::patience::{self, in_time, patiently};

fn counted(host: &Host, sample: &str) -> u64 {
    value(&host.runtime, sample)
}

#[tokio::test]
async fn a_sign_out_is_counted_and_one_of_nobody_is_not() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let ada = host.runtime.user("ada");
    for _ in 0..2 {
        in_time(ada.sign_out("openai")).await.expect("signed out");
    }
    assert_eq!(counted(&host, "tokenward_sign_outs_total{provider=\"openai\"}"), 1);
}

#[tokio::test]
async fn a_breaker_that_opens_is_counted_and_stands_there_as_open() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let upstream = host.runtime.upstream("openai").expect("a provider");
    let origin = upstream.origin().to_owned();
    let is_in = |state: &str| {
        let sample = "tokenward_breaker_state";
        counted(&host, &format!("{sample}{{upstream=\"{origin}\",state=\"{state}\"}}"))
    };
    assert_eq!((is_in("closed"), is_in("open")), (1, 0));

    host.openai.faults().on(Endpoint::Resource).always(Fault::Status(503, String::new()));
    let failing = async {
        while is_in("closed") == 1 {
            drop(patiently(&host.clock, session.client().get("/v1/models").send()).await);
        }
    };
    in_time(failing).await;

    assert_eq!((is_in("closed"), is_in("open")), (0, 1));
    let sample = "tokenward_breaker_changes_total";
    let opened = format!("{sample}{{upstream=\"{origin}\",to=\"open\"}}");
    assert_eq!(counted(&host, &opened), 1);
}

#[tokio::test]
async fn a_provider_stands_there_as_healthy_or_not_once_it_was_looked_at() {
    let host = Host::start().await;
    let sample = "tokenward_provider_healthy{provider=\"openai\"}";
    assert!(!read(&host.runtime.metrics().encode()).contains_key(sample), "nobody has looked");
    in_time(host.runtime.check_health("openai")).await.expect("it works");
    assert_eq!(counted(&host, sample), 1);

    host.openai.stop().await.expect("it serves");
    let is_unhealthy = || {
        let known = host.runtime.health().of("openai");
        known.is_some_and(|it| it.state == HealthState::Unhealthy)
    };
    let failing = async {
        while !is_unhealthy() {
            host.runtime.check_health("openai").await.expect_err("it is gone");
        }
    };
    in_time(failing).await;
    let told = read(&host.runtime.metrics().encode());
    assert_eq!(told.get(sample).map(String::as_str), Some("0"));
}

#[tokio::test]
async fn actors_that_die_and_that_are_kept_down_are_counted_by_their_branch() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let path = format!("credentials/{}", credential.id());
    let sample = |name: &str| format!("tokenward_actor_{name}_total{{actor=\"credentials\"}}");
    let mut events = host.runtime.events();

    assert!(host.runtime.crash_actor(&path).await);
    until(&mut events, |kind| matches!(kind, EventKind::ActorRestarted { .. })).await;
    assert_eq!(counted(&host, &sample("restarts")), 1);
    assert_eq!(counted(&host, &sample("quarantines")), 0);

    let crashing = async {
        while counted(&host, &sample("quarantines")) == 0 {
            host.runtime.crash_actor(&path).await;
            host.clock.advance(Duration::from_secs(2));
            tokio::task::yield_now().await;
        }
    };
    in_time(crashing).await;
    assert_eq!(counted(&host, &sample("quarantines")), 1);
    assert_eq!(counted(&host, &sample("restarts")), 5, "as many as the policy allows");
}

#[tokio::test]
async fn records_that_do_not_open_are_counted() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    assert_eq!(counted(&host, "tokenward_records_quarantined_total"), 0);
    assert!(host.runtime.shutdown(Duration::from_secs(10)).await.is_empty());
    let mut records = 0;
    edit_files(&host, |db| {
        for entry in db.iter() {
            let (key, value) = entry.expect("a read");
            if key.get(1) == Some(&b'r') {
                let mut value = value.to_vec();
                let last = value.len() - 1;
                value[last] ^= 1;
                db.insert(key, value).expect("a write");
                records += 1;
            }
        }
    })
    .await;
    assert!(records > 0, "there are some");

    host.restart().await;
    let ada = host.runtime.user("ada");
    in_time(ada.preferred_credential("openai")).await.expect("it is listed");
    patience::until(|| counted(&host, "tokenward_records_quarantined_total") > 0).await;
    let inspection = host.runtime.inspect_vault().await.expect("it is open");
    let known = u64::try_from(inspection.quarantined).expect("a number");
    assert_eq!(counted(&host, "tokenward_records_quarantined_total"), known, "each once");
}

#[tokio::test]
async fn what_waits_for_the_vault_stands_in_its_queue() {
    let host = Host::start().await;
    let depth = || counted(&host, "tokenward_queue_depth{queue=\"vault\"}");
    host.disk.hold();
    let opening: Vec<_> = ["ada", "eve", "bob"]
        .map(|name| {
            let user = host.runtime.user(name);
            tokio::spawn(async move { user.open_session().await })
        })
        .into();
    in_time(host.disk.until_held()).await;
    patience::until(|| depth() == 3).await;
    assert_eq!(counted(&host, "tokenward_queue_depth{queue=\"sessions\"}"), 3, "they wait, too");

    host.disk.heal();
    for opening in opening {
        in_time(opening).await.expect("no panic").expect("a session");
    }
    patience::until(|| depth() == 0).await;
}
