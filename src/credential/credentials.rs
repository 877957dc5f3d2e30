//! All credentials of a runtime. Actors are started when first used, or when a stored credential
//! becomes due ([`upcoming`](super::upcoming)); until then a credential is an entry of the vault's
//! index and nothing more. It is that again when nobody has needed its actor for a while
//! ([`idle`](super::idle)).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use dashmap::{DashMap, DashSet};
use tokio::sync::OnceCell;
use tracing::{Instrument as _, info_span, warn};

use super::actor::{Context, Shared, child};
use super::cell::Cell;
use super::handle::CredentialHandle;
use super::messages::SignedOut;
use super::records::Records;
use super::upcoming::Upcoming;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::identity::{CredentialId, ProviderId, UserId};
use crate::provider::{self, Provider};
use crate::supervision::{Alarm, Supervisor};
use crate::vault::{Entry, Query, RecordKind};

/// The providers of a runtime, by name.
pub(crate) type Providers = Arc<HashMap<ProviderId, Arc<dyn Provider>>>;

/// The credentials of a runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Credentials(pub(super) Arc<Inside>);

pub(super) struct Inside {
    pub(super) shared: Arc<Shared>,
    pub(super) supervisor: Supervisor,
    pub(super) providers: Providers,
    /// Those that have an actor, or whose handle somebody holds.
    pub(super) running: DashMap<CredentialId, Arc<Running>>,
    /// When stored credentials that are not running are to be started.
    pub(super) upcoming: Upcoming,
    /// When it is next asked who sleeps.
    pub(super) round: OnceLock<Alarm>,
    /// The providers of those that are running.
    in_use: Arc<DashSet<ProviderId>>,
}

pub(super) struct Running {
    pub(super) records: Records,
    pub(super) handle: OnceCell<CredentialHandle>,
}

impl Running {
    /// Starts the actor, when it is not running.
    async fn start(&self, supervisor: &Supervisor) -> Result<CredentialHandle, Error> {
        let start = async || {
            let Records { context, cell } = self.records.clone();
            let actor = supervisor.start_child(child(context.clone(), cell.clone())).await?;
            let Context { id, provider, shared } = &*context;
            // A user's grant can be renewed, not asked for anew: only what needs no user does
            // without.
            let caches_tokens = !id.method.needs_no_user() || provider.caches_tokens();
            let (id, sources) = (id.clone(), shared.sources.clone());
            let events = &shared.events;
            Ok(CredentialHandle::new(id, cell, actor, events, sources, caches_tokens))
        };
        self.handle.get_or_try_init(start).await.cloned()
    }
}

impl Credentials {
    /// No credential is running yet.
    pub(crate) fn new(shared: Shared, supervisor: Supervisor, providers: Providers) -> Self {
        let (running, in_use) = (DashMap::new(), Arc::default());
        let (upcoming, round) = (Upcoming::new(shared.sources.now()), OnceLock::new());
        let shared = Arc::new(shared);
        let inside = Inside { shared, supervisor, providers, running, upcoming, round, in_use };
        let inside = Arc::new(inside);
        inside.begin_rounds();
        Self(inside)
    }

    /// Begins to start each stored credential when it becomes due, and starts at once those whose
    /// last rotation was interrupted.
    ///
    /// # Errors
    ///
    /// When the vault's index can not be read.
    pub(crate) async fn wake_stored(&self) -> Result<(), Error> {
        let vault = &self.0.shared.vault;
        let interrupted = vault.list(Query::all(RecordKind::Rotation)).await?;
        for id in interrupted.iter().filter_map(id_of) {
            if !self.0.providers.contains_key(&id.provider) {
                continue;
            }
            // One that can not be started any more, such as by a method that its provider does
            // not offer now, must not keep the others from being served.
            if let Err(error) = self.open(&id).await {
                warn!(credential = %id, %error, "an interrupted rotation is left as it is");
            }
        }
        self.0.begin_looking_ahead().await
    }

