//! What becomes of a family when one of its tokens is used: a plain function of the family, of what
//! was presented, and of the time. Whoever writes the outcome does so by compare-and-swap.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::RefreshPolicy;
use super::told::Told;
use crate::server::application::{ApplicationId, GrantGeneration};
use crate::server::scope::Scope;

/// All refresh tokens that came from one grant, of which the last is good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) id: String,
    pub(crate) application: ApplicationId,
    /// The generation of grants of the application that it belongs to.
    pub(crate) generation: GrantGeneration,
    /// What was granted; every token of the family has it (RFC 6749 §6).
    pub(crate) scope: Scope,
    pub(crate) created: SystemTime,
    /// When it is over in any case.
    pub(super) ends: SystemTime,
    /// When it is over unless it is used.
    pub(super) idle_ends: SystemTime,
    /// The hash of the token that is good.
    pub(super) current: [u8; 32],
    pub(super) previous: Option<Previous>,
    pub(crate) revoked: bool,
    /// What the audit trail was told of its rotations.
    pub(super) told: Told,
    /// The record as it was read, with all that this release does not know.
    pub(super) kept: Map<String, Value>,
}

/// The token before the one that is good.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Previous {
    pub(super) hash: [u8; 32],
    /// When it was used first.
    pub(super) used: SystemTime,
}

/// A token of the family, and the one that follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented {
    pub(crate) hash: [u8; 32],
    pub(crate) successor: [u8; 32],
}

/// What a use comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Use {
    /// The successor is good from now on, once this is written.
    Rotated(Box<Family>),
    /// Its answer may have been lost: the successor is given once more, and nothing changes.
    Repeated,
    /// It was used before, so somebody else has it: the family is to end.
    Reused,
    /// The family is over.
    Over,
}

impl Family {
    /// A family whose first token has the hash `first`.
    pub(crate) fn new(
        id: String,
        (application, generation): (ApplicationId, GrantGeneration),
        scope: Scope,
        first: [u8; 32],
        policy: &RefreshPolicy,
        now: SystemTime,
    ) -> Self {
        let ends = now + policy.absolute;
        Self {
            id,
            application,
            generation,
            scope,
            created: now,
            ends,
            idle_ends: ends.min(now + policy.idle),
            current: first,
            previous: None,
            revoked: false,
            told: Told::default(),
            kept: Map::new(),
        }
    }

    /// What the use of a token that was issued in this family comes to.
    pub(crate) fn used(
        &self,
        presented: &Presented,
        policy: &RefreshPolicy,
        now: SystemTime,
    ) -> Use {
        if self.is_over(now) {
            return Use::Over;
        }
        if same(&presented.hash, &self.current) {
            let mut next = self.clone();
            next.current = presented.successor;
            next.previous = Some(Previous { hash: presented.hash, used: now });
            next.idle_ends = self.ends.min(now + policy.idle);
            next.told.rotated();
            return Use::Rotated(Box::new(next));
        }
        match &self.previous {
            // The window begins with the first use, and no use moves it.
            Some(previous)
                if same(&presented.hash, &previous.hash)
                    && previous.is_within(policy.grace, now) =>
            {
                Use::Repeated
            }
            _ => Use::Reused,
        }
    }

    /// The family, over. Its [last words](Family::last_words) are to be recorded with it.
    pub(crate) fn revoked(&self) -> Self {
        let told = Told { untold: 0, ..self.told };
        Self { revoked: true, told, ..self.clone() }
    }

    /// Whether `presented` is the token before the one that is good.
    pub(super) fn follows(&self, presented: &Presented) -> bool {
        self.previous.as_ref().is_some_and(|previous| same(&previous.hash, &presented.hash))
    }

    /// Whether it is revoked, or has expired.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        self.revoked || now >= self.end()
    }

    /// When it is over, as things are.
    pub(crate) fn end(&self) -> SystemTime {
        self.ends.min(self.idle_ends)
    }
}

impl Previous {
    fn is_within(&self, grace: Duration, now: SystemTime) -> bool {
        // A clock that went back says nothing about how long it is.
        now.duration_since(self.used).is_ok_and(|since| since < grace)
    }
}

fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}
