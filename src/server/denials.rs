//! Access tokens that are not good any more although they have not expired: a list of their ids and
//! families, kept in the vault for as long as such tokens live, and read without a message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use serde_json::json;

use super::application::{ApplicationId, LONGEST_TOKEN_LIFETIME};
use super::claims::LONGEST_LIFE;
use super::detached::{Insistence, UnderWay, detached};
use crate::error::Error;
use crate::identity::UserId;
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::payload::{self, FORMAT};
use crate::vault::{Batch, Entry, Expect, RecordKey, RecordKind, Tags, VaultHandle};

/// How much longer than a token lives it is listed: no less than the most leeway.
const MARGIN: Duration = Duration::from_mins(1);

/// The tokens that are denied. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Denials(Arc<DashMap<String, SystemTime>>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    name: String,
    until: SystemTime,
}

impl Denials {
    /// Denies from now on. The entry is durable before.
    pub(crate) fn add(&self, denied: Denied) {
        self.0.insert(denied.name, denied.until);
    }

    /// Whether a token with this id, of this family, is denied.
    pub(crate) fn contains(&self, token_id: &str, family: Option<&str>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.contains_key(&of_token(token_id))
            || family.is_some_and(|family| self.0.contains_key(&of_family(family)))
    }

    /// Whether the tokens of an application are denied that do not say of which generation they are.
    pub(crate) fn contains_application(&self, client_id: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(&of_application(client_id))
    }

    /// Makes a denial of an application's token durable, and then it is seen. It is followed to its end also
    /// when nobody waits for the answer any more, and done again when nobody knows whether it is durable.
    pub(crate) async fn deny(
        &self,
        denied: Denied,
        of: &ApplicationId,
        vault: VaultHandle,
        insistence: &Insistence,
        under_way: UnderWay,
    ) -> Result<(), Error> {
        let (denials, name, place) = (self.clone(), denied.name.clone(), insistence.place(of)?);
        let owner = of.owner();
        let attempt = move || {
            let (denials, denied) = (denials.clone(), denied.clone());
            let (owner, vault) = (owner.clone(), vault.clone());
            async move {
                let entry = AuditEntry::new(AuditKind::Revoked).user(&owner).origin("token-issuer");
                vault.commit(denied.put(Batch::new().record(entry), &owner)).await?;
                denials.add(denied);
                Ok(())
            }
        };
        detached(under_way, async move {
            let outcome = attempt().await;
            if outcome.is_err() {
                place.insist(name, attempt);
            }
            outcome
        })
        .await
    }

    /// Forgets what has expired in any case.
    pub(crate) fn purge(&self, now: SystemTime) {
        self.0.retain(|_, until| now < *until);
    }
}

impl Denied {
    /// The one access token, until it expires in any case. None when it has: nothing need be kept.
    pub(crate) fn token(token_id: &str, expires: SystemTime, now: SystemTime) -> Option<Self> {
        let until = expires.checked_add(MARGIN)?;
        (now < until).then(|| Self { name: of_token(token_id), until })
    }

    /// Every access token of a family that was issued until now.
    pub(crate) fn family(family: &str, now: SystemTime) -> Self {
        Self { name: of_family(family), until: now + LONGEST_TOKEN_LIFETIME + MARGIN }
    }

    /// Every token of a former server that was issued to an application which is removed: it names no
    /// generation, and lives for a year at most.
    pub(crate) fn application(id: &ApplicationId, now: SystemTime) -> Self {
        Self { name: of_application(id.as_str()), until: now + LONGEST_LIFE + MARGIN }
    }

    /// What the index of the vault has.
    pub(crate) fn from_entry(entry: &Entry) -> Option<Self> {
        Some(Self { name: entry.key.name.clone(), until: entry.tags.due? })
    }

    /// Adds the entry to a batch, as a record of `owner`.
    pub(crate) fn put(&self, batch: Batch, owner: &UserId) -> Batch {
        let key = RecordKey::new(RecordKind::RevokedToken, owner.clone(), self.name.clone());
        let payload = payload::write(&json!({ "format": FORMAT }));
        let tags = Tags { provider: None, due: Some(self.until) };
        // All that it says is its name and its time, so one that does not open is no worse than none.
        batch.put(key, payload, Expect::AnythingOrQuarantined, tags)
    }
}

fn of_token(token_id: &str) -> String {
    format!("token {token_id}")
}

fn of_family(family: &str) -> String {
    format!("family {family}")
}

fn of_application(id: &str) -> String {
    format!("application {id}")
}

#[cfg(test)]
mod tests {
    use std::iter;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::Sources;
    use crate::provider::catalog;
    use crate::runtime::Runtime;
    use crate::vault::{Query, Vault};

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn s_jwt_5_a_token_is_denied_by_its_id_and_by_its_family_and_by_nothing_else() {
        let denials = Denials::default();
        assert!(!denials.contains("one", Some("a")));
        denials.add(Denied::token("one", time(100), time(0)).expect("it has not expired"));
        denials.add(Denied::family("a", time(0)));
        assert!(denials.contains("one", None) && denials.contains("two", Some("a")));
        assert!(!denials.contains("two", Some("b")) && !denials.contains("a", Some("one")));
    }

    #[tokio::test]
    async fn s_rev_11_where_too_many_wait_for_the_vault_nothing_more_is_begun() {
        let runtime = Runtime::builder().vault(Vault::in_memory()).provider(catalog::anthropic());
        let runtime = runtime.start().await.expect("a runtime");
        let (vault, sources) = (runtime.vault().clone(), Sources::system());
        let (denials, insistence) = (Denials::default(), Insistence::new(sources.clock.clone()));
        let denied = Denied::token("one", time(100), time(0)).expect("it has not expired");
        let of = "app_one".parse().expect("an id");
        let deny = async || {
            let under_way = Arc::new(Semaphore::new(1)).try_acquire_owned();
            let under_way = Arc::new(under_way.expect("a place"));
            denials.deny(denied.clone(), &of, vault.clone(), &insistence, under_way).await
        };

        let places: Vec<_> = iter::from_fn(|| insistence.place(&of).ok()).collect();
        assert!(deny().await.expect_err("there is no place").is_overloaded());
        let kept = vault.list(Query::all(RecordKind::RevokedToken)).await.expect("a list");
        assert!(kept.is_empty() && !denials.contains("one", None), "nothing has happened");
        drop(places);
        deny().await.expect("there is room again");
        assert!(denials.contains("one", None));
    }

    #[test]
    fn s_jwt_5_a_denial_outlives_every_token_that_it_is_for() {
        let denials = Denials::default();
        denials.add(Denied::token("one", time(100), time(0)).expect("it has not expired"));
        denials.add(Denied::family("a", time(0)));
        denials.purge(time(159));
        assert!(
            denials.contains("one", None),
            "the leeway of those who verify is a minute at most"
        );
        denials.purge(time(160));
        assert!(!denials.contains("one", None));
        assert_eq!(Denied::token("one", time(100), time(160)), None, "it has expired in any case");
        denials.purge(time(659));
        assert!(denials.contains("two", Some("a")));
        denials.purge(time(660));
        assert!(!denials.contains("two", Some("a")));
    }
}
