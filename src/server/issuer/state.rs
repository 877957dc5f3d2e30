//! The token issuer as a plain function of events: which changes are made, in which order, and what
//! is visible when. One change is written at a time; it is visible once it is durable.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind};
use crate::server::application::{Application, ApplicationChange, ApplicationId, StoredSecret};
use crate::server::jws::SigningKey;
use crate::server::keys::{KeyPolicy, KeyRing};
use crate::vault::RecordVersion;
use crate::vault::audit::AuditKind;

/// The longest time that two secrets of an application are good together.
const LONGEST_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// How often a change is tried that finds another record than it is based on.
const TRIES: u32 = 3;

/// A record and the version that the vault has of it.
#[derive(Debug, Clone)]
pub(super) struct Stored<T> {
    pub(super) value: T,
    pub(super) version: RecordVersion,
}

/// What is to be changed. Whatever takes randomness was made before.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Register(Box<Application>),
    Alter {
        id: ApplicationId,
        change: Box<ApplicationChange>,
    },
    ReplaceSecret {
        id: ApplicationId,
        fresh: StoredSecret,
        overlap: Duration,
    },
    /// A secret was used, which is kept and is no change that anybody has to see.
    NoteUse {
        id: ApplicationId,
        hash: [u8; 32],
        used: SystemTime,
    },
    Remove {
        id: ApplicationId,
    },
    Keys {
        how: KeyChange,
        fresh: Arc<SigningKey>,
        hash_key: Arc<zeroize::Zeroizing<[u8; 32]>>,
    },
}

/// What is to be done about the signing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyChange {
    /// What is due, the first key included.
    Upkeep,
    /// Another key signs, before its time.
    Rotate,
    /// Another key signs at once, and what the others signed is void.
    Replace,
}

/// What the state does not know by itself, as it is now.
pub(super) struct Evidence<'a> {
    pub(super) now: SystemTime,
    /// When a secret was last used, also where that is not durable yet.
    pub(super) used: &'a dyn Fn(&StoredSecret) -> Option<SystemTime>,
    /// The secrets that nobody has, since they were lost on their way.
    pub(super) lost: BTreeSet<[u8; 32]>,
}

/// What is heard.
#[derive(Debug)]
pub(super) enum Event<W> {
    /// Everything that the vault has, which of it can not be read, and whether any of it was made with
    /// keys.
    Loaded {
        ring: Option<Stored<KeyRing>>,
        applications: Vec<Stored<Application>>,
        damaged: BTreeSet<ApplicationId>,
        made_with_keys: bool,
    },
    /// Somebody wants a change.
    Asked { change: Change, by: W },
    /// The write that was asked for has an outcome.
    Written(Written),
    /// What the vault has of the record that was to be read again.
    Reread(Result<Found, Error>),
}

/// How a write came out.
#[derive(Debug)]
pub(super) enum Written {
    /// It is durable, and this is what stands there now.
    Done(Found),
    /// The vault has something else than the change is based on, also a record that can not be read.
    Conflict,
    /// It may or may not be there.
    Failed(Error),
}

/// A record as it was read.
#[derive(Debug)]
pub(super) enum Found {
    Ring(Option<Stored<KeyRing>>),
    Application(Option<Box<Stored<Application>>>),
    /// An application that is there and can not be read.
    Damaged,
}

/// Names a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Ring,
    Application(ApplicationId),
}

/// A record as it is to be.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Ring(KeyRing),
    Application(Box<Application>),
    Gone(ApplicationId),
}

/// What a change is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// There is no record.
    Nothing,
    /// There is this version of it.
    Version(RecordVersion),
    /// There is one that can not be read, and somebody gives it up.
    Damaged,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect<W> {
    /// Makes `target` durable, if the vault has what it is based on.
    Write { target: Target, base: Base, audit: Option<AuditKind> },
    /// Reads a record again.
    Reread(Subject),
    /// Lets everybody see the keys and the applications as they are.
    Publish,
    /// Denies the tokens of an application that is over. Its removal has made that durable; where it was
    /// discarded beneath the issuer, it lasts for as long as the server runs.
    Deny(ApplicationId),
    /// Tells who asked.
    Answer { by: W, result: Result<(), Error> },
}

