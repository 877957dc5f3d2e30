//! An entry as it is shown, and as a line of JSON.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use super::chain::AuditMark;
use super::entry::AuditKind;
use crate::clock::writable;
use crate::identity::{Label, Method, ProviderId, SessionId, UserId};

/// An entry of the audit trail.
///
/// ```
/// use tokenward::vault::audit::AuditQuery;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let newest = AuditQuery::all().newest_first().limit(1);
/// let page = runtime.audit().entries(newest).await?;
/// let entry = &page.entries[0];
/// println!("{entry}"); // for a person
/// println!("{}", entry.to_json()); // for a program: a line of `Audit::export`
/// # assert!(entry.to_json().contains("\"number\""));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Its number, and the hash that binds it and all before it.
    pub mark: AuditMark,
    /// When it happened, by the wall clock, in microseconds.
    pub at: SystemTime,
    /// What it tells of.
    pub kind: AuditKind,
    /// How often it happened; more than once where equal events in short order are one entry.
    pub count: u64,
    /// Whom it is about.
    pub user: AuditUser,
    /// The provider.
    pub provider: Option<ProviderId>,
    /// The method.
    pub method: Option<Method>,
    /// Which of several accounts.
    pub label: Option<Label>,
    /// The session.
    pub session: Option<SessionId>,
    /// Why; never a secret, never a body.
    pub reason: Option<String>,
    /// Which part of the program saw it.
    pub origin: Option<String>,
}

/// Whom an entry is about.
///
/// ```
/// use tokenward::vault::audit::{AuditQuery, AuditUser};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// ada.erase().await?;
/// // What happened stays told; whom it was about is gone.
/// let page = runtime.audit().entries(AuditQuery::all()).await?;
/// assert!(page.entries.iter().any(|entry| entry.user == AuditUser::Erased));
/// assert!(page.entries.iter().all(|entry| entry.user.name().is_none()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditUser {
    /// This user.
    Named(UserId),
    /// A user that was erased: nobody can tell any more who.
    Erased,
    /// A user whose name can not be read: a record that does not open is in the way
    /// ([`Quarantined`](crate::vault::Quarantined)). A copy of the vault may still tell.
    Unreadable,
    /// Nobody: it is about the vault as a whole.
    Nobody,
}

impl AuditUser {
    /// The user's name, where there is one.
    pub fn name(&self) -> Option<&UserId> {
        match self {
            Self::Named(user) => Some(user),
            Self::Erased | Self::Unreadable | Self::Nobody => None,
        }
    }
}

impl AuditRecord {
    /// The entry as one line of JSON, without its end.
    ///
    /// `number`, `at` (RFC 3339), `event`, `outcome` and `hash` are always there; `count` when it is
    /// not 1, `user_erased` or `user_unreadable` when it is true, the others where there is something to say.
    pub fn to_json(&self) -> String {
        let line = Line {
            number: self.mark.number(),
            at: rfc3339(self.at),
            event: self.kind.as_str(),
            outcome: self.kind.outcome(),
            count: (self.count != 1).then_some(self.count),
            user: self.user.name(),
            user_erased: (self.user == AuditUser::Erased).then_some(true),
            user_unreadable: (self.user == AuditUser::Unreadable).then_some(true),
            provider: self.provider.as_ref(),
            method: self.method,
            label: self.label.as_ref(),
            session: self.session.as_ref(),
            reason: self.reason.as_deref(),
            origin: self.origin.as_deref(),
            hash: self.mark.to_string().split(':').next_back().unwrap_or_default().to_owned(),
        };
        // Writing plain structures of strings and numbers to memory can not fail.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl fmt::Display for AuditRecord {
    /// For a terminal: the number, the time, the kind, and whom it is about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.mark.number(), rfc3339(self.at), self.kind)?;
        match &self.user {
            AuditUser::Named(user) => write!(f, " {user}")?,
            AuditUser::Erased => f.write_str(" (erased)")?,
            AuditUser::Unreadable => f.write_str(" (unreadable)")?,
            AuditUser::Nobody => {}
        }
        if let Some(provider) = &self.provider {
            write!(f, " {provider}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    at: String,
    event: &'static str,
    outcome: super::entry::AuditOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_erased: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_unreadable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a ProviderId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    hash: String,
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(writable(time)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            mark: AuditMark { number: 3, hash: [0; 32] },
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            kind: AuditKind::AccessDenied,
            count: 1,
            user: AuditUser::Named(UserId::new("a\"da").expect("a name")),
            provider: None,
            method: Some(Method::ApiKey),
            label: None,
            session: None,
            reason: None,
            origin: None,
        }
    }

    #[test]
    fn a_line_says_what_there_is_and_nothing_else() {
        let expected = "{\"number\":3,\"at\":\"2023-11-14T22:13:20.123456Z\",\
             \"event\":\"access-denied\",\"outcome\":\"denied\",\"user\":\"a\\\"da\",\
             \"method\":\"api-key\",\"hash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}";
        assert_eq!(record().to_json(), expected);
        let erased = AuditRecord { user: AuditUser::Erased, count: 9, ..record() };
        assert!(erased.to_json().contains("\"count\":9,\"user_erased\":true"));
        let unreadable = AuditRecord { user: AuditUser::Unreadable, ..record() };
        assert!(unreadable.to_json().contains("\"user_unreadable\":true,\"method\""));
        assert!(unreadable.to_string().ends_with("access-denied (unreadable)"));
    }

    #[test]
    fn a_time_that_nobody_can_write_is_no_panic() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        for at in [far, SystemTime::UNIX_EPOCH - Duration::from_secs(1)] {
            let line = AuditRecord { at, ..record() }.to_json();
            assert!(line.contains("9999-12-31") || line.contains("1970-01-01"), "{line}");
        }
    }
}
