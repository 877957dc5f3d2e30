//! Refresh tokens: opaque, kept as hashes, rotated at each use. All that came from one grant are a
//! family, which ends when one of them is used again (RFC 9700 §4.14.2).

mod families;
mod family;
mod record;
mod shelf;
#[cfg(test)]
mod tests;
mod token;
mod told;
mod turns;
mod unanswered;

use std::time::Duration;

pub(crate) use families::{Families, Mint, Presentation, Refreshed};
pub(crate) use family::Family;
pub(crate) use token::{ReadToken, RefreshTokens};

use crate::error::{Error, ErrorKind};

/// The longest that a family may live.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// The longest time in which a token may be used again.
const LONGEST_GRACE: Duration = Duration::from_mins(1);

/// Whether an application gets refresh tokens with its access tokens, and how long they live.
///
/// ```
/// use std::time::Duration;
/// use tokenward::server::{ApplicationSpec, GrantType, RefreshPolicy};
///
/// // A night without a use is the end of it, and so is a week. An answer that was lost is not.
/// let policy = RefreshPolicy::new()
///     .idle(Duration::from_hours(12))
///     .absolute(Duration::from_hours(7 * 24))
///     .grace(Duration::from_secs(30));
/// let spec = ApplicationSpec::new("desktop").grants(GrantType::ALL).refresh_policy(policy);
/// # let _ = spec;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshPolicy {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
    pub(crate) grace: Duration,
}

impl RefreshPolicy {
    /// Tokens that are over when they were not used for seven days, and after thirty days in any
    /// case, and each of which can be used once.
    pub fn new() -> Self {
        let day = Duration::from_hours(24);
        Self { idle: 7 * day, absolute: 30 * day, grace: Duration::ZERO }
    }

    /// After how long without a use they are over: a second to 366 days.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// After how long they are over in any case: a second to 366 days.
    #[must_use]
    pub fn absolute(mut self, absolute: Duration) -> Self {
        self.absolute = absolute;
        self
    }

    /// How long after its first use the last token may be used again and gets the same successor, so
    /// that an answer that was lost does not log a client out: a minute at most, and none unless set.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let lives = |life: Duration| (Duration::from_secs(1)..=LONGEST).contains(&life);
        let problem = if !lives(self.idle) || !lives(self.absolute) {
            "refresh tokens live a second to 366 days"
        } else if self.grace > LONGEST_GRACE {
            "a refresh token may be used again for a minute at most"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidInput, problem))
    }
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self::new()
    }
}
