//! A canary in every credential: whatever happens, it is in no log line, no event, no error, no
//! `Debug`, and in no byte of the vault's files. Nor do the files tell who is signed in where.

mod capture;
mod house;
#[path = "../common/search.rs"]
mod search;

use std::time::Duration;

use tokenward::event::CredentialState;
use tokenward::identity::Method;
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};

use crate::capture::Capture;
use crate::house::{ADA, BOB, CANARY, House, LABEL, visit};
use crate::search::{Needle, Tokens};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_gets_out() {
    let mut house = House::open(Capture::start()).await;
    everybody_signs_in(&mut house).await;
    everything_is_used(&house).await;
    sign_ins_fail(&mut house).await;
    renewals_fail(&mut house).await;
    calls_and_sign_outs_fail(&mut house).await;
    services_fail(&house).await;
    actors_crash(&mut house).await;
    house.show_all().await;
    house.restart().await;
    house.show_all().await;
    everything_is_used(&house).await;
    let while_open = house.files();
    house.runtime.shutdown(Duration::from_secs(10)).await;

    the_canary_was_there(&house);
    let (canary, tokens) = (Needle::in_any_form(CANARY), tokens(&house));
    for (place, text) in [("log", house.capture.logged()), ("output", house.capture.shown())] {
        assert_eq!(canary.find(&text), None, "in the {place}");
        assert_eq!(tokens.find(&text), None, "in the {place}");
    }
    let names = ["openai", "anthropic", "google", "orange", "memory-bank", "account-1"];
    let names = [ADA, BOB, LABEL].into_iter().chain(names).map(Needle::in_any_form);
    let names: Vec<_> = names.collect();
    let mut searched = 0;
    for (path, text) in while_open.into_iter().chain(house.files()) {
        searched += text.len();
        assert_eq!(canary.find(&text), None, "in {}", path.display());
        assert_eq!(tokens.find(&text), None, "in {}", path.display());
        for name in &names {
            assert_eq!(name.find(&text), None, "in {}", path.display());
        }
    }
    house.capture.tell_how_much(searched);
}

/// By every method that there is.
async fn everybody_signs_in(house: &mut House) {
    let [openai, anthropic, google, orange, bank] = house.providers().map(Clone::clone);
    for user in [ADA, BOB] {
        for provider in [&openai, &anthropic, &google] {
            house.with_key(user, provider).await;
            let credential = house.in_browser(user, provider).await;
            house.capture.show(&credential);
            house.by_paste(user, provider).await;
        }
        for service in [&orange, &bank] {
            let sign_in = house.runtime.user(user).sign_in(service.name());
            house.capture.result(&sign_in.with_client_credentials().await);
        }
    }
}

async fn everything_is_used(house: &House) {
    for user in [ADA, BOB] {
        for provider in [&house.openai, &house.anthropic, &house.google] {
            house.call(user, provider, Method::ApiKey).await;
            house.call(user, provider, Method::AuthorizationCode).await;
        }
        house.call(user, &house.orange, Method::ClientCredentials).await;
        house.use_services(user).await;
    }
}

