//! The span that a sign-in stands in, and those that it follows from.

use tracing::span::Id;
use tracing::{Instrument, Span, info_span};

use crate::identity::CredentialId;

/// The span of one sign-in, from its beginning to its end, whoever it is that completes it.
#[derive(Debug, Clone)]
pub(super) struct Course {
    span: Span,
    /// The span that it stands beneath.
    begun_in: Option<Id>,
}

impl Course {
    /// Of a sign-in that begins in the current span.
    pub(super) fn begin(credential: &CredentialId) -> Self {
        let begun_in = Span::current().id();
        Self { span: info_span!("sign-in", %credential), begun_in }
    }

    /// A front end asks for something in the current span, which need not be the one that the sign-in
    /// was begun in. `actor` is the span that its actor handles messages in which brought none.
    pub(super) fn follow(&self, actor: Option<&Id>) {
        let asked_in = Span::current().id();
        let known = [self.span.id(), self.begun_in.clone(), actor.cloned()];
        if !known.contains(&asked_in) {
            self.span.follows_from(asked_in);
        }
    }

    /// Does something for the sign-in.
    pub(super) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }

    /// Does something for the sign-in that takes time.
    pub(super) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        work.instrument(self.span.clone()).await
    }
}
