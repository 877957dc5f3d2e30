//! A host with one user who is signed in to one service, and one clock for both that moves when a
//! test says so.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use tempfile::TempDir;
use tokenward::resilience::State;
use tokenward::service::ServiceError;
use tokenward::service::memory_bank::{Hit, MemoryBank, NewMemory, Search};
use tokenward::service::orange::Orange;
use tokenward::testing::{ManualClock, SimulatedProvider, SimulatedProviderBuilder};
use tokenward::vault::MasterKey;
use tokenward::{ProviderSpec, Runtime, Session, Vault};

use crate::common::patience;

pub(crate) struct Host {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) runtime: Runtime,
    pub(crate) session: Session,
    name: String,
    _folder: TempDir,
}

/// The clock that a host and its simulation share.
pub(crate) fn clock() -> Arc<ManualClock> {
    ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000))
}

/// A simulated service, and a host that is signed in there.
pub(crate) async fn with(builder: SimulatedProviderBuilder) -> (Host, SimulatedProvider) {
    let clock = clock();
    let simulated = builder
        .sources(clock.sources())
        .token_lifetime(Duration::from_hours(1))
        .start()
        .await
        .expect("a port");
    (Host::calling(simulated.spec(), clock).await, simulated)
}

impl Host {
    pub(crate) async fn calling(provider: ProviderSpec, clock: Arc<ManualClock>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let key = MasterKey::from_file(folder.path().join("key")).create_if_missing();
        let name = provider.id.to_string();
        let runtime = Runtime::builder()
            .vault(Vault::open(folder.path().join("vault")).master_key(key))
            .sources(clock.sources())
            .provider(provider)
            .start()
            .await
            .expect("a runtime");
        let ada = runtime.user("ada");
        ada.sign_in(&name).with_client_credentials().await.expect("signed in");
        let session = ada.open_session().await.expect("a session");
        Self { clock, runtime, session, name, _folder: folder }
    }

    pub(crate) async fn bank(&self) -> MemoryBank {
        MemoryBank::new(self.session.client_for(&self.name).await.expect("signed in"))
    }

    pub(crate) async fn orange(&self) -> Orange {
        Orange::new(self.session.client_for(&self.name).await.expect("signed in"))
    }

    pub(crate) fn breaker(&self) -> State {
        self.runtime.upstream(&self.name).expect("the service").status().state
    }

    /// Lets time pass while `work` waits to make a call again, and only then.
    pub(crate) async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        patience::patiently(&self.clock, work).await
    }

    pub(crate) fn is_about_to_try_again(&self) -> bool {
        patience::is_about_to_try_again(&self.clock)
    }
}

/// Creates `count` memories about cats, the first one with the number 1.
pub(crate) async fn remember(bank: &MemoryBank, count: usize) {
    for number in 1..=count {
        bank.create(&NewMemory::new(format!("cat {number}"))).await.expect("created");
    }
}

/// What all pages of a search hold, as text.
pub(crate) async fn all(bank: &MemoryBank, search: Search) -> Result<Vec<String>, ServiceError> {
    let hits: Vec<Hit> = bank.search_all(search).try_collect().await?;
    Ok(hits.into_iter().map(|hit| hit.memory.content).collect())
}
