//! A grant on its way into the vault, as a plain value: how often it is handed over, and what becomes
//! of one that is not taken.

use std::time::Duration;

use crate::error::Error;
use crate::provider::Grant;

/// How often a grant is handed over before the sign-in gives up, and the pause in between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// A grant that is being stored.
#[derive(Debug)]
pub(super) struct Storing {
    grant: Grant,
    tries: u32,
}

/// What follows when it was not stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// It is handed over once more, after this pause.
    Again(Storing, Duration),
    /// That would not help, and the grant has to be revoked.
    GivenUp(Grant),
    /// That would undo what the user did later. After a sign-out whoever saw that has revoked the
    /// grant; a later sign-in took its place, as it takes that of any other.
    Overtaken,
}

impl Storing {
    /// The first try.
    pub(super) fn of(grant: Grant) -> Self {
        Self { grant, tries: 1 }
    }

    /// A copy to hand over.
    pub(super) fn grant(&self) -> Grant {
        self.grant.clone()
    }

    pub(super) fn failed(self, error: &Error) -> NotStored {
        let Self { grant, tries } = self;
        if error.is_expired() {
            NotStored::Overtaken
        } else if error.is_transient() && tries < TRIES {
            NotStored::Again(Self { grant, tries: tries + 1 }, PAUSE * tries)
        } else {
            NotStored::GivenUp(grant)
        }
    }
}
