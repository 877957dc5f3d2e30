//! Which grants of an application count: those of its present generation. Each token and each family
//! has that which it was issued in, so what is over is told without a clock, which may be set back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A generation of grants. It ends with all its tokens when the application is disabled, and when its
/// secret is exchanged without an overlap. No two registrations have one in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantGeneration {
    /// Random, so that an application that is registered again under its id begins anew.
    registration: u64,
    /// How many there were before.
    number: u64,
}

impl GrantGeneration {
    /// The first one of a registration.
    pub(crate) const fn first(registration: u64) -> Self {
        Self { registration, number: 0 }
    }

    /// The one after it.
    pub(crate) const fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// Whether a token counts that says it is of the generation `written`. One of a former server says
    /// nothing of it, and counts until the first generation ends; that the application was removed since,
    /// and is registered again, is told by the denials.
    pub(crate) fn counts(self, written: Option<&str>) -> bool {
        written.map_or(self.number == 0, |written| written == self.to_string())
    }
}

/// As tokens write it.
impl fmt::Display for GrantGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.registration, self.number)
    }
}
