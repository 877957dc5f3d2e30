//! API keys, which nothing renews: whether the provider takes them, and whether they may stand in
//! for the user's other sign-ins.

use super::{Effect, Lifecycle, Trouble};
use crate::credential::material::Life;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::identity::Generation;
use crate::provider::{Failure, FailureClass};

impl Lifecycle {
    /// Whether the API key may be spent while the user's other sign-ins at its provider can not be
    /// used.
    pub(crate) fn stands_in(&self) -> bool {
        self.held.is_some() && self.stands_in == Some(true)
    }

    /// A resource refused the key in force. It is kept and can be used: a provider may err, and
    /// only the user knows better. Everyone sees that it was refused.
    pub(super) fn key_refused(&mut self, to: &mut Vec<Effect>) {
        self.note_refusal(to);
        let text = format!("{} refuses the API key, sign in with another one", self.id.provider);
        to.push(Effect::Answer(Err(Error::new(ErrorKind::ReauthorizationRequired, text))));
    }

    pub(super) fn note_refusal(&mut self, to: &mut Vec<Effect>) {
        if self.trouble.is_some() {
            return;
        }
        let reason = format!("{} refuses the API key", self.id.provider);
        let failure = Failure::new(FailureClass::ReauthorizationRequired, reason);
        self.trouble = Some(Trouble { failure, attempts: 1, retry_at: None });
        self.remember(to);
    }

    /// A resource took the key of `generation`: a refusal before it was not the last word. What a
    /// token needs is not mended by its use.
    pub(super) fn accepted(&mut self, generation: Generation, to: &mut Vec<Effect>) {
        if self.holds_key(generation) && self.trouble.take().is_some() {
            to.push(Effect::Forget { generation });
        }
    }

    pub(super) fn stand_in(&mut self, allowed: bool, to: &mut Vec<Effect>) {
        if self.stands_in.replace(allowed) != Some(allowed) {
            let credential = self.id.clone();
            to.push(Effect::Emit(EventKind::FallbackAllowed { credential, allowed }));
        }
    }

