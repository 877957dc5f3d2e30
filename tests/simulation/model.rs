//! What has to be there: of each credential and of each session, what was acknowledged, and what may
//! be there because its acknowledgement was not heard.

use std::collections::BTreeSet;

use tokenward::identity::{CredentialId, Generation, Label, Method, ProviderId, SessionId, UserId};
use tokenward::session::ProviderContext;

/// The grant or the key that is in force; none when the user is signed out.
pub(crate) type InForce = Option<u64>;

/// One credential that a user may have.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) id: CredentialId,
    /// Which of the world's providers it is of.
    pub(crate) authority: usize,
    /// What may be in force in this process.
    pub(crate) now: BTreeSet<InForce>,
    /// What may be in force after the process died.
    pub(crate) stored: BTreeSet<InForce>,
    /// The newest generation that was durable, of what.
    pub(crate) durable: (InForce, Generation),
    /// A sign-in or a sign-out is under way.
    pub(crate) busy: bool,
    /// It is a sign-in of which the provider tells the grant: this one or a later one.
    any_from: Option<u64>,
}

/// One session.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) user: UserId,
    pub(crate) id: SessionId,
    /// What may be its active context.
    pub(crate) active: BTreeSet<Option<usize>>,
    /// Whether it is open; none when nobody knows.
    pub(crate) open: Option<bool>,
    pub(crate) busy: bool,
}

impl Slot {
    pub(crate) fn new(user: &str, authority: usize, provider: &str, method: Method) -> Self {
        let id = CredentialId {
            user: UserId::new(user).expect("a name"),
            provider: ProviderId::new(provider).expect("a name"),
            method,
            label: Label::default(),
        };
        Self {
            id,
            authority,
            now: BTreeSet::from([None]),
            stored: BTreeSet::from([None]),
            durable: (None, Generation::default()),
            busy: false,
            any_from: None,
        }
    }

    /// A sign-in began that will be given a grant of `first` or a later number.
    pub(crate) fn begin_with_any_from(&mut self, first: u64) {
        self.busy = true;
        self.any_from = Some(first);
    }

    /// The provider has made so many grants by now.
    pub(crate) fn may_have(&mut self, grants: u64) {
        if let Some(first) = self.any_from {
            self.now.extend((first..grants).map(Some));
            self.stored.extend((first..grants).map(Some));
        }
    }

    /// Nothing is under way any more.
    pub(crate) fn ended(&mut self) {
        self.busy = false;
        self.any_from = None;
    }

    /// A change began: from now on it may take effect.
    pub(crate) fn begin(&mut self, to: InForce) {
        self.busy = true;
        self.now.insert(to);
        self.stored.insert(to);
    }

    /// A change was acknowledged, and whether it is durable.
    pub(crate) fn acknowledge(&mut self, to: InForce, durable: bool) {
        self.ended();
        self.now = BTreeSet::from([to]);
        if durable {
            self.stored = BTreeSet::from([to]);
        }
    }

    /// The process died: what is there now was stored.
    pub(crate) fn process_died(&mut self) {
        self.now = self.stored.clone();
        self.ended();
    }

    pub(crate) fn context(&self) -> ProviderContext {
        ProviderContext {
            provider: self.id.provider.clone(),
            method: self.id.method,
            label: self.id.label.clone(),
        }
    }
}
