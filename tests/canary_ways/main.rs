//! The canary where `tests/canary` does not go: sign-ins on another device and by an assertion, a key that
//! stands in for a sign-in, a provider that panics over what it holds, settings that are wrong; and whatever
//! tells an operator how things stand.

mod cage;
#[path = "../canary/capture.rs"]
mod capture;
mod hasty;
#[path = "../common/patience.rs"]
mod patience;
#[allow(dead_code, reason = "each test uses its own part of this")]
#[path = "../common/remains.rs"]
mod remains;
#[path = "../common/search.rs"]
mod search;
mod wrong_settings;

use std::time::Duration;

use serde_json::json;
use tokenward::Method;
use tokenward::event::CredentialState;
use tokenward::identity::Label;
use tokenward::testing::{Endpoint, Fault};

use crate::cage::{CANARY, Cage};
use crate::capture::Capture;
use crate::hasty::Place;
use crate::patience::until;
use crate::remains::files;
use crate::search::{Needle, Needles};

const TWO_HOURS: Duration = Duration::from_hours(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_gets_out_of_the_other_ways_either() {
    let capture = Capture::start();
    panics_are_heard(&capture);
    let cage = Cage::open(capture).await;
    on_another_device(&cage).await;
    by_an_assertion(&cage).await;
    a_key_stands_in(&cage).await;
    cage.everything_is_told("well").await;
    a_provider_panics(&cage).await;
    everything_fails(&cage).await;
    cage.everything_is_told("unwell").await;
    wrong_settings::are_told(&cage.capture, cage.folder.path());
    assert!(cage.runtime.shutdown(Duration::from_secs(10)).await.is_empty());

    it_was_all_there(&cage);
    let canary = Needle::in_any_form(CANARY);
    for (place, text) in [("log", cage.capture.logged()), ("output", cage.capture.shown())] {
        assert_eq!(canary.find(&text), None, "in the {place}");
    }
    let canary = Needles::new([CANARY]);
    let files = files(cage.folder.path());
    assert!(files.len() > 6, "a vault, backups and exports");
    cage.capture.tell_how_much(files.iter().map(Vec::len).sum());
    for bytes in files {
        assert!(canary.find(&bytes).is_empty(), "in a file of the vault, a backup or an export");
    }
}

/// What this crate says in a panic is searched with everything else; what the hasty provider says is its own
/// matter, as far as the panic hook.
fn panics_are_heard(capture: &Capture) {
    let (capture, before) = (capture.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|at| at.file().ends_with("hasty.rs")) {
            return;
        }
        capture.note(panic);
        before(panic);
    }));
}

async fn on_another_device(cage: &Cage) {
    for (provider, path) in
        [(&cage.openai, "/v1/models"), (&cage.google, "/v1beta/models"), (&cage.github, "/models")]
    {
        cage.by_device(provider).await.expect("signed in");
        let session = cage.session(provider.name(), Method::DeviceCode).await;
        cage.call(&session, path).await;
        cage.clock.advance(TWO_HOURS);
        cage.call(&session, path).await;
        for fault in faults() {
            provider.faults().on(Endpoint::Token).next(1, fault);
            let _ = cage.by_device(provider).await;
            provider.faults().clear();
        }
        let login = cage.ada().sign_in(provider.name()).with_device_code().await;
        let login = login.expect("a device code");
        provider.deny_device(login.user_code()).expect("it is known");
        cage.capture.result(&cage.passing(login.finished()).await);
    }
}

async fn by_an_assertion(cage: &Cage) {
    let sign_in = || cage.ada().sign_in("anthropic").with_assertion();
    cage.issue_assertion();
    let signed_in = sign_in().await;
    cage.capture.result(&signed_in);
    signed_in.expect("signed in");
    let session = cage.session("anthropic", Method::JwtBearer).await;
    cage.call(&session, "/v1/models").await;
    for fault in faults() {
        cage.clock.advance(TWO_HOURS);
        cage.issue_assertion();
        cage.anthropic.faults().on(Endpoint::Token).next(1, fault);
        cage.call(&session, "/v1/models").await;
        cage.anthropic.faults().clear();
    }
    for wrong in [CANARY.to_owned(), format!("{CANARY}\nx: {CANARY}"), String::new()] {
        cage.write_assertion(&wrong);
        cage.capture.result(&cage.passing(sign_in()).await);
    }
    cage.issue_assertion();
    cage.passing(sign_in()).await.expect("signed in");
}

async fn a_key_stands_in(cage: &Cage) {
    let ada = cage.ada();
    let key = cage.openai.issue_api_key();
    ada.sign_in("openai").with_api_key(key.clone()).await.expect("signed in");
    for key in [cage.anthropic.issue_api_key(), format!("sk-ant-api03-{CANARY}-wrong").into()] {
        let verified = ada.sign_in("anthropic").with_verified_api_key(key);
        cage.capture.result(&cage.passing(verified).await);
    }
    ada.allow_fallback("openai", &Label::default()).await.expect("allowed");
    let session = cage.session("openai", Method::DeviceCode).await;
    cage.openai.revoke_everything();
    cage.openai.accept_api_key(&key);
    cage.clock.advance(TWO_HOURS);
    for _ in 0..2 {
        cage.call(&session, "/v1/models").await;
    }
    let authentication = session.authentication().await.expect("the key");
    assert!(authentication.fallback.is_some(), "the key stands in");
    cage.capture.show(&authentication);
    cage.by_device(&cage.openai).await.expect("signed in");
    cage.call(&session, "/v1/models").await;
    ada.forbid_fallback("openai", &Label::default()).await.expect("forbidden");
}

