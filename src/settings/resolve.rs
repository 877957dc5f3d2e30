//! Makes the parts of a runtime of its settings, or tells everything that is wrong with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Settings;
use super::providers::problem;
use super::schema::{KeyPlace, Span};
use crate::config::value::{Value, is_variable_name};
use crate::config::{Origin, Problem, SettingPath};
use crate::health::HealthPolicy;
use crate::identity::ProviderId;
use crate::oauth::Limits;
use crate::provider::Provider;
use crate::secret::Secret;
use crate::session::SessionPolicy;
use crate::vault::audit::AuditRetention;
use crate::vault::{DataKeyPolicy, Engine, MasterKey, Vault};

const NO_API_KEY: &str = "is no api key that this provider takes, paste the whole key alone and \
                          look at methods, api_key.prefix and api_key.not";

/// The parts of a runtime, as they are set.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// None where the program gives one itself.
    pub(crate) vault: Option<Vault>,
    pub(crate) audit_retention: AuditRetention,
    pub(crate) limits: Limits,
    pub(crate) sessions: SessionPolicy,
    pub(crate) idle_after: Duration,
    /// None: providers are looked at only when somebody asks.
    pub(crate) health: Option<HealthPolicy>,
    /// The program that users go back to after a sign-in by browser.
    pub(crate) application: Option<String>,
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    /// API keys that are there to sign in with; nobody is signed in by them.
    pub(crate) api_keys: BTreeMap<ProviderId, OfferedKey>,
    /// What all of this was made of.
    pub(crate) settings: Settings,
}

/// An API key that the settings offer.
#[derive(Debug, Clone)]
pub(crate) struct OfferedKey {
    pub(crate) key: Secret,
    pub(crate) origin: Origin,
}

impl Settings {
    /// The parts of a runtime, and everything that is missing or wrong; they are whole only where
    /// nothing is. `with_vault`: the settings have to name one.
    pub(crate) fn resolve(&self, with_vault: bool) -> (Resolved, Vec<Problem>) {
        let mut settings = self.completed();
        let mut problems = std::mem::take(&mut settings.problems);
        // What seems to be missing may stand in a file that could not be read.
        let with_vault = with_vault && !settings.broken;
        let vault = if with_vault { settings.vault(&mut problems) } else { None };
        let audit_retention = settings.audit_retention(&mut problems);
        let sessions = SessionPolicy {
            timeout: settings.span("sessions.timeout", &mut problems),
            sweep_every: settings.span("sessions.sweep_every", &mut problems),
        };
        let idle_after = settings.span("credentials.idle_after", &mut problems);
        let every = settings.span("health.every", &mut problems);
        let enabled = settings.get(&SettingPath::parse("health.enabled")).unwrap_or(false);
        let health = enabled.then(|| HealthPolicy { every, ..HealthPolicy::default() });
        let body = SettingPath::parse("token_requests.body");
        let limits = Limits {
            connect: settings.span("token_requests.connect", &mut problems),
            deadline: settings.span("token_requests.deadline", &mut problems),
            body: settings.get::<u32>(&body).map_or(0, |bytes| bytes as usize),
        };
        if limits.body == 0 {
            let origin = settings.nearest_origin(&body, &Origin::Default);
            problems.push(problem(&body, &origin, Problem::NO_ROOM));
        }
        let (mut providers, mut api_keys) = (Vec::new(), BTreeMap::new());
        for (id, selected_by) in settings.selected() {
            let Ok(name) = ProviderId::new(&id) else { continue };
            let provider = settings.provider(&id, &selected_by, &mut problems);
            let path = SettingPath::parse("providers").join(&id).beneath("api_key.value");
            if let Some(key) = settings.secret(&path, &mut problems) {
                let origin = settings.nearest_origin(&path, &selected_by);
                // The error itself repeats the prefix, which may be set, and is no key's for sure.
                if provider.as_ref().is_some_and(|it| it.check_api_key(&key).is_err()) {
                    problems.push(problem(&path, &origin, NO_API_KEY));
                }
                api_keys.insert(name, OfferedKey { key, origin });
            }
            providers.extend(provider);
        }
        let application = settings.get(&SettingPath::parse("sign_in.application"));
        let settings = self.clone();
        let resolved = Resolved {
            vault,
            audit_retention,
            limits,
            sessions,
            idle_after,
            health,
            application,
            providers,
            api_keys,
            settings,
        };
        (resolved, problems)
    }

