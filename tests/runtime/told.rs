//! What a host is told when something goes wrong: what it was and where, and what to do about it.

use std::time::Duration;

use tokenward::vault::MasterKey;
use tokenward::{Error, Runtime, Vault, catalog};

use crate::host::Host;
use crate::patience;

async fn refused(vault: Vault) -> Error {
    let started = Runtime::builder().vault(vault).provider(catalog::openai()).start().await;
    started.expect_err("it can not be opened")
}

/// What is asked for may hold a secret, and stands in no error.
#[tokio::test]
async fn a_call_that_fails_names_the_provider_with_host_and_port_alone() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let upstream = host.runtime.upstream("openai").expect("a provider");
    let port = host.openai.spec().base_url.port().expect("one of its own");
    host.openai.stop().await.expect("it serves");

    let call = || session.client().get("/v1/models?key=canary").send();
    let unanswered = patience::patiently(&host.clock, call()).await.expect_err("an outage");
    upstream.breaker().force_open();
    let held_back = call().await.expect_err("held back");

    let whereto = format!("openai at http://127.0.0.1:{port}");
    for (error, words) in [
        (unanswered, format!("{whereto} gave no answer: ")),
        (held_back, format!("calls to {whereto} are held back by hand, ")),
    ] {
        let text = format!("{error} {error:?}");
        assert!(text.starts_with(&words), "{text}");
        assert!(!text.contains("canary") && !text.contains("/v1"), "{text}");
    }
}

#[tokio::test]
async fn a_file_where_the_vault_is_to_be_is_told_by_its_path_and_does_not_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.vault");
    std::fs::write(&file, "not a vault").expect("a file");
    for path in [file.clone(), file.join("beneath").join("it")] {
        for create in [true, false] {
            let vault = Vault::open(&path).master_key(MasterKey::from_bytes([7; 32]));
            let error = refused(vault.create_if_missing(create)).await;
            assert!(error.is_configuration() && !error.is_transient(), "{error:?}");
            let words = format!("{} is a file, and a vault is kept in a directory", file.display());
            assert!(error.to_string().starts_with(&words), "{error}");
        }
    }
    assert_eq!(std::fs::read(&file).expect("it is there"), b"not a vault");
}

#[tokio::test]
async fn a_vault_without_a_master_key_is_told_the_ways_to_give_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = refused(Vault::open(folder.path().join("agent.vault"))).await;
    assert!(error.is_vault_locked(), "{error:?}");
    for way in ["Vault::master_key", "MasterKey::from_env", "MasterKey::from_file", "keyring"] {
        assert!(error.to_string().contains(way), "{error}");
    }
}

#[tokio::test]
async fn a_sign_in_without_a_client_id_names_the_variable_the_setting_and_the_method() {
    let runtime = Runtime::builder()
        .vault(Vault::in_memory())
        .provider(catalog::google())
        .provider(catalog::github_copilot())
        .start()
        .await
        .expect("a runtime");
    let ada = runtime.user("ada");
    let google = ada.sign_in("google").in_browser().await.expect_err("no client id");
    let github = ada.sign_in("github-copilot").with_device_code().await.expect_err("no client id");
    assert!(google.is_configuration() && github.is_configuration());
    assert_eq!(
        google.to_string(),
        "no oauth client id is configured for google, set one by the variable \
         GOOGLE_OAUTH_CLIENT_ID, the setting providers.google.oauth.client_id or \
         `ProviderSpec::client`"
    );
    let words = "set one by the setting providers.github-copilot.oauth.client_id";
    assert!(github.to_string().contains(words), "no variable is for it: {github}");
}

#[tokio::test]
async fn a_check_of_an_unknown_provider_names_those_that_there_are() {
    let host = Host::start().await;
    let error = host.runtime.check_health("openia").await.expect_err("a typing mistake");
    assert!(error.is_not_found());
    let text =
        "there is no provider openia, there are: anthropic, github-copilot, google, openai, orange";
    assert_eq!(error.to_string(), text);
    let upstream = host.runtime.upstream("openia").expect_err("a typing mistake");
    assert_eq!(upstream.to_string(), text);
}

#[tokio::test]
async fn whoever_asks_after_a_shutdown_is_told_of_it() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    assert!(host.runtime.shutdown(Duration::from_secs(10)).await.is_empty());
    for error in [
        credential.refresh().await.expect_err("stopped"),
        session.use_provider("openai").await.expect_err("stopped"),
        host.runtime.check_health("openai").await.expect_err("stopped"),
        host.runtime.user("ada").open_session().await.expect_err("stopped"),
        host.runtime.inspect_vault().await.expect_err("stopped"),
    ] {
        assert!(error.is_shutting_down(), "{error:?}");
        assert!(!error.to_string().contains("actor"), "{error}");
        assert!(error.to_string().contains("runtime"), "{error}");
    }
}