/// Wherever the runtime gives it a secret, a provider panics and says it.
async fn a_provider_panics(cage: &Cage) {
    let (ada, temper, capture) = (cage.ada(), &cage.temper, &cage.capture);
    let session = cage.session("openai", Method::DeviceCode).await;
    let credential = session.authentication().await.expect("signed in").credential;

    temper.lose_at(Place::Headers);
    let key = cage.openai.issue_api_key();
    capture.result(&ada.sign_in("openai").with_api_key(key).await);
    let path = format!("credentials/{}", credential.id());
    assert!(cage.runtime.crash_actor(&path).await);
    // It dies at each start, of the headers of the token that it reads.
    until(|| {
        cage.clock.advance(Duration::from_millis(100));
        capture.logged().contains("actor quarantined")
    })
    .await;
    capture.show(&cage.runtime.tree().await);
    cage.everything_is_told("quarantined").await;
    temper.lose_at(None);
    cage.clock.advance(Duration::from_mins(2));
    cage.call(&session, "/v1/models").await;

    temper.lose_at(Place::Renewal);
    cage.clock.advance(TWO_HOURS);
    cage.call(&session, "/v1/models").await;
    capture.show(&credential.snapshot());

    temper.lose_at(Place::Exchange);
    let login = ada.sign_in("openai").by_paste().await.expect("a sign-in");
    let shown = cage.openai.approve_for_paste(login.url()).expect("consent");
    capture.result(&login.paste(&shown).await);
    capture.result(&cage.passing(login.finished()).await);

    temper.lose_at(Place::Poll);
    capture.result(&cage.by_device(&cage.openai).await);

    temper.lose_at(None);
    cage.clock.advance(Duration::from_mins(30));
    cage.by_device(&cage.openai).await.expect("signed in");
    temper.lose_at(Place::Revocation);
    capture.result(&cage.passing(ada.sign_out("openai")).await);

    temper.lose_at(None);
    cage.clock.advance(Duration::from_mins(30));
    cage.by_device(&cage.openai).await.expect("signed in");
    let session = cage.session("openai", Method::DeviceCode).await;
    cage.call(&session, "/v1/models").await;
    let credential = session.authentication().await.expect("signed in").credential;
    assert_eq!(credential.snapshot().state(), CredentialState::Valid, "all is well again");
}

/// Every answer has the canary in it.
async fn everything_fails(cage: &Cage) {
    for provider in cage.providers() {
        provider.faults().on(Endpoint::Resource).always(echo(503));
        provider.faults().on(Endpoint::Token).always(echo(503));
        provider.faults().on(Endpoint::Other).always(echo(503));
    }
    cage.clock.advance(TWO_HOURS);
    for (provider, method, path) in [
        ("openai", Method::DeviceCode, "/v1/models"),
        ("anthropic", Method::JwtBearer, "/v1/models"),
        ("google", Method::DeviceCode, "/v1beta/models"),
        ("github-copilot", Method::DeviceCode, "/models"),
    ] {
        let session = cage.session(provider, method).await;
        for _ in 0..3 {
            cage.call(&session, path).await;
        }
    }
}

fn faults() -> Vec<Fault> {
    vec![echo(400), echo(401), echo(200), echo(503), Fault::TornJson, Fault::LostAnswer]
}

/// An answer with the canary wherever an answer can have a text.
fn echo(status: u16) -> Fault {
    let body = json!({
        "error": CANARY,
        "error_description": CANARY,
        "error_uri": format!("https://example.com/{CANARY}"),
        "code": CANARY,
        "message": CANARY,
    });
    Fault::Status(status, body.to_string())
}

/// The canary was sent by every way, and said in every panic; and the capture saw how it was done.
fn it_was_all_there(cage: &Cage) {
    let needle = Needle::in_any_form(CANARY);
    for provider in cage.providers() {
        let sent = provider.requests_at(Endpoint::Token).into_iter();
        assert!(sent.filter(|it| needle.find(&it.text()).is_some()).count() > 3, "{provider:?}");
    }
    let last_words = cage.temper.last_words();
    assert!(last_words.iter().all(|words| words.contains(CANARY)), "{last_words:?}");
    for place in ["Headers", "Exchange", "Poll", "Renewal", "Revocation"] {
        assert!(last_words.iter().any(|words| words.starts_with(place)), "{place}");
    }
    let (logged, shown) = (cage.capture.logged(), cage.capture.shown());
    let not_told = "it panicked, or failed in words that are not repeated here";
    for seen in ["actor restarted", "actor quarantined", not_told] {
        assert!(logged.contains(seen), "{seen} is in the log");
    }
    let seen = [
        not_told,
        "fallback-began",
        "tokenward_actor_quarantines_total",
        "used, it is allowed to stand in for the session's own",
        "vault master key: good",
        "http: doubtful, it answers, but with 503",
        "vault.key (host.toml:",
    ];
    let missing: Vec<_> = seen.into_iter().filter(|seen| !shown.contains(seen)).collect();
    assert!(missing.is_empty(), "{missing:?} is in the output");
}
