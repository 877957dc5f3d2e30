//! The token issuer: makes keys, ids and secrets, turns messages into events, and carries out what
//! the state says. It waits for nothing; the vault is read and written by tasks that report back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ractor::{ActorProcessingErr, ActorRef};
use zeroize::Zeroizing;

use super::fresh::{Ended, FreshSecret};
use super::keeping::{Keeper, Loaded};
use super::messages::{Internal, IssuerMessage, KeyRotation, News, Registered};
use super::published::Board;
use super::state::{Change, Effect, Event, Evidence, Found, IssuerState, KeyChange, Written};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::application::{
    Application, ApplicationId, ApplicationSpec, GrantGeneration, SecretHasher, StoredSecret,
    check_secret,
};
use crate::server::jws::SigningKey;
use crate::server::keys::KeyPolicy;
use crate::supervision::{Alarm, Errands, Reply, Timekeeper};

/// How long after a failure the keys are looked after again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a secret may be on its way while the next exchange waits for it.
const DELIVERY: Duration = Duration::from_secs(1);

/// How often what is over is removed.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// What every incarnation of the issuer is given.
#[derive(Clone)]
pub(super) struct IssuerArguments {
    pub(super) policy: KeyPolicy,
    pub(super) keeper: Keeper,
    pub(super) board: Arc<Board>,
    pub(super) timekeeper: Timekeeper,
    pub(super) sources: Sources,
}

pub(super) struct IssuerActor;

pub(super) struct Issuer {
    is: IssuerArguments,
    state: IssuerState<Waiter>,
    errands: Errands<Outcome>,
    upkeep: Alarm,
    sweep: Alarm,
    /// Rings when a secret is on its way for too long.
    overdue: Alarm,
    /// Told when one is not on its way any more.
    delivered: Ended,
    /// Whether an exchange waits for the secret before it to be delivered. Not at the end.
    is_patient: bool,
    loading: Loading,
    /// Who waits for the first key.
    unready: Vec<Reply<Result<(), Error>>>,
}

/// Whether keys and applications are there.
enum Loading {
    /// They are not, and were not to be had.
    NotYet,
    /// They are being read; these requests wait for them.
    UnderWay(Vec<IssuerMessage>),
    Done,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Waiter {
    Registration {
        id: ApplicationId,
        secret: Secret,
        reply: Reply<Result<Registered, Error>>,
    },
    Secret {
        of: ApplicationId,
        fresh: FreshSecret,
        reply: Reply<Result<FreshSecret, Error>>,
    },
    Done(Reply<Result<(), Error>>),
    /// The issuer itself, for its keys.
    Upkeep,
    /// The issuer itself, for the use of the secret with this hash.
    Use([u8; 32]),
}

/// What a task of the issuer comes back with.
enum Outcome {
    Loaded(Result<Loaded, Error>),
    Swept(Result<(), Error>),
    Written(Written),
    Reread(Result<Found, Error>),
}

#[ractor::actor(message = IssuerMessage, state = Issuer, arguments = IssuerArguments)]
impl IssuerActor {
    async fn pre_start(
        &self,
        myself: ActorRef<IssuerMessage>,
        arguments: IssuerArguments,
    ) -> Result<Issuer, ActorProcessingErr> {
        myself.send_message(News::Load.into())?;
        let (nudged, rung, due) = (myself.clone(), myself.clone(), myself.clone());
        let (late, there) = (myself.clone(), myself);
        // Each fails only when the issuer is gone.
        let errands = Errands::new(move || drop(nudged.send_message(News::ErrandReturned.into())));
        let upkeep =
            arguments.timekeeper.alarm(move || drop(rung.send_message(News::UpkeepDue.into())));
        let sweep =
            arguments.timekeeper.alarm(move || drop(due.send_message(News::SweepDue.into())));
        sweep.set(arguments.sources.now().after(SWEEP_EVERY));
        let overdue = arguments
            .timekeeper
            .alarm(move || drop(late.send_message(News::DeliveryOverdue.into())));
        let delivered = Arc::new(move || drop(there.send_message(News::SecretDelivered.into())));
        Ok(Issuer {
            state: IssuerState::new(arguments.policy),
            errands,
            upkeep,
            sweep,
            overdue,
            delivered,
            is_patient: true,
            loading: Loading::NotYet,
            unready: Vec::new(),
            is: arguments,
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<IssuerMessage>,
        message: IssuerMessage,
        issuer: &mut Issuer,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            IssuerMessage::Internal(Internal(news)) => issuer.hear(news),
            request => issuer.take(request),
        }
        Ok(())
    }

    /// The end: what is under way finishes.
    async fn post_stop(
        &self,
        _myself: ActorRef<IssuerMessage>,
        issuer: &mut Issuer,
    ) -> Result<(), ActorProcessingErr> {
        issuer.is_patient = false;
        issuer.go_on();
        issuer.write_uses();
        while let Some(outcome) = issuer.errands.next().await {
            issuer.take_in(outcome);
        }
        if let Loading::UnderWay(parked) = std::mem::replace(&mut issuer.loading, Loading::NotYet) {
            let stopping = Error::new(ErrorKind::ShuttingDown, "the runtime is stopping");
            for request in parked {
                request.refuse(stopping.clone());
            }
        }
        Ok(())
    }
}

impl Issuer {
    fn hear(&mut self, news: News) {
        match news {
            News::Load => self.load(),
            News::ErrandReturned => {
                while let Some(outcome) = self.errands.returned() {
                    self.take_in(outcome);
                }
            }
            News::UpkeepDue => match self.loading {
                Loading::Done => self.look_after_keys(),
                Loading::NotYet => self.load(),
                Loading::UnderWay(_) => {}
            },
            News::SweepDue => self.sweep(),
            News::SecretsUsed => self.write_uses(),
            News::SecretDelivered => {
                self.overdue.clear();
                self.go_on();
                self.write_uses();
            }
            News::DeliveryOverdue => {
                self.overdue.clear();
                self.is.board.deliveries.give_up();
                self.go_on();
                self.write_uses();
            }
        }
    }

