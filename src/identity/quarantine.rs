//! The name of a record that does not open: 256 bits that say nothing to whoever lacks the vault's key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

/// Names a quarantined record, also one of which nothing else is known. It is the blinded name under which
/// the record is kept: it says nothing about the record, but that those of one user begin alike, and
/// stays the same from one opening to the next.
///
/// Its text is 64 hexadecimal digits, in the log, in the event
/// [`RecordQuarantined`](crate::EventKind::RecordQuarantined) and wherever else it is shown. That text is
/// read back, and [`VaultHandle::discard`](crate::vault::VaultHandle::discard) takes it.
///
/// ```
/// use tokenward::vault::QuarantineId;
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let copied = "5f2b17c09d7e4a3681c0ffee5f2b17c09d7e4a3681c0ffee5f2b17c09d7e4a36";
/// // What an operator has copied from the log.
/// let id: QuarantineId = copied.parse()?;
/// assert_eq!(id.to_string(), copied);
/// let error = runtime.vault().discard(id).await.expect_err("nothing is quarantined here");
/// assert!(error.is_conflict());
///
/// let error = "5f2b17c0".parse::<QuarantineId>().expect_err("the beginning of one");
/// assert_eq!(error.to_string(), "quarantine id is not 64 hexadecimal digits, copy the whole id");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuarantineId([u8; LENGTH]);

/// How many bytes such a name has. Each is written as two digits.
const LENGTH: usize = 32;

impl QuarantineId {
    pub(crate) const fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn to_bytes(self) -> [u8; LENGTH] {
        self.0
    }
}

impl FromStr for QuarantineId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let problem = "is not 64 hexadecimal digits, copy the whole id";
        let wrong = NameError { what: "quarantine id", problem };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
        let digits: Option<Vec<u8>> = text.bytes().map(digit).collect();
        let digits = digits.filter(|digits| digits.len() == 2 * LENGTH).ok_or(wrong)?;
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | digit);
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for QuarantineId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<QuarantineId> for String {
    fn from(id: QuarantineId) -> String {
        id.to_string()
    }
}

impl fmt::Display for QuarantineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for QuarantineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
