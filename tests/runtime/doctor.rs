//! R7: what stands between a host and its providers, by the layer that fails.

use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokenward::doctor::{Diagnosis, Finding, Layer, Verdict};
use tokenward::testing::{
    Endpoint, Fault, ManualClock, SimulatedProvider, VaultFault, VaultFaults,
};
use tokenward::{EventKind, MasterKey, Runtime, Vault};

use crate::host::{Host, until};
use crate::patience::{self, in_time};

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
        let finding = finding.expect("each of them");
        assert_eq!(finding.layer, Layer::Http);
        assert_eq!(finding.providers, [provider.spec().id], "whose address it is");
        let words = format!("{origin} ({}) http: good", provider.name());
        assert!(finding.to_string().starts_with(&words), "{finding}");
    }
    assert_eq!(diagnosis.to_string().lines().count(), diagnosis.findings.len());
}

/// The layer that fails is named, and the others are told as they are.
#[tokio::test]
async fn an_outage_of_one_provider_is_told_as_that() {
    let host = Host::start().await;
    host.openai.stop().await.expect("it serves");
    host.orange.faults().on(Endpoint::Resource).always(Fault::Status(503, String::new()));

    let diagnosis = in_time(host.runtime.doctor()).await;

    let failed: Vec<_> = diagnosis.failed().collect();
    let [failed] = failed[..] else { panic!("one: {diagnosis}") };
    assert_eq!(failed.layer, Layer::Connection);
    assert_eq!(failed.subject, host.openai.spec().base_url.origin().ascii_serialization());
}

/// No credential, no path and no query goes out.
#[tokio::test]
async fn the_request_of_the_doctor_carries_nothing() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let requests = host.openai.requests().len();

    in_time(host.runtime.doctor()).await;

    let asked = host.openai.requests();
    let [asked] = &asked[requests..] else { panic!("one request") };
    assert_eq!((asked.method.as_str(), asked.path.as_str(), &asked.query), ("HEAD", "/", &None));
    assert!(asked.header("authorization").is_none() && asked.body.is_empty());
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
    assert_eq!(finding.verdict, Verdict::Doubtful, "of two clocks nobody knows which is wrong");
    assert!(finding.detail.contains("2h ahead of http://127.0.0.1"), "{finding}");
}

#[tokio::test]
async fn a_store_that_can_not_be_written_is_told_also_when_nobody_writes() {
    for fault in [VaultFault::Full, VaultFault::NoRoom, VaultFault::ReadOnly, VaultFault::Broken] {
        let host = Host::start().await;
        host.disk.set(fault);

        let diagnosis = patience::while_time_passes(&host.clock, host.runtime.doctor()).await;

        let finding = of(&diagnosis, Layer::Store);
        assert_eq!(finding.verdict, Verdict::Failed, "{fault:?}: {diagnosis}");
        host.disk.heal();
    }
}

/// A vault that fails is opened again, by the key that stands in its file by then.
#[tokio::test]
async fn a_key_that_was_exchanged_beneath_a_running_host_is_what_fails() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let orange = SimulatedProvider::orange().sources(clock.sources()).start().await;
    let orange = orange.expect("a port");
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("key");
    let key = MasterKey::from_file(&path).create_if_missing();
    let vault = Vault::open(folder.path().join("vault")).master_key(key).reserve(0);
    let (vault, disk) = VaultFaults::over(vault);
    let builder = Runtime::builder().sources(clock.sources()).vault(vault);
    let runtime = builder.provider(orange.spec()).start().await.expect("a runtime");
    let mut events = runtime.events();
    // Before the disk breaks, so that every time the vault is opened again it is by this one.
    let former = std::fs::read(&path).expect("the key");
    std::fs::write(&path, "00".repeat(32)).expect("written");
    disk.set(VaultFault::Broken);
    runtime.user("ada").open_session().await.expect_err("the disk is broken");
    until(&mut events, |kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    disk.heal();

    let mut diagnosis = in_time(runtime.doctor()).await;
    let failing = async {
        while diagnosis
            .findings
            .iter()
            .all(|it| it.layer != Layer::MasterKey || it.verdict != Verdict::Failed)
        {
            clock.advance(Duration::from_millis(50));
            diagnosis = runtime.doctor().await;
        }
    };
    in_time(failing).await;
    let of_vault = diagnosis.findings.iter().filter(|it| it.subject == "vault");
    assert_eq!(of_vault.count(), 1, "what needs the key is not judged: {diagnosis}");
    assert!(of(&diagnosis, Layer::MasterKey).detail.contains("key"), "{diagnosis}");

    // The right one is back, and so is the vault.
    std::fs::write(&path, former).expect("written");
    let recovered = |kind: &EventKind| matches!(kind, EventKind::VaultRecovered);
    patience::while_time_passes(&clock, until(&mut events, recovered)).await;
    let diagnosis = in_time(runtime.doctor()).await;
    assert_eq!(of(&diagnosis, Layer::MasterKey).verdict, Verdict::Good, "{diagnosis}");
}

/// It leaves nothing behind.
#[tokio::test]
async fn what_the_doctor_writes_is_removed() {
    let host = Host::start().await;
    let before = host.runtime.inspect_vault().await.expect("open").records;
    in_time(host.runtime.doctor()).await;
    assert_eq!(host.runtime.inspect_vault().await.expect("open").records, before);
}
