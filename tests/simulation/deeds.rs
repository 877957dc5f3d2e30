//! What the users and the host do, as tasks whose outcomes are held against the model.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokenward::credential::Snapshot;
use tokenward::identity::{Method, SessionId, UserId};
use tokenward::{Error, Runtime};
use tokio::task::JoinHandle;

use crate::authority::Kind;
use crate::model::{InForce, Opened};
use crate::world::{World, in_force};

/// Something that is under way.
pub(crate) struct Deed {
    pub(crate) what: What,
    /// When it began, by the time that the host was awake.
    pub(crate) since: Duration,
    task: JoinHandle<Outcome>,
    /// All that may have been in force meanwhile, of each credential.
    seen: Vec<BTreeSet<InForce>>,
    /// All that may have been active meanwhile, in each session.
    active: Vec<BTreeSet<Option<usize>>>,
}

/// What it is, with the numbers of what it is about.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Acquire(usize),
    Refresh(usize),
    Call(usize),
    SignIn(usize, Option<u64>),
    SignOut(usize),
    Open(usize),
    Switch(usize, usize),
    Close(usize),
    /// Everything of the user whose credential this is.
    Erase(usize),
    RotateKey,
    Shutdown,
}

impl What {
    /// Whether it changes what others may meet.
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self, Self::Acquire(_) | Self::Refresh(_) | Self::Call(_))
    }

    /// The credential whose actor it starts.
    fn slot(&self) -> Option<usize> {
        match self {
            Self::Acquire(slot)
            | Self::Refresh(slot)
            | Self::SignIn(slot, _)
            | Self::SignOut(slot) => Some(*slot),
            _ => None,
        }
    }
}

/// What it came to.
#[derive(Debug)]
enum Outcome {
    Token(Result<Arc<Snapshot>, Error>),
    Called(Result<Vec<HeaderMap>, Error>),
    Done(Result<(), Error>),
    Opened(Result<SessionId, Error>),
    Stopped(Vec<String>),
}

impl Deed {
    pub(crate) fn is_shutdown(&self) -> bool {
        matches!(self.what, What::Shutdown)
    }

    pub(crate) fn is_erasure(&self) -> bool {
        matches!(self.what, What::Erase(_))
    }
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deed").field(&self.what).finish()
    }
}

impl World {
    /// Begins `what`. What changes a credential or a session is not begun twice at once.
    pub(crate) fn begin(&mut self, what: What) {
        let runtime = self.process().runtime.clone();
        let task = match &what {
            What::Acquire(slot) => self.acquire(runtime, *slot),
            What::Refresh(slot) => self.refresh(runtime, *slot),
            What::Call(session) => self.call(runtime, *session),
            What::SignIn(slot, grant) => self.sign_in(runtime, *slot, *grant),
            What::SignOut(slot) => self.sign_out(runtime, *slot),
            What::Open(slot) => self.open(runtime, *slot),
            What::Switch(session, slot) => self.switch(runtime, *session, *slot),
            What::Close(session) => self.close(runtime, *session),
            What::Erase(slot) => self.erase_user(runtime, *slot),
            What::RotateKey => self.process().spawn(async move {
                Outcome::Done(runtime.vault().rotate_data_key().await.map_err(Error::from))
            }),
            What::Shutdown => self.process().spawn(async move {
                Outcome::Stopped(runtime.shutdown(Duration::from_secs(10)).await)
            }),
        };
        self.tell(format_args!("begins: {what:?}"));
        let (since, seen, active) = (self.time.awake(), Vec::new(), Vec::new());
        self.deeds.push(Deed { what, since, task, seen, active });
        self.see();
    }

    /// Whether `what` is about something of `user`.
    pub(crate) fn is_about(&self, what: &What, user: &UserId) -> bool {
        match what {
            What::Acquire(slot)
            | What::Refresh(slot)
            | What::SignIn(slot, _)
            | What::SignOut(slot)
            | What::Open(slot)
            | What::Erase(slot) => self.slots[*slot].id.user == *user,
            What::Call(session) | What::Switch(session, _) | What::Close(session) => {
                self.sessions[*session].user == *user
            }
            What::RotateKey | What::Shutdown => false,
        }
    }

    /// Whatever is under way may meet what may be in force now.
    fn see(&mut self) {
        let Self { deeds, slots, sessions, authorities, .. } = self;
        for slot in &mut *slots {
            slot.may_have(authorities[slot.authority].grants());
        }
        for Deed { seen, active, .. } in deeds {
            seen.resize_with(slots.len(), BTreeSet::new);
            active.resize_with(sessions.len(), BTreeSet::new);
            seen.iter_mut().zip(&*slots).for_each(|(seen, slot)| seen.extend(&slot.now));
            active.iter_mut().zip(&*sessions).for_each(|(seen, now)| seen.extend(&now.active));
        }
    }

