//! An account as it is typed and shown: a provider, and a label where a user has several there, as in
//! `openai` and `openai:work`.

use std::fmt;
use std::str::FromStr;

use tokenward::identity::{CredentialId, Label, NameError, ProviderId};

/// An account of the user you act as.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) provider: String,
    /// None: whichever account is meant where no label is given.
    pub(crate) label: Option<Label>,
}

impl Account {
    /// The label under which a new sign-in is kept.
    pub(crate) fn label(&self) -> Label {
        self.label.clone().unwrap_or_default()
    }

    /// Whether a credential belongs to it.
    pub(crate) fn has(&self, id: &CredentialId) -> bool {
        id.provider.as_str() == self.provider
            && self.label.as_ref().is_none_or(|label| *label == id.label)
    }
}

impl FromStr for Account {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (provider, label) = match text.split_once(':') {
            None => (text, None),
            Some((provider, label)) => (provider, Some(Label::new(label)?)),
        };
        Ok(Self { provider: provider.to_owned(), label })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.provider, &self.label()))
    }
}

/// The account that a credential belongs to.
pub(crate) fn account_of(id: &CredentialId) -> String {
    account_at(&id.provider, &id.label)
}

/// The account at a provider that has this label.
pub(crate) fn account_at(provider: &ProviderId, label: &Label) -> String {
    name(provider.as_str(), label)
}

fn name(provider: &str, label: &Label) -> String {
    if *label == Label::default() { provider.to_owned() } else { format!("{provider}:{label}") }
}
