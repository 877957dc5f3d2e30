//! Settings from environment variables. They are read once, through a lookup that a test can
//! replace; an empty variable counts as unset.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::endpoint::{NAMES_A_USER, may_carry_secrets, names_a_user};
use super::problem::{Problem, Problems};
use super::value::Value;
use crate::identity::ProviderId;
use crate::secret::Secret;

/// What a provider takes from the environment: its name, its API key, its OAuth client.
const PROVIDERS: [(&str, Option<&str>, &str, &str); 5] = [
    (
        "anthropic",
        Some("ANTHROPIC_API_KEY"),
        "ANTHROPIC_OAUTH_CLIENT_ID",
        "ANTHROPIC_OAUTH_CLIENT_SECRET",
    ),
    ("openai", Some("OPENAI_API_KEY"), "OPENAI_OAUTH_CLIENT_ID", "OPENAI_OAUTH_CLIENT_SECRET"),
    ("google", Some("GEMINI_API_KEY"), "GOOGLE_OAUTH_CLIENT_ID", "GOOGLE_OAUTH_CLIENT_SECRET"),
    ("orange", None, "ORANGE_CLIENT_ID", "ORANGE_CLIENT_SECRET"),
    ("memory-bank", None, "MEMORY_BANK_CLIENT_ID", "MEMORY_BANK_CLIENT_SECRET"),
];

const ORANGE_TOKEN_ENDPOINT: &str = "ORANGE_TOKEN_ENDPOINT";
const ORANGE_OAUTH_SCOPE: &str = "ORANGE_OAUTH_SCOPE";
const MEMORY_BANK_URL: &str = "MEMORY_BANK_URL";
const CACHE_ENABLED: &str = "OAUTH_CACHE_ENABLED";
const REFRESH_THRESHOLD: &str = "OAUTH_REFRESH_THRESHOLD_MINUTES";
const ENCRYPTION_KEY: &str = "CREDENTIAL_ENCRYPTION_KEY";

/// The longest refresh threshold that makes sense: a day.
const LONGEST_THRESHOLD_MINUTES: u64 = 24 * 60;

/// One setting that a variable sets.
#[derive(Debug)]
pub(crate) struct FromVariable {
    pub(crate) variable: &'static str,
    /// The setting's name; `*` stands for every provider.
    pub(crate) setting: String,
    pub(crate) value: Value,
}

/// The settings that were found in the environment.
///
/// Reading changes nothing: `ProviderSpec::with_environment` applies what concerns a provider, and
/// an API key is offered by [`Environment::api_key`] for the host to sign in with. It never takes
/// the place of a stored sign-in.
///
/// ```
/// use tokenward::config::Environment;
/// use tokenward::ProviderId;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The process's own variables: Environment::from_process().
/// let given = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-hidden".to_owned());
/// let environment = Environment::read(given)?;
/// let key = environment.api_key(&ProviderId::new("openai")?).expect("it is given");
/// assert_eq!(key.expose(), "sk-hidden");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    clients: BTreeMap<String, ClientSettings>,
    /// Client secrets without an id beside them: the id may stand elsewhere.
    lone_secrets: BTreeMap<String, Secret>,
    api_keys: BTreeMap<String, Secret>,
    base_urls: BTreeMap<String, Url>,
    token_endpoints: BTreeMap<String, Url>,
    scopes: BTreeMap<String, Vec<String>>,
    cache_tokens: Option<bool>,
    refresh_threshold: Option<Duration>,
    encryption_key: Option<Secret>,
}

/// An OAuth client of the operator.
///
/// [`Environment::client`] has what a provider's variables say.
///
/// ```
/// use tokenward::ProviderId;
/// use tokenward::config::Environment;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let given = |name: &str| match name {
///     "ORANGE_CLIENT_ID" => Some("mine".to_owned()),
///     "ORANGE_CLIENT_SECRET" => Some("hidden".to_owned()),
///     _ => None,
/// };
/// let environment = Environment::read(given)?;
/// let client = environment.client(&ProviderId::new("orange")?).expect("both are given");
/// assert_eq!(client.id, "mine");
/// assert!(client.secret.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientSettings {
    /// The client id.
    pub id: String,
    /// The client secret, where the client has one.
    pub secret: Option<Secret>,
}

/// The variable that gives the OAuth client id of `provider`, where it has one.
pub(crate) fn client_id_variable(provider: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|(known, ..)| *known == provider).map(|(_, _, id, _)| *id)
}

