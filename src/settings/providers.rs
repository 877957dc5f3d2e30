//! Makes a provider's data of its settings.

use std::sync::Arc;

use super::Settings;
use super::schema::SCHEMA;
use crate::config::schema::{Found, Kind, nearest};
use crate::config::value::Value;
use crate::config::{Origin, Problem, SettingPath};
use crate::provider::{Discovered, Parameter, Provider, ProviderSpec, catalog};
use crate::secret::Secret;

/// What stands among a provider's settings and is no field of its data.
const BESIDE: [&str; 4] = ["preset", "client", "api_key.value", "oauth.metadata"];

impl Settings {
    /// The provider `id` as it is set, with everything that is wrong added to `problems`. These
    /// settings are complete.
    pub(super) fn provider(
        &self,
        id: &str,
        selected_by: &Origin,
        problems: &mut Vec<Problem>,
    ) -> Option<Arc<dyn Provider>> {
        let path = SettingPath::parse("providers").join(id);
        let spec = self.spec(id, selected_by, problems)?;
        let issuer = self.chosen(&path.beneath("oauth.metadata")).and_then(|entry| {
            match &entry.value {
                // What is no text is `false`: no document.
                Value::Plain(value) => value.as_str(),
                Value::Secret(_) | Value::SecretIn(_) => None,
            }
        });
        let provider: Arc<dyn Provider> = match issuer {
            Some(issuer) => Arc::new(Discovered::new(spec, issuer)),
            None => Arc::new(spec),
        };
        for found in provider.problems() {
            let setting = path.beneath(&found.setting);
            let origin = self.nearest_origin(&setting, selected_by);
            problems.push(problem(&setting, &origin, &found.text));
        }
        Some(provider)
    }

    /// Its data, as far as it stands in the settings.
    pub(super) fn spec(
        &self,
        id: &str,
        selected_by: &Origin,
        problems: &mut Vec<Problem>,
    ) -> Option<ProviderSpec> {
        let path = SettingPath::parse("providers").join(id);
        let is_set = |within: &str| self.chosen(&path.beneath(within)).is_some();
        if ["preset", "base_url", "methods"].into_iter().all(|within| !is_set(within))
            && let Some(meant) = nearest(id, catalog::names().chain(catalog::self_hosted_names()))
        {
            let text = format!(
                "is no built-in provider, did you mean `{meant}`? one of your own needs base_url and \
                 methods, or a preset"
            );
            problems.push(problem(&path, selected_by, &text));
            return None;
        }
        let before = problems.len();
        for (needed, text) in [
            ("base_url", "is missing, set where requests go"),
            ("methods", "is missing, set the ways to sign in"),
        ] {
            if self.chosen(&path.beneath(needed)).is_none() {
                problems.push(problem(&path.beneath(needed), selected_by, text));
            }
        }
        let table = self.table(id, &path);
        if problems.len() > before {
            return None;
        }
        let spec = match toml::Value::Table(table).try_into::<ProviderSpec>() {
            Ok(spec) => spec,
            Err(error) => {
                let text = format!("can not be used: {}", error.message());
                problems.push(problem(&path, selected_by, &text));
                return None;
            }
        };
        let spec = self.with_parameters(&path, spec);
        let spec = match self.secret(&path.beneath("oauth.client_secret"), problems) {
            Some(secret) => spec.client_secret(secret),
            None => spec,
        };
        if spec.oauth.client_secret.is_some() && spec.oauth.client_id.is_none() {
            let (setting, secret) = (path.beneath("oauth.client_id"), "oauth.client_secret");
            let origin = self.nearest_origin(&path.beneath(secret), selected_by);
            problems.push(problem(&setting, &origin, "is missing although there is a secret"));
        }
        Some(spec)
    }

    /// The secret at `path`, if one is set there, read from where it stands.
    pub(super) fn secret(&self, path: &SettingPath, problems: &mut Vec<Problem>) -> Option<Secret> {
        let entry = self.chosen(path)?;
        match entry.value.secret(&|name| self.variable(name))? {
            Ok(secret) => Some(secret),
            Err(text) => {
                problems.push(problem(path, &entry.origin, &text));
                None
            }
        }
    }

    /// What is chosen beneath `path`, as a table of the provider's fields.
    fn table(&self, id: &str, path: &SettingPath) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("id".to_owned(), id.into());
        let apart = BESIDE.map(|name| path.beneath(name));
        let parameters = path.beneath("oauth.parameters");
        for setting in self.given.keys() {
            let Some(keys) = setting.after(path) else { continue };
            let beside = apart.contains(setting) || setting.after(&parameters).is_some();
            if let Some(Value::Plain(value)) = self.chosen(setting).map(|entry| &entry.value)
                && !beside
                && !is_removed(setting, value)
            {
                insert(&mut table, keys, value.clone());
            }
        }
        table
    }

    /// Adds, replaces or takes away single parameters of the authorization URL.
    fn with_parameters(&self, path: &SettingPath, mut spec: ProviderSpec) -> ProviderSpec {
        let parameters = path.beneath("oauth.parameters");
        let list = &mut spec.oauth.authorization;
        for setting in self.given.keys() {
            let Some([name]) = setting.after(&parameters) else { continue };
            let Some(Value::Plain(value)) = self.chosen(setting).map(|entry| &entry.value) else {
                continue;
            };
            match value.as_str() {
                None => list.retain(|parameter| parameter.name != *name),
                Some(text) => match list.iter_mut().find(|parameter| parameter.name == *name) {
                    Some(parameter) => text.clone_into(&mut parameter.value),
                    None => list.push(Parameter::extra(name, text)),
                },
            }
        }
        spec
    }

    /// The origin of `setting`, of what stands beneath it, or of what it stands in.
    pub(super) fn nearest_origin(&self, setting: &SettingPath, otherwise: &Origin) -> Origin {
        let mut place = Some(setting.clone());
        while let Some(path) = place {
            let set = self.given.iter().filter(|(given, _)| given.after(&path).is_some());
            let origins = set.filter_map(|(_, entries)| entries.last()).map(|entry| &entry.origin);
            if let Some(origin) = origins.max_by_key(|origin| origin.rank())
                && (origin.is_set() || path == *setting)
            {
                return origin.clone();
            }
            if let Some(origin) = self.sections.get(&path) {
                return origin.clone();
            }
            place = path.parent().filter(|above| above.keys().len() > 2);
        }
        otherwise.clone()
    }
}

pub(super) fn problem(setting: &SettingPath, origin: &Origin, text: &str) -> Problem {
    let (setting, source) = (setting.to_string(), origin.to_string());
    Problem { setting, source, text: text.to_owned() }
}

/// `false` takes away what a preset has, where a setting says so.
fn is_removed(setting: &SettingPath, value: &toml::Value) -> bool {
    value.as_bool() == Some(false)
        && matches!(SCHEMA.find(setting), Found::Setting(known) if known.kind == Kind::Removable)
}

fn insert(table: &mut toml::Table, keys: &[String], value: toml::Value) {
    match keys {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let below = table.entry(first.clone()).or_insert_with(|| toml::Table::new().into());
            if let toml::Value::Table(below) = below {
                insert(below, rest, value);
            }
        }
    }
}
