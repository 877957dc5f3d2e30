//! Ten thousand credentials whose tokens have expired, asked for all at once: each is renewed at a provider
//! whose refresh tokens can be used once, and is durable before anybody sees it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokenward::clock::{Sources, SystemEntropy};
use tokenward::oauth::{AuthorizationRequest, CodeExchange, Pkce, Transport};
use tokenward::testing::{ManualClock, SimulatedProvider};
use tokenward::{CredentialHandle, Provider as _, Runtime, Secret, Vault};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use url::Url;

use crate::bare::client;
use crate::measure::{by_turns, folder};
use crate::table::{Report, Row, thousands};
use crate::vault::master_key;

const CREDENTIALS: u32 = 10_000;

/// As many renewals as a runtime has under way at one token endpoint.
const AT_ONCE: u32 = 32;

const TURNS: u32 = 3;

/// How long a token lives.
const LIFETIME: Duration = Duration::from_hours(1);

pub(crate) fn run(report: &mut Report) {
    crate::measure::tokio().block_on(async {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + LIFETIME * 500_000);
        let sources = Sources { clock: clock.clone(), entropy: Arc::new(SystemEntropy::new()) };
        let provider = SimulatedProvider::openai().sources(sources.clone());
        let provider = provider.token_lifetime(LIFETIME).start().await.expect("a port");
        let folder = folder();
        let host = Runtime::builder()
            .vault(Vault::open(folder.path().join("vault")).master_key(master_key()))
            .provider(provider.spec())
            .sources(sources.clone())
            .start()
            .await
            .expect("a runtime");
        let sign_in = async |number| signed_in(&host, &provider, number).await;
        let credentials: Vec<_> =
            stream::iter(0..CREDENTIALS).map(sign_in).buffer_unordered(16).collect().await;
        let transport = Transport::new(sources).expect("a transport");
        let grant = async |_| granted(&provider, &transport).await;
        let grants = stream::iter(0..CREDENTIALS).map(grant).buffer_unordered(16);
        let grants = Arc::new(grants.map(Mutex::new).collect::<Vec<_>>().await);

        let renewed = provider.refreshes();
        // As when the machine sleeps: nothing is renewed by itself before somebody asks.
        let storm = async || {
            clock.suspend(LIFETIME);
            acquired(&credentials).await;
        };
        let turns = report.turns(TURNS);
        let kept = async || posted(&provider, &grants, client()).await;
        let rate = |time| f64::from(CREDENTIALS) / time / 1e3;
        let [floor, figure] = by_turns(turns, 1, kept, storm).await.map(rate);
        let name = format!("refresh storm, {} expired, over bare requests", thousands(CREDENTIALS));
        report.add(Row::new(name, "k/s", figure).over(floor).ratio_at_least(0.7));
        let anew = async || posted(&provider, &grants, client_without_reuse()).await;
        let [floor, figure] = by_turns(turns, 1, anew, storm).await.map(rate);
        let name = "the same, over bare requests of a connection each";
        report.add(Row::new(name, "k/s", figure).over(floor));
        let all = usize::try_from(4 * turns * CREDENTIALS).expect("fewer");
        assert_eq!(provider.refreshes() - renewed, all, "one renewal for each");
        assert_eq!(provider.reused_refresh_tokens(), 0);
        host.shutdown(Duration::from_mins(1)).await;
    });
}

async fn signed_in(host: &Runtime, provider: &SimulatedProvider, number: u32) -> CredentialHandle {
    let user = host.user(&format!("user-{number}"));
    let login = user.sign_in("openai").by_paste().await.expect("a sign-in");
    let pasted = provider.approve_for_paste(login.url()).expect("approved");
    login.paste(&pasted).await.expect("signed in");
    host.credential(login.credential()).await.expect("a credential")
}

/// A refresh token for the floor.
async fn granted(provider: &SimulatedProvider, transport: &Transport) -> String {
    let spec = provider.spec();
    let pkce = Pkce::generate(&SystemEntropy::new()).expect("randomness");
    let (state, redirect_uri) = (Secret::new("a state"), "http://localhost:1455/auth/callback");
    let request = AuthorizationRequest::new(redirect_uri, &pkce.challenge, &state);
    let url = spec.authorization_url(&request).expect("a url");
    let callback = provider.approve(&url).expect("approved");
    let callback = Url::parse(&callback).expect("a url");
    let code = callback.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
    let code = Secret::new(&code);
    let exchange = CodeExchange::new(&code, &state, redirect_uri, &pkce.verifier);
    let grant = spec.exchange_code(transport, exchange).await.expect("a grant");
    grant.refresh_token.expect("a refresh token").expose().to_owned()
}

/// Asks for every token at once, each in a task of its own.
async fn acquired(credentials: &[CredentialHandle]) {
    let ask = |credential: &CredentialHandle| {
        let credential = credential.clone();
        async move { credential.acquire().await.map(drop) }
    };
    let callers: JoinSet<_> = credentials.iter().map(ask).collect();
    callers.join_all().await.into_iter().for_each(|answer| answer.expect("a token"));
}

fn client_without_reuse() -> reqwest::Client {
    crate::bare::client_builder().pool_max_idle_per_host(0).build().expect("a client")
}

/// Sends the same requests by as many loops as there are places at the endpoint.
async fn posted(
    provider: &SimulatedProvider,
    grants: &Arc<Vec<Mutex<String>>>,
    client: reqwest::Client,
) {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        refresh_token: String,
    }
    let post = |share: u32| {
        let (grants, client) = (grants.clone(), client.clone());
        let (url, id) = (provider.token_endpoint(), provider.client_id().to_owned());
        async move {
            for grant in grants.iter().skip(share as usize).step_by(AT_ONCE as usize) {
                let mut refresh_token = grant.lock().await;
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", &refresh_token),
                    ("client_id", &id),
                ];
                let answer = client.post(url.clone()).form(&form).send().await;
                let answer: Answer =
                    answer.expect("an answer").json().await.expect("a token answer");
                assert!(!answer.access_token.is_empty());
                *refresh_token = answer.refresh_token;
            }
        }
    };
    (0..AT_ONCE).map(post).collect::<JoinSet<_>>().join_all().await;
}
