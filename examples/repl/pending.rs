//! A sign-in that waits for somebody: for a browser, for another device, or for a key to be pasted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokenward::identity::CredentialId;
use tokenward::login::{DeviceLogin, Login};

use crate::account::{Account, account_of};

/// The sign-ins that are under way, one for each user.
pub(crate) type SignIns = Arc<Mutex<HashMap<String, Pending>>>;

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
    pub(crate) async fn finished(&self) -> Result<CredentialId, tokenward::Error> {
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