impl Environment {
    /// Reads the variables of this process.
    ///
    /// # Errors
    ///
    /// All variables that can not be used, at once.
    pub fn from_process() -> Result<Self, Problems> {
        // A value that is not Unicode is kept as damaged text, so that its check refuses it.
        Self::read(|name| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned()))
    }

    /// Reads the variables through `lookup`.
    ///
    /// # Errors
    ///
    /// All variables that can not be used, at once.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let (environment, mut problems) = Self::layer(lookup);
        for (provider, _, id, secret) in PROVIDERS {
            if environment.lone_secrets.contains_key(provider) {
                let text = format!("is missing although {secret} is set, set both");
                problems.push(problem(id, &text));
            }
        }
        Problems::check(problems).map(|()| environment)
    }

    /// Reads the variables as one of several sources, which need not be complete, and tells what
    /// is wrong with them.
    pub(crate) fn layer(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Problem>) {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let mut environment = Self::default();
        for (provider, key, id, secret) in PROVIDERS {
            if let Some(key) = key.and_then(|name| reader.secret(name)) {
                environment.api_keys.insert(provider.to_owned(), key);
            }
            match (reader.text(id), reader.secret(secret)) {
                (Some(id), secret) => {
                    let client = ClientSettings { id, secret };
                    environment.clients.insert(provider.to_owned(), client);
                }
                (None, Some(secret)) => {
                    environment.lone_secrets.insert(provider.to_owned(), secret);
                }
                (None, None) => {}
            }
        }
        if let Some(endpoint) = reader.endpoint(ORANGE_TOKEN_ENDPOINT) {
            environment.token_endpoints.insert("orange".to_owned(), endpoint);
        }
        if let Some(url) = reader.endpoint(MEMORY_BANK_URL) {
            environment.base_urls.insert("memory-bank".to_owned(), url);
        }
        if let Some(scope) = reader.text(ORANGE_OAUTH_SCOPE) {
            let scopes = scope.split_ascii_whitespace().map(str::to_owned).collect();
            environment.scopes.insert("orange".to_owned(), scopes);
        }
        environment.cache_tokens = reader.flag(CACHE_ENABLED);
        environment.refresh_threshold = reader.minutes(REFRESH_THRESHOLD);
        environment.encryption_key = reader.secret(ENCRYPTION_KEY);
        (environment, reader.problems)
    }

    /// The API key that the environment offers for `provider`.
    pub fn api_key(&self, provider: &ProviderId) -> Option<&Secret> {
        self.api_keys.get(provider.as_str())
    }

    /// The OAuth client that the environment names for `provider`.
    pub fn client(&self, provider: &ProviderId) -> Option<&ClientSettings> {
        self.clients.get(provider.as_str())
    }

    /// Where the environment says that requests to `provider` go. Its token endpoint follows from
    /// it: `catalog::memory_bank(url)`.
    pub fn base_url(&self, provider: &ProviderId) -> Option<&Url> {
        self.base_urls.get(provider.as_str())
    }

    /// The token endpoint that the environment names for `provider`.
    pub fn token_endpoint(&self, provider: &ProviderId) -> Option<&Url> {
        self.token_endpoints.get(provider.as_str())
    }

    /// The scopes that the environment names for `provider`.
    pub fn scopes(&self, provider: &ProviderId) -> Option<&[String]> {
        self.scopes.get(provider.as_str()).map(Vec::as_slice)
    }

    /// Whether tokens are kept between requests (`OAUTH_CACHE_ENABLED`).
    pub fn cache_tokens(&self) -> Option<bool> {
        self.cache_tokens
    }

    /// How long before expiry tokens are renewed (`OAUTH_REFRESH_THRESHOLD_MINUTES`).
    pub fn refresh_threshold(&self) -> Option<Duration> {
        self.refresh_threshold
    }

    /// The master key of the vault, as it stands in `CREDENTIAL_ENCRYPTION_KEY`. Whether it is one
    /// is for the vault to say.
    pub fn encryption_key(&self) -> Option<&Secret> {
        self.encryption_key.as_ref()
    }

    /// Everything that was found, by the name that a file has for it.
    pub(crate) fn settings(&self) -> Vec<FromVariable> {
        let mut found = Vec::new();
        let mut add = |variable, setting: String, value: Option<Value>| {
            found.extend(value.map(|value| FromVariable { variable, setting, value }));
        };
        let text = |text: &str| Value::Plain(toml::Value::from(text));
        let secret = |secret: &Secret| Value::Secret(secret.clone());
        for (provider, key, id, secret_name) in PROVIDERS {
            let setting = |name: &str| format!("providers.{provider}.{name}");
            let client = self.clients.get(provider);
            if let Some(key) = key {
                let value = self.api_keys.get(provider).map(secret);
                add(key, setting("api_key.value"), value);
            }
            add(id, setting("oauth.client_id"), client.map(|client| text(&client.id)));
            let value = client.and_then(|client| client.secret.as_ref());
            let value = value.or_else(|| self.lone_secrets.get(provider)).map(secret);
            add(secret_name, setting("oauth.client_secret"), value);
        }
        let endpoint = self.token_endpoints.get("orange").map(|url| text(url.as_str()));
        add(ORANGE_TOKEN_ENDPOINT, "providers.orange.oauth.token_endpoint".to_owned(), endpoint);
        let bank = self.base_urls.get("memory-bank").map(|url| text(url.as_str()));
        add(MEMORY_BANK_URL, "providers.memory-bank.base_url".to_owned(), bank);
        let scopes = self.scopes.get("orange").map(|list| Value::Plain(list.clone().into()));
        add(ORANGE_OAUTH_SCOPE, "providers.orange.oauth.scopes".to_owned(), scopes);
        let cache = self.cache_tokens.map(|keep| Value::Plain(keep.into()));
        add(CACHE_ENABLED, "providers.*.cache_tokens".to_owned(), cache);
        let threshold = self.refresh_threshold;
        let threshold = threshold.map(|it| text(&humantime::format_duration(it).to_string()));
        add(REFRESH_THRESHOLD, "providers.*.refresh.threshold".to_owned(), threshold);
        let key = self.encryption_key.as_ref().map(|_| {
            let place = [("env".to_owned(), toml::Value::from(ENCRYPTION_KEY))];
            Value::Plain(toml::Value::Table(place.into_iter().collect()))
        });
        add(ENCRYPTION_KEY, "vault.key".to_owned(), key);
        found
    }
}

