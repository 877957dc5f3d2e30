//! Against an authorization server that is not ours: oidc-provider, known to the crate by a few lines
//! of TOML and its metadata document. Without it on the machine each test says NOT RUN, and passes;
//! `docs/testing.md` says how to install it.

mod browser;
#[path = "../common/mod.rs"]
mod common;
mod host;
mod server;

use std::time::Duration;

use browser::{Browser, Landed};
use host::Host;
use server::{OidcProvider, within};
use tokenward::{CredentialState, Login};
use url::Url;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn granted(grant: &str) -> (String, u16, Option<String>) {
    (grant.to_owned(), 200, None)
}

fn refused(grant: &str, status: u16, error: &str) -> (String, u16, Option<String>) {
    (grant.to_owned(), status, Some(error.to_owned()))
}

/// The user signs in and agrees; where the server then sends the browser.
async fn agree(host: &Host, login: &Login) -> Url {
    let mut browser = Browser::new(&host.server.issuer);
    let landed = browser.open(login.url()).await;
    browser.agree(landed, "ada").await.away()
}

/// Signs ada in with a browser.
async fn sign_in(host: &Host) {
    let login = host.ada().sign_in("elsewhere").in_browser().await.expect("a sign-in");
    let callback = agree(host, &login).await;
    assert_eq!(Browser::new(&host.server.issuer).leave_for(&callback).await, 200);
    within(login.finished()).await.expect("signed in");
}