    /// The address of a credential; its actor is started when it is not running.
    ///
    /// # Errors
    ///
    /// When there is no such provider, it does not offer the method, or the runtime is stopping.
    pub(crate) async fn open(&self, id: &CredentialId) -> Result<CredentialHandle, Error> {
        if let Some(running) = self.0.running.get(id)
            && let Some(handle) = running.handle.get()
        {
            return Ok(handle.clone());
        }
        let provider = self.provider(&id.provider)?;
        if !provider.methods().contains(&id.method) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} does not offer {}, it offers: {}",
                    id.provider,
                    id.method,
                    list(provider.methods())
                ),
            ));
        }
        let running = self
            .0
            .running
            .entry(id.clone())
            .or_insert_with(|| {
                let records = self.records(id, provider);
                Arc::new(Running { records, handle: OnceCell::new() })
            })
            .clone();
        self.0.in_use.insert(id.provider.clone());
        let supervisor = self.0.supervisor.clone();
        // In a task of its own: a caller that gives up must not leave an actor without a handle.
        let starting = async move { running.start(&supervisor).await };
        let started = tokio::spawn(starting.in_current_span());
        let interrupted = |_| Error::new(ErrorKind::Interrupted, "the start died, ask again");
        let handle = started.await.map_err(interrupted)??;
        self.0.upcoming.remove(id);
        Ok(handle)
    }

    /// Whether a stored credential can be used: its provider is there, and offers its method.
    pub(crate) fn offers(&self, id: &CredentialId) -> bool {
        self.0.providers.get(&id.provider).is_some_and(|it| it.methods().contains(&id.method))
    }

    /// Signs out of a credential, as [`CredentialHandle::sign_out`] does; also of one whose method its
    /// provider does not offer any more. Of that there are only records: no actor ever runs for it.
    ///
    /// # Errors
    ///
    /// When there is no such provider, the vault could not erase, or the runtime is stopping.
    pub(crate) async fn sign_out(&self, id: &CredentialId) -> Result<SignedOut, Error> {
        self.sign_out_in_current_span(id).instrument(info_span!("sign-out", credential = %id)).await
    }

    async fn sign_out_in_current_span(&self, id: &CredentialId) -> Result<SignedOut, Error> {
        if self.offers(id) {
            return self.open(id).await?.sign_out_in_current_span().await;
        }
        let records = self.records(id, self.provider(&id.provider)?);
        let signing_out = async move {
            records.cell.desk().sign_out();
            let (erased, revoked) = records.sign_out(None).await;
            erased?;
            let Context { id, shared, .. } = &*records.context;
            shared.events.emit(EventKind::SignedOut { credential: id.clone(), revoked });
            Ok(SignedOut { revoked })
        };
        // In a task of its own: what was begun goes on when its caller gives up.
        let done = self.0.shared.tasks.spawn(signing_out.in_current_span()).await;
        done.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Interrupted, "the sign-out died, ask again"))
        })
    }

    /// The records of a credential of which nothing is known yet.
    fn records(&self, id: &CredentialId, provider: &Arc<dyn Provider>) -> Records {
        let (provider, shared) = (Arc::clone(provider), Arc::clone(&self.0.shared));
        let context = Arc::new(Context { id: id.clone(), provider, shared });
        Records { context, cell: Arc::new(Cell::new(id.clone())) }
    }

    /// Tries once more to write what the vault could not take before: the runtime stops.
    pub(crate) async fn write_what_is_left(&self) {
        for records in self.unwritten() {
            records.write_what_is_left().await;
        }
    }

    /// The places in the tree of the credentials that the vault does not have as they are.
    pub(crate) fn unwritten_paths(&self) -> Vec<String> {
        let path = |records: Records| format!("credentials/{}", records.context.id);
        self.unwritten().into_iter().map(path).collect()
    }

    fn unwritten(&self) -> Vec<Records> {
        let all = self.0.running.iter().map(|running| running.records.clone());
        all.filter(|records| !records.is_written()).collect()
    }

    /// The stored credentials of a user, in a stable order, without starting their actors.
    ///
    /// # Errors
    ///
    /// When the vault's index can not be read.
    pub(crate) async fn of_user(&self, user: &UserId) -> Result<Vec<CredentialId>, Error> {
        let query = Query::all(RecordKind::Credential).of_user(user.clone());
        let entries = self.0.shared.vault.list(query).await?;
        let mut ids: Vec<_> = entries.iter().filter_map(id_of).collect();
        // What the vault could not take yet is a credential all the same.
        let unsaved = self.0.running.iter().filter(|running| {
            running.key().user == *user && !running.records.cell.peek().is_durable()
        });
        ids.extend(unsaved.map(|running| running.key().clone()));
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The credentials of a user whose actors run: what can be had while the vault can not be read.
    pub(crate) fn running_of_user(&self, user: &UserId) -> Vec<CredentialId> {
        let running = self.0.running.iter().filter(|running| running.key().user == *user);
        running.map(|running| running.key().clone()).collect()
    }

    /// A provider by name.
    ///
    /// # Errors
    ///
    /// When there is none; the text names those that there are.
    pub(crate) fn provider(&self, id: &ProviderId) -> Result<&Arc<dyn Provider>, Error> {
        let found = self.0.providers.get(id);
        found.ok_or_else(|| provider::unknown(id, self.0.providers.keys()))
    }

    /// The providers, in order of their names.
    pub(crate) fn providers(&self) -> Vec<Arc<dyn Provider>> {
        let mut all: Vec<_> = self.0.providers.values().cloned().collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all
    }

    /// What all credentials share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The providers that somebody has used since the start.
    pub(crate) fn in_use(&self) -> &Arc<DashSet<ProviderId>> {
        &self.0.in_use
    }

    /// How many of the credentials whose actors run are in which state, by provider.
    pub(crate) fn by_state(&self) -> BTreeMap<(ProviderId, &'static str), usize> {
        let mut found = BTreeMap::new();
        for running in &self.0.running {
            let state = running.records.cell.peek().state().as_str();
            *found.entry((running.key().provider.clone(), state)).or_default() += 1;
        }
        found
    }

    /// How many requests wait for an answer of a credential's actor.
    pub(crate) fn waiting(&self) -> usize {
        let waiting =
            |running: &Arc<Running>| running.handle.get().map_or(0, |it| it.actor().waiting());
        self.0.running.iter().map(|running| waiting(running.value())).sum()
    }
}

pub(super) fn id_of(entry: &Entry) -> Option<CredentialId> {
    CredentialId::from_names(&entry.key.user, &entry.key.name)
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("running", &self.0.running.len())
            .finish_non_exhaustive()
    }
}
