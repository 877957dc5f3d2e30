//! The closed table by which a provider's refusals are told apart: the parsed error first, then
//! the status. Only what stands on the table signs a user out.

mod sign;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Failure, FailureClass};
use crate::oauth::{ExchangeError, Refusal, RefusalBody};

pub use sign::RefusalSign;

/// What a provider's error codes mean. Codes are compared without regard to case.
///
/// The default is the table of RFC 6749 §5.2. Whatever the codes and this table say, a 5xx, a 408
/// and a 429 are the endpoint's trouble and not the user's, a redirect is not the endpoint's answer,
/// and an answer that is not JSON signs nobody out.
///
/// ```
/// use tokenward::provider::ErrorTable;
///
/// // By these words this provider says that only the user can help, and that it is busy.
/// let errors = ErrorTable::default()
///     .with_reauthorization(&["consent_withdrawn"])
///     .with_transient(&["try_later"]);
/// assert!(errors.transient.iter().any(|word| word == "try_later"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorTable {
    /// The grant is over: the user has to sign in again.
    pub reauthorization: Vec<String>,
    /// So it is when the description of an answer holds one of these.
    pub reauthorization_descriptions: Vec<String>,
    /// The statuses at which the two lists above count: 200, 400 and 401, unless set otherwise.
    pub reauthorization_statuses: Vec<u16>,
    /// Codes that no other server would write: the grant is over whatever the status.
    pub reauthorization_at_any_status: Vec<String>,
    /// And it is over at any 401 that the endpoint wrote itself: JSON with whatever code, or nothing.
    pub unauthorized_is_final: bool,
    /// The client, the scope or the request is wrong: the operator has to act.
    pub misconfiguration: Vec<String>,
    /// The endpoint fails for now.
    pub transient: Vec<String>,
    /// The endpoint limits the rate.
    pub rate_limited: Vec<String>,
    /// The statuses of a resource that refuse the credential, whatever the body: 401, unless set
    /// otherwise.
    pub credential_refused_statuses: Vec<u16>,
    /// Answers of a resource that refuse the credential at other statuses, by their body.
    pub credential_refused: Vec<RefusalSign>,
    /// What is on no list.
    pub otherwise: Otherwise,
}

/// The meaning of an error that is on no list.
///
/// [`ErrorTable::otherwise`] has it.
///
/// ```
/// use tokenward::provider::{ErrorTable, Otherwise};
///
/// // This provider makes up new codes while it is maintained: none of them means that all is lost.
/// let errors = ErrorTable { otherwise: Otherwise::Transient, ..ErrorTable::default() };
/// assert_eq!(ErrorTable::default().otherwise, Otherwise::Protocol);
/// # assert_ne!(errors, ErrorTable::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Otherwise {
    /// Nobody knows what it means: kept, and tried again with a long back-off.
    #[default]
    Protocol,
    /// It passes: kept, and tried again.
    Transient,
}

impl Default for ErrorTable {
    fn default() -> Self {
        Self {
            reauthorization: codes(&["invalid_grant"]),
            reauthorization_descriptions: Vec::new(),
            reauthorization_statuses: vec![200, 400, 401],
            reauthorization_at_any_status: Vec::new(),
            unauthorized_is_final: false,
            misconfiguration: codes(&[
                "invalid_client",
                "unauthorized_client",
                "unsupported_grant_type",
                "invalid_request",
                "invalid_scope",
            ]),
            transient: codes(&["temporarily_unavailable", "server_error"]),
            rate_limited: codes(&["slow_down"]),
            credential_refused_statuses: vec![401],
            credential_refused: Vec::new(),
            otherwise: Otherwise::Protocol,
        }
    }
}

impl ErrorTable {
    /// Adds codes after which the user has to sign in again.
    #[must_use]
    pub fn with_reauthorization(mut self, more: &[&str]) -> Self {
        self.reauthorization.extend(codes(more));
        self
    }

    /// Adds codes after which the user has to sign in again, whatever the status.
    #[must_use]
    pub fn with_reauthorization_at_any_status(mut self, more: &[&str]) -> Self {
        self.reauthorization_at_any_status.extend(codes(more));
        self
    }

    /// Adds codes after which the operator has to act.
    #[must_use]
    pub fn with_misconfiguration(mut self, more: &[&str]) -> Self {
        self.misconfiguration.extend(codes(more));
        self
    }

    /// Adds codes of an endpoint that fails for now.
    #[must_use]
    pub fn with_transient(mut self, more: &[&str]) -> Self {
        self.transient.extend(codes(more));
        self
    }

    /// Adds codes of an endpoint that limits the rate.
    #[must_use]
    pub fn with_rate_limited(mut self, more: &[&str]) -> Self {
        self.rate_limited.extend(codes(more));
        self
    }

