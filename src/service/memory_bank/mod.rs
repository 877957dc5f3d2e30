//! A Memory Bank: a REST service in which an agent keeps what it should remember, and finds it
//! again.
//!
//! The client signs in as any external client does, by client credentials, under the user of its
//! session; [`catalog::memory_bank`](crate::provider::catalog::memory_bank) is the provider. The
//! documentation of the service's interface is in `docs/services.md`.
//!
//! ```
//! use tokenward::service::memory_bank::{MemoryBank, NewMemory, Search};
//! use tokenward::testing::SimulatedProvider;
//! use tokenward::{Runtime, Vault};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let simulated = SimulatedProvider::memory_bank().start().await?;
//! let runtime = Runtime::builder()
//!     .vault(Vault::in_memory())
//!     .provider(simulated.spec())
//!     .start()
//!     .await?;
//! let ada = runtime.user("ada");
//! ada.sign_in("memory-bank").with_client_credentials().await?;
//! let session = ada.open_session().await?;
//!
//! let bank = MemoryBank::new(session.client_for("memory-bank").await?);
//! bank.create(&NewMemory::new("the cat is called Ada").tag("pets")).await?;
//! let page = bank.search(&Search::new("cat").tag("pets")).await?;
//! assert_eq!(page.hits[0].memory.content, "the cat is called Ada");
//! # Ok(())
//! # }
//! ```

mod memory;
mod pages;
mod search;

use futures_util::Stream;
use http::StatusCode;
use serde_json::Value;

pub use memory::{Memory, MemoryId, NewMemory};
pub use search::{Cursor, Hit, Page, Search};

use self::search::WirePage;
use super::answer::{Answer, Manner, Refusal, text};
use super::{ServiceError, ServiceErrorKind};
use crate::error::Error;
use crate::http::{Client, RequestBuilder};

const MEMORIES: &str = "/v1/memories";

/// A Memory Bank, as the user of a session. Cheap to clone.
///
/// ```
/// use tokenward::service::memory_bank::{MemoryBank, NewMemory};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bank = SimulatedProvider::memory_bank().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(bank.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("memory-bank").with_client_credentials().await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("memory-bank").await?;
/// let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// let memory = bank.create(&NewMemory::new("Ada drinks tea")).await?;
/// assert_eq!(bank.get(&memory.id).await?.content, "Ada drinks tea");
/// bank.delete(&memory.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MemoryBank {
    client: Client,
    limits: MemoryBankLimits,
}

/// What the client takes from a Memory Bank, and sends to it, at most. How calls are made (time,
/// attempts, breaker, concurrency) is [`CallPolicy`](crate::resilience::CallPolicy), the provider's
/// `calls`.
///
/// ```
/// use tokenward::service::ServiceErrorKind;
/// use tokenward::service::memory_bank::{MemoryBank, MemoryBankLimits, NewMemory};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bank = SimulatedProvider::memory_bank().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(bank.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("memory-bank").with_client_credentials().await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("memory-bank").await?;
/// let limits = MemoryBankLimits { content_bytes: 10, ..MemoryBankLimits::default() };
/// let bank = MemoryBank::new(session.client_for("memory-bank").await?).with_limits(limits);
/// let error = bank.create(&NewMemory::new("longer than that")).await.expect_err("not sent");
/// assert_eq!(error.kind(), ServiceErrorKind::Invalid);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBankLimits {
    /// The largest answer, in bytes: 8 MiB. A page of the most and longest memories takes 6.25 MiB
    /// of content, and more where JSON escapes much of it or there is much metadata: then ask for
    /// fewer on a page ([`Search::limit`]), or let this be larger.
    pub answer_bytes: usize,
    /// The longest content of a memory that is created, in bytes of UTF-8: 64 KiB.
    pub content_bytes: usize,
    /// The most pages that [`MemoryBank::search_all`] follows: 1,000.
    pub pages: usize,
}

impl Default for MemoryBankLimits {
    fn default() -> Self {
        Self { answer_bytes: 8 * 1024 * 1024, content_bytes: 64 * 1024, pages: 1_000 }
    }
}