/// Reads variables, and collects what is wrong with them.
struct Reader<L> {
    lookup: L,
    problems: Vec<Problem>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn text(&mut self, name: &str) -> Option<String> {
        let text = (self.lookup)(name).filter(|text| !text.is_empty())?;
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return self.refuse(name, "is not valid unicode, set it again");
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return self
                .refuse(name, "holds white space around it or a control character, remove it");
        }
        Some(text)
    }

    fn secret(&mut self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::from)
    }

    fn endpoint(&mut self, name: &str) -> Option<Url> {
        match Url::parse(&self.text(name)?) {
            Ok(url) if names_a_user(&url) => self.refuse(name, NAMES_A_USER),
            Ok(url) if may_carry_secrets(&url) => Some(url),
            Ok(_) => {
                self.refuse(name, "is not an https url, use one: plain text is for loopback alone")
            }
            Err(error) => self.refuse(name, &format!("is not a url, correct it: {error}")),
        }
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        match self.text(name)?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => self.refuse(name, "is neither true nor false, set one of them"),
        }
    }

    fn minutes(&mut self, name: &str) -> Option<Duration> {
        match self.text(name)?.parse::<u64>() {
            Ok(minutes @ 1..=LONGEST_THRESHOLD_MINUTES) => Some(Duration::from_secs(minutes * 60)),
            _ => self.refuse(name, "is not a whole number of minutes, set one from 1 to 1440"),
        }
    }

    fn refuse<T>(&mut self, name: &str, text: &str) -> Option<T> {
        self.problems.push(problem(name, text));
        None
    }
}