/// Everything that the issuer knows.
#[derive(Debug)]
pub(super) struct IssuerState<W> {
    policy: KeyPolicy,
    ring: Option<Stored<KeyRing>>,
    /// Whether there were keys at any time: others would void all that was made with them.
    had_keys: bool,
    applications: BTreeMap<ApplicationId, Stored<Application>>,
    /// Those whose record was found not to be readable, also where they are known from before.
    damaged: BTreeSet<ApplicationId>,
    under_way: Option<UnderWay<W>>,
    waiting: VecDeque<(Change, W)>,
}

/// The one change that is being made.
#[derive(Debug)]
struct UnderWay<W> {
    change: Change,
    by: W,
    /// What is being written; nothing while the vault is asked first.
    target: Option<Target>,
    tries: u32,
    /// What the write failed of, while its record is being read again.
    failure: Option<Error>,
}

impl<W> IssuerState<W> {
    pub(super) fn new(policy: KeyPolicy) -> Self {
        Self {
            policy,
            ring: None,
            had_keys: false,
            applications: BTreeMap::new(),
            damaged: BTreeSet::new(),
            under_way: None,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn ring(&self) -> Option<&KeyRing> {
        self.ring.as_ref().map(|stored| &stored.value)
    }

    pub(super) fn applications(&self) -> impl Iterator<Item = &Application> {
        self.applications.values().map(|stored| &stored.value)
    }

    /// Whether nothing is under way, and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.waiting.is_empty()
    }

    /// Whose secret the change that is next exchanges, if it does.
    pub(super) fn next_exchange(&self) -> Option<&ApplicationId> {
        match self.waiting.front() {
            Some((Change::ReplaceSecret { id, .. }, _)) if self.under_way.is_none() => Some(id),
            _ => None,
        }
    }

    /// What follows from an event. Then ask for the [next](Self::next) change.
    pub(super) fn step(&mut self, event: Event<W>, evidence: &Evidence<'_>) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        match event {
            Event::Loaded { ring, applications, damaged, made_with_keys } => {
                self.had_keys |= made_with_keys;
                self.damaged = damaged;
                self.ring = ring;
                let named = |stored: Stored<Application>| (stored.value.id.clone(), stored);
                self.applications = applications.into_iter().map(named).collect();
                effects.push(Effect::Publish);
            }
            Event::Asked { change, by } => self.waiting.push_back((change, by)),
            Event::Written(outcome) => self.written(outcome, &mut effects),
            Event::Reread(found) => self.reread(found, evidence, &mut effects),
        }
        effects
    }

    /// Begins the change that waits, if nothing is under way; none when there is nothing to begin. A change
    /// is planned when its turn comes, on evidence that is as new.
    pub(super) fn next(&mut self, evidence: &Evidence<'_>) -> Option<Vec<Effect<W>>> {
        if self.under_way.is_some() {
            return None;
        }
        let (change, by) = self.waiting.pop_front()?;
        let mut effects = Vec::new();
        if self.is_in_doubt(&change) {
            effects.push(Effect::Reread(change.subject()));
            self.under_way =
                Some(UnderWay { change, by, target: None, tries: TRIES, failure: None });
        } else {
            self.begin(change, by, TRIES, evidence, &mut effects);
        }
        Some(effects)
    }

    /// Whether the vault is asked before anything is said of the application: one that is not known may be
    /// there and not open, and one that did not open may have been discarded.
    fn is_in_doubt(&self, change: &Change) -> bool {
        match change {
            // The place of one that is not known is free, or the vault does not give it.
            Change::Register(application) => self.damaged.contains(&application.id),
            Change::Alter { id, .. } | Change::ReplaceSecret { id, .. } | Change::Remove { id } => {
                self.stored(id).is_err()
            }
            Change::NoteUse { .. } | Change::Keys { .. } => false,
        }
    }

    fn begin(
        &mut self,
        change: Change,
        by: W,
        tries: u32,
        evidence: &Evidence<'_>,
        effects: &mut Vec<Effect<W>>,
    ) {
        match self.planned(&change, evidence) {
            Ok(Some((target, base, audit))) => {
                effects.push(Effect::Write { target: target.clone(), base, audit });
                let target = Some(target);
                self.under_way = Some(UnderWay { change, by, target, tries, failure: None });
            }
            Ok(None) => effects.push(Effect::Answer { by, result: Ok(()) }),
            Err(error) => effects.push(Effect::Answer { by, result: Err(error) }),
        }
    }

