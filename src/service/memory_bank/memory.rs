//! A memory, as it is kept and as it is created.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::service::ServiceError;

/// The longest id, tag or idempotency key, in bytes.
const LONGEST_NAME: usize = 255;

/// A memory as the service keeps it.
///
/// [`MemoryBank::create`](super::MemoryBank::create) and
/// [`MemoryBank::get`](super::MemoryBank::get) answer with one.
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
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// let new = NewMemory::new("Ada drinks tea").tag("taste").metadata("conversation", 17);
/// let memory = bank.create(&new).await?;
/// println!("{} since {:?}", memory.id, memory.created_at);
/// assert_eq!((memory.content.as_str(), memory.tags[0].as_str()), ("Ada drinks tea", "taste"));
/// assert_eq!(memory.metadata["conversation"], 17);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Memory {
    /// Its name.
    pub id: MemoryId,
    /// What is remembered.
    pub content: String,
    /// Words by which it can be found.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whatever its creator wanted to keep with it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// When it was created; none when the service does not tell it as RFC 3339 in UTC.
    #[serde(default, deserialize_with = "time")]
    pub created_at: Option<SystemTime>,
    /// What else the service tells of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The name of a memory: letters, digits and `-_.:~`.
///
/// [`MemoryBank::get`](super::MemoryBank::get) takes one; [`Memory::id`] has it.
///
/// ```
/// use tokenward::service::memory_bank::{MemoryBank, MemoryId, NewMemory};
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
/// let memory = bank.create(&NewMemory::new("Ada drinks tea")).await?;
/// let kept = memory.id.to_string();
/// // Later, from wherever the host keeps it:
/// let id: MemoryId = kept.parse()?;
/// assert_eq!(bank.get(&id).await?, memory);
/// assert!("../tokens".parse::<MemoryId>().is_err(), "it would lead elsewhere");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemoryId(String);

impl MemoryId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MemoryId {
    type Err = ServiceError;

    /// # Errors
    ///
    /// When it can not be a name: what stands in a path must not lead elsewhere.
    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte);
        let dots = text.bytes().all(|byte| byte == b'.');
        if dots || text.len() > LONGEST_NAME || !text.bytes().all(plain) {
            let text = "the id of a memory has letters, digits and -_.:~ alone, correct it";
            return Err(ServiceError::invalid("id", text));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for MemoryId {
    type Error = ServiceError;

    fn try_from(text: String) -> Result<Self, ServiceError> {
        text.parse()
    }
}

impl From<MemoryId> for String {
    fn from(id: MemoryId) -> Self {
        id.0
    }
}

impl fmt::Display for MemoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A memory that is to be created.
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
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// // Made once, however often this is run: the key is the host's own.
/// let memory = NewMemory::new("Ada drinks tea")
///     .tag("taste")
///     .metadata("conversation", 17)
///     .idempotency_key("conversation-17");
/// let first = bank.create(&memory).await?;
/// assert_eq!(bank.create(&memory).await?.id, first.id);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewMemory {
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
    #[serde(skip)]
    pub(super) idempotency_key: Option<String>,
}

impl NewMemory {
    /// A memory of `content`.
    pub fn new(content: impl Into<String>) -> Self {
        let (tags, metadata) = (Vec::new(), Map::new());
        Self { content: content.into(), tags, metadata, idempotency_key: None }
    }

    /// Adds a word by which it can be found.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Keeps `value` with it under `name`.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The key under which it is created once, however often it is asked for. Without it each call
    /// of [`create`](super::MemoryBank::create) makes one of 256 random bits.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// What no service would take is not sent.
    pub(super) fn check(&self, most: usize) -> Result<(), ServiceError> {
        let invalid = |field: &str, text: String| Err(ServiceError::invalid(field, text));
        if self.content.trim().is_empty() {
            return invalid("content", "a memory has some content, give it".to_owned());
        }
        if self.content.len() > most {
            return invalid("content", format!("a memory has at most {most} bytes, shorten it"));
        }
        check_tags(&self.tags)?;
        let visible = |key: &String| {
            !key.is_empty()
                && key.len() <= LONGEST_NAME
                && key.bytes().all(|b| b.is_ascii_graphic())
        };
        if !self.idempotency_key.as_ref().is_none_or(visible) {
            let text = format!("an idempotency key has 1 to {LONGEST_NAME} visible characters");
            return invalid("idempotency-key", text);
        }
        Ok(())
    }
}

pub(super) fn check_tags(tags: &[String]) -> Result<(), ServiceError> {
    if tags.iter().all(|tag| !tag.trim().is_empty() && tag.len() <= LONGEST_NAME) {
        return Ok(());
    }
    Err(ServiceError::invalid("tags", format!("a tag has 1 to {LONGEST_NAME} bytes, correct it")))
}

/// RFC 3339 in UTC; anything else is no time, and no reason to refuse a memory.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SystemTime>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_str().and_then(|text| humantime::parse_rfc3339(text).ok()))
}