    fn vault(&self, problems: &mut Vec<Problem>) -> Option<Vault> {
        let (path, key) = (SettingPath::parse("vault.path"), SettingPath::parse("vault.key"));
        let folder = self.get::<std::path::PathBuf>(&path);
        if folder.is_none() {
            let text = "is missing, set the folder in which everything is kept";
            problems.push(problem(&path, &Origin::Default, text));
        }
        let place = self.get::<KeyPlace>(&key);
        let source = match place {
            None => {
                let text = "is missing, set it to { file = \"agent.key\", create_if_missing = true }, { env = \"NAME\" } or \
                            { keyring = \"NAME\" }, or set the variable CREDENTIAL_ENCRYPTION_KEY";
                problems.push(problem(&key, &Origin::Default, text));
                None
            }
            Some(place) => match self.master_key(place) {
                Ok(key) => Some(key),
                Err(text) => {
                    let origin = self.nearest_origin(&key, &Origin::Default);
                    problems.push(problem(&key, &origin, &text));
                    None
                }
            },
        };
        let create = self.get(&SettingPath::parse("vault.create_if_missing")).unwrap_or(true);
        let mut vault = Vault::open(folder?).master_key(source?).create_if_missing(create);
        let engine = self.get::<String>(&SettingPath::parse("vault.engine"));
        if let Some(engine) = engine.and_then(|name| Engine::of_name(&name)) {
            vault = vault.engine(engine);
        }
        if let Some(bytes) = self.get(&SettingPath::parse("vault.reserve")) {
            vault = vault.reserve(bytes);
        }
        Some(vault.data_keys(self.data_keys(problems)))
    }

    /// When the data keys of the vault are rotated.
    fn data_keys(&self, problems: &mut Vec<Problem>) -> DataKeyPolicy {
        let default = DataKeyPolicy::default();
        let after_seals = SettingPath::parse("vault.data_keys.rotate_after_seals");
        let policy = DataKeyPolicy {
            rotate_after: self.span("vault.data_keys.rotate_after", problems),
            rotate_after_seals: self.get(&after_seals).unwrap_or(default.rotate_after_seals),
        };
        if let Err(error) = policy.check() {
            let path = SettingPath::parse("vault.data_keys");
            let origin = self.nearest_origin(&path, &Origin::Default);
            problems.push(problem(&path, &origin, &error.to_string()));
            return default;
        }
        policy
    }

    /// How long the audit trail is kept: for ever where `keep` is taken away.
    fn audit_retention(&self, problems: &mut Vec<Problem>) -> AuditRetention {
        let keep = SettingPath::parse("audit.retention.keep");
        let at_least = SettingPath::parse("audit.retention.at_least");
        let keep = match self.get::<bool>(&keep) {
            Some(_) => None,
            None => Some(self.span("audit.retention.keep", problems)),
        };
        let default = AuditRetention::default().at_least;
        AuditRetention { keep, at_least: self.get(&at_least).unwrap_or(default) }
    }

    fn master_key(&self, place: KeyPlace) -> Result<MasterKey, String> {
        let KeyPlace { env, file, keyring, passphrase, create_if_missing } = place;
        let key = match (env, file, keyring) {
            (Some(name), None, None) => {
                if create_if_missing {
                    return Err("can be created in a file or the keyring, not in a variable".into());
                }
                self.key_in_variable(name, passphrase)?
            }
            (None, Some(path), None) => MasterKey::from_file(path),
            (None, None, Some(service)) => in_keyring(&service)?,
            _ => return Err("names not exactly one of env, file and keyring".to_owned()),
        };
        if passphrase && create_if_missing {
            return Err(
                "is a passphrase, which is never created: choose one and put it there".into()
            );
        }
        let key = if passphrase { key.as_passphrase() } else { key };
        Ok(if create_if_missing { key.create_if_missing() } else { key })
    }

    fn key_in_variable(&self, name: String, passphrase: bool) -> Result<MasterKey, String> {
        if !is_variable_name(&name) {
            return Err("names no variable: a name has letters, digits and _".to_owned());
        }
        match self.variable(&name).filter(|text| !text.is_empty()) {
            Some(text) => Ok(MasterKey::from_variable(name, Some(text))),
            None if passphrase => Err(format!(
                "names the variable {name}, which is not set: set it to the passphrase"
            )),
            None => Err(format!(
                "names the variable {name}, which is not set: set it to 32 random bytes as base64 \
                 or hexadecimal"
            )),
        }
    }

    /// A duration that is not zero.
    fn span(&self, setting: &str, problems: &mut Vec<Problem>) -> Duration {
        let path = SettingPath::parse(setting);
        let span = self.get(&path).map_or(Duration::ZERO, |Span(span)| span);
        if span.is_zero() {
            let origin = self.nearest_origin(&path, &Origin::Default);
            problems.push(problem(&path, &origin, Problem::NO_TIME));
        }
        span
    }

    /// The value that wins. It was checked when it was given.
    fn get<T: DeserializeOwned>(&self, path: &SettingPath) -> Option<T> {
        match &self.chosen(path)?.value {
            Value::Plain(value) => value.clone().try_into().ok(),
            Value::Secret(_) | Value::SecretIn(_) => None,
        }
    }
}

#[cfg(feature = "keyring")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it is refused")]
fn in_keyring(service: &str) -> Result<MasterKey, String> {
    Ok(MasterKey::from_keyring(service))
}

#[cfg(not(feature = "keyring"))]
fn in_keyring(service: &str) -> Result<MasterKey, String> {
    Err(format!("names {service} in the keyring: build tokenward with its feature keyring"))
}