#[tokio::test]
async fn a_browser_sign_in_is_used_renewed_by_rotation_and_revoked() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    sign_in(&host).await;
    assert_eq!(host.server.token_requests().await, [granted("authorization_code")]);
    assert_eq!(host.whoami().await, (200, r#"{"sub":"ada"}"#.to_owned()));

    // Each renewal spends the refresh token of the one before it.
    for _ in 0..3 {
        host.clock.advance(Duration::from_hours(2));
        assert_eq!(host.whoami().await, (200, r#"{"sub":"ada"}"#.to_owned()));
        assert_eq!(host.server.token_requests().await, [granted("refresh_token")]);
    }

    let last = host.headers("elsewhere").await;
    assert_eq!(host.ask("/me", last.clone()).await, 200);
    let signed_out = host.ada().sign_out("elsewhere").await.expect("signed out");
    assert!(signed_out.iter().all(|(_, outcome)| outcome.revoked) && signed_out.len() == 1);
    let log = host.server.served().await;
    let revocations = log.iter().filter(|it| it.request == "POST /token/revocation");
    assert_eq!(revocations.count(), 1, "{log:?}");
    assert_eq!(host.ask("/me", last).await, 401, "the grant is revoked, and its access token");
}

#[tokio::test]
async fn metadata_is_found_where_openid_has_it_when_it_is_nowhere_else() {
    let hidden = "/.well-known/oauth-authorization-server";
    let Some(server) = OidcProvider::without(hidden).await else { return };
    let host = Host::start(server).await;
    sign_in(&host).await;
    assert_eq!(host.whoami().await.0, 200);
}

#[tokio::test]
async fn an_answer_without_its_issuer_or_from_another_sends_no_code_anywhere() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    for forged in [None, Some("https://another.example")] {
        let login = host.ada().sign_in("elsewhere").in_browser().await.expect("a sign-in");
        let mut callback = agree(&host, &login).await;
        let answer: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
        assert!(answer.contains(&("iss".to_owned(), host.server.issuer.clone())), "{answer:?}");
        callback.query_pairs_mut().clear();
        for (name, value) in answer.iter().filter(|(name, _)| name != "iss") {
            callback.query_pairs_mut().append_pair(name, value);
        }
        if let Some(issuer) = forged {
            callback.query_pairs_mut().append_pair("iss", issuer);
        }
        assert_ne!(Browser::new(&host.server.issuer).leave_for(&callback).await, 200);
        let error = within(login.finished()).await.expect_err("a mix-up");
        assert!(error.to_string().contains("another server"), "{error}");
    }
    assert_eq!(host.server.token_requests().await, []);
}

#[tokio::test]
async fn a_user_who_cancels_is_not_signed_in_and_nothing_is_exchanged() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    let login = host.ada().sign_in("elsewhere").in_browser().await.expect("a sign-in");
    let mut browser = Browser::new(&host.server.issuer);
    let page = browser.open(login.url()).await.page();
    let callback = browser.click(&page, "[ Cancel ]").await.away();
    browser.leave_for(&callback).await;
    let error = within(login.finished()).await.expect_err("declined");
    assert!(error.to_string().contains("aborted interaction"), "{error}");
    assert_eq!(host.server.token_requests().await, []);
}

#[tokio::test]
async fn a_sign_in_without_pkce_is_refused_by_the_server_and_the_reason_is_told() {
    let Some(server) = OidcProvider::start().await else { return };
    let host = Host::configured(server, "elsewhere.oauth.pkce = false").await;
    let login = host.ada().sign_in("elsewhere").in_browser().await.expect("a sign-in");
    let mut browser = Browser::new(&host.server.issuer);
    let callback = browser.open(login.url()).await.away();
    browser.leave_for(&callback).await;
    let error = within(login.finished()).await.expect_err("no challenge");
    assert!(error.to_string().contains("PKCE"), "{error}");
}

#[tokio::test]
async fn a_client_that_the_server_does_not_know_leaves_the_sign_in_waiting() {
    let Some(server) = OidcProvider::start().await else { return };
    let host = Host::configured(server, "elsewhere.oauth.client_id = \"stranger\"").await;
    let login = host.ada().sign_in("elsewhere").in_browser().await.expect("a sign-in");
    // A server must not send the browser to an address that nobody registered (RFC 6749 §4.1.2.1).
    let page = Browser::new(&host.server.issuer).open(login.url()).await.page();
    assert_eq!(page.status, 400);
    assert!(page.text.contains("invalid_client"), "{}", page.text);
    assert!(!login.is_over());
    let error = host.ada().sign_in("elsewhere").with_device_code().await.expect_err("refused");
    assert!(error.is_configuration(), "{error:?}");
}

/// A vault that is put back from a copy holds a refresh token that was spent since. The server takes
/// that for theft and ends the whole family, so the newer token is lost, too.
#[tokio::test]
async fn a_token_that_is_spent_twice_ends_its_family_and_asks_for_one_new_sign_in() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    sign_in(&host).await;
    host.stop().await;
    host.copy_vault("vault", "copy");

    host.restart().await;
    host.clock.advance(Duration::from_hours(2));
    assert_eq!(host.whoami().await.0, 200);
    host.stop().await;
    assert_eq!(host.server.token_requests().await.last(), Some(&granted("refresh_token")));

    host.copy_vault("vault", "newer");
    host.copy_vault("copy", "vault");
    host.restart().await;
    for _ in 0..3 {
        assert!(host.refusal().await.needs_reauthorization());
        host.clock.advance(Duration::from_hours(2));
    }
    let once = [refused("refresh_token", 400, "invalid_grant")];
    assert_eq!(host.server.token_requests().await, once, "a dead token is not sent again");
    host.stop().await;

    host.copy_vault("newer", "vault");
    host.restart().await;
    assert!(host.refusal().await.needs_reauthorization(), "its family is gone");
    assert_eq!(host.server.token_requests().await, once);

    sign_in(&host).await;
    assert_eq!(host.whoami().await.0, 200);
}

