//! Crashes of actors, at random, under two hundred users: everybody else is served throughout, nothing is
//! stuck afterwards, and no refresh token is spent twice.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how many actors crash; without it, a thousand.

#[path = "common/patience.rs"]
mod patience;
#[path = "common/rounds.rs"]
mod rounds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokenward::Runtime;
use tokenward::clock::Entropy;
use tokenward::credential::{Answer, CredentialHandle};
use tokenward::event::CredentialState;
use tokenward::identity::Generation;
use tokenward::supervision::{ChildStatus, TreeNode};
use tokenward::testing::{Endpoint, ManualClock, SeededEntropy, SimulatedProvider};
use tokenward::vault::{MasterKey, Vault};
use tokio::task::JoinSet;

use crate::rounds::rounds;

const USERS: usize = 200;
const CRASHES: usize = 1_000;
const SEED: u64 = 2_026;

/// Between two crashes. At this pace no child dies more often than its supervisor forgives, so
/// that none is quarantined, and the vault is not given up.
const PACE: Duration = Duration::from_secs(13);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_are_noticed_by_nobody_else() {
    let wanted = rounds(CRASHES);
    let mut town = Town::settle(USERS).await;
    let mut crashes = 0;
    while crashes < wanted {
        crashes += usize::from(town.crash_someone().await);
        if crashes.is_multiple_of(CRASHES) {
            // The provider keeps the last requests alone.
            town.check_that_nothing_was_spent_twice();
        }
    }

    town.check_that_nothing_is_stuck().await;
    town.check_that_nothing_was_spent_twice();
    let renewals = town.provider.refreshes();
    assert!(renewals > wanted, "{renewals} renewals");
    town.check_the_tree(crashes).await;
    println!("{crashes} crashes among {USERS} users, {renewals} renewals, none of them twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_their_supervisor_leaves_no_credential_behind() {
    let town = Town::settle(50).await;
    for _ in 0..10 {
        town.clock.advance(PACE);
        assert!(town.runtime.crash_actor("credentials").await);
        town.everybody_renews().await;
    }
    assert_eq!(town.provider.reused_refresh_tokens(), 0);
}

/// A runtime with many users, each signed in by a grant that rotates.
struct Town {
    clock: Arc<ManualClock>,
    chance: Arc<dyn Entropy>,
    provider: SimulatedProvider,
    runtime: Runtime,
    credentials: Arc<[CredentialHandle]>,
    _folder: TempDir,
}

impl Town {
    async fn settle(users: usize) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let provider = SimulatedProvider::openai()
            .sources(clock.sources())
            .token_lifetime(Duration::from_hours(1))
            .start()
            .await
            .expect("a port");
        let folder = TempDir::new().expect("a folder");
        let key = MasterKey::from_bytes([7; 32]);
        let runtime = Runtime::builder()
            .sources(clock.sources())
            .vault(Vault::open(folder.path().join("vault")).master_key(key))
            .provider(provider.spec())
            .start()
            .await
            .expect("a runtime");
        let mut credentials = Vec::new();
        for number in 0..users {
            let user = runtime.user(&format!("user {number}"));
            let login = user.sign_in("openai").by_paste().await.expect("a sign-in");
            let shown = provider.approve_for_paste(login.url()).expect("consent");
            login.paste(&shown).await.expect("accepted");
            let id = login.finished().await.expect("signed in");
            credentials.push(runtime.credential(&id).await.expect("there"));
        }
        let (chance, credentials) = (Arc::new(SeededEntropy::new(SEED)), credentials.into());
        Self { clock, chance, provider, runtime, credentials, _folder: folder }
    }

    /// Kills an actor while somebody renews and everybody calls. Whether it ran.
    async fn crash_someone(&mut self) -> bool {
        self.nobody_renews().await;
        self.clock.advance(PACE);
        let victim = self.draw(USERS);
        let path = match self.draw(10) {
            0 => "vault".to_owned(),
            1 => "timekeeper".to_owned(),
            _ => format!("credentials/{}", self.credentials[victim].id()),
        };
        let renewing = self.draw(USERS);
        let mut work = JoinSet::new();
        for who in [victim, renewing] {
            let credential = self.credentials[who].clone();
            work.spawn(async move { answered(&credential.refresh().await) });
        }
        for _ in 0..self.draw(40) {
            tokio::task::yield_now().await;
        }
        // Shown with a failure, which may be that somebody is stuck.
        println!("crashes: {path}");
        let ran = self.runtime.crash_actor(&path).await;
        let everybody = Arc::clone(&self.credentials);
        work.spawn(async move {
            for (who, credential) in everybody.iter().enumerate() {
                let answer = credential.acquire().await;
                assert!(who == victim || answer.is_ok(), "user {who}: {answer:?}");
                answered(&answer);
            }
        });
        self.finish(work).await;
        ran
    }

    /// Waits until each renewal under way has its answer, which it has by the time of this machine: time
    /// that jumped meanwhile would make it late.
    async fn nobody_renews(&self) {
        let renews = |credential: &CredentialHandle| {
            let state = credential.snapshot().state();
            [CredentialState::ExpiringSoon, CredentialState::Refreshing].contains(&state)
        };
        let rest = async {
            while self.credentials.iter().any(renews) {
                tokio::task::yield_now().await;
            }
        };
        patience::patiently(&self.clock, rest).await;
    }

    /// Waits until the work is done. Actors that come back may wait for the clock.
    async fn finish(&self, work: JoinSet<()>) {
        patience::patiently(&self.clock, work.join_all()).await;
    }

    async fn everybody_renews(&self) {
        let before = |credential: &CredentialHandle| credential.snapshot().generation();
        let before: Vec<_> = self.credentials.iter().map(before).collect();
        // What was renewed within the last second is not renewed again because somebody asks for it.
        self.clock.advance(Duration::from_secs(2));
        let mut work = JoinSet::new();
        for (credential, before) in self.credentials.iter().cloned().zip(before) {
            work.spawn(async move {
                let snapshot = credential.refresh().await.expect("renewed");
                assert!(snapshot.generation() > before, "{}", credential.id());
            });
        }
        self.finish(work).await;
    }

    /// Once more everybody renews, whoever crashed and whatever for.
    async fn check_that_nothing_is_stuck(&self) {
        self.clock.advance(Duration::from_mins(1));
        self.everybody_renews().await;
        for credential in self.credentials.iter() {
            let snapshot = credential.snapshot();
            assert_eq!(snapshot.state(), CredentialState::Valid, "{snapshot:?}");
            assert!(snapshot.is_durable(), "{snapshot:?}");
            assert!(snapshot.generation() > Generation(4), "hours went by: {snapshot:?}");
        }
    }

    fn check_that_nothing_was_spent_twice(&self) {
        assert_eq!(self.provider.reused_refresh_tokens(), 0);
        let mut sent = BTreeMap::new();
        for request in self.provider.requests_at(Endpoint::Token) {
            let body = request.text().into_owned();
            if body.contains("refresh_token") {
                *sent.entry(body).or_insert(0) += 1;
            }
        }
        let twice = sent.values().filter(|times| **times > 1).count();
        assert_eq!(twice, 0, "not even a request that the provider may have lost");
    }

    /// Everything runs, and came back as often as it was killed; who was just falling asleep then, slept on.
    async fn check_the_tree(&self, crashes: usize) {
        let restarts = restarts(&self.runtime.tree().await);
        let slept_on = crashes / 100;
        assert!((crashes - slept_on..=crashes).contains(&restarts), "{restarts} of {crashes}");
    }

    fn draw(&self, below: usize) -> usize {
        usize::try_from(self.chance.noise() % below as u64).expect("small")
    }
}

/// Whoever asks is answered: by a token, or by a failure that passes.
fn answered(answer: &Answer) {
    if let Err(error) = answer {
        assert!(error.is_transient(), "{error:?}");
    }
}

fn restarts(node: &TreeNode) -> usize {
    assert_eq!(node.status, ChildStatus::Running, "{}", node.name);
    node.restarts as usize + node.children.iter().map(restarts).sum::<usize>()
}