async fn sign_ins_fail(house: &mut House) {
    let ada = house.runtime.user(ADA);
    // The key of one provider, pasted at another, and what is no key at all.
    for key in [format!("sk-ant-oat-{CANARY}"), format!("{CANARY}\r\nx: y"), CANARY.to_owned()] {
        for provider in ["openai", "anthropic", "google"] {
            house.capture.result(&ada.sign_in(provider).with_api_key(key.as_str()).await);
        }
    }
    let openai = house.openai.clone();
    for provider in [&openai, &house.anthropic.clone(), &house.google.clone()] {
        let login = ada.sign_in(provider.name()).in_browser().await.expect("a sign-in");
        house.see(&login);
        let mut forged = provider.approve(login.url()).expect("consent").parse::<url::Url>();
        let forged = forged.as_mut().expect("a url");
        forged.query_pairs_mut().clear().append_pair("code", CANARY).append_pair("state", CANARY);
        assert_eq!(visit(forged.as_str()).await, 400);
        assert_eq!(visit(&provider.deny(login.url()).expect("a refusal")).await, 403);
        house.capture.result(&login.finished().await);
        house.see(&login);
    }
    for fault in [echo(400), echo(500), Fault::Html200, Fault::LostAnswer, Fault::TornJson] {
        let login = ada.sign_in("openai").in_browser().await.expect("a sign-in");
        house.see(&login);
        openai.faults().on(Endpoint::Token).next(1, fault);
        let callback = openai.approve(login.url()).expect("consent");
        visit(&callback).await;
        if !login.is_over() {
            login.cancel().await;
        }
        house.capture.result(&login.finished().await);
        openai.faults().clear();
    }
    let orange = house.orange.clone();
    for fault in faults() {
        let sign_in = house.runtime.user(ADA).sign_in("orange");
        orange.faults().on(Endpoint::Token).next(1, fault);
        let granted = house.while_time_passes(sign_in.with_client_credentials()).await;
        house.capture.result(&granted);
    }
}

/// Every fault befalls a renewal at each provider, then the attempt that may follow.
async fn renewals_fail(house: &mut House) {
    for provider in house.providers().map(Clone::clone) {
        for fault in faults() {
            let credential = match provider.name() {
                name @ ("orange" | "memory-bank") => {
                    let sign_in = house.runtime.user(ADA).sign_in(name);
                    let id = sign_in.with_client_credentials().await.expect("signed in");
                    house.runtime.credential(&id).await.expect("there")
                }
                _ => house.in_browser(ADA, &provider).await,
            };
            house.clock.advance(Duration::from_hours(2));
            provider.faults().on(Endpoint::Token).next(1, fault);
            for _ in 0..2 {
                let credential = credential.clone();
                let renewed = house.while_time_passes(async move { credential.acquire().await });
                house.capture.result(&renewed.await);
            }
            provider.faults().clear();
            house.capture.show(&credential.snapshot());
        }
    }
    sign_in_again(house).await;
}

async fn calls_and_sign_outs_fail(house: &mut House) {
    let openai = house.openai.clone();
    for fault in faults() {
        openai.faults().on(Endpoint::Resource).next(2, fault.clone());
        let session = house.runtime.user(ADA).open_session().await.expect("a session");
        session.use_provider("openai").await.expect("signed in");
        let client = session.client();
        let reply = house.while_time_passes(async move { client.get("/v1/models").send().await });
        house.capture.result(&reply.await.map(|reply| reply.status()));
        openai.faults().clear();

        for provider in house.providers().map(Clone::clone) {
            provider.faults().on(Endpoint::Revocation).next(4, fault.clone());
            let user = house.runtime.user(ADA);
            let name = provider.name();
            let gone = house.while_time_passes(async move { user.sign_out(name).await });
            house.capture.result(&gone.await);
            provider.faults().clear();
        }
        house.capture.result(&house.runtime.user(ADA).preferred_credential("openai").await);
        sign_in_again(house).await;
    }
}

async fn sign_in_again(house: &mut House) {
    for provider in [house.openai.clone(), house.anthropic.clone(), house.google.clone()] {
        house.with_key(ADA, &provider).await;
        house.in_browser(ADA, &provider).await;
    }
    for service in ["orange", "memory-bank"] {
        let sign_in = house.runtime.user(ADA).sign_in(service);
        sign_in.with_client_credentials().await.expect("signed in");
    }
}

/// Every fault befalls each request to the services.
async fn services_fail(house: &House) {
    let services = [&house.orange, &house.bank];
    for fault in faults() {
        for service in services {
            service.faults().on(Endpoint::Resource).always(fault.clone());
        }
        house.use_services(ADA).await;
        for service in services {
            service.faults().clear();
        }
        // What the breakers make of it is not looked at here.
        for service in services {
            house.runtime.upstream(service.name()).expect("a service").breaker().close();
        }
    }
    house.use_services(ADA).await;
}