impl MemoryBank {
    /// The Memory Bank that `client` was made for: `session.client_for("memory-bank")`.
    pub fn new(client: Client) -> Self {
        Self { client, limits: MemoryBankLimits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: MemoryBankLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Finds memories: one page, the best ones first. The next one begins at its
    /// [`next`](Page::next).
    ///
    /// # Errors
    ///
    /// When the search can not be sent as it is, or the service does not answer it.
    pub async fn search(&self, search: &Search) -> Result<Page, ServiceError> {
        search.check()?;
        let request = self.client.get(format!("{MEMORIES}/search"));
        let answer = self.ask(search.written_to(request)).await?.with_status(StatusCode::OK)?;
        let page: WirePage = answer.json()?;
        if page.items.len() > search.page_size() {
            return Err(answer.malformed("more memories than were asked for"));
        }
        if !page.can_go_on() {
            return Err(answer.malformed("a cursor that is too long"));
        }
        Ok(page.into())
    }

    /// Finds memories, page after page, each fetched when it is needed. It ends after the last one,
    /// or after the first error. A cursor that comes back, and more pages than
    /// [`MemoryBankLimits::pages`], are errors: their end would never come. What the last page holds
    /// comes before.
    pub fn search_all(
        &self,
        search: Search,
    ) -> impl Stream<Item = Result<Hit, ServiceError>> + Send + use<> {
        pages::hits(self.clone(), search, self.limits.pages)
    }

    /// Creates a memory, once: each attempt carries the same `Idempotency-Key`, so that one whose
    /// answer is lost can be made again.
    ///
    /// # Errors
    ///
    /// When the memory can not be sent as it is, or the service does not take it. Where it
    /// [`may_have_arrived`](ServiceError::may_have_arrived), as after
    /// [`ServiceErrorKind::Unavailable`], it may exist all the same: create it again under the error's
    /// [`idempotency_key`](ServiceError::idempotency_key).
    pub async fn create(&self, memory: &NewMemory) -> Result<Memory, ServiceError> {
        memory.check(self.limits.content_bytes)?;
        let entropy = &self.client.session().sources().entropy;
        let key = match &memory.idempotency_key {
            Some(key) => key.clone(),
            None => entropy.token().map_err(Error::from)?,
        };
        let request = self.client.post(MEMORIES).header("Idempotency-Key", &key).json(memory);
        let created = async {
            let answer = self.ask(request).await?;
            // Some services tell a repeated creation from the first one.
            let status = if answer.status() == StatusCode::OK {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            answer.with_status(status)?.json()
        };
        created.await.map_err(|error: ServiceError| error.with_idempotency_key(&key))
    }

    /// One memory.
    ///
    /// # Errors
    ///
    /// When there is none ([`ServiceErrorKind::NotFound`]), or the service does not answer.
    pub async fn get(&self, id: &MemoryId) -> Result<Memory, ServiceError> {
        let request = self.client.get(format!("{MEMORIES}/{id}"));
        self.ask(request).await?.with_status(StatusCode::OK)?.json()
    }

    /// Deletes a memory. When it is not there although an earlier attempt may have arrived, that
    /// counts as deleted: that one may have done it, and its answer was lost.
    ///
    /// # Errors
    ///
    /// When there was none ([`ServiceErrorKind::NotFound`]), or the service does not answer.
    pub async fn delete(&self, id: &MemoryId) -> Result<(), ServiceError> {
        let answer = self.ask(self.client.delete(format!("{MEMORIES}/{id}"))).await?;
        let repeated = answer.sent > 1;
        match answer.with_status(StatusCode::NO_CONTENT) {
            Ok(_) => Ok(()),
            // An earlier attempt may have deleted it, and its answer was lost.
            Err(error) if repeated && error.kind() == ServiceErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer, ServiceError> {
        let most = self.limits.answer_bytes;
        let manner = Manner { name: "the memory bank", most, refusal };
        Answer::to(request, &self.client, manner).await
    }
}

/// How its answers are read, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn reading() -> (Manner, fn(&Answer)) {
    let most = MemoryBankLimits::default().answer_bytes;
    let read = |answer: &Answer| {
        let _ = answer.json::<Memory>();
        if let Ok(page) = answer.json::<WirePage>()
            && page.can_go_on()
        {
            let _ = Page::from(page);
        }
    };
    (Manner { name: "the memory bank", most, refusal }, read)
}

/// `{"error": {"code": …, "field": …, "scope": …}}`.
fn refusal(body: &Value) -> Refusal {
    let Some(error) = body.get("error") else { return Refusal::default() };
    Refusal { code: text(error, "code"), field: text(error, "field"), scope: text(error, "scope") }
}
