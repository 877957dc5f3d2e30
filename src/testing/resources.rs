//! What was made with the tokens of a simulated provider, and is kept there: memories, and messages
//! that were sent.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ledger::Fingerprint;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Resources {
    pub(super) memories: Shelf,
    pub(super) messages: Vec<Value>,
}

/// The memories of a Memory Bank, the oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Shelf {
    memories: Vec<Value>,
    /// What was created under which idempotency key, and by which body.
    keys: HashMap<String, (Fingerprint, Value)>,
}

/// What became of a creation.
pub(super) enum Filed {
    /// Made now.
    New(Value),
    /// Made before, under the same key and by the same body.
    Before(Value),
    /// The key came before with another body.
    Conflict,
}

/// What memories have to be like to be found.
pub(super) struct Wanted<'a> {
    pub(super) words: Vec<String>,
    pub(super) tags: Vec<&'a str>,
    /// RFC 3339 in UTC, which sorts as text.
    pub(super) after: Option<&'a str>,
    pub(super) before: Option<&'a str>,
}

impl Shelf {
    pub(super) fn all(&self) -> &[Value] {
        &self.memories
    }

    /// Adds what `make` makes, once for each key.
    pub(super) fn add(
        &mut self,
        key: Option<&str>,
        body: &[u8],
        make: impl FnOnce() -> Value,
    ) -> Filed {
        let body = Fingerprint::of(&String::from_utf8_lossy(body));
        if let Some((known, memory)) = key.and_then(|key| self.keys.get(key)) {
            return if *known == body { Filed::Before(memory.clone()) } else { Filed::Conflict };
        }
        let memory = make();
        if let Some(key) = key {
            self.keys.insert(key.to_owned(), (body, memory.clone()));
        }
        self.memories.push(memory.clone());
        Filed::New(memory)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.memories.iter().find(|memory| memory["id"] == id)
    }

    /// Removes a memory; whether there was one.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let before = self.memories.len();
        self.memories.retain(|memory| memory["id"] != id);
        self.memories.len() < before
    }

    /// What is like `wanted`, with the share of its words that were found: the best first, and of
    /// equals the newest.
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> Vec<(f64, &Value)> {
        let mut found: Vec<_> = self
            .memories
            .iter()
            .rev()
            .filter_map(|memory| {
                let share = wanted.share(memory)?;
                Some((share, memory))
            })
            .collect();
        found.sort_by(|one, other| other.0.total_cmp(&one.0));
        found
    }
}

impl Wanted<'_> {
    fn share(&self, memory: &Value) -> Option<f64> {
        let created = memory["created_at"].as_str().unwrap_or_default();
        let has = |tag: &&str| {
            memory["tags"].as_array().is_some_and(|tags| tags.iter().any(|it| it == tag))
        };
        let in_time = self.after.is_none_or(|after| created > after)
            && self.before.is_none_or(|before| created < before);
        if !in_time || !self.tags.iter().all(has) {
            return None;
        }
        let content = memory["content"].as_str().unwrap_or_default().to_lowercase();
        let hits = self.words.iter().filter(|word| content.contains(word.as_str())).count();
        // Both are small.
        #[allow(clippy::cast_precision_loss, reason = "nobody searches for 2^52 words")]
        let share = hits as f64 / self.words.len().max(1) as f64;
        (hits > 0).then_some(share)
    }
}