    /// Takes a request, now or when everything is there.
    fn take(&mut self, request: IssuerMessage) {
        if let Loading::NotYet = self.loading {
            self.load();
        }
        match &mut self.loading {
            Loading::UnderWay(parked) => parked.push(request),
            Loading::NotYet | Loading::Done => self.answer(request),
        }
    }

    fn answer(&mut self, request: IssuerMessage) {
        match request {
            IssuerMessage::Register { spec, reply } => match self.registration(*spec) {
                Ok((application, secret)) => {
                    let by = Waiter::Registration { id: application.id.clone(), secret, reply };
                    self.ask(Change::Register(Box::new(application)), by);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            IssuerMessage::Change { id, change, reply } => {
                self.ask(Change::Alter { id, change }, Waiter::Done(reply));
            }
            IssuerMessage::RotateSecret { id, overlap, reply } => match self.fresh_secret() {
                Ok((secret, stored)) => {
                    let ended = Arc::clone(&self.delivered);
                    let fresh = self.is.board.deliveries.prepare(secret, stored.hash, ended);
                    let by = Waiter::Secret { of: id.clone(), fresh, reply };
                    self.ask(Change::ReplaceSecret { id, fresh: stored, overlap }, by);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            IssuerMessage::SetSecret { id, secret, overlap, reply } => {
                let given = check_secret(&secret)
                    .and_then(|()| Ok(self.hasher()?.kept(&secret, self.is.sources.now().wall)));
                match given {
                    Ok(fresh) => {
                        let change = Change::ReplaceSecret { id, fresh, overlap };
                        self.ask(change, Waiter::Done(reply));
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            IssuerMessage::Remove { id, reply } => {
                self.ask(Change::Remove { id }, Waiter::Done(reply));
            }
            IssuerMessage::RotateSigningKey { how, reply } => {
                let how = match how {
                    KeyRotation::Ordinary => KeyChange::Rotate,
                    KeyRotation::Compromised => KeyChange::Replace,
                };
                self.change_keys(how, Waiter::Done(reply));
            }
            IssuerMessage::Ready { reply } if self.state.ring().is_some() => {
                let _ = reply.send(Ok(()));
            }
            // Whoever comes after a failure has them looked after once more.
            IssuerMessage::Ready { reply } => {
                self.unready.push(reply);
                self.look_after_keys();
            }
            IssuerMessage::Internal(_) => {}
        }
    }

    fn registration(&self, spec: ApplicationSpec) -> Result<(Application, Secret), Error> {
        let (secret, stored) = match spec.wanted_secret()? {
            Some(secret) => {
                let now = self.is.sources.now().wall;
                (secret.clone(), self.hasher()?.kept(secret, now))
            }
            None => self.fresh_secret()?,
        };
        let id = match spec.wanted_id() {
            Some(id) => id.clone(),
            None => ApplicationId::random(&*self.is.sources.entropy)?,
        };
        let mut registration = [0; 8];
        self.is.sources.entropy.fill(&mut registration)?;
        let generation = GrantGeneration::first(u64::from_be_bytes(registration));
        let now = self.is.sources.now().wall;
        Ok((spec.into_application(id, stored, generation, now)?, secret))
    }

    fn fresh_secret(&self) -> Result<(Secret, StoredSecret), Error> {
        let Sources { entropy, .. } = &self.is.sources;
        self.hasher()?.fresh(&**entropy, self.is.sources.now().wall)
    }

    fn hasher(&self) -> Result<SecretHasher, Error> {
        let ring = self.state.ring().ok_or_else(|| {
            Error::new(ErrorKind::Interrupted, "the server has no keys yet, try again shortly")
        })?;
        Ok(SecretHasher::new(&ring.hash_key))
    }

    fn look_after_keys(&mut self) {
        self.change_keys(KeyChange::Upkeep, Waiter::Upkeep);
    }

    /// Asks for a change of the keys, with a fresh one in case that it is needed.
    fn change_keys(&mut self, how: KeyChange, by: Waiter) {
        let entropy = &*self.is.sources.entropy;
        let mut hash_key = Zeroizing::new([0; 32]);
        let fresh = entropy
            .fill(hash_key.as_mut_slice())
            .and_then(|()| SigningKey::generate(self.is.policy.algorithm, entropy));
        match fresh {
            Ok(fresh) => {
                let (fresh, hash_key) = (Arc::new(fresh), Arc::new(hash_key));
                self.ask(Change::Keys { how, fresh, hash_key }, by);
            }
            Err(error) => self.tell(by, Err(error.into())),
        }
    }

    fn take_in(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Loaded(Ok(Loaded { ring, applications, damaged, made_with_keys })) => {
                tracing::debug!(applications = applications.len(), "applications loaded");
                self.step(Event::Loaded { ring, applications, damaged, made_with_keys });
                let waiting = std::mem::replace(&mut self.loading, Loading::Done);
                self.look_after_keys();
                if let Loading::UnderWay(parked) = waiting {
                    for request in parked {
                        self.answer(request);
                    }
                }
            }
            Outcome::Loaded(Err(error)) => {
                tracing::error!(%error, "signing keys and applications not loaded");
                self.upkeep.set(self.is.sources.now().after(PATIENCE));
                let waiting = std::mem::replace(&mut self.loading, Loading::NotYet);
                if let Loading::UnderWay(parked) = waiting {
                    for request in parked {
                        request.refuse(error.clone());
                    }
                }
            }
            Outcome::Swept(Ok(())) => {}
            Outcome::Swept(Err(error)) => {
                tracing::warn!(%error, "what is over waits to be removed");
            }
            Outcome::Written(written) => self.step(Event::Written(written)),
            Outcome::Reread(found) => self.step(Event::Reread(found)),
        }
        self.write_uses();
    }

    /// Has the uses of secrets written, one after the other, while there is nothing else to write. Nobody
    /// waits for them, and nobody is to wait behind them.
    fn write_uses(&mut self) {
        while matches!(self.loading, Loading::Done)
            && self.state.is_idle()
            && let Some((hash, id, used)) = self.is.board.uses.next_to_write()
        {
            self.ask(Change::NoteUse { id, hash, used }, Waiter::Use(hash));
        }
    }

    fn load(&mut self) {
        self.loading = Loading::UnderWay(Vec::new());
        let keeper = self.is.keeper.clone();
        let board = Arc::clone(&self.is.board);
        let work = async move {
            // Before anything is published by which a denied token could be verified.
            let denials = keeper.denials().await;
            match denials {
                Ok(denials) => {
                    for denied in denials {
                        board.denials.add(denied);
                    }
                    Outcome::Loaded(keeper.load().await)
                }
                Err(error) => Outcome::Loaded(Err(error)),
            }
        };
        self.errands.send(work, || Outcome::Loaded(Err(died())));
    }

    fn sweep(&mut self) {
        let now = self.is.sources.now();
        self.sweep.set(now.after(SWEEP_EVERY));
        self.is.board.denials.purge(now.wall);
        let keeper = self.is.keeper.clone();
        let work = async move { Outcome::Swept(keeper.sweep(now.wall).await) };
        self.errands.send(work, || Outcome::Swept(Err(died())));
    }

    fn ask(&mut self, change: Change, by: Waiter) {
        self.step(Event::Asked { change, by });
    }

    fn step(&mut self, event: Event<Waiter>) {
        self.decide(|state, evidence| Some(state.step(event, evidence)));
        self.go_on();
    }

    /// Begins what waits. Which secret stays at an exchange is decided when it is known whether somebody
    /// has the one before it; the exchange waits for that, and not for long.
    fn go_on(&mut self) {
        loop {
            let exchange = self.state.next_exchange();
            if exchange.is_some_and(|id| self.is.board.deliveries.is_under_way(id)) {
                if self.is_patient {
                    if self.overdue.deadline().is_none() {
                        self.overdue.set(self.is.sources.now().after(DELIVERY));
                    }
                    return;
                }
                self.is.board.deliveries.give_up();
            }
            if !self.decide(IssuerState::next) {
                return;
            }
        }
    }

    /// Carries out what `decide` says, if it says anything.
    fn decide(
        &mut self,
        decide: impl FnOnce(&mut IssuerState<Waiter>, &Evidence<'_>) -> Option<Vec<Effect<Waiter>>>,
    ) -> bool {
        let (board, now) = (Arc::clone(&self.is.board), self.is.sources.now().wall);
        let used = |secret: &StoredSecret| board.uses.last(secret);
        let evidence = Evidence { now, used: &used, lost: board.deliveries.lost() };
        let effects = decide(&mut self.state, &evidence);
        let decided = effects.is_some();
        self.carry_out(effects.unwrap_or_default(), now);
        decided
    }

    fn carry_out(&mut self, effects: Vec<Effect<Waiter>>, now: SystemTime) {
        for effect in effects {
            let keeper = self.is.keeper.clone();
            match effect {
                Effect::Write { target, base, audit } => {
                    let work = async move {
                        Outcome::Written(keeper.write(target, base, audit, now).await)
                    };
                    self.errands.send(work, || Outcome::Written(Written::Failed(died())));
                }
                Effect::Reread(subject) => {
                    let work = async move { Outcome::Reread(keeper.reread(&subject).await) };
                    self.errands.send(work, || Outcome::Reread(Err(died())));
                }
                Effect::Publish => {
                    if let Some(ring) = self.state.ring() {
                        self.is.board.publish(ring, self.state.applications());
                    }
                }
                Effect::Deny(id) => self.is.board.deny(&id, now),
                Effect::Answer { by, result } => self.tell(by, result),
            }
        }
    }

    fn tell(&mut self, by: Waiter, result: Result<(), Error>) {
        // Sending fails only when nobody waits any more.
        match by {
            Waiter::Done(reply) => drop(reply.send(result)),
            Waiter::Secret { of, fresh, reply } => {
                drop(reply.send(result.map(|()| fresh.leave(&of))));
            }
            Waiter::Registration { id, secret, reply } => {
                let registered = result.and_then(|()| {
                    let found = self.state.applications().find(|found| *found.id() == id);
                    let gone = || Error::new(ErrorKind::NotFound, "the application is gone again");
                    let application = found.cloned().ok_or_else(gone)?;
                    Ok(Registered { application, secret })
                });
                let _ = reply.send(registered);
            }
            Waiter::Upkeep => self.kept_up(&result),
            Waiter::Use(hash) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "the use of a secret is written with a later one");
                    self.is.board.uses.unwritten(&hash, self.is.sources.now());
                }
            }
        }
    }

    /// Sets the next look at the keys, and tells who waited for the first one.
    fn kept_up(&mut self, result: &Result<(), Error>) {
        let now = self.is.sources.now();
        if let Err(error) = result {
            tracing::error!(%error, "signing keys not looked after");
        }
        let next = match (result, self.state.ring()) {
            (Ok(()), Some(ring)) => ring
                .due(&self.is.policy, now.wall)
                .next
                .duration_since(now.wall)
                .unwrap_or_default(),
            _ => PATIENCE,
        };
        self.upkeep.set(now.after(next));
        for reply in self.unready.drain(..) {
            let _ = reply.send(result.clone());
        }
    }
}

/// The outcome of a task that died.
fn died() -> Error {
    Error::new(ErrorKind::Interrupted, "a task of the token issuer died, ask again")
}
