//! Puts the defaults and the presets beneath what was given, so that every setting has a value
//! and an origin.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::Settings;
use super::schema::SCHEMA;
use crate::config::schema::Found;
use crate::config::value::{Entry, Value};
use crate::config::{Origin, Problem, SettingPath};
use crate::credential::IDLE_AFTER;
use crate::health::HealthPolicy;
use crate::identity::ProviderId;
use crate::oauth::{Limits, OUR_USER_AGENT};
use crate::provider::{HeaderTemplate, ProviderSpec, RedirectRules, catalog};
use crate::session::SessionPolicy;
use crate::vault::audit::AuditRetention;
use crate::vault::settings::RESERVE;
use crate::vault::{DataKeyPolicy, Engine};

/// What a preset adds to a provider's own data: the client that its vendor publishes.
const PUBLIC_CLIENTS: [(&str, &str); 1] = [("openai", catalog::OPENAI_PUBLIC_CLIENT_ID)];

impl Settings {
    /// These settings with a value for everything that has one.
    pub(super) fn completed(&self) -> Self {
        let mut all = self.clone();
        for (path, value) in defaults() {
            all.add(SettingPath::parse(path), Entry { value, origin: Origin::Default });
        }
        for (id, selected_by) in self.selected() {
            all.complete_provider(&id, &selected_by);
        }
        all
    }

    /// The providers that a file or the program selects, and by what. A variable selects none:
    /// what stands in an environment may be meant for another program.
    pub(super) fn selected(&self) -> BTreeMap<String, Origin> {
        let root = SettingPath::parse("providers");
        let mut selected = BTreeMap::new();
        let given = self
            .given
            .iter()
            .flat_map(|(path, entries)| entries.iter().map(move |entry| (path, &entry.origin)));
        for (path, origin) in self.sections.iter().chain(given) {
            if let Some([id, ..]) = path.after(&root)
                && !matches!(origin, Origin::Variable(_))
            {
                selected.entry(id.clone()).or_insert_with(|| origin.clone());
            }
        }
        selected
    }

    fn complete_provider(&mut self, id: &str, selected_by: &Origin) {
        let path = SettingPath::parse("providers").join(id);
        let checked = match ProviderId::new(id) {
            Ok(checked) => checked,
            Err(error) => return self.reject(&path, selected_by, &format!("the {error}")),
        };
        let preset = self.preset(&path, id);
        let origin = match &preset {
            Some(spec) => Origin::Preset(spec.id.as_str().to_owned()),
            None => Origin::Default,
        };
        let public_client = preset.as_ref().and_then(|spec| {
            PUBLIC_CLIENTS.iter().find(|(name, _)| *name == spec.id.as_str()).map(|(_, id)| *id)
        });
        let spec = preset.unwrap_or_else(|| blank(checked));
        for (setting, value) in settings_of(&path, &spec) {
            self.add(setting, Entry { value, origin: origin.clone() });
        }
        for (within, entry) in self.everywhere.clone() {
            self.add(path.beneath(&within.to_string()), entry);
        }
        self.complete_client(&path, public_client);
    }

    /// The catalogue's data that a provider begins with: what `preset` names, else what has the
    /// provider's own name.
    fn preset(&mut self, path: &SettingPath, id: &str) -> Option<ProviderSpec> {
        let setting = path.beneath("preset");
        let Some(Entry { value: Value::Plain(value), origin }) = self.chosen(&setting).cloned()
        else {
            return self.built_in(path, id);
        };
        // What is no text is `false`: no preset.
        let name = value.as_str()?;
        let found = self.built_in(path, name);
        if found.is_none() {
            let names: Vec<_> = catalog::names().chain(catalog::self_hosted_names()).collect();
            let text = format!("is no built-in provider, use one of {}", names.join(", "));
            self.reject(&setting, &origin, &text);
        }
        found
    }

    /// The catalogue's data of this name, for the address that is set where it has none itself.
    fn built_in(&self, path: &SettingPath, name: &str) -> Option<ProviderSpec> {
        catalog::find(name).or_else(|| {
            let set = self.chosen(&path.beneath("base_url")).and_then(|entry| match &entry.value {
                Value::Plain(value) => Url::parse(value.as_str()?).ok(),
                Value::Secret(_) | Value::SecretIn(_) => None,
            });
            catalog::find_self_hosted(name, set.unwrap_or_else(nowhere))
        })
    }