    /// Whether the key of `generation` is in force.
    pub(super) fn holds_key(&self, generation: Generation) -> bool {
        self.held.as_ref().is_some_and(|held| {
            held.material.life == Life::Unlimited && held.material.generation == generation
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::super::{Event, Evidence, Loaded};
    use super::*;
    use crate::clock::Moment;
    use crate::credential::material::Material;
    use crate::event::CredentialState;
    use crate::identity::{CredentialId, Label, Method, ProviderId, UserId};
    use crate::provider::RefreshPolicy;
    use crate::secret::Secret;

    const NOW: Moment =
        Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::from_secs(1_000) };

    /// What happens to a key, and what a user would expect to see of it.
    #[derive(Debug, Clone)]
    enum Op {
        Refused { late: bool },
        Accepted { late: bool },
        Refresh,
        Invalidate,
        NewKey,
        Allow(bool),
        SignOut,
        Restart,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            any::<bool>().prop_map(|late| Op::Refused { late }),
            any::<bool>().prop_map(|late| Op::Accepted { late }),
            Just(Op::Refresh),
            Just(Op::Invalidate),
            Just(Op::NewKey),
            any::<bool>().prop_map(Op::Allow),
            Just(Op::SignOut),
            Just(Op::Restart),
        ]
    }

    /// The key and its vault.
    struct World {
        core: Lifecycle,
        material: Option<Arc<Material>>,
        remembered: Option<Trouble>,
        allowed: bool,
        refused: bool,
    }

    impl World {
        fn new() -> Self {
            let core = Lifecycle::new(id(), RefreshPolicy::default());
            let mut world =
                Self { core, material: None, remembered: None, allowed: false, refused: false };
            world.restart();
            world
        }

        fn step(&mut self, event: Event) -> Vec<Effect> {
            let effects = self.core.step(event, Evidence { now: NOW, noise: 7 });
            for effect in &effects {
                match effect {
                    Effect::Remember { trouble, .. } => self.remembered = Some(trouble.clone()),
                    Effect::Forget { .. } => self.remembered = None,
                    Effect::Renew { .. } => panic!("an api key is never renewed"),
                    _ => {}
                }
            }
            effects
        }

        fn restart(&mut self) {
            self.core = Lifecycle::new(id(), RefreshPolicy::default());
            self.step(Event::Loaded(Loaded {
                material: self.material.clone(),
                trouble: self.remembered.clone(),
                stands_in: self.allowed,
                ..Loaded::default()
            }));
        }

        fn generation(&self, late: bool) -> Generation {
            let current = self.core.generation();
            if late { Generation(current.0.saturating_sub(1)) } else { current }
        }

        fn apply(&mut self, op: &Op) {
            let held = self.material.is_some();
            match op {
                Op::Refused { late } => {
                    let generation = self.generation(*late);
                    self.step(Event::Rejected { generation });
                    self.refused |= held && !late;
                }
                Op::Accepted { late } => {
                    let generation = self.generation(*late);
                    self.step(Event::Accepted { generation });
                    self.refused &= *late;
                }
                Op::Refresh => drop(self.step(Event::Refresh)),
                Op::Invalidate => drop(self.step(Event::Invalidate)),
                Op::NewKey => {
                    let generation = self.core.generation().next();
                    let key = Arc::new(Material::api_key(Secret::new("key"), generation, NOW));
                    (self.material, self.remembered) = (Some(key.clone()), None);
                    self.step(Event::SignedIn { material: key, unsaved: None });
                    self.refused = false;
                }
                Op::Allow(allowed) if held => {
                    let told = self.step(Event::StandIn { allowed: *allowed });
                    let told = told.iter().any(|effect| {
                        matches!(effect, Effect::Emit(EventKind::FallbackAllowed { .. }))
                    });
                    assert_eq!(told, *allowed != self.allowed, "told once per change");
                    self.allowed = *allowed;
                }
                Op::Allow(_) => {}
                Op::SignOut => {
                    self.step(Event::SignOut);
                    let generation = self.core.generation();
                    self.step(Event::Erased { generation, result: Ok(()), revoked: false });
                    (self.material, self.remembered) = (None, None);
                    (self.allowed, self.refused) = (false, false);
                }
                Op::Restart => self.restart(),
            }
            self.check();
        }

        fn check(&self) {
            let expected = match (&self.material, self.refused) {
                (None, _) => CredentialState::Absent,
                (Some(_), false) => CredentialState::Valid,
                (Some(_), true) => CredentialState::ReauthorizationRequired,
            };
            assert_eq!(self.core.state(NOW), expected);
            assert_eq!(self.core.reason().is_some(), self.refused, "a refusal has its reason");
            let usable = self.core.usable(NOW) == crate::credential::schedule::Usable::WithoutEnd;
            assert_eq!(usable, self.material.is_some(), "a refused key is not taken away");
            assert_eq!(self.core.stands_in(), self.allowed);
            assert_eq!(self.core.next_deadline(NOW), None, "a key has no deadline");
        }
    }

    fn id() -> CredentialId {
        CredentialId {
            user: UserId::new("ada").expect("a name"),
            provider: ProviderId::new("openai").expect("a name"),
            method: Method::ApiKey,
            label: Label::default(),
        }
    }

    proptest! {
        #[test]
        fn a_key_shows_the_last_word_of_its_provider_and_of_its_user_over_any_restart(
            ops in prop::collection::vec(op(), 0..40),
        ) {
            let mut world = World::new();
            for op in &ops {
                world.apply(op);
            }
        }
    }

    #[test]
    fn a_refusal_is_remembered_once_however_many_requests_meet_it() {
        let mut world = World::new();
        world.apply(&Op::NewKey);
        let generation = world.core.generation();
        let remembered = |effects: &[Effect]| {
            effects.iter().filter(|effect| matches!(effect, Effect::Remember { .. })).count()
        };
        assert_eq!(remembered(&world.step(Event::Rejected { generation })), 1);
        assert_eq!(remembered(&world.step(Event::Rejected { generation })), 0);
    }
}