    /// Holds against the model what has ended: what changes something before what meets it. Whether
    /// anything has.
    pub(crate) fn finish_deeds(&mut self) -> bool {
        let mut any = false;
        loop {
            self.see();
            let has_ended = |deed: &Deed| deed.task.is_finished();
            let change =
                self.deeds.iter().position(|deed| has_ended(deed) && deed.what.is_change());
            let Some(number) = change.or_else(|| self.deeds.iter().position(has_ended)) else {
                return any;
            };
            any = true;
            let Deed { what, task, seen, active, .. } = self.deeds.remove(number);
            match self.process().outcome(task) {
                Ok(outcome) => {
                    self.tell(format_args!("ended: {what:?}: {}", brief(&outcome)));
                    if let Some(slot) = what.slot() {
                        self.watch(slot);
                    }
                    self.finish(what, outcome, &seen, &active);
                }
                Err(error) => {
                    self.tell(format_args!("died: {what:?}"));
                    assert!(error.is_panic(), "nobody cancels it");
                    self.died(&what);
                }
            }
        }
    }

    fn acquire(&mut self, runtime: Runtime, slot: usize) -> JoinHandle<Outcome> {
        let slot = &self.slots[slot];
        self.authorities[slot.authority].expect_a_request();
        let id = slot.id.clone();
        self.process().spawn(async move {
            Outcome::Token(match runtime.credential(&id).await {
                Ok(credential) => credential.acquire().await,
                Err(error) => Err(error),
            })
        })
    }

    fn refresh(&mut self, runtime: Runtime, slot: usize) -> JoinHandle<Outcome> {
        let slot = &self.slots[slot];
        let authority = &self.authorities[slot.authority];
        authority.expect_a_request();
        authority.insist(slot.now.iter().copied().flatten());
        let id = slot.id.clone();
        self.process().spawn(async move {
            Outcome::Token(match runtime.credential(&id).await {
                Ok(credential) => credential.refresh().await,
                Err(error) => Err(error),
            })
        })
    }

    /// A call of a host with an HTTP client of its own: once more after a refusal, and no more.
    fn call(&mut self, runtime: Runtime, session: usize) -> JoinHandle<Outcome> {
        let Opened { user, id, active, .. } = self.sessions[session].clone();
        for slot in active.into_iter().flatten() {
            let slot = &self.slots[slot];
            let authority = &self.authorities[slot.authority];
            authority.expect_a_request();
            authority.insist(slot.now.iter().copied().flatten());
        }
        let authorities = self.authorities.clone();
        self.process().spawn(async move {
            let called = async {
                let session = runtime.user(user.as_str()).session(&id).await?;
                let authentication = session.authentication().await?;
                let mut sent = vec![authentication.headers.clone()];
                let at = authentication.credential.id().provider.clone();
                let at = authorities.iter().find(|it| it.name() == at.as_str()).expect("ours");
                if !at.resource(&authentication.headers).is_alive
                    && let Some(renewed) = authentication.after_refusal().await
                {
                    sent.push(renewed.headers);
                }
                Ok(sent)
            };
            Outcome::Called(called.await)
        })
    }

    fn sign_in(&mut self, runtime: Runtime, slot: usize, grant: InForce) -> JoinHandle<Outcome> {
        let slot = &mut self.slots[slot];
        let (id, authority) = (slot.id.clone(), self.authorities[slot.authority].clone());
        match grant {
            Some(_) => slot.begin(grant),
            // The provider makes it when it is asked.
            None => slot.begin_with_any_from(authority.grants()),
        }
        self.process().spawn(async move {
            let sign_in = runtime.user(id.user.as_str()).sign_in(id.provider.as_str());
            let done = match (id.method, grant) {
                (Method::ApiKey, Some(key)) => {
                    sign_in.with_api_key(format!("{}:k-{key}", id.provider)).await.map(drop)
                }
                (Method::AuthorizationCode, Some(grant)) => {
                    async {
                        let login = sign_in.by_paste().await?;
                        let (_, state) = login.url().split_once("state=").expect("ours");
                        login.paste(&format!("c-{grant}#{state}")).await?;
                        login.finished().await.map(drop)
                    }
                    .await
                }
                _ => {
                    assert_eq!(authority.kind(), Kind::Machine);
                    sign_in.with_client_credentials().await.map(drop)
                }
            };
            Outcome::Done(done)
        })
    }

    fn sign_out(&mut self, runtime: Runtime, slot: usize) -> JoinHandle<Outcome> {
        self.slots[slot].begin(None);
        let id = self.slots[slot].id.clone();
        self.process().spawn(async move {
            Outcome::Done(match runtime.credential(&id).await {
                Ok(credential) => credential.sign_out().await.map(drop),
                Err(error) => Err(error),
            })
        })
    }