    /// `client = "public"` is a client id with the origin of that line.
    fn complete_client(&mut self, path: &SettingPath, public: Option<&str>) {
        let setting = path.beneath("client");
        let Some(Entry { value: Value::Plain(value), origin }) = self.chosen(&setting).cloned()
        else {
            return;
        };
        if value.as_bool() == Some(false) {
            return;
        }
        let Some(public) = public else {
            return self.reject(
                &setting,
                &origin,
                "names a public client, and this provider publishes none, set oauth.client_id to \
                 a client of your own",
            );
        };
        let id = path.beneath("oauth.client_id");
        let both = |entry: &Entry| entry.origin.rank() == origin.rank();
        if self.given.get(&id).is_some_and(|given| given.iter().any(both)) {
            return self.reject(&setting, &origin, "stands beside oauth.client_id, leave one out");
        }
        self.add(id, Entry { value: Value::Plain(public.into()), origin });
    }

    pub(super) fn reject(&mut self, setting: &SettingPath, origin: &Origin, text: &str) {
        self.problems.push(Problem {
            setting: setting.to_string(),
            source: origin.to_string(),
            text: text.to_owned(),
        });
    }
}

/// What holds when nobody says otherwise.
fn defaults() -> [(&'static str, Value); 15] {
    let (sessions, limits) = (SessionPolicy::default(), Limits::default());
    let span = |span| Value::Plain(humantime::format_duration(span).to_string().into());
    let number = |number: u64| toml::Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let (retention, data_keys) = (AuditRetention::default(), DataKeyPolicy::default());
    // In days, since humantime would make a year, a month and what is left of them.
    let days =
        |keep: Duration| toml::Value::from(format!("{}days", keep.as_secs() / (24 * 60 * 60)));
    let keep = retention.keep.map_or(toml::Value::from(false), days);
    let body = i64::try_from(limits.body).unwrap_or(i64::MAX);
    [
        ("vault.create_if_missing", Value::Plain(true.into())),
        ("vault.engine", Value::Plain(Engine::default().as_str().into())),
        ("vault.reserve", Value::Plain(number(RESERVE))),
        ("vault.data_keys.rotate_after", Value::Plain(days(data_keys.rotate_after))),
        ("vault.data_keys.rotate_after_seals", Value::Plain(number(data_keys.rotate_after_seals))),
        ("audit.retention.keep", Value::Plain(keep)),
        ("audit.retention.at_least", Value::Plain(number(retention.at_least))),
        ("sessions.timeout", span(sessions.timeout)),
        ("sessions.sweep_every", span(sessions.sweep_every)),
        ("credentials.idle_after", span(IDLE_AFTER)),
        ("health.enabled", Value::Plain(false.into())),
        ("health.every", span(HealthPolicy::default().every)),
        ("token_requests.connect", span(limits.connect)),
        ("token_requests.deadline", span(limits.deadline)),
        ("token_requests.body", Value::Plain(body.into())),
    ]
}

/// What a provider that is not built in begins with: bearer tokens, and a redirect to any port of
/// the loopback address.
fn blank(id: ProviderId) -> ProviderSpec {
    let mut spec = ProviderSpec::new(id, nowhere()).user_agent(OUR_USER_AGENT);
    let header =
        |name: &str, value: &str| HeaderTemplate { name: name.to_owned(), value: value.to_owned() };
    let bearer =
        vec![header("authorization", "Bearer {secret}"), header("user-agent", "{user_agent}")];
    spec.headers.api_key.clone_from(&bearer);
    spec.headers.token = bearer;
    spec.oauth.redirect = Some(RedirectRules {
        host: "127.0.0.1".to_owned(),
        path: "/callback".to_owned(),
        ports: Vec::new(),
        manual: None,
    });
    spec
}

/// The address of a provider that has none; that one is missing is told by name.
fn nowhere() -> Url {
    Url::parse("https://provider.invalid").expect("a url")
}

/// A provider's data as settings. What it leaves to be given is not among them.
fn settings_of(path: &SettingPath, spec: &ProviderSpec) -> Vec<(SettingPath, Value)> {
    let mut settings = Vec::new();
    if let Ok(toml::Value::Table(mut table)) = toml::Value::try_from(spec) {
        table.remove("id");
        if spec.methods.is_empty() {
            table.remove("methods");
        }
        if spec.base_url.domain() == Some("provider.invalid") {
            table.remove("base_url");
            if let Some(toml::Value::Table(oauth)) = table.get_mut("oauth") {
                oauth.remove("token_endpoint");
            }
        }
        flatten(path, table, &mut settings);
    }
    settings
}

fn flatten(above: &SettingPath, table: toml::Table, into: &mut Vec<(SettingPath, Value)>) {
    for (key, value) in table {
        let path = above.join(&key);
        match (SCHEMA.find(&path), value) {
            (Found::Section, toml::Value::Table(table)) => flatten(&path, table, into),
            (_, value) => into.push((path, Value::Plain(value))),
        }
    }
}
