//! When requests go on with the user's API key, since the credential that they are meant for needs
//! its user. The decision is a plain function of two snapshots; what is told, is told once.

use super::cell::Cell;
use super::snapshot::Snapshot;
use crate::clock::Moment;
use crate::event::{CredentialState, EventKind};
use crate::identity::{CredentialId, Method};
use crate::supervision::EventBus;

/// What a request was authenticated with instead of what the session names.
///
/// It stands in [`Authentication::fallback`](crate::runtime::Authentication::fallback), and in the
/// extensions of each answer to such a request:
/// `reply.extensions().get::<tokenward::credential::Fallback>()`.
///
/// ```
/// use tokenward::{Fallback, Label};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("openai").with_api_key(openai.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("openai").await?;
/// // She says so once: a key is billed by its use.
/// ada.allow_fallback("openai", &Label::default()).await?;
///
/// let reply = session.client().get("/v1/models").send().await?;
/// match reply.extensions().get::<Fallback>() {
///     Some(fallback) => println!("{} was spent, {:?}", fallback.key, fallback.reason),
///     None => println!("the session's own credential was used"),
/// }
/// # assert!(reply.extensions().get::<Fallback>().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fallback {
    /// The API key that was spent.
    pub key: CredentialId,
    /// The credential that needs its user.
    pub instead_of: CredentialId,
    /// What for.
    pub reason: Option<String>,
}

/// Whether a credential gives no token until its user has signed in again. What was signed out of
/// does not: that the user wanted.
pub(crate) fn needs_user(own: &Snapshot, now: impl FnOnce() -> Moment) -> bool {
    own.id.method != Method::ApiKey
        && own.state == CredentialState::ReauthorizationRequired
        && !own.is_usable(now())
}

/// Whether requests that are meant for `own` go on with `key`: the user allowed it, the accounts
/// are the same, and the provider did not refuse the key when it was used last.
pub(crate) fn stands_in(key: &Snapshot, own: &Snapshot, now: Moment) -> bool {
    let same_account = key.id.user == own.id.user
        && key.id.provider == own.id.provider
        && key.id.label == own.id.label;
    needs_user(own, || now)
        && same_account
        && key.id.method == Method::ApiKey
        && key.stands_in
        && key.state == CredentialState::Valid
        && key.is_usable(now)
}

impl Cell {
    /// Requests that are meant for this credential go on with `key`, if they may.
    pub(super) fn fall_back(
        &self,
        key: &Snapshot,
        now: Moment,
        events: &EventBus,
    ) -> Option<Fallback> {
        // The snapshot is read under the lock: one that ends the fallback is published before the
        // lock is asked for, so the end never comes before the beginning.
        let mut desk = self.desk();
        let own = self.snapshot();
        let to = stands_in(key, &own, now);
        let from = std::mem::replace(&mut desk.fallen_back, to);
        tell(from, to, &own, Some(key), events);
        to.then(|| Fallback {
            key: key.id.clone(),
            instead_of: own.id.clone(),
            reason: own.reason.clone(),
        })
    }

    /// Ends a fallback that the published snapshot gives no cause for any more.
    pub(super) fn end_fallback(&self, now: Moment, events: &EventBus) {
        let mut desk = self.desk();
        let own = self.snapshot();
        if !needs_user(&own, || now) {
            let from = std::mem::take(&mut desk.fallen_back);
            tell(from, false, &own, None, events);
        }
    }
}

fn tell(from: bool, to: bool, own: &Snapshot, key: Option<&Snapshot>, events: &EventBus) {
    let credential = own.id.clone();
    match (from, to, key) {
        (false, true, Some(key)) => events.emit(EventKind::FallbackBegan {
            credential,
            key: key.id.clone(),
            reason: own.reason.clone(),
        }),
        (true, false, _) => events.emit(EventKind::FallbackEnded { credential }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::credential::schedule::Usable;
    use crate::identity::{Label, ProviderId, UserId};
    use crate::supervision::Notice;
    use crate::testing::ManualClock;

    const NOW: Moment =
        Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::from_secs(1_000) };

    fn state() -> impl Strategy<Value = CredentialState> {
        prop::sample::select(vec![
            CredentialState::Loading,
            CredentialState::Absent,
            CredentialState::Valid,
            CredentialState::ExpiringSoon,
            CredentialState::Refreshing,
            CredentialState::Degraded,
            CredentialState::Expired,
            CredentialState::Uncertain,
            CredentialState::ReauthorizationRequired,
            CredentialState::ReauthorizationRequired,
            CredentialState::Unreadable,
        ])
    }

    prop_compose! {
        fn snapshot(methods: &'static [Method])(
            state in state(),
            method in prop::sample::select(methods.to_vec()),
            label in prop::sample::select(vec!["default", "default", "work"]),
            usable: bool,
            stands_in in prop::bool::weighted(0.8),
        ) -> Snapshot {
            let id = CredentialId {
                user: UserId::new("ada").expect("a name"),
                provider: ProviderId::new("openai").expect("a name"),
                method,
                label: Label::new(label).expect("a name"),
            };
            let usable = if usable { Usable::WithoutEnd } else { Usable::No };
            Snapshot { state, usable, stands_in, ..Snapshot::loading(id) }
        }
    }

    const OF_USERS: &[Method] = &[Method::AuthorizationCode, Method::DeviceCode];

    proptest! {
        #[test]
        fn a_key_is_spent_only_when_it_is_allowed_and_there_is_no_token(
            own in snapshot(OF_USERS),
            key in snapshot(&[Method::ApiKey]),
        ) {
            if stands_in(&key, &own, NOW) {
                prop_assert!(key.may_stand_in());
                prop_assert!(!own.is_usable(NOW), "the sign-in comes first while it is good");
                prop_assert_eq!(own.state(), CredentialState::ReauthorizationRequired);
                prop_assert_eq!(&key.id().label, &own.id().label, "the same account");
            }
        }

        #[test]
        fn each_beginning_has_one_end_whatever_comes_in_between(
            steps in prop::collection::vec(
                (snapshot(OF_USERS), snapshot(&[Method::ApiKey]), any::<bool>()),
                0..40,
            ),
        ) {
            let events = EventBus::new(ManualClock::new(SystemTime::UNIX_EPOCH).sources());
            let mut heard = events.subscribe();
            let id = steps.first().map(|(own, ..)| own.id.clone());
            let cell = id.map(Cell::new);
            let (mut open, mut expected) = (false, Vec::new());
            for (own, key, request) in steps {
                let cell = cell.as_ref().expect("there is a step");
                cell.publish(Arc::new(own.clone()));
                cell.end_fallback(NOW, &events);
                let mut now_open = open && needs_user(&own, || NOW);
                if open && !now_open {
                    expected.push(false);
                }
                if request {
                    let before = now_open;
                    now_open = cell.fall_back(&key, NOW, &events).is_some();
                    if before != now_open {
                        expected.push(now_open);
                    }
                }
                open = now_open;
            }
            let mut told = Vec::new();
            while let Some(Some(Notice::Event(event))) = heard.next().now_or_never() {
                told.push(matches!(event.kind, EventKind::FallbackBegan { .. }));
            }
            prop_assert!(told.iter().zip(told.iter().skip(1)).all(|(one, next)| one != next));
            prop_assert_eq!(told, expected);
        }
    }
}