    fn open(&mut self, runtime: Runtime, slot: usize) -> JoinHandle<Outcome> {
        let user = self.slots[slot].id.user.clone();
        self.process().spawn(async move {
            let opened = runtime.user(user.as_str()).open_session().await;
            Outcome::Opened(opened.map(|session| session.id()))
        })
    }

    fn switch(&mut self, runtime: Runtime, session: usize, slot: usize) -> JoinHandle<Outcome> {
        let context = self.slots[slot].context();
        let opened = &mut self.sessions[session];
        opened.busy = true;
        opened.active.insert(Some(slot));
        let Opened { user, id, .. } = opened.clone();
        self.process().spawn(async move {
            let switched = async {
                let session = runtime.user(user.as_str()).session(&id).await?;
                let provider = context.provider.as_str();
                session.use_credential(provider, context.method, &context.label).await.map(drop)
            };
            Outcome::Done(switched.await)
        })
    }

    fn close(&mut self, runtime: Runtime, session: usize) -> JoinHandle<Outcome> {
        let opened = &mut self.sessions[session];
        (opened.busy, opened.open) = (true, None);
        let Opened { user, id, .. } = opened.clone();
        self.process().spawn(async move {
            Outcome::Done(match runtime.user(user.as_str()).session(&id).await {
                Ok(session) => session.close().await,
                Err(error) => Err(error),
            })
        })
    }

    fn erase_user(&mut self, runtime: Runtime, slot: usize) -> JoinHandle<Outcome> {
        let user = self.slots[slot].id.user.clone();
        self.slots.iter_mut().filter(|it| it.id.user == user).for_each(|slot| slot.begin(None));
        for opened in self.sessions.iter_mut().filter(|it| it.user == user) {
            opened.busy = true;
            opened.open = opened.open.filter(|open| !open);
        }
        self.process().spawn(async move {
            Outcome::Done(runtime.user(user.as_str()).erase().await.map(drop))
        })
    }

    /// Nothing of an erased user is left, and nothing comes back.
    fn erased(&mut self, slot: usize, done: &Result<(), Error>) {
        let user = self.slots[slot].id.user.clone();
        for slot in self.slots.iter_mut().filter(|it| it.id.user == user) {
            if done.is_ok() {
                slot.acknowledge(None, true);
            } else {
                slot.ended();
            }
        }
        for opened in self.sessions.iter_mut().filter(|it| it.user == user) {
            opened.busy = false;
            if done.is_ok() {
                opened.open = Some(false);
            }
        }
        assert!(done.as_ref().err().is_none_or(passes), "{user} is not erased: {done:?}");
    }

    /// It panicked with the adapter of a provider: nothing is known of it.
    fn died(&mut self, what: &What) {
        match what {
            What::SignIn(slot, _) => self.slots[*slot].ended(),
            what => panic!("{what:?} died"),
        }
    }

    fn finish(
        &mut self,
        what: What,
        outcome: Outcome,
        seen: &[BTreeSet<InForce>],
        active: &[BTreeSet<Option<usize>>],
    ) {
        match (what, outcome) {
            (What::Acquire(slot) | What::Refresh(slot), Outcome::Token(token)) => {
                self.answered(slot, token, &seen[slot]);
            }
            (What::Call(session), Outcome::Called(called)) => {
                self.called(session, called, seen, &active[session]);
            }
            (What::SignIn(slot, grant), Outcome::Done(done)) => self.signed_in(slot, grant, &done),
            (What::SignOut(slot), Outcome::Done(done)) => {
                let durable = done.is_ok();
                let slot = &mut self.slots[slot];
                if durable || !is_unheard(&done) {
                    slot.acknowledge(None, durable);
                }
                slot.ended();
            }
            (What::Open(slot), Outcome::Opened(Ok(id))) => {
                let user = self.slots[slot].id.user.clone();
                let active = [None].into();
                self.sessions.push(Opened { user, id, active, open: Some(true), busy: false });
            }
            (What::Open(_), Outcome::Opened(Err(error))) => assert!(passes(&error), "{error:?}"),
            (What::Switch(session, slot), Outcome::Done(done)) => {
                let opened = &mut self.sessions[session];
                opened.busy = false;
                if done.is_ok() {
                    opened.active = [Some(slot)].into();
                }
            }
            (What::Close(session), Outcome::Done(done)) => {
                let opened = &mut self.sessions[session];
                opened.busy = false;
                if done.is_ok() {
                    opened.open = Some(false);
                }
            }
            (What::Erase(slot), Outcome::Done(done)) => self.erased(slot, &done),
            (What::RotateKey, Outcome::Done(done)) => {
                assert!(done.as_ref().err().is_none_or(passes), "{done:?}");
            }
            (What::Shutdown, Outcome::Stopped(unfinished)) => {
                self.tell(format_args!("unfinished: {unfinished:?}"));
            }
            (what, outcome) => unreachable!("{what:?} came to {outcome:?}"),
        }
    }

