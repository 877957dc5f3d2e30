//! The root of a runtime's tree, which ends with whoever holds it: a host that forgot to shut down
//! leaves no actors behind, and neither does a start that fails or that nobody waits for any more.

use std::ops::Deref;

use crate::clock::Sources;
use crate::error::Error;
use crate::supervision::{EventBus, Supervisor};

/// The one owner of a tree.
pub(crate) struct Root(Supervisor);

impl Root {
    /// Starts a tree with nothing in it yet.
    pub(super) async fn start(sources: Sources, events: EventBus) -> Result<Self, Error> {
        Supervisor::start("runtime", sources, events).await.map(Self)
    }
}

impl Deref for Root {
    type Target = Supervisor;

    fn deref(&self) -> &Supervisor {
        &self.0
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.0.kill();
    }
}