#[tokio::test]
async fn a_device_sign_in_waits_for_the_user_and_is_renewed_and_revoked() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    let login = host.ada().sign_in("elsewhere").with_device_code().await.expect("a device code");
    let wait = host.next_poll(&login).await;
    assert_eq!(wait, Duration::from_secs(5), "the server names no interval");
    let pending = refused(DEVICE_CODE, 400, "authorization_pending");
    assert_eq!(host.server.token_requests().await, [pending]);

    let mut browser = Browser::new(&host.server.issuer);
    let complete = login.verification_uri_complete().expect("this server has one").to_owned();
    assert!(complete.contains(login.user_code()), "{complete}");
    let page = browser.open(&complete).await;
    let end = browser.agree(page, "ada").await.page();
    assert!(end.text.contains("Sign-in Success"), "{}", end.text);
    host.next_poll(&login).await;
    within(login.finished()).await.expect("signed in");
    assert_eq!(host.server.token_requests().await, [granted(DEVICE_CODE)]);
    assert_eq!(host.whoami().await, (200, r#"{"sub":"ada"}"#.to_owned()));

    host.clock.advance(Duration::from_hours(2));
    assert_eq!(host.whoami().await.0, 200);
    assert_eq!(host.server.token_requests().await, [granted("refresh_token")]);
    let last = host.headers("elsewhere").await;
    host.ada().sign_out("elsewhere").await.expect("signed out");
    assert_eq!(host.ask("/me", last).await, 401);
}

#[tokio::test]
async fn a_user_who_types_the_code_and_declines_ends_the_device_sign_in() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    let login = host.ada().sign_in("elsewhere").with_device_code().await.expect("a device code");
    let mut browser = Browser::new(&host.server.issuer);
    let page = browser.open(login.verification_uri()).await.page();
    // The only thing left to the user on this page is the code.
    let confirm = browser.submit(&page, login.user_code()).await.page();
    let page = browser.submit(&confirm, "").await.page();
    assert!(matches!(browser.click(&page, "[ Cancel ]").await, Landed::Page(_)));
    host.next_poll(&login).await;
    let error = within(login.finished()).await.expect_err("declined");
    assert!(error.to_string().contains("refused"), "{error}");
    let denied = refused(DEVICE_CODE, 400, "access_denied");
    assert_eq!(host.server.token_requests().await, [denied]);
}

#[tokio::test]
async fn a_machine_signs_in_by_either_authentication_and_is_revoked() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    for provider in ["by-basic", "by-post"] {
        host.ada().sign_in(provider).with_client_credentials().await.expect("signed in");
        let first = host.headers(provider).await;
        assert!(host.is_active(&first).await);
        host.clock.advance(Duration::from_hours(2));
        let second = host.headers(provider).await;
        assert_ne!(first, second);
        assert_eq!(host.server.token_requests().await, vec![granted("client_credentials"); 2]);

        host.ada().sign_out(provider).await.expect("signed out");
        assert!(!host.is_active(&second).await, "the server knows it no more");
    }
}

#[tokio::test]
async fn a_machine_that_is_misconfigured_is_told_so_and_asks_once() {
    let Some(server) = OidcProvider::start().await else { return };
    let wrong = "by-basic.oauth.client_secret = { env = \"WRONG\" }\n\
                 elsewhere.methods = [\"client-credentials\"]";
    let mut host = Host::configured(server, wrong).await;
    for (provider, status, error) in
        [("by-basic", 401, "invalid_client"), ("elsewhere", 400, "invalid_request")]
    {
        let told = host.ada().sign_in(provider).with_client_credentials().await.expect_err("no");
        assert!(told.is_configuration() && told.to_string().contains(error), "{told}");
        let once = [refused("client_credentials", status, error)];
        assert_eq!(host.server.token_requests().await, once);
    }
}

#[tokio::test]
async fn a_grant_of_less_than_was_asked_for_is_surfaced() {
    let Some(server) = OidcProvider::start().await else { return };
    let more = "by-post.oauth.scopes = [\"calendar\", \"what-nobody-offers\"]";
    let host = Host::configured(server, more).await;
    host.ada().sign_in("by-post").with_client_credentials().await.expect("signed in");
    let credentials = host.ada().credentials().await.expect("a list");
    assert_eq!(credentials[0].scopes(), Some(&["calendar".to_owned()][..]));
}

#[tokio::test]
async fn a_server_that_is_gone_signs_nobody_out() {
    let Some(server) = OidcProvider::start().await else { return };
    let mut host = Host::start(server).await;
    sign_in(&host).await;
    host.kill_server().await;
    host.clock.advance(Duration::from_hours(2));
    let error = host.refusal().await;
    assert!(error.is_transient(), "{error:?}");
    let kept = host.ada().credentials().await.expect("a list");
    assert_eq!(kept.len(), 1);
    assert!(kept.iter().all(|it| it.state() == CredentialState::Expired), "{kept:?}");
}
