//! The built-in providers, each as data. Endpoints move: every value is a preset that
//! configuration can override.

mod anthropic;
mod github_copilot;
mod google;
mod memory_bank;
mod openai;
mod orange;

use url::Url;

use super::{HeaderTemplate, ProviderSpec};
use crate::identity::ProviderId;

pub use anthropic::anthropic;
pub use github_copilot::github_copilot;
pub use google::google;
pub use memory_bank::memory_bank;
pub use openai::{OPENAI_PUBLIC_CLIENT_ID, openai};
pub use orange::orange;

/// Every built-in provider by its name.
const BUILT_IN: [(&str, Preset); 5] = [
    ("anthropic", anthropic),
    ("openai", openai),
    ("google", google),
    ("orange", orange),
    ("github-copilot", github_copilot),
];

/// Servers that stand wherever their operator put them, so that their address has to be given.
const SELF_HOSTED: [(&str, PresetAt); 1] = [("memory-bank", memory_bank)];

type Preset = fn() -> ProviderSpec;
type PresetAt = fn(Url) -> ProviderSpec;

/// The names of the built-in providers.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The built-in provider of this name.
pub fn find(name: &str) -> Option<ProviderSpec> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, spec)| spec())
}

/// The names of presets that need an address.
pub(crate) fn self_hosted_names() -> impl Iterator<Item = &'static str> {
    SELF_HOSTED.iter().map(|(name, _)| *name)
}

/// The preset of this name for a server at `base_url`.
pub(crate) fn find_self_hosted(name: &str, base_url: Url) -> Option<ProviderSpec> {
    let preset = SELF_HOSTED.iter().find(|(known, _)| *known == name);
    preset.map(|(_, preset)| preset(base_url))
}

/// A spec under one of our own names.
fn spec(id: &str, base_url: &str) -> ProviderSpec {
    let id = ProviderId::new(id).expect("the catalogue's names are names");
    ProviderSpec::new(id, url(base_url))
}

/// One of our own constants as a URL; the tests build every spec.
fn url(text: &str) -> Url {
    Url::parse(text).expect("the catalogue's urls are urls")
}

fn headers(list: &[(&str, &str)]) -> Vec<HeaderTemplate> {
    let owned = |&(name, value): &(&str, &str)| HeaderTemplate {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    list.iter().map(owned).collect()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

#[cfg(test)]
mod tests;
