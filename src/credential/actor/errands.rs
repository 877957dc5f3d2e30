//! The slow work of a credential's actor, as tasks that post back: the vault and the provider are
//! waited for here, and never in a handler. One that dies posts a failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span, field, info_span};

use super::State;
use crate::credential::flight::Rotating;
use crate::credential::journal::JournalError;
use crate::credential::material::Material;
use crate::credential::messages::{Inner, ProviderMessage, SignInWith};
use crate::error::{Error, ErrorKind};
use crate::identity::{Generation, Method};
use crate::supervision::Reply;

impl State {
    pub(super) fn load(&self) {
        let records = self.records();
        let work = async move { records.load().await };
        let if_it_dies = || Err(JournalError::Interrupted(died("the reading of its records")));
        // Not tracked: a shutdown does not wait for a read.
        tokio::spawn(self.errand(work, if_it_dies, Inner::Loaded));
    }

    pub(super) fn renew(&mut self, material: Arc<Material>, in_doubt: bool) {
        let (flight, awaited) = {
            let mut desk = self.cell.desk();
            (desk.take_off(material.generation, in_doubt), desk.awaited())
        };
        if !self.waiting.is_empty() {
            awaited.notify_one();
        }
        let (records, handle) = (self.records(), self.handle.clone());
        // It belongs to whoever waits first, and to none when only its time has come. The span that
        // this runs in may be that of the renewal before.
        let (id, generation) = (&self.context.id, flight.base.0);
        let mut waiting = self.waiting.iter().map(|waiter| &waiter.span);
        let first = waiting.next().cloned().unwrap_or_else(Span::none);
        let span = if first.is_none() {
            info_span!(parent: None, "renewal", credential = %id, generation, outcome = field::Empty)
        } else {
            let _first = first.entered();
            info_span!("renewal", credential = %id, generation, outcome = field::Empty)
        };
        for other in waiting {
            span.follows_from(other);
        }
        self.renewal = span.clone();
        Rotating { records, handle, material, flight, awaited, span }.start();
    }

    pub(super) fn sign_in(&self, with: SignInWith, reply: Reply<Result<Generation, Error>>) {
        let (secret, is_key) = match &with {
            SignInWith::ApiKey(key) => (key, true),
            SignInWith::Grant(grant) => (&grant.access_token, false),
        };
        if is_key != (self.context.id.method == Method::ApiKey) {
            let text = format!("{} does not take what was given", self.context.id.method);
            let _ = reply.send(Err(Error::new(ErrorKind::InvalidInput, text)));
            return;
        }
        // What can not stand in a header is refused before it is stored.
        if let Err(error) = self.context.provider.headers(self.context.id.method, secret) {
            let _ = reply.send(Err(error));
            return;
        }
        let records = self.records();
        let begun = self.cell.desk().era();
        let seen = self.core.generation().max(self.context.shared.rest.newest());
        let work = async move { records.sign_in(with, begun, seen).await };
        let if_it_dies = || Err(interrupted("the sign-in"));
        let told = |outcome| Inner::SignedIn { outcome, reply };
        self.context.shared.tasks.spawn(self.errand(work, if_it_dies, told));
    }

    pub(super) fn allow_fallback(&self, allowed: bool, reply: Reply<Result<(), Error>>) {
        if self.context.id.method != Method::ApiKey {
            let text = format!("{} is no api key to fall back to, name one", self.context.id);
            let _ = reply.send(Err(Error::new(ErrorKind::InvalidInput, text)));
            return;
        }
        let (records, handle) = (self.records(), self.handle.clone());
        let begun = self.cell.desk().era();
        let work = async move {
            let done = |outcome| {
                let permitted = Inner::Permitted { allowed, begun, outcome, reply };
                handle.post(ProviderMessage::inner(permitted));
            };
            records.allow_fallback(allowed, begun, done).await;
        };
        self.context.shared.tasks.spawn(work.in_current_span());
    }

    pub(super) fn save(&self, material: Arc<Material>) {
        let (records, generation) = (self.records(), material.generation);
        let work = async move { records.save(&material).await.map_err(|error| error.to_string()) };
        let if_it_dies = || Err(died("the writing of it"));
        let told = move |result| Inner::Saved { generation, result };
        self.context.shared.tasks.spawn(self.errand(work, if_it_dies, told));
    }

    pub(super) fn erase(&mut self, generation: Generation, material: Option<Arc<Material>>) {
        let records = self.records();
        let reply = self.signing_out.take();
        let work = async move { records.sign_out(material).await };
        let if_it_dies = || (Err(interrupted("the sign-out")), false);
        let told = move |(result, revoked)| Inner::Erased { generation, result, revoked, reply };
        self.context.shared.tasks.spawn(self.errand(work, if_it_dies, told));
    }

    /// Slow work that posts what it comes to, or `if_it_dies` where it does: whoever waits for an
    /// outcome would wait for ever else, the core included.
    pub(super) fn errand<O>(
        &self,
        work: impl Future<Output = O> + Send + 'static,
        if_it_dies: impl FnOnce() -> O + Send + 'static,
        told: impl FnOnce(O) -> Inner + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        O: Send + 'static,
    {
        let handle = self.handle.clone();
        async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| if_it_dies());
            handle.post(ProviderMessage::inner(told(outcome)));
        }
        .in_current_span()
    }
}

/// What is said of work that died.
pub(super) fn died(what: &str) -> String {
    format!("{what} died, it is tried again")
}

fn interrupted(what: &str) -> Error {
    Error::new(ErrorKind::Interrupted, format!("{what} died half-way, ask again"))
}