fn problem(variable: &str, text: &str) -> Problem {
    let (setting, source) = (variable.to_owned(), "environment".to_owned());
    Problem { setting, source, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, Problems> {
        Environment::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn id(name: &str) -> ProviderId {
        ProviderId::new(name).expect("a name")
    }

    #[test]
    fn an_address_with_a_password_in_it_is_refused_without_a_word_of_it() {
        for address in ["https://ada:pass-word@memory.example", "https://ada@memory.example/x"] {
            let problems = read(&[("MEMORY_BANK_URL", address)]).expect_err("refused").to_string();
            assert!(problems.contains("MEMORY_BANK_URL"), "{problems}");
            assert!(problems.contains("leave them out"), "{problems}");
            assert!(!problems.contains("ada") && !problems.contains("pass-word"), "{problems}");
        }
    }

    #[test]
    fn every_documented_variable_is_read() {
        let environment = read(&[
            ("ANTHROPIC_API_KEY", "sk-ant-api03-a"),
            ("ANTHROPIC_OAUTH_CLIENT_ID", "anthropic-client"),
            ("ANTHROPIC_OAUTH_CLIENT_SECRET", "anthropic-secret"),
            ("OPENAI_API_KEY", "sk-b"),
            ("OPENAI_OAUTH_CLIENT_ID", "openai-client"),
            ("OPENAI_OAUTH_CLIENT_SECRET", "openai-secret"),
            ("GEMINI_API_KEY", "AIza-c"),
            ("GOOGLE_OAUTH_CLIENT_ID", "google-client"),
            ("GOOGLE_OAUTH_CLIENT_SECRET", "google-secret"),
            ("ORANGE_CLIENT_ID", "orange-client"),
            ("ORANGE_CLIENT_SECRET", "orange-secret"),
            ("ORANGE_TOKEN_ENDPOINT", "https://api.orange.com/oauth/v2/token"),
            ("ORANGE_OAUTH_SCOPE", "sms mail"),
            ("MEMORY_BANK_URL", "https://memory.example"),
            ("MEMORY_BANK_CLIENT_ID", "memory-bank-client"),
            ("MEMORY_BANK_CLIENT_SECRET", "memory-bank-secret"),
            ("OAUTH_CACHE_ENABLED", "false"),
            ("OAUTH_REFRESH_THRESHOLD_MINUTES", "12"),
            ("CREDENTIAL_ENCRYPTION_KEY", "key"),
        ])
        .expect("all are right");
        for (provider, key) in
            [("anthropic", "sk-ant-api03-a"), ("openai", "sk-b"), ("google", "AIza-c")]
        {
            assert_eq!(environment.api_key(&id(provider)), Some(&Secret::new(key)));
        }
        for provider in ["anthropic", "openai", "google", "orange", "memory-bank"] {
            let client = environment.client(&id(provider)).expect("a client");
            assert_eq!(client.id, format!("{provider}-client"));
            assert_eq!(client.secret, Some(Secret::from(format!("{provider}-secret"))));
        }
        let orange = id("orange");
        let endpoint = environment.token_endpoint(&orange).map(Url::as_str);
        assert_eq!(endpoint, Some("https://api.orange.com/oauth/v2/token"));
        assert_eq!(environment.scopes(&orange), Some(&["sms".to_owned(), "mail".to_owned()][..]));
        let bank = environment.base_url(&id("memory-bank")).map(Url::as_str);
        assert_eq!(bank, Some("https://memory.example/"));
        assert_eq!(environment.cache_tokens(), Some(false));
        assert_eq!(environment.refresh_threshold(), Some(Duration::from_mins(12)));
        assert_eq!(environment.encryption_key(), Some(&Secret::new("key")));
    }

    #[test]
    fn everything_wrong_is_reported_at_once_and_by_name() {
        let problems = read(&[
            ("ANTHROPIC_API_KEY", "canary\nsecret"),
            ("ORANGE_CLIENT_SECRET", "canary"),
            ("ORANGE_TOKEN_ENDPOINT", "http://api.orange.com/token"),
            ("OAUTH_CACHE_ENABLED", "perhaps"),
            ("OAUTH_REFRESH_THRESHOLD_MINUTES", "-3"),
        ])
        .expect_err("five are wrong");
        let settings: Vec<_> = problems.iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(
            settings,
            [
                "ANTHROPIC_API_KEY",
                "ORANGE_TOKEN_ENDPOINT",
                "OAUTH_CACHE_ENABLED",
                "OAUTH_REFRESH_THRESHOLD_MINUTES",
                "ORANGE_CLIENT_ID",
            ]
        );
        assert!(!problems.to_string().contains("canary"), "values are never repeated");
        assert!(crate::Error::from(problems).is_configuration());
    }

    #[test]
    fn empty_variables_are_unset() {
        let environment = read(&[("OPENAI_API_KEY", ""), ("OAUTH_CACHE_ENABLED", "")]);
        assert_eq!(environment, Ok(Environment::default()));
    }
}