    /// What a change comes to, as things are; none where nothing is to be changed.
    #[allow(clippy::type_complexity, reason = "the three parts of an effect, named there")]
    fn planned(
        &self,
        change: &Change,
        evidence: &Evidence<'_>,
    ) -> Result<Option<(Target, Base, Option<AuditKind>)>, Error> {
        let (altered, version) = match change {
            Change::Register(application) => {
                if self.damaged.contains(&application.id) {
                    return Err(damaged(&application.id));
                }
                if self.applications.contains_key(&application.id) {
                    let text = format!("there is an application {} already", application.id);
                    return Err(Error::new(ErrorKind::InvalidInput, text));
                }
                let target = Target::Application(application.clone());
                let audit = Some(AuditKind::ApplicationRegistered);
                return Ok(Some((target, Base::Nothing, audit)));
            }
            Change::Keys { how, fresh, hash_key } => {
                return self.keys(*how, fresh, hash_key, evidence.now);
            }
            Change::Remove { id } => {
                let base = if self.damaged.contains(id) {
                    Base::Damaged
                } else {
                    Base::Version(self.stored(id)?.version)
                };
                let target = Target::Gone(id.clone());
                return Ok(Some((target, base, Some(AuditKind::ApplicationRemoved))));
            }
            Change::Alter { id, change } => {
                let stored = self.stored(id)?;
                let mut altered = stored.value.clone();
                change.apply_to(&mut altered)?;
                if altered == stored.value {
                    return Ok(None);
                }
                (altered, stored.version)
            }
            Change::ReplaceSecret { id, fresh, overlap } => {
                if *overlap > LONGEST_OVERLAP {
                    let text = "two secrets are good together for 30 days at most";
                    return Err(Error::new(ErrorKind::InvalidInput, text));
                }
                let stored = self.stored(id)?;
                let mut altered = stored.value.clone();
                for secret in &mut altered.secrets {
                    secret.used = (evidence.used)(secret).or(secret.used);
                }
                // The newest of those that somebody has is the one that goes on.
                altered.forget_secrets(&evidence.lost);
                if altered.has_newest(fresh) && (altered.secrets.len() == 1 || !overlap.is_zero()) {
                    return Ok(None);
                }
                altered.replace_secret(fresh.clone(), *overlap, evidence.now);
                (altered, stored.version)
            }
            Change::NoteUse { id, hash, used } => {
                // Nothing to note of what is gone or damaged meanwhile.
                let Ok(stored) = self.stored(id) else { return Ok(None) };
                let mut altered = stored.value.clone();
                if !altered.note_use(hash, *used) {
                    return Ok(None);
                }
                let target = Target::Application(Box::new(altered));
                return Ok(Some((target, Base::Version(stored.version), None)));
            }
        };
        let target = Target::Application(Box::new(altered));
        Ok(Some((target, Base::Version(version), Some(AuditKind::ApplicationChanged))))
    }

    #[allow(clippy::type_complexity, reason = "the three parts of an effect, named there")]
    fn keys(
        &self,
        how: KeyChange,
        fresh: &Arc<SigningKey>,
        hash_key: &Arc<zeroize::Zeroizing<[u8; 32]>>,
        now: SystemTime,
    ) -> Result<Option<(Target, Base, Option<AuditKind>)>, Error> {
        let version = self.ring.as_ref().map(|stored| stored.version);
        let base = version.map_or(Base::Nothing, Base::Version);
        let ring = match (&self.ring, how) {
            (None, _) if self.had_keys => {
                let text = "the vault has lost the signing keys of its applications, restore a \
                            backup of it, or begin anew with AuthorizationServer::erase";
                return Err(Error::new(ErrorKind::VaultUnreadable, text));
            }
            (None, _) => KeyRing::new(Arc::clone(hash_key), fresh, now),
            (Some(stored), KeyChange::Upkeep) => {
                let due = stored.value.due(&self.policy, now);
                if !due.fresh && due.gone == 0 {
                    return Ok(None);
                }
                stored.value.kept_up(&self.policy, now, fresh)
            }
            (Some(stored), KeyChange::Rotate) => {
                match stored.value.rotated(&self.policy, now, fresh) {
                    Some(ring) => ring,
                    None => return Ok(None),
                }
            }
            (Some(stored), KeyChange::Replace) => stored.value.replaced(now, fresh),
        };
        Ok(Some((Target::Ring(ring), base, Some(AuditKind::SigningKeysRotated))))
    }

