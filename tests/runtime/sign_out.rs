//! What a sign-out leaves in the record of events.

use futures_util::FutureExt as _;
use tokenward::Notice;
use tokenward::event::EventKind;
use tokenward::testing::{Endpoint, Fault, Gate};

use crate::host::Host;
use crate::patience::in_time;

#[tokio::test]
async fn a_sign_out_is_reported_once_and_before_the_sign_in_that_follows_it() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let mut events = host.runtime.events();
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Revocation).next(1, Fault::Hold(gate.clone()));
    let ada = host.runtime.user("ada");
    let signing_out = tokio::spawn(async move { ada.sign_out("openai").await });
    in_time(gate.until_arrived(1)).await;

    // It is erased; the provider has not said anything about the revocation yet.
    host.sign_in_openai("ada").await;
    gate.open();
    signing_out.await.expect("no panic").expect("acknowledged");

    let mut reported = Vec::new();
    while let Some(Some(Notice::Event(event))) = events.next().now_or_never() {
        match event.kind {
            EventKind::SignedOut { .. } => reported.push("signed out"),
            EventKind::SignedIn { .. } => reported.push("signed in"),
            _ => {}
        }
    }
    assert_eq!(reported, ["signed out", "signed in"]);
}