    /// Whoever asks for a token gets one that lives, or a failure that is not the user's unless it is.
    fn answered(
        &self,
        number: usize,
        token: Result<Arc<Snapshot>, Error>,
        seen: &BTreeSet<InForce>,
    ) {
        let slot = &self.slots[number];
        let authority = &self.authorities[slot.authority];
        match token {
            Ok(snapshot) => {
                let headers = snapshot.headers(self.time.clock.sources().now());
                let headers = headers.expect("what is answered can be used");
                let token = authority.resource(headers);
                assert!(seen.contains(&Some(token.grant)), "{}: {snapshot:?}, {seen:?}", slot.id);
                let ended = authority.ended(token.grant).is_some();
                let may_live = token.is_alive || token.may_seem_alive || ended;
                assert!(may_live, "{}: {snapshot:?} is dead", slot.id);
            }
            Err(error) if error.needs_reauthorization() => {
                let ended = |it: &InForce| it.is_none_or(|grant| authority.ended(grant).is_some());
                assert!(seen.iter().any(ended), "{} was signed out: {error}", slot.id);
            }
            Err(error) => assert!(passes(&error), "{}: {error:?}", slot.id),
        }
    }

    fn called(
        &self,
        session: usize,
        called: Result<Vec<HeaderMap>, Error>,
        seen: &[BTreeSet<InForce>],
        active: &BTreeSet<Option<usize>>,
    ) {
        let opened = &self.sessions[session];
        match called {
            Ok(sent) => {
                let may_be_at = |headers: &HeaderMap| {
                    active.iter().flatten().any(|number| {
                        let slot = &self.slots[*number];
                        let token = headers["authorization"].to_str().expect("ours");
                        let is_key = token.contains(":k-");
                        let grant = self.authorities[slot.authority].grant_in(headers);
                        is_key == (slot.id.method == Method::ApiKey)
                            && grant.is_some_and(|grant| seen[*number].contains(&Some(grant)))
                    })
                };
                assert!(sent.iter().all(may_be_at), "{opened:?} sent a token of somewhere else");
            }
            Err(error) => {
                let gone = error.is_not_found() && opened.open != Some(true);
                let not_there = error.is_invalid_input() && active.contains(&None);
                let ended = error.needs_reauthorization()
                    && active.iter().flatten().any(|number| {
                        let authority = &self.authorities[self.slots[*number].authority];
                        let ended =
                            |it: &InForce| it.is_none_or(|it| authority.ended(it).is_some());
                        seen[*number].iter().any(ended)
                    });
                assert!(gone || not_there || ended || passes(&error), "{opened:?}: {error:?}");
            }
        }
    }

    fn signed_in(&mut self, number: usize, grant: InForce, done: &Result<(), Error>) {
        self.slots[number].ended();
        if done.is_err() {
            // It may have been written, and its acknowledgement lost.
            return;
        }
        let snapshot = self.snapshot(number).expect("its actor was started");
        let slot = &self.slots[number];
        let shown = in_force(&self.authorities[slot.authority], &snapshot, &self.time);
        let grant = grant.or(shown.flatten());
        let Some(grant) = grant else { return };
        self.slots[number].acknowledge(Some(grant), snapshot.is_durable());
    }
}

/// Whether what was asked for may not have reached whom it was asked of.
fn is_unheard(done: &Result<(), Error>) -> bool {
    done.as_ref().is_err_and(|error| error.to_string().contains("the actor"))
}

/// Whether waiting, or asking again, helps: it is not the user who has to act.
fn passes(error: &Error) -> bool {
    !(error.needs_reauthorization()
        || error.is_invalid_input()
        || error.is_not_found()
        || error.is_expired()
        || error.is_vault_locked()
        || error.is_vault_in_use()
        || error.is_vault_unreadable())
}

fn brief(outcome: &Outcome) -> String {
    let told = |error: &Error| format!("error: {error}");
    match outcome {
        Outcome::Token(Ok(snapshot)) => format!("{} {:?}", snapshot.state(), snapshot.generation()),
        Outcome::Token(Err(error))
        | Outcome::Called(Err(error))
        | Outcome::Done(Err(error))
        | Outcome::Opened(Err(error)) => told(error),
        Outcome::Called(Ok(sent)) => format!("sent {} times", sent.len()),
        Outcome::Done(Ok(())) => "done".to_owned(),
        Outcome::Opened(Ok(id)) => id.to_string(),
        Outcome::Stopped(_) => "stopped".to_owned(),
    }
}
