//! R7: what stands between a host and its providers, by the layer that fails.

use std::time::{Duration, SystemTime};

use tokenward::doctor::{Diagnosis, Finding, Layer, Verdict};
use tokenward::testing::{ManualClock, SimulatedProvider, VaultFault};
use tokenward::vault::audit::{AuditEntry, AuditKind};
use tokenward::{Runtime, Vault, catalog};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use url::Url;

use crate::host::Host;
use crate::patience::in_time;

/// What was found of the address of a host's only provider.
async fn of_an_upstream_at(url: &str) -> Finding {
    let runtime = Runtime::builder()
        .vault(Vault::in_memory())
        .provider(
            catalog::orange()
                .base_url(Url::parse(url).expect("a url"))
                .token_endpoint(Url::parse(url).expect("a url")),
        )
        .start()
        .await
        .expect("a runtime");
    let diagnosis = in_time(runtime.doctor()).await;
    let origin = Url::parse(url).expect("a url").origin().ascii_serialization();
    let of = diagnosis.findings.iter().find(|finding| finding.subject == origin).cloned();
    of.unwrap_or_else(|| panic!("nothing of {origin}: {diagnosis}"))
}

fn of(diagnosis: &Diagnosis, layer: Layer) -> &Finding {
    let of = diagnosis.findings.iter().find(|finding| finding.layer == layer);
    of.unwrap_or_else(|| panic!("nothing of {layer}: {diagnosis}"))
}

#[tokio::test]
async fn a_host_that_is_well_is_told_so_line_by_line() {
    let host = Host::start().await;

    let diagnosis = in_time(host.runtime.doctor()).await;

    assert!(diagnosis.is_well(), "{diagnosis}");
    assert_eq!(of(&diagnosis, Layer::Store).verdict, Verdict::Good);
    let key = of(&diagnosis, Layer::MasterKey);
    assert!(key.detail.contains("the host"), "where it comes from: {key}");
    let clock = of(&diagnosis, Layer::Clock);
    assert_eq!(clock.verdict, Verdict::Good, "{clock}");
    for provider in [&host.openai, &host.anthropic, &host.google, &host.orange, &host.github] {
        let origin = provider.spec().base_url.origin().ascii_serialization();
        let finding = diagnosis.findings.iter().find(|it| it.subject == origin);
        assert_eq!(finding.expect("each of them").layer, Layer::Http);
    }
    assert_eq!(diagnosis.to_string().lines().count(), diagnosis.findings.len());
}

/// The lowest layer that fails is named, and nothing above it is tried.
#[tokio::test]
async fn of_an_address_the_layer_that_fails_is_named() {
    let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
    nobody.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let refusing = nobody.local_addr().expect("an address");
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hangs_up = plain.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let mut head = [0; 64];
            let _ = stream.read(&mut head).await;
        }
    });
    for (url, layer) in [
        ("https://no-such-host.invalid/".to_owned(), Layer::Dns),
        (format!("http://{refusing}/"), Layer::Connection),
        (format!("https://{hangs_up}/"), Layer::Tls),
        (format!("http://{hangs_up}/"), Layer::Http),
    ] {
        let finding = of_an_upstream_at(&url).await;
        assert_eq!((finding.layer, finding.verdict.clone()), (layer, Verdict::Failed), "{finding}");
    }
}

/// No credential, no path and no query goes out.
#[tokio::test]
async fn the_request_of_the_doctor_carries_nothing() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let before = host.openai.counters();

    in_time(host.runtime.doctor()).await;

    assert_eq!(host.openai.counters().token_requests, before.token_requests);
    let asked = host.openai.requests_to("/");
    assert!(!asked.is_empty());
    for request in asked {
        assert!(request.header("authorization").is_none() && request.body.is_empty());
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_by_those_of_the_providers() {
    let clock = |hours| ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(hours));
    let theirs = SimulatedProvider::orange().sources(clock(500_000).sources());
    let orange = theirs.start().await.expect("a port");
    let runtime = Runtime::builder()
        .vault(Vault::in_memory())
        .sources(clock(500_002).sources())
        .provider(orange.spec())
        .start()
        .await
        .expect("a runtime");

    let diagnosis = in_time(runtime.doctor()).await;

    let finding = of(&diagnosis, Layer::Clock);
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.detail.contains("2h ahead of http://127.0.0.1"), "{finding}");
    assert!(!diagnosis.is_well());
}

#[tokio::test]
async fn a_store_that_can_not_be_written_is_told() {
    let host = Host::start().await;
    let entry = AuditEntry::new(AuditKind::AccessDenied);
    host.runtime.vault().note(entry);
    host.disk.set(VaultFault::Full);

    let diagnosis = in_time(host.runtime.doctor()).await;

    let finding = of(&diagnosis, Layer::Store);
    assert_eq!(finding.verdict, Verdict::Failed, "{diagnosis}");
}