async fn actors_crash(house: &mut House) {
    let credential = house.in_browser(ADA, &house.openai.clone()).await;
    house.clock.advance(Duration::from_mins(10));
    let own = format!("credentials/{}", credential.id());
    for path in [own.as_str(), "vault", "timekeeper", "sessions", "logins", "credentials"] {
        assert!(house.runtime.crash_actor(path).await, "{path}");
        let renewed = credential.refresh().await;
        house.capture.result(&renewed);
        assert_eq!(renewed.expect("renewed").state(), CredentialState::Valid, "{path}");
        house.clock.advance(Duration::from_mins(2));
    }
}

/// All kinds but the one that never ends, and answers that show what they were asked with.
fn faults() -> Vec<Fault> {
    let kinds = Fault::KINDS.iter().map(|kind| kind.example).filter(|kind| *kind != "hang");
    let listed = kinds.map(|kind| kind.parse().expect("a listed kind"));
    let token_type = Fault::SetField("token_type".to_owned(), CANARY.into());
    listed.chain([echo(400), echo(401), echo(200), echo(503), token_type]).collect()
}

/// An answer with the canary wherever an answer can have a text.
fn echo(status: u16) -> Fault {
    let body = serde_json::json!({
        "error": CANARY,
        "error_description": CANARY,
        "error_uri": format!("https://example.com/{CANARY}"),
        "code": CANARY,
        "message": CANARY,
    });
    Fault::Status(status, body.to_string())
}

/// The canary was in all that was sent, and the capture saw how it was done: what is not found
/// afterwards is not there because it was kept out.
fn the_canary_was_there(house: &House) {
    let needle = Needle::in_any_form(CANARY);
    for provider in house.providers() {
        let sent = |to_token_endpoint: bool| {
            let mut requests = provider.requests();
            requests.retain(|request| (request.endpoint == Endpoint::Token) == to_token_endpoint);
            let text = requests.iter().map(|request| {
                let headers = request.headers.values();
                let headers: Vec<_> = headers.filter_map(|value| value.to_str().ok()).collect();
                format!("{} {}", headers.join(" "), request.text())
            });
            needle.find(&text.collect::<String>()).is_some()
        };
        assert!(sent(true), "{} got it in requests for tokens", provider.name());
        assert!(sent(false), "{} got it in calls", provider.name());
    }
    let (logged, shown) = (house.capture.logged(), house.capture.shown());
    for seen in ["tokenward::rotation", "intent-durable", "actor restarted", "sled::", ADA] {
        assert!(logged.contains(seen), "{seen} is in the log");
    }
    for seen in ["\"event\":\"refreshed\"", "\"event\":\"refresh-failed\"", "[redacted]", "error "]
    {
        assert!(shown.contains(seen), "{seen} is in the output");
    }
    let stored: usize = house.files().iter().map(|(_, text)| text.len()).sum();
    assert!(stored > 10_000, "{stored} bytes are in the vault");
}

/// The secrets that the runtime made itself, in which the canary does not stand: the states and
/// the code verifiers of all sign-ins.
fn tokens(house: &House) -> Tokens {
    let requests = house.providers().into_iter().flat_map(SimulatedProvider::requests);
    let verifiers: Vec<_> = requests.filter_map(|request| verifier(&request)).collect();
    assert!(verifiers.len() > 50 && house.states.len() > 50, "there were many sign-ins");
    Tokens::new(verifiers.into_iter().chain(house.states.iter().cloned()))
}

fn verifier(request: &tokenward::testing::RecordedRequest) -> Option<String> {
    let json = request.json()["code_verifier"].as_str().map(str::to_owned);
    let form = || request.form().into_iter().find(|(name, _)| name == "code_verifier");
    json.or_else(|| form().map(|(_, verifier)| verifier))
}
