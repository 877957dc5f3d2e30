//! What a runtime counts about itself, read as Prometheus reads it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokenward::Runtime;
use tokenward::provider::AssertionSource;
use tokenward::testing::{Endpoint, Fault, VaultFault};

use crate::host::Host;

/// Every sample of a text in the `OpenMetrics` format, by its name and labels.
pub(crate) fn read(text: &str) -> HashMap<String, String> {
    let body = text.strip_suffix("# EOF\n").expect("it ends as OpenMetrics 1.0 wants it");
    let mut typed: Vec<&str> = Vec::new();
    let mut samples = HashMap::new();
    for line in body.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, _) = about.split_once(' ').expect("a type");
            assert!(!typed.contains(&name), "{name} stands there twice");
            typed.push(name);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let family = name.split('{').next().expect("a name");
            assert!(typed.iter().any(|typed| family.starts_with(typed)), "{name} has no type");
            assert!(value.parse::<f64>().is_ok(), "{name} has no number");
            assert_eq!(
                samples.insert(name.to_owned(), value.to_owned()),
                None,
                "{name} stands there twice"
            );
        }
    }
    samples
}

/// The value of a sample that counts; 0 when it is not there.
pub(crate) fn value(runtime: &Runtime, sample: &str) -> u64 {
    let samples = read(&runtime.metrics().encode());
    samples.get(sample).map_or(0, |value| value.parse().expect("a whole number"))
}

/// O3: success and failure, renewals and how long they took, sessions, and what stands now.
#[tokio::test]
async fn what_happens_is_counted_and_what_stands_is_told() {
    let host = Host::start().await;
    let counted = |sample: &str| value(&host.runtime, sample);
    assert_eq!(counted("tokenward_sessions"), 0);

    let credential = host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    session.client().get("/v1/models").send().await.expect("an answer");
    host.clock.advance(Duration::from_hours(2));
    credential.acquire().await.expect("renewed");

    let upstream = host.runtime.upstream("openai").expect("a provider").origin().to_owned();
    for (sample, expected) in [
        ("tokenward_sign_ins_total{provider=\"openai\",outcome=\"succeeded\"}", 1),
        ("tokenward_renewal_duration_seconds_count{provider=\"openai\",outcome=\"renewed\"}", 1),
        ("tokenward_credentials{provider=\"openai\",state=\"valid\"}", 1),
        ("tokenward_sessions", 1),
        ("tokenward_sessions_opened_total", 1),
        ("tokenward_session_switches_total{provider=\"openai\"}", 1),
        ("tokenward_vault_degraded", 0),
        (
            &format!(
                "tokenward_upstream_request_duration_seconds_count{{upstream=\"{upstream}\",\
                 outcome=\"answered\"}}"
            ),
            1,
        ),
        (&format!("tokenward_breaker_state{{upstream=\"{upstream}\",state=\"closed\"}}"), 1),
        (&format!("tokenward_breaker_state{{upstream=\"{upstream}\",state=\"open\"}}"), 0),
        (&format!("tokenward_upstream_requests_under_way{{upstream=\"{upstream}\"}}"), 0),
    ] {
        assert_eq!(counted(sample), expected, "{sample}\n{}", host.runtime.metrics().encode());
    }
    for kind in ["read", "commit", "list"] {
        let sample = "tokenward_vault_request_duration_seconds_count";
        assert!(counted(&format!("{sample}{{request=\"{kind}\"}}")) >= 1, "{kind}");
    }
    for queue in ["credentials", "sessions", "vault", "logins", "health"] {
        let sample = format!("tokenward_queue_depth{{queue=\"{queue}\"}}");
        assert!(read(&host.runtime.metrics().encode()).contains_key(&sample), "{sample}");
    }

    session.close().await.expect("closed");
    assert_eq!(counted("tokenward_sessions"), 0);
    assert_eq!(counted("tokenward_sessions_ended_total{reason=\"closed\"}"), 1);
}

/// O3: failures are counted by what they are.
#[tokio::test]
async fn a_renewal_that_fails_is_counted_by_why_it_failed() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let faults = || host.openai.faults().on(Endpoint::Token);
    let failed = |word: &str| {
        let sample = "tokenward_renewal_duration_seconds_count";
        value(&host.runtime, &format!("{sample}{{provider=\"openai\",outcome=\"{word}\"}}"))
    };
    faults().next(1, Fault::Status(503, String::new()));
    host.clock.advance(Duration::from_hours(2));
    credential.acquire().await.expect_err("the endpoint is down");
    assert_eq!((failed("transient"), failed("reauthorization-required")), (1, 0));
    faults().next(1, Fault::Status(400, r#"{"error":"invalid_grant"}"#.to_owned()));
    host.clock.advance(Duration::from_mins(10));
    credential.acquire().await.expect_err("the grant is over");
    assert_eq!((failed("transient"), failed("reauthorization-required")), (1, 1));
    let sample = "tokenward_reauthorizations_required_total{provider=\"openai\"}";
    assert_eq!(value(&host.runtime, sample), 1);
}

/// O3: a renewal that can not begin is counted, and one over which the host's own code panics.
#[tokio::test]
async fn a_renewal_that_does_not_begin_or_panics_is_counted_too() {
    let mut host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    host.disk.set(VaultFault::Full);
    host.clock.advance(Duration::from_hours(2));
    credential.acquire().await.expect_err("no intent without a disk");
    let sample = "tokenward_renewal_duration_seconds_count";
    let of_openai = format!("{sample}{{provider=\"openai\",outcome=\"not-started\"}}");
    assert_eq!(value(&host.runtime, &of_openai), 1);
    host.disk.heal();

    let asked = Arc::new(AtomicUsize::new(0));
    let issuer = host.anthropic.clone();
    host.restart_with(|spec| {
        let (asked, issuer) = (asked.clone(), issuer.clone());
        spec.assertion(AssertionSource::function(move || {
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            let assertion = issuer.issue_assertion(Duration::from_hours(9));
            async move {
                assert!(first, "the host's own code fails");
                Ok(assertion)
            }
        }))
    })
    .await;
    let signed_in = host.runtime.user("ci").sign_in("anthropic").with_assertion().await;
    let id = signed_in.expect("the first one is given");
    let credential = host.runtime.credential(&id).await.expect("there");
    credential.refresh().await.expect_err("there is no assertion");
    let of_anthropic = format!("{sample}{{provider=\"anthropic\",outcome=\"transient\"}}");
    assert_eq!(value(&host.runtime, &of_anthropic), 1);
}

/// Whoever reads the metrics keeps no runtime alive.
#[tokio::test]
async fn metrics_outlive_their_runtime_and_do_not_hold_it() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let metrics = host.runtime.metrics();
    assert!(read(&metrics.encode()).contains_key("tokenward_sessions"));
    assert!(host.runtime.shutdown(Duration::from_secs(10)).await.is_empty());
    drop(host);
    let left = read(&metrics.encode());
    assert!(!left.contains_key("tokenward_sessions"), "nothing stands any more");
    let counted = &left["tokenward_sign_ins_total{provider=\"openai\",outcome=\"succeeded\"}"];
    assert_eq!(counted, "1");
}