    fn classify(&self, refusal: &Refusal) -> FailureClass {
        let Refusal { status, retry_after, .. } = *refusal;
        let on = |list: &[String]| stands_on(list, refusal);
        let transient = FailureClass::Transient { retry_after };
        let limited = FailureClass::RateLimited { retry_after };

        match status {
            StatusCode::TOO_MANY_REQUESTS => return limited,
            StatusCode::REQUEST_TIMEOUT => return transient,
            _ if status.is_server_error() => return transient,
            StatusCode::NOT_ACCEPTABLE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                return FailureClass::Misconfigured;
            }
            // Whatever wrote it, it is not the endpoint that was asked.
            _ if status.is_redirection() => {
                return self.otherwise(FailureClass::Protocol, transient);
            }
            _ if self.ends_the_grant_without_a_word(refusal) => {
                return FailureClass::ReauthorizationRequired;
            }
            // A firewall's page, most likely: it passes, or it is not about this credential.
            StatusCode::FORBIDDEN if !refusal.is_json() => return transient,
            _ if !refusal.is_json() => return self.otherwise(FailureClass::Protocol, transient),
            _ => {}
        }
        if self.ends_the_grant(refusal) {
            FailureClass::ReauthorizationRequired
        } else if on(&self.misconfiguration) {
            FailureClass::Misconfigured
        } else if on(&self.rate_limited) {
            limited
        } else if on(&self.transient) {
            transient
        } else {
            // It could read the request and answer it, so it has not acted upon it.
            self.otherwise(FailureClass::Unlisted, transient)
        }
    }

    /// Whether it says so by its status alone. A page of whatever stands in between has a body.
    fn ends_the_grant_without_a_word(&self, refusal: &Refusal) -> bool {
        self.unauthorized_is_final
            && refusal.status == StatusCode::UNAUTHORIZED
            && refusal.body == RefusalBody::Empty
    }

    /// Whether an answer that the endpoint wrote says that the grant is over.
    fn ends_the_grant(&self, refusal: &Refusal) -> bool {
        let description = refusal.description.as_deref().unwrap_or_default();
        let described = |part: &String| description.contains(&part.to_ascii_lowercase());
        let listed = stands_on(&self.reauthorization, refusal)
            || self.reauthorization_descriptions.iter().any(described);
        (listed && self.reauthorization_statuses.contains(&refusal.status.as_u16()))
            || stands_on(&self.reauthorization_at_any_status, refusal)
            || (self.unauthorized_is_final && refusal.status == StatusCode::UNAUTHORIZED)
    }

    /// Whether its code would end the grant at another status.
    fn would_end_the_grant(&self, refusal: &Refusal) -> bool {
        refusal.is_json() && stands_on(&self.reauthorization, refusal)
    }

    fn otherwise(&self, unknown: FailureClass, transient: FailureClass) -> FailureClass {
        match self.otherwise {
            Otherwise::Protocol => unknown,
            Otherwise::Transient => transient,
        }
    }
}

/// What a request gives away when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spends {
    /// A refresh token or a code, which may be good only once.
    SingleUse,
    /// Nothing: it can be asked again.
    Nothing,
}

/// What it means for a credential that an exchange failed.
pub(super) fn failure(table: &ErrorTable, error: &ExchangeError, spends: Spends) -> Failure {
    match error {
        ExchangeError::NotSent(reason) => {
            Failure::new(FailureClass::Misconfigured, reason).not_sent()
        }
        ExchangeError::Unreached(reason) => {
            Failure::new(FailureClass::Transient { retry_after: None }, reason).not_sent()
        }
        ExchangeError::Ambiguous(reason) if spends == Spends::SingleUse => {
            Failure::new(FailureClass::Uncertain, reason)
        }
        ExchangeError::Ambiguous(reason) => {
            Failure::new(FailureClass::Transient { retry_after: None }, reason)
        }
        ExchangeError::Malformed(reason) => Failure::new(FailureClass::Protocol, *reason),
        ExchangeError::Refused(refusal) => {
            let class = table.classify(refusal);
            Failure::new(class, explanation(table, class, refusal))
        }
    }
}

fn explanation(table: &ErrorTable, class: FailureClass, refusal: &Refusal) -> String {
    let status = refusal.status.as_u16();
    let seen = match refusal.printable_code() {
        Some(code) => format!("{status} {code}"),
        None => match refusal.body {
            RefusalBody::Json => format!("{status}"),
            RefusalBody::Empty => format!("{status}, empty"),
            RefusalBody::Other => format!("{status}, not json"),
        },
    };
    if refusal.status.is_redirection() {
        return format!("the endpoint redirects ({seen}), which is not followed, check its url");
    }
    match class {
        FailureClass::ReauthorizationRequired if stands_on(&table.misconfiguration, refusal) => {
            format!("the provider ended this grant ({seen}), check the client id too")
        }
        FailureClass::ReauthorizationRequired => {
            format!("the provider ended this grant ({seen})")
        }
        FailureClass::Misconfigured => format!(
            "the provider refuses the client or the request ({seen}), check the client id, its \
             secret, the scope and the endpoint"
        ),
        FailureClass::RateLimited { .. } => format!("the provider asks for patience ({seen})"),
        FailureClass::Transient { .. } => format!("the provider fails for now ({seen})"),
        FailureClass::Unlisted if table.would_end_the_grant(refusal) => format!(
            "the provider answers {seen}, which does not end a grant at this status, add {status} \
             to errors.reauthorization_statuses if this provider means it"
        ),
        FailureClass::Unlisted => {
            format!("the provider refuses for a reason that is on no list ({seen})")
        }
        FailureClass::Protocol | FailureClass::Uncertain => {
            format!("the provider's answer makes no sense ({seen})")
        }
    }
}

fn stands_on(list: &[String], refusal: &Refusal) -> bool {
    let Some(code) = &refusal.code else { return false };
    list.iter().any(|known| known.eq_ignore_ascii_case(code))
}

fn codes(list: &[&str]) -> Vec<String> {
    list.iter().map(|&code| code.to_owned()).collect()
}

#[cfg(test)]
mod tests;
