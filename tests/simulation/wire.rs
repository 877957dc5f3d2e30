//! The same promises over real HTTP on loopback: everything that can be wrong with an answer of a token
//! endpoint, drawn by a seed, one renewal at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokenward::Runtime;
use tokenward::credential::CredentialHandle;
use tokenward::event::CredentialState;
use tokenward::identity::Generation;
use tokenward::testing::{Endpoint, Fault, ManualClock, SimulatedProvider};
use tokenward::vault::Vault;

use crate::chance::Chance;
use crate::tell_how_to_repeat;

/// So many renewals meet a fault for each seed.
const ROUNDS: usize = 25;

/// So often whoever is told to wait asks again.
const TRIES: usize = 5;

/// So many turns after its time came a renewal is seen to be under way.
const TURNS: usize = 100;

/// Longer than an answer on loopback takes that is not delayed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longer than a request to a token endpoint may take.
const DEADLINE: Duration = Duration::from_secs(61);

/// Which of the providers issues refresh tokens that can be used once.
const ROTATING: usize = 0;

/// A runtime whose users are signed in at three providers.
struct Wire {
    seed: u64,
    chance: Chance,
    clock: Arc<ManualClock>,
    providers: [SimulatedProvider; 3],
    /// Each with the number of its provider.
    credentials: Vec<(usize, CredentialHandle)>,
    /// Those of which an answer to a renewal may have been lost, each with the generation that it had
    /// then: until it is renewed.
    lost: BTreeMap<usize, Generation>,
    /// How many answers of the provider were lost whose refresh tokens can be used once.
    lost_rotations: usize,
    _runtime: Runtime,
}

impl Wire {
    async fn set(seed: u64) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let on = |builder: tokenward::testing::SimulatedProviderBuilder| {
            builder.sources(clock.sources()).token_lifetime(Duration::from_hours(1)).start()
        };
        let providers = [
            on(SimulatedProvider::openai()).await.expect("a port"),
            on(SimulatedProvider::google()).await.expect("a port"),
            on(SimulatedProvider::orange()).await.expect("a port"),
        ];
        let mut builder = Runtime::builder().sources(clock.sources()).vault(Vault::in_memory());
        for provider in &providers {
            builder = builder.provider(provider.spec());
        }
        let runtime = builder.start().await.expect("a runtime");
        let mut credentials = Vec::new();
        for user in ["ada", "bob"] {
            for (number, provider) in providers.iter().enumerate() {
                let sign_in = runtime.user(user).sign_in(provider.name());
                let id = if provider.authorization_endpoint().is_none() {
                    sign_in.with_client_credentials().await.expect("signed in")
                } else {
                    let login = sign_in.in_browser().await.expect("a sign-in");
                    let shown = provider.approve(login.url()).expect("consent");
                    login.paste(&shown).await.expect("accepted");
                    login.finished().await.expect("signed in")
                };
                credentials.push((number, runtime.credential(&id).await.expect("there")));
            }
        }
        Self {
            seed,
            chance: Chance::new(seed, 7),
            clock,
            providers,
            credentials,
            lost: BTreeMap::new(),
            lost_rotations: 0,
            _runtime: runtime,
        }
    }

    /// Lets renewals that are under way come to their end. One that has none while time stands still, since
    /// its answer is delayed, is late when time passes over it: its answer is lost.
    async fn rest(&mut self) {
        let under_way = [CredentialState::ExpiringSoon, CredentialState::Refreshing];
        let is_busy = |it: &CredentialHandle| under_way.contains(&it.snapshot().state());
        let credentials = &self.credentials;
        let calm = async {
            let mut turns = 0;
            while turns < TURNS {
                tokio::task::yield_now().await;
                let is_calm = !credentials.iter().any(|(_, it)| is_busy(it));
                turns = if is_calm { turns + 1 } else { 0 };
            }
        };
        if tokio::time::timeout(PATIENCE, calm).await.is_err() {
            let busy = credentials.iter().enumerate().filter(|(_, (_, it))| is_busy(it));
            for (number, (at, it)) in busy {
                self.lost.insert(number, it.snapshot().generation());
                self.lost_rotations += usize::from(*at == ROTATING);
            }
        }
    }

    /// Somebody wants a new token, and something is wrong with the answer.
    async fn round(&mut self, what: &str) {
        self.rest().await;
        self.clock.advance(self.chance.time(Duration::from_mins(10)) + Duration::from_secs(2));
        let number =
            usize::try_from(self.chance.below(self.credentials.len() as u64)).expect("small");
        let (at, credential) = self.credentials[number].clone();
        let provider = self.providers[at].clone();
        let kinds = Fault::KINDS;
        let kind = kinds[usize::try_from(self.chance.below(kinds.len() as u64)).expect("small")];
        let fault: Fault = kind.example.parse().expect("a listed kind");
        // An answer that says something else is no fault of the way, and one that never comes is waited
        // for in real time: both are tried elsewhere.
        if matches!(fault, Fault::SetField(..) | Fault::RemoveField(_) | Fault::Hang) {
            return;
        }
        provider.faults().on(Endpoint::Token).always(fault.clone());
        let before = provider.token_requests();
        let asking = tokio::spawn({
            let credential = credential.clone();
            async move { credential.refresh().await }
        });
        if matches!(fault, Fault::Delay(_)) {
            tokio::select! {
                () = provider.until(|counters| counters.token_requests > before) => {
                    self.clock.advance(DEADLINE);
                }
                () = async { while !asking.is_finished() { tokio::task::yield_now().await } } => {}
            }
        }
        let _ = asking.await.expect("it does not panic");
        let asked = provider.token_requests() - before;
        assert!(asked <= 8, "{what}: {asked} requests for one renewal: {fault}");
        if asked > 0 && may_lose(&fault) {
            // Others may have been renewed by themselves meanwhile.
            let there = self.credentials.iter().enumerate().filter(|(_, (of, _))| *of == at);
            let there = there.map(|(number, (_, it))| (number, it.snapshot().generation()));
            self.lost.extend(there);
            self.lost_rotations += if at == ROTATING { asked } else { 0 };
        }
        provider.faults().clear();
        for number in 0..self.credentials.len() {
            self.check(number, &format!("{what}, after {fault}"));
        }
    }

    fn check(&mut self, number: usize, what: &str) {
        let (at, credential) = &self.credentials[number];
        let snapshot = credential.snapshot();
        if self.lost.get(&number).is_some_and(|lost| *lost < snapshot.generation()) {
            self.lost.remove(&number);
        }
        if snapshot.state() == CredentialState::ReauthorizationRequired {
            assert_eq!(*at, ROTATING, "{what}: the others can be asked again: {snapshot:?}");
            assert!(self.lost.contains_key(&number), "{what}: {snapshot:?}");
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell_how_to_repeat(self.seed);
        }
    }
}