    fn stored(&self, id: &ApplicationId) -> Result<&Stored<Application>, Error> {
        if self.damaged.contains(id) {
            return Err(damaged(id));
        }
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no application {id}"));
        self.applications.get(id).ok_or_else(missing)
    }

    fn written(&mut self, outcome: Written, effects: &mut Vec<Effect<W>>) {
        let Some(mut done) = self.under_way.take() else { return };
        match outcome {
            // Written and not to be read is not done.
            Written::Done(Found::Damaged) | Written::Conflict => {}
            Written::Done(found) => {
                self.take_over(done.change.subject(), found, effects);
                if !matches!(done.change, Change::NoteUse { .. }) {
                    effects.push(Effect::Publish);
                }
                effects.push(Effect::Answer { by: done.by, result: Ok(()) });
                return;
            }
            Written::Failed(error) => done.failure = Some(error),
        }
        effects.push(Effect::Reread(done.change.subject()));
        self.under_way = Some(done);
    }

    /// Before a change, or after a write that did not go as planned: the vault is right about what there is.
    fn reread(
        &mut self,
        found: Result<Found, Error>,
        evidence: &Evidence<'_>,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(UnderWay { change, by, target, tries, failure }) = self.under_way.take() else {
            return;
        };
        let error = match found {
            Ok(found) => {
                // Only the answer to the write was lost.
                let is_done = failure.is_some()
                    && target.as_ref().is_some_and(|target| target.is_what_stands_in(&found));
                let was_written = target.is_some();
                self.take_over(change.subject(), found, effects);
                if was_written || !effects.is_empty() {
                    effects.push(Effect::Publish);
                }
                if is_done {
                    return effects.push(Effect::Answer { by, result: Ok(()) });
                }
                match failure {
                    None if tries > 1 => {
                        return self.begin(change, by, tries - 1, evidence, effects);
                    }
                    None => Error::new(
                        ErrorKind::Interrupted,
                        "somebody else changed the same thing at the same time, try again",
                    ),
                    Some(error) => error,
                }
            }
            // What there is is not known, so the next change finds a conflict, and looks again.
            Err(error) => failure.unwrap_or(error),
        };
        effects.push(Effect::Answer { by, result: Err(error) });
    }

    fn take_over(&mut self, subject: Subject, found: Found, effects: &mut Vec<Effect<W>>) {
        match (subject, found) {
            (Subject::Ring, Found::Ring(ring)) => {
                self.had_keys |= ring.is_some();
                self.ring = ring;
            }
            (Subject::Application(id), Found::Application(found)) => {
                let (was_known, is_gone) =
                    (self.applications.remove(&id).is_some(), found.is_none());
                // What did not open never opens again: in its place there is nothing, or another one, also
                // where nobody heard that it was removed.
                if self.damaged.remove(&id) || (was_known && is_gone) {
                    effects.push(Effect::Deny(id.clone()));
                }
                self.applications.extend(found.map(|stored| (id, *stored)));
            }
            // What is known of it serves on until it is removed, or everything is loaded again.
            (Subject::Application(id), Found::Damaged) => drop(self.damaged.insert(id)),
            _ => {}
        }
    }
}

/// What is told of an application whose place something has that can not be read.
fn damaged(id: &ApplicationId) -> Error {
    let text = format!(
        "the record of the application {id} can not be read, take it from a backup, or remove the \
         application and register it again"
    );
    Error::new(ErrorKind::VaultUnreadable, text)
}

impl Change {
    /// The record that it is about.
    fn subject(&self) -> Subject {
        match self {
            Self::Register(application) => Subject::Application(application.id.clone()),
            Self::Alter { id, .. }
            | Self::ReplaceSecret { id, .. }
            | Self::NoteUse { id, .. }
            | Self::Remove { id } => Subject::Application(id.clone()),
            Self::Keys { .. } => Subject::Ring,
        }
    }
}

impl Target {
    /// Whether a record that was read is this one.
    fn is_what_stands_in(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Ring(ring), Found::Ring(Some(stored))) => {
                *ring.to_record() == *stored.value.to_record()
            }
            (Self::Application(application), Found::Application(Some(stored))) => {
                *application.to_record() == *stored.value.to_record()
            }
            (Self::Gone(_), Found::Application(None)) => true,
            _ => false,
        }
    }

    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Ring(_) => Subject::Ring,
            Self::Application(application) => Subject::Application(application.id.clone()),
            Self::Gone(id) => Subject::Application(id.clone()),
        }
    }
}
