//! What the program keeps in mind between two commands: who you act as, the session of each user,
//! and the sign-ins that are under way.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokenward::credential::CredentialHandle;
use tokenward::event::CredentialState;
use tokenward::identity::{CredentialId, Label, Method, ProviderId};
use tokenward::runtime::{Session, User};
use tokenward::supervision::Notice;
use tokenward::vault::{Query, RecordKind};
use tokio::task::JoinHandle;

use crate::account::{Account, account_at, account_of};
use crate::commands;
use crate::events;
use crate::grammar::Command;
use crate::host::Host;
use crate::pending::{Pending, SignIns};
use crate::problem::{Answer, Problem};
use crate::screen::{Palette, Tone};

/// Prints a line that no command asked for, beside whatever is being typed.
pub(crate) type Aside = Arc<Mutex<dyn FnMut(String) + Send>>;

/// The state of the conversation.
pub(crate) struct Repl {
    pub(crate) host: Host,
    pub(crate) palette: Palette,
    pub(crate) user: String,
    pub(crate) sign_ins: SignIns,
    pub(crate) aside: Aside,
    sessions: HashMap<String, Session>,
    start: SystemTime,
    events: Option<JoinHandle<()>>,
}

impl Repl {
    pub(crate) fn new(host: Host, palette: Palette, aside: Aside) -> Self {
        let start = host.sources.now().wall;
        Self {
            host,
            palette,
            user: "ada".to_owned(),
            sign_ins: SignIns::default(),
            aside,
            sessions: HashMap::new(),
            start,
            events: None,
        }
    }

    /// Carries out one command, and gives what it has to say.
    pub(crate) async fn carry_out(&mut self, command: Command) -> Answer {
        commands::carry_out(self, command).await
    }

    /// The user you act as.
    pub(crate) fn user(&self) -> User {
        self.host.runtime.user(&self.user)
    }

    /// The session you work in: the one that was used last, or a new one.
    pub(crate) async fn session(&mut self) -> Result<Session, Problem> {
        if let Some(session) = self.sessions.get(&self.user) {
            return Ok(session.clone());
        }
        let sessions = self.user().sessions().await?;
        let session = match sessions.into_iter().max_by_key(Session::last_activity) {
            Some(session) => session,
            None => self.user().open_session().await?,
        };
        self.work_in(session.clone());
        Ok(session)
    }

    /// Works in `session` from now on.
    pub(crate) fn work_in(&mut self, session: Session) {
        self.sessions.insert(self.user.clone(), session);
    }

    /// Works in no session, until one is needed.
    pub(crate) fn leave_session(&mut self) {
        self.sessions.remove(&self.user);
    }

    /// Works in no session of `user`, who has none any more.
    pub(crate) fn forget_sessions_of(&mut self, user: &str) {
        self.sessions.remove(user);
    }

    /// The account that the next call goes to, as far as it is known without asking.
    pub(crate) fn active(&self) -> Option<String> {
        let view = self.sessions.get(&self.user)?.view();
        view.active().map(|context| account_at(&context.provider, &context.label))
    }

    /// Your credential of an account: the one that your session uses there, or would.
    pub(crate) async fn credential(
        &mut self,
        account: &Account,
    ) -> Result<CredentialHandle, Problem> {
        let name = account.provider.as_str();
        self.host.check_provider(name)?;
        let session = self.session().await?;
        let provider: ProviderId = name.parse().map_err(tokenward::Error::from)?;
        if let Some(context) = session.view().context(&provider)
            && account.label.as_ref().is_none_or(|label| *label == context.label)
        {
            let credential = self.user().credential(name, context.method, &context.label).await?;
            if credential.inspect().await?.state() != CredentialState::Absent {
                return Ok(credential);
            }
        }
        self.best_credential(account, None).await
    }

    /// Of your credentials of an account, obtained by `method` where one is named: by the provider's
    /// first method before others, and without a label before others.
    pub(crate) async fn best_credential(
        &self,
        account: &Account,
        method: Option<Method>,
    ) -> Result<CredentialHandle, Problem> {
        let methods = self.host.methods(&account.provider)?;
        let mut ids: Vec<_> = self.credentials_of(&account.provider).await?;
        let accounts: BTreeSet<_> = ids.iter().map(account_of).collect();
        ids.retain(|id| account.has(id) && method.is_none_or(|method| method == id.method));
        let rank = |id: &CredentialId| {
            let method = methods.iter().position(|method| *method == id.method);
            (method, id.label != Label::default(), id.label.clone())
        };
        if let Some(id) = ids.into_iter().min_by_key(rank) {
            return Ok(self.host.runtime.credential(&id).await?);
        }
        let by = method.map(|method| format!(" by {method}")).unwrap_or_default();
        let problem = Problem::new(format!("{} is not signed in to {account}{by}", self.user));
        Err(if accounts.is_empty() {
            problem.advice(&format!("sign in first: sign-in {account}"))
        } else {
            let accounts: Vec<_> = accounts.into_iter().collect();
            problem.advice(&format!("there is: {}", accounts.join(", ")))
        })
    }

    /// You have no credential at all: what to begin with.
    pub(crate) fn signed_in_nowhere(&self) -> Problem {
        let names = self.host.provider_names().join(", ");
        Problem::new("you are signed in nowhere")
            .advice(&format!("begin with: sign-in PROVIDER, which is one of {names}"))
    }

    /// What you are signed in by at a provider.
    pub(crate) async fn credentials_of(
        &self,
        provider: &str,
    ) -> Result<Vec<CredentialId>, Problem> {
        let credentials = self.user().credentials().await?;
        let there = credentials.iter().filter(|credential| {
            credential.id().provider.as_str() == provider
                && credential.state() != CredentialState::Absent
        });
        Ok(there.map(|credential| credential.id().clone()).collect())
    }

    /// Every user that the vault knows, and you.
    pub(crate) async fn users(&self) -> Result<Vec<String>, Problem> {
        let mut users = vec![self.user.clone()];
        for kind in [RecordKind::Credential, RecordKind::Session] {
            let entries = self.host.runtime.vault().list(Query::all(kind)).await;
            let entries = entries.map_err(tokenward::Error::from)?;
            users.extend(entries.iter().map(|entry| entry.key.user.to_string()));
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// The sign-ins that are under way.
    pub(crate) fn sign_ins(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints events as they happen from now on, or no more.
    pub(crate) fn show_events(&mut self, on: bool) {
        if let Some(printing) = self.events.take() {
            printing.abort();
        }
        if !on {
            return;
        }
        let mut events = self.host.runtime.events();
        let (aside, start, palette) = (self.aside.clone(), self.start, self.palette);
        self.events = Some(tokio::spawn(async move {
            while let Some(notice) = events.next().await {
                say(
                    &aside,
                    match notice {
                        Notice::Event(event) => events::line(&event, start, palette),
                        Notice::Missed(count) => {
                            palette.paint(Tone::Busy, &format!("{count} events were missed"))
                        }
                        _ => continue,
                    },
                );
            }
        }));
    }

    /// Stops everything. Says what did not finish in time.
    pub(crate) async fn stop(self) -> Result<(), Problem> {
        if let Some(printing) = self.events {
            printing.abort();
        }
        let unfinished = self.host.stop().await;
        if unfinished.is_empty() {
            return Ok(());
        }
        Err(Problem::new(format!("not finished in time: {}", unfinished.join(", "))))
    }
}

/// Prints a line beside whatever is being typed.
pub(crate) fn say(aside: &Aside, line: String) {
    let mut print = aside.lock().unwrap_or_else(PoisonError::into_inner);
    print(line);
}
