//! A sign-in that waits for somebody: for a browser, for another device, or for a key to be pasted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokenward::identity::CredentialId;
use tokenward::login::{DeviceLogin, Login};

use crate::account::{Account, account_of};
use crate::repl::{Aside, Repl, say};

/// The sign-ins that are under way, one for each user.
pub(crate) type SignIns = Arc<Mutex<HashMap<String, Pending>>>;

/// How a sign-in ended.
pub(crate) type Outcome = Result<CredentialId, tokenward::Error>;

/// What a sign-in waits for.
#[derive(Clone)]
pub(crate) enum Pending {
    /// `comes_back`: to a listener on this machine; else the user pastes what the browser shows.
    Browser {
        login: Login,
        comes_back: bool,
    },
    Device(DeviceLogin),
    Key(WantedKey),
}

/// An API key that is to be pasted.
#[derive(Clone)]
pub(crate) struct WantedKey {
    pub(crate) account: Account,
    /// Whether the provider is asked before it is stored.
    pub(crate) verify: bool,
}

impl Pending {
    /// The account that is signed in to.
    pub(crate) fn account(&self) -> String {
        match self {
            Self::Browser { login, .. } => account_of(login.credential()),
            Self::Device(login) => account_of(login.credential()),
            Self::Key(wanted) => wanted.account.to_string(),
        }
    }

    /// Whether both are the same sign-in.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Browser { login: one, .. }, Self::Browser { login: other, .. }) => {
                one.id() == other.id()
            }
            (Self::Device(one), Self::Device(other)) => one.id() == other.id(),
            _ => false,
        }
    }

    /// Waits for the end, where something else than a command can bring it about.
    pub(crate) async fn finished(&self) -> Outcome {
        match self {
            Self::Browser { login, .. } => login.finished().await,
            Self::Device(login) => login.finished().await,
            Self::Key(_) => std::future::pending().await,
        }
    }

    pub(crate) async fn cancel(&self) {
        match self {
            Self::Browser { login, .. } => login.cancel().await,
            Self::Device(login) => login.cancel().await,
            Self::Key(_) => {}
        }
    }
}

/// Tells how the sign-ins of one user end that no command waits for: a browser of the user's own may
/// complete one while they type something else.
#[derive(Clone)]
pub(crate) struct Announcer {
    user: String,
    sign_ins: SignIns,
    aside: Aside,
}

impl Announcer {
    /// For the user you act as.
    pub(crate) fn of(repl: &Repl) -> Self {
        let (user, sign_ins) = (repl.user.clone(), repl.sign_ins.clone());
        Self { user, sign_ins, aside: repl.aside.clone() }
    }

    pub(crate) fn announce_when_finished(&self, pending: Pending) {
        let announcer = self.clone();
        tokio::spawn(async move {
            let outcome = pending.finished().await;
            // What a command waited for, that command tells.
            if !announcer.forget(&pending) {
                return;
            }
            let Self { user, aside, .. } = announcer;
            let account = pending.account();
            say(
                &aside,
                match outcome {
                    Ok(_) => format!("{user} is signed in to {account}, type: use {account}"),
                    Err(error) => format!("{user} is not signed in to {account}: {error}"),
                },
            );
        });
    }

    /// Whether it was the sign-in that waits for the user, which it is no more.
    pub(crate) fn forget(&self, pending: &Pending) -> bool {
        let mut sign_ins = self.sign_ins();
        let waits = sign_ins.get(&self.user).is_some_and(|current| current.is(pending));
        if waits {
            sign_ins.remove(&self.user);
        }
        waits
    }

    fn sign_ins(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sign-in whose end a command tells. When the command is left before it did, by an error or by
/// ctrl-c, the sign-in waits for the user again, and its end is announced.
pub(crate) struct Taken {
    pub(crate) announcer: Announcer,
    /// None: its end is told.
    pub(crate) pending: Option<Pending>,
}

impl Taken {
    /// The command has told how it ended.
    pub(crate) fn told(mut self) {
        self.pending = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            let user = self.announcer.user.clone();
            self.announcer.sign_ins().insert(user, pending.clone());
            self.announcer.announce_when_finished(pending);
        }
    }
}
