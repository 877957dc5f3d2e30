//! What a credential shows of itself: the snapshot that its holders read without a message, and the
//! headers in it, which are built once for each material.

use std::sync::Arc;

use http::HeaderMap;
use tracing::error;

use super::State;
use crate::credential::lifecycle::Evidence;
use crate::credential::material::Material;
use crate::credential::schedule::Usable;
use crate::credential::snapshot::Snapshot;
use crate::error::Error;

impl State {
    /// Publishes a new snapshot, unless nothing changed that anyone could see.
    pub(super) fn publish(&mut self, evidence: Evidence) {
        let now = evidence.now;
        if self.core.is_loading() {
            // What an earlier incarnation published stands until the vault has been heard.
            return;
        }
        let old = self.cell.peek();
        let material = self.core.material();
        let (headers, refused) = match material.map(|material| self.headers(&old, material)) {
            None => (Arc::default(), None),
            Some(Ok(headers)) => (headers, None),
            Some(Err(error)) => {
                error!(credential = %self.context.id, %error, "a token can not stand in a header");
                (Arc::default(), Some(error.to_string()))
            }
        };
        let usable = if refused.is_some() { Usable::No } else { self.core.usable(now) };
        let mut new = Snapshot {
            id: self.context.id.clone(),
            state: self.core.state(now),
            generation: self.core.generation(),
            usable,
            expires_at: material.and_then(|material| material.expires_at()),
            retry_at: self.core.retry_at(),
            kept: self.core.kept(now),
            reason: refused.or_else(|| self.core.reason()),
            durable: !self.core.is_unsaved(),
            scopes: material.and_then(|material| material.scopes.clone()),
            account: material.and_then(|material| material.account.clone()),
            advice: material.and_then(|material| {
                let by = self.context.provider.registration();
                material.issued_to.advice(material.scopes.as_deref(), &by)
            }),
            stands_in: self.core.stands_in(),
            headers,
        };
        if self.core.is_unreadable() && !self.core.has_given_up(old.generation) {
            // An actor before this one knew the token, and its headers are at hand: they are served
            // to their end whether the vault can be read or not.
            new = Snapshot {
                usable: old.usable,
                expires_at: old.expires_at,
                durable: old.durable,
                scopes: old.scopes.clone(),
                account: old.account.clone(),
                advice: old.advice.clone(),
                headers: old.headers.clone(),
                ..new
            };
        }
        if !new.looks_like(&old) {
            self.cell.publish(Arc::new(new));
            self.cell.end_fallback(now, &self.context.shared.events);
        }
        if !self.core.is_unreadable() {
            self.cell.desk().published(material);
        }
        self.published = material.cloned();
    }

    /// The headers, built once for each material. By its address rather than its generation: a
    /// renewal and a sign-in that cross may be given the same one.
    fn headers(&self, old: &Snapshot, material: &Arc<Material>) -> Result<Arc<HeaderMap>, Error> {
        let same = self.published.as_ref().is_some_and(|it| Arc::ptr_eq(it, material));
        if same && !old.headers.is_empty() {
            return Ok(old.headers.clone());
        }
        self.context.provider.headers(self.context.id.method, &material.access).map(Arc::new)
    }

    pub(super) fn answer_inspections(&mut self) {
        let snapshot = self.cell.peek();
        if self.inspecting.is_empty() || self.core.is_loading() {
            return;
        }
        for reply in std::mem::take(&mut self.inspecting) {
            let _ = reply.send(Arc::clone(&snapshot));
        }
    }
}
