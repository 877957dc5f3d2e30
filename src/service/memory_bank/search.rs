//! What is searched for, and a page of what was found.

use std::time::SystemTime;

use serde::Deserialize;

use super::Memory;
use super::memory::check_tags;
use crate::http::RequestBuilder;
use crate::service::ServiceError;

/// How many memories are on a page unless a search says so.
const PAGE: usize = 20;

/// The most memories on a page.
const LARGEST_PAGE: usize = 100;

/// The longest query, in bytes: it stands in an address.
const LONGEST_QUERY: usize = 2_000;

/// The longest cursor that a service may give, in bytes: it stands in an address, too.
const LONGEST_CURSOR: usize = 2_000;

/// What is searched for.
///
/// ```
/// use tokenward::service::memory_bank::{MemoryBank, NewMemory, Search};
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
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// for text in ["green tea", "black tea", "tea with milk"] {
///     bank.create(&NewMemory::new(text)).await?;
/// }
/// let first = bank.search(&Search::new("tea").limit(2)).await?;
/// assert_eq!(first.hits.len(), 2);
/// let next = first.next.expect("there is more");
/// let second = bank.search(&Search::new("tea").limit(2).starting_at(next)).await?;
/// assert_eq!(second.hits.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    query: String,
    tags: Vec<String>,
    created_after: Option<SystemTime>,
    created_before: Option<SystemTime>,
    page_size: Option<usize>,
    pub(super) cursor: Option<Cursor>,
}

/// Where a page begins. It means something to the service alone, and only for the same search.
///
/// [`Page::next`] has it, and [`Search::starting_at`] takes it.
///
/// ```
/// use tokenward::service::memory_bank::{Cursor, MemoryBank, NewMemory, Search};
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
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// # for text in ["green tea", "black tea", "tea with milk"] {
/// #     bank.create(&NewMemory::new(text)).await?;
/// # }
/// let search = Search::new("tea").limit(2);
/// let first = bank.search(&search).await?;
/// let link = first.next.expect("there is more").as_str().to_owned();
/// // Whoever is shown the first page asks the host for the next one by that text.
/// let second = bank.search(&search.starting_at(Cursor::new(link))).await?;
/// assert_eq!(second.hits.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor(String);

/// A memory that was found.
///
/// [`Page::hits`] has them, and [`MemoryBank::search_all`](super::MemoryBank::search_all) gives one
/// after another.
///
/// ```
/// use futures_util::TryStreamExt as _;
/// use tokenward::service::memory_bank::{MemoryBank, NewMemory, Search};
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
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// bank.create(&NewMemory::new("Ada drinks tea")).await?;
/// let mut hits = std::pin::pin!(bank.search_all(Search::new("tea")));
/// while let Some(hit) = hits.try_next().await? {
///     println!("{:?}: {}", hit.score, hit.memory.content);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// How well it fits, the higher the better; none when the service does not tell.
    #[serde(default)]
    pub score: Option<f64>,
}

/// Some of what was found, the best ones first.
///
/// ```
/// use tokenward::service::memory_bank::{MemoryBank, NewMemory, Search};
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
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// bank.create(&NewMemory::new("Ada drinks tea")).await?;
/// let page = bank.search(&Search::new("tea")).await?;
/// assert_eq!(page.hits[0].memory.content, "Ada drinks tea");
/// assert!(page.next.is_none(), "that was all");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The memories. There may be none, with further pages to come.
    pub hits: Vec<Hit>,
    /// Where the next page begins; none after the last one.
    pub next: Option<Cursor>,
}

#[derive(Deserialize)]
pub(super) struct WirePage {
    pub(super) items: Vec<Hit>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Search {
    /// Memories that have to do with `query`.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            tags: Vec::new(),
            created_after: None,
            created_before: None,
            page_size: None,
            cursor: None,
        }
    }

    /// Only those with this tag, and with all others that are named.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Only those that were created after this time.
    #[must_use]
    pub fn created_after(mut self, time: SystemTime) -> Self {
        self.created_after = Some(time);
        self
    }

    /// Only those that were created before this time.
    #[must_use]
    pub fn created_before(mut self, time: SystemTime) -> Self {
        self.created_before = Some(time);
        self
    }

    /// At most so many on a page: 1 to 100, and 20 unless this is said.
    #[must_use]
    pub fn limit(mut self, memories: usize) -> Self {
        self.page_size = Some(memories);
        self
    }

    /// The page that begins at this place of the same search.
    #[must_use]
    pub fn starting_at(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    pub(super) fn page_size(&self) -> usize {
        self.page_size.unwrap_or(PAGE)
    }

    /// What no service would take is not sent.
    pub(super) fn check(&self) -> Result<(), ServiceError> {
        if self.query.trim().is_empty() || self.query.len() > LONGEST_QUERY {
            let text = format!("a search has 1 to {LONGEST_QUERY} bytes, correct its query");
            return Err(ServiceError::invalid("query", text));
        }
        if !(1..=LARGEST_PAGE).contains(&self.page_size()) {
            let text = format!("a page has 1 to {LARGEST_PAGE} memories, correct the limit");
            return Err(ServiceError::invalid("limit", text));
        }
        check_tags(&self.tags)
    }

    pub(super) fn written_to(&self, request: RequestBuilder) -> RequestBuilder {
        let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
        let mut request = request.query("query", &self.query);
        for tag in &self.tags {
            request = request.query("tag", tag);
        }
        let limit = self.page_size().to_string();
        let optional = [
            ("created_after", self.created_after.map(time)),
            ("created_before", self.created_before.map(time)),
            ("limit", Some(limit)),
            ("cursor", self.cursor.as_ref().map(|cursor| cursor.0.clone())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                request = request.query(name, &value);
            }
        }
        request
    }
}

impl Cursor {
    /// A cursor that was kept as text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The cursor as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl WirePage {
    /// Whether the next page can be asked for.
    pub(super) fn can_go_on(&self) -> bool {
        self.next_cursor.as_ref().is_none_or(|cursor| cursor.len() <= LONGEST_CURSOR)
    }
}

impl From<WirePage> for Page {
    fn from(page: WirePage) -> Self {
        let next = page.next_cursor.filter(|cursor| !cursor.is_empty()).map(Cursor);
        Self { hits: page.items, next }
    }
}
