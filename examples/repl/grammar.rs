//! What can be typed: commands, and how a line becomes one. The table of them is beside it.

use std::time::Duration;

use tokenward::event::CredentialState;
use tokenward::identity::Method;
use tokenward::supervision::ChildStatus;
use tokenward::testing::{Endpoint, Fault};

use crate::account::Account;
use crate::problem::Problem;
use crate::table::COMMANDS;
use crate::words::Words;

/// One command, understood.
#[derive(Debug)]
pub(crate) enum Command {
    Help(Option<String>),
    User(String),
    Users,
    SignIn { account: Account, method: Option<Method>, how: How },
    Approve,
    Deny,
    Paste(String),
    Cancel,
    SignOut(Account),
    Use { account: Account, method: Option<Method> },
    Fallback { account: Account, allowed: bool },
    Sessions,
    NewSession,
    SwitchSession(usize),
    CloseSession(usize),
    Providers,
    Explain,
    Doctor,
    Config(Option<String>),
    Call { path: Option<String>, body: Option<String> },
    Health(Option<String>),
    Audit(usize),
    Refresh(Account),
    Expire(Account),
    Revoke(String),
    Fault { provider: String, endpoint: Option<Endpoint>, fault: Fault, count: Option<usize> },
    NoFault(String),
    Faults,
    Breaker { provider: Option<String>, to: Option<&'static str> },
    Stop(String),
    Start(String),
    Crash(String),
    Tree,
    Events(bool),
    Wait(Wait),
    Stats,
    Vault,
    Erase(String),
    Expect { text: String, wanted: bool },
    ExpectError(String),
    Quit,
}

/// What is particular about a sign-in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// The user pastes: the key, or what the browser shows, with no listener for it to come back to.
    pub(crate) paste: bool,
    /// The provider is asked whether it takes the key before it is stored.
    pub(crate) verify: bool,
}

/// What `wait` waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    Time(Duration),
    Credential { account: Account, state: CredentialState, generation: u64 },
    Actor { path: String, status: ChildStatus, restarts: u32 },
}

/// One line of the table.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// What follows the name.
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    /// More than one line can say; empty: nothing.
    pub(crate) more: &'static str,
    /// What each argument is, for completion.
    pub(crate) slots: &'static [Slot],
    pub(crate) parse: fn(&mut Words<'_>) -> Result<Command, Problem>,
}

/// What kind of word an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Command,
    User,
    Provider,
    Account,
    Method,
    Setting,
    Fault,
    Actor,
    ActorOrAccount,
    State,
    OneOf(&'static [&'static str]),
}

impl Entry {
    /// The name and its arguments.
    pub(crate) fn usage(&self) -> String {
        format!("{} {}", self.name, self.arguments).trim_end().to_owned()
    }
}

/// Understands one line.
pub(crate) fn parse(line: &str) -> Result<Command, Problem> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let entry = find(name)?;
    let mut words = Words::new(rest, entry);
    let command = (entry.parse)(&mut words)?;
    words.end()?;
    Ok(command)
}

/// The command of this name.
pub(crate) fn find(name: &str) -> Result<&'static Entry, Problem> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, meant)| meant);
    COMMANDS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        if may_be_secret(name) {
            let text = "that is no command, help lists them all; a key or a code goes after paste";
            return Problem::new(text);
        }
        let names: Vec<_> = COMMANDS.iter().map(|entry| entry.name).collect();
        Problem::unknown("command", name, &names).advice("help lists them all")
    })
}

/// What whoever comes from another shell types, and what it is here.
const ALIASES: [(&str, &str); 5] = [
    ("?", "help"),
    ("exit", "quit"),
    ("status", "providers"),
    ("login", "sign-in"),
    ("logout", "sign-out"),
];

/// Whether a line may hold a key or a code, and is better not shown again: what follows `paste`, and
/// what somebody pasted without it.
pub(crate) fn may_be_secret(line: &str) -> bool {
    let name = line.split_whitespace().next().unwrap_or_default();
    let is_word = name.len() <= LONGEST_WORD
        && name.chars().all(|char| char.is_ascii_lowercase() || char == '-');
    name == "paste" || !is_word
}

/// A longer word is no command that somebody misspelt.
const LONGEST_WORD: usize = 20;

/// The states of a credential, for `wait`.
pub(crate) const STATES: &[CredentialState] = &[
    CredentialState::Absent,
    CredentialState::Valid,
    CredentialState::ExpiringSoon,
    CredentialState::Refreshing,
    CredentialState::Degraded,
    CredentialState::Expired,
    CredentialState::Uncertain,
    CredentialState::ReauthorizationRequired,
    CredentialState::Unreadable,
];

/// How an actor fares, in one word.
pub(crate) fn name_of(status: ChildStatus) -> &'static str {
    STATUSES.iter().find(|(_, known)| *known == status).map_or("unknown", |(name, _)| name)
}

/// How an actor fares, for `wait`.
pub(crate) const STATUSES: &[(&str, ChildStatus)] = &[
    ("running", ChildStatus::Running),
    ("restarting", ChildStatus::Restarting),
    ("asleep", ChildStatus::Asleep),
    ("quarantined", ChildStatus::Quarantined),
    ("stopped", ChildStatus::Stopped),
];
