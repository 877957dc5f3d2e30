//! What the tab key offers: commands, and for each argument what can stand there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use tokenward::testing::Fault;

use crate::account::account_of;
use crate::commands::actors;
use crate::grammar::{STATES, STATUSES, Slot, find};
use crate::repl::Repl;
use crate::table::COMMANDS;

/// The words that are known at the moment.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    users: Vec<String>,
    actors: Vec<String>,
    settings: Vec<String>,
    /// The providers, and the accounts of the user with a label.
    accounts: Vec<String>,
    /// The methods of each provider.
    providers: BTreeMap<String, Vec<String>>,
}

impl Vocabulary {
    pub(crate) async fn of(repl: &Repl) -> Self {
        let runtime = &repl.host.runtime;
        let credentials = repl.user().credentials().await.unwrap_or_default();
        let mut accounts = repl.host.provider_names();
        accounts.extend(credentials.iter().map(|credential| account_of(credential.id())));
        accounts.sort();
        accounts.dedup();
        let explained = runtime.settings().explain();
        let providers = runtime.providers().into_iter().map(|provider| {
            let methods = provider.methods().iter().map(ToString::to_string).collect();
            (provider.id().to_string(), methods)
        });
        Self {
            users: repl.users().await.unwrap_or_default(),
            actors: actors(&runtime.tree().await),
            settings: explained.iter().map(|explained| explained.setting.clone()).collect(),
            accounts,
            providers: providers.collect(),
        }
    }

    /// What can stand where the last of `words` begins, after the others.
    fn candidates(&self, words: &[&str]) -> Vec<String> {
        let [name, arguments @ .., _] = words else {
            return COMMANDS.iter().map(|entry| entry.name.to_owned()).collect();
        };
        let slot = find(name).ok().and_then(|entry| entry.slots.get(arguments.len()));
        let account = arguments.first().copied().unwrap_or_default();
        let provider = account.split_once(':').map_or(account, |(provider, _)| provider);
        slot.map(|slot| self.words_for(*slot, provider)).unwrap_or_default()
    }

    fn words_for(&self, slot: Slot, provider: &str) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match slot {
            Slot::Command => COMMANDS.iter().map(|entry| entry.name.to_owned()).collect(),
            Slot::User => self.users.clone(),
            Slot::Provider => self.providers.keys().cloned().collect(),
            Slot::Method => self.providers.get(provider).cloned().unwrap_or_default(),
            Slot::Account => self.accounts.clone(),
            Slot::Setting => self.settings.clone(),
            Slot::Actor => self.actors.clone(),
            Slot::ActorOrAccount => self.accounts.iter().chain(&self.actors).cloned().collect(),
            Slot::State => {
                let states = STATES.iter().map(|state| state.as_str());
                let statuses = STATUSES.iter().map(|(name, _)| *name);
                states.chain(statuses).map(str::to_owned).collect()
            }
            Slot::Fault => {
                let kinds = Fault::KINDS.iter().map(|kind| kind.example);
                let others = ["off", "token", "device", "resource", "revocation"];
                kinds.chain(others).map(str::to_owned).collect()
            }
            Slot::OneOf(words) => owned(words),
        }
    }
}

/// The line editor's helper.
pub(crate) struct Completion {
    vocabulary: Arc<Mutex<Vocabulary>>,
}

impl Completion {
    pub(crate) fn new(vocabulary: Arc<Mutex<Vocabulary>>) -> Self {
        Self { vocabulary }
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..position];
        let begun = typed.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let mut words: Vec<_> = typed[..begun].split_whitespace().collect();
        words.push(&typed[begun..]);
        let vocabulary = self.vocabulary.lock().unwrap_or_else(PoisonError::into_inner);
        let mut candidates = vocabulary.candidates(&words);
        candidates.retain(|candidate| candidate.starts_with(&typed[begun..]));
        candidates.sort();
        // The next word can follow at once.
        if let [only] = candidates.as_mut_slice() {
            only.push(' ');
        }
        Ok((begun, candidates))
    }
}
