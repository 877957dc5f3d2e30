//! What goes wrong on the way to a provider and back: single faults, and how often they come.

use std::time::Duration;

use tokenward::provider::{Failure, FailureClass};

use crate::chance::Chance;

/// One thing that befalls one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The connection is refused.
    Refused,
    /// 503, with or without `Retry-After`.
    Unavailable(Option<Duration>),
    /// 429, with or without `Retry-After`.
    RateLimited(Option<Duration>),
    /// The client is refused.
    Misconfigured,
    /// A page of a firewall.
    Unlisted,
    /// HTML with status 200; nothing was carried out.
    Html,
    /// The connection is reset before anything is carried out.
    ResetBefore,
    /// Nothing is carried out and nothing answered.
    HangBefore,
    /// It is carried out, and the connection is reset.
    LostAnswer,
    /// It is carried out, and never answered.
    HangAfter,
    /// It is carried out, and the answer is torn.
    Torn,
    /// It takes so long.
    Slow(Duration),
    /// The adapter has no outcome, ever.
    Forgotten,
    /// The adapter panics before the request is made.
    PanicBefore,
    /// The adapter panics over the answer.
    PanicAfter,
}

const MINUTE: Duration = Duration::from_mins(1);

impl Fault {
    const ALL: [Self; 19] = [
        Self::Refused,
        Self::Refused,
        Self::Unavailable(None),
        Self::Unavailable(Some(MINUTE)),
        Self::RateLimited(None),
        Self::RateLimited(Some(Duration::from_mins(9))),
        Self::Misconfigured,
        Self::Unlisted,
        Self::Html,
        Self::ResetBefore,
        Self::HangBefore,
        Self::LostAnswer,
        Self::HangAfter,
        Self::Torn,
        Self::Slow(Duration::from_secs(3)),
        Self::Slow(Duration::from_secs(25)),
        Self::Forgotten,
        Self::PanicBefore,
        Self::PanicAfter,
    ];

    /// What is answered in place of carrying the request out.
    pub(crate) fn before(self) -> Option<Failure> {
        let class = match self {
            Self::Refused => {
                let class = FailureClass::Transient { retry_after: None };
                return Some(Failure::new(class, "the connection was refused").not_sent());
            }
            Self::Unavailable(retry_after) => FailureClass::Transient { retry_after },
            Self::RateLimited(retry_after) => FailureClass::RateLimited { retry_after },
            Self::Misconfigured => FailureClass::Misconfigured,
            Self::Unlisted => FailureClass::Unlisted,
            Self::Html => FailureClass::Protocol,
            _ => return None,
        };
        Some(Failure::new(class, "the provider did not carry it out"))
    }
}

/// What befalls the requests to one provider for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    #[default]
    Calm,
    /// One in so many requests meets any fault.
    Changeable(u64),
    /// Every request meets this one.
    Steady(Fault),
    /// Answers are odd: without a new refresh token, or with an access token that is over.
    Odd,
}

impl Weather {
    pub(crate) fn random(chance: &Chance) -> Self {
        match chance.below(10) {
            0..3 => Self::Calm,
            3..7 => Self::Changeable(1 + chance.below(4)),
            7..9 => Self::Steady(chance.pick(&Fault::ALL)),
            _ => Self::Odd,
        }
    }

    pub(crate) fn draw(self, chance: &Chance) -> Fault {
        match self {
            Self::Changeable(odds) if chance.one_in(odds) => chance.pick(&Fault::ALL),
            Self::Steady(fault) => fault,
            Self::Calm | Self::Odd | Self::Changeable(_) => Fault::None,
        }
    }

    pub(crate) fn omits_refresh_token(self, chance: &Chance) -> bool {
        self == Self::Odd && chance.one_in(2)
    }

    pub(crate) fn shortens(self, chance: &Chance) -> bool {
        self == Self::Odd && chance.one_in(4)
    }
}
