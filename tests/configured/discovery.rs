//! Where the endpoints of a provider are, by its metadata document: what stands in for one that can not
//! be had, and what is never taken for one.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokenward::oauth::Transport;
use tokenward::provider::{Discovered, FailureClass};
use tokenward::testing::ManualClock;
use tokenward::{Provider as _, ProviderSpec};

use crate::acme::Acme;
use crate::{Host, METADATA, browse};

/// A host by whose provider's document ada has signed in.
async fn signed_in() -> Host {
    let acme = Acme::start().await;
    acme.announce(|_| {});
    let host = Host::start(acme, METADATA).await;
    let login = host.begin().await.expect("a sign-in");
    browse(&browse(login.url()).await.1.expect("a redirect")).await;
    login.finished().await.expect("signed in");
    host
}

/// Her token is renewed at the endpoint that the old document named.
async fn goes_on(host: Host) {
    host.clock.advance(Duration::from_hours(2));
    assert_eq!(host.call().await.1, r#"{"token":"at-2"}"#);
    assert_eq!(host.acme.with(|acme| acme.metadata_read), 2, "it was tried");
}

#[tokio::test]
async fn c_meta_1_an_old_document_is_used_on_while_the_issuer_can_not_be_read() {
    let host = signed_in().await;
    host.acme.with(|acme| acme.metadata_is_down = true);
    goes_on(host).await;
}

/// C-META-1.
#[tokio::test]
async fn an_old_document_is_used_on_when_there_is_none_any_more() {
    let host = signed_in().await;
    host.acme.with(|acme| acme.metadata = None);
    goes_on(host).await;
    let host = signed_in().await;
    host.acme.with(|acme| acme.metadata = Some("come back later".into()));
    goes_on(host).await;
}

#[tokio::test]
async fn c_meta_1_a_document_of_another_issuer_is_discarded() {
    let acme = Acme::start().await;
    acme.announce(|document| document["issuer"] = "https://another.example".into());
    let host = Host::start(acme, METADATA).await;
    let error = host.begin().await.expect_err("another issuer");
    assert!(error.is_configuration() && error.to_string().contains("issuer"), "{error}");
}

/// C-META-1: also beside an old one.
#[tokio::test]
async fn an_issuer_that_names_another_one_from_now_on_is_asked_for_nothing() {
    let host = signed_in().await;
    host.acme.announce(|document| document["issuer"] = "https://another.example".into());
    host.clock.advance(Duration::from_hours(2));
    let ada = host.runtime.user("ada");
    let credential = ada.preferred_credential("acme").await.expect("signed in");
    let error = credential.acquire().await.expect_err("another issuer");
    assert!(error.is_configuration() && error.to_string().contains("issuer"), "{error}");
}

/// A web application that answers for any path, with the document where OpenID Connect has it.
#[tokio::test]
async fn c_meta_1_a_page_in_place_of_the_document_is_none() {
    let acme = Acme::start().await;
    acme.announce(|_| {});
    acme.with(|acme| acme.has_a_page_for_any_path = true);
    let host = Host::start(acme, METADATA).await;
    host.sign_in_call_expire_renew_and_sign_out().await;
}

/// C-META-1.
#[tokio::test]
async fn all_who_wait_for_an_issuer_share_that_it_does_not_answer() {
    let acme = Acme::start().await;
    acme.with(|acme| acme.metadata_is_down = true);
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let transport = Transport::new(clock.sources()).expect("a transport");
    let at = |path: &str| acme.url(path).parse().expect("a url");
    let spec = ProviderSpec::new("acme".parse().expect("a name"), at("/api"));
    let provider = Discovered::new(spec, acme.url(""));

    let waiting = join_all((0..32).map(|_| provider.prepare(&transport))).await;
    for outcome in waiting {
        let class = outcome.expect_err("it is down").class;
        assert_eq!(class, FailureClass::Transient { retry_after: None });
    }
    assert_eq!(acme.with(|acme| acme.metadata_read), 1, "asked once for all of them");

    acme.announce(|_| {});
    acme.with(|acme| acme.metadata_is_down = false);
    provider.prepare(&transport).await.expect("who comes later asks anew");
}
