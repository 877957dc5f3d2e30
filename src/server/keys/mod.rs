//! The keys that sign the server's tokens, and when one takes over from another: published before it
//! signs, and kept after the last token that it signed. Without a clock and without I/O.

mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::jws::{SigningAlgorithm, SigningKey};

/// When keys take over from one another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyPolicy {
    /// What fresh keys sign with.
    pub(crate) algorithm: SigningAlgorithm,
    /// How long a key signs.
    pub(crate) lifetime: Duration,
    /// How long a key is published before it signs: no less than others keep the published keys.
    pub(crate) publish_ahead: Duration,
    /// How long a key is kept after it signed for the last time: no less than a token lives.
    pub(crate) keep_after: Duration,
}

/// All keys of a server.
#[derive(Debug, Clone)]
pub(crate) struct KeyRing {
    /// What secrets are hashed with.
    pub(crate) hash_key: Arc<Zeroizing<[u8; 32]>>,
    /// In the order in which they sign; never empty.
    keys: Vec<RingKey>,
    /// What its record has beside, from a newer release.
    kept: Map<String, Value>,
}

/// A key and its turn.
#[derive(Debug, Clone)]
pub(crate) struct RingKey {
    pub(crate) key: Arc<SigningKey>,
    /// From when on it signs, until the next one does.
    pub(crate) signs_from: SystemTime,
    /// What the record has of it beside, from a newer release.
    kept: Map<String, Value>,
}

impl RingKey {
    fn new(key: &Arc<SigningKey>, signs_from: SystemTime) -> Self {
        Self { key: Arc::clone(key), signs_from, kept: Map::new() }
    }
}

/// What is to be done about a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// A fresh key has to be published.
    pub(crate) fresh: bool,
    /// Some keys are not needed any more.
    pub(crate) gone: usize,
    /// When to look again.
    pub(crate) next: SystemTime,
}

impl KeyRing {
    /// A ring whose first key signs at once: nobody can have kept anything older.
    pub(crate) fn new(
        hash_key: Arc<Zeroizing<[u8; 32]>>,
        first: &Arc<SigningKey>,
        now: SystemTime,
    ) -> Self {
        Self { hash_key, keys: vec![RingKey::new(first, now)], kept: Map::new() }
    }

    /// What is to be done at `now`, and when next.
    pub(crate) fn due(&self, policy: &KeyPolicy, now: SystemTime) -> Due {
        let newest = self.newest();
        let successor_due =
            newest.signs_from + policy.lifetime.saturating_sub(policy.publish_ahead);
        let fresh = now >= successor_due || newest.key.algorithm() != policy.algorithm;
        // The first keys are the oldest, and each goes before the next one does.
        let ends: Vec<_> =
            self.keys.iter().skip(1).map(|next| next.signs_from + policy.keep_after).collect();
        let gone = ends.iter().take_while(|end| **end <= now).count();
        let next =
            ends.into_iter().skip(gone).chain([successor_due]).min().unwrap_or(successor_due);
        Due { fresh, gone, next }
    }

    /// The ring after what is due: with `fresh` where a fresh key is.
    pub(crate) fn kept_up(
        &self,
        policy: &KeyPolicy,
        now: SystemTime,
        fresh: &Arc<SigningKey>,
    ) -> Self {
        let due = self.due(policy, now);
        let mut ring = self.clone();
        ring.keys.drain(..due.gone);
        if due.fresh {
            ring.publish(policy, now, fresh);
        }
        ring
    }

    /// The ring with `fresh` as the next to sign, before its time. None when one that does not sign
    /// yet is published already.
    pub(crate) fn rotated(
        &self,
        policy: &KeyPolicy,
        now: SystemTime,
        fresh: &Arc<SigningKey>,
    ) -> Option<Self> {
        if self.newest().signs_from > now {
            return None;
        }
        let mut ring = self.clone();
        ring.publish(policy, now, fresh);
        Some(ring)
    }

    /// The ring with `fresh` and no other key: every token that was signed before is void.
    pub(crate) fn replaced(&self, now: SystemTime, fresh: &Arc<SigningKey>) -> Self {
        let hash_key = Arc::clone(&self.hash_key);
        Self { hash_key, keys: vec![RingKey::new(fresh, now)], kept: self.kept.clone() }
    }

    /// The keys, in the order in which they sign.
    pub(crate) fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    fn publish(&mut self, policy: &KeyPolicy, now: SystemTime, fresh: &Arc<SigningKey>) {
        let signs_from = now + policy.publish_ahead;
        self.keys.push(RingKey::new(fresh, signs_from));
    }

    fn newest(&self) -> &RingKey {
        // A ring is made with a key, and never loses its last one.
        &self.keys[self.keys.len() - 1]
    }
}

/// The key of `keys` that signs at `now`: the last whose turn has come. Should the clock say that no
/// turn has, the first one goes on.
pub(crate) fn signing(keys: &[RingKey], now: SystemTime) -> Option<&Arc<SigningKey>> {
    let turn = keys.iter().rev().find(|key| key.signs_from <= now);
    turn.or_else(|| keys.first()).map(|key| &key.key)
}