/// Whether the answer to a renewal that was carried out may not be heard.
fn may_lose(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::ResetAfterHeaders
            | Fault::ResetMidBody
            | Fault::LostAnswer
            | Fault::TornJson
            | Fault::Garbage
            // It is waited for until the request is given up.
            | Fault::Delay(_)
    )
}

/// Lives through one seed.
pub(crate) async fn run(seed: u64) {
    let mut wire = Wire::set(seed).await;
    for round in 0..ROUNDS {
        wire.round(&format!("seed {seed}, round {round}")).await;
    }
    wire.rest().await;
    // Longer than any back-off, and than any token lives.
    wire.clock.advance(Duration::from_hours(2));
    for number in 0..wire.credentials.len() {
        let (at, credential) = wire.credentials[number].clone();
        let mut answer = credential.acquire().await;
        for _ in 0..TRIES {
            // The clock may have moved on in the middle of a renewal, which took too long then.
            let wait = answer.as_ref().err().and_then(tokenward::Error::retry_after);
            let Some(wait) = wait else { break };
            wire.clock.advance(wait);
            answer = credential.acquire().await;
        }
        match answer {
            Ok(snapshot) => assert!(snapshot.is_durable(), "seed {seed}: {snapshot:?}"),
            Err(error) => {
                let lost = error.needs_reauthorization() && wire.lost.contains_key(&number);
                assert!(lost && at == ROTATING, "seed {seed}: {}: {error:?}", credential.id());
            }
        }
    }
    let again = wire.providers[ROTATING].reused_refresh_tokens();
    assert!(again <= wire.lost_rotations, "seed {seed}: {again}, at most one for each loss");
}
