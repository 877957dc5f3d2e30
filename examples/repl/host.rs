//! The host program: the runtime with its vault and its providers, simulated or real. This is the
//! part to copy from; all else here is talk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenward::clock::Sources;
use tokenward::health::HealthPolicy;
use tokenward::provider::catalog;
use tokenward::testing::SimulatedProvider;
use tokenward::{Method, Runtime, Settings};

use crate::Arguments;
use crate::problem::Problem;
use crate::simulations::Simulations;

/// How long what is under way may take when the program ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often simulated providers that are in use are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// Where the page at the end of a browser sign-in sends its users back to.
const APPLICATION: &str = "the tokenward REPL";

/// A running runtime and what belongs to it.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) sources: Sources,
    /// None: the providers are real.
    pub(crate) simulations: Option<Simulations>,
    /// How long the tokens of simulated providers live.
    pub(crate) token_lifetime: Duration,
    /// The file that configures it.
    pub(crate) config: Option<PathBuf>,
    /// The folder of a vault that goes with the program.
    temporary: Option<TempDir>,
}

impl Host {
    /// Puts everything together.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self, Problem> {
        let (mut settings, temporary) = with_vault(settings(arguments), arguments)?;
        if settings.origin("sign_in.application").is_none() {
            settings = settings.set("sign_in.application", APPLICATION);
        }
        settings.check().map_err(|problems| Problem::at_start(&problems.into()))?;
        let sources = Sources::system();
        let mut builder = Runtime::builder().sources(sources.clone()).settings(settings);
        let token_lifetime = *arguments.token_lifetime;
        let simulations = if arguments.simulated() {
            let memory = arguments.vault.as_deref().map(|vault| beside(vault, "simulated"));
            let simulations = Simulations::start(memory.as_deref(), token_lifetime).await?;
            builder = builder.health(HealthPolicy { every: LOOK, ..HealthPolicy::default() });
            for spec in simulations.specs() {
                builder = builder.provider(spec);
            }
            Some(simulations)
        } else {
            None
        };
        let runtime = builder.start().await.map_err(|error| Problem::at_start(&error))?;
        let config = arguments.config.clone();
        Ok(Self { runtime, sources, simulations, token_lifetime, config, temporary })
    }

    /// Lets what is under way finish, and stops. Names what did not finish.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.runtime.shutdown(PATIENCE).await
    }

    /// The names of the providers.
    pub(crate) fn provider_names(&self) -> Vec<String> {
        let providers = self.runtime.providers();
        providers.iter().map(|provider| provider.id().to_string()).collect()
    }

    /// Checks that there is a provider of this name.
    pub(crate) fn check_provider(&self, name: &str) -> Result<(), Problem> {
        self.methods(name).map(drop)
    }

    /// The methods that a provider offers, the default one first.
    pub(crate) fn methods(&self, name: &str) -> Result<Vec<Method>, Problem> {
        let providers = self.runtime.providers();
        let found = providers.iter().find(|provider| provider.id().as_str() == name);
        found.map(|provider| provider.methods().to_vec()).ok_or_else(|| {
            let names = self.provider_names();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            Problem::unknown("provider", name, &names)
        })
    }

    /// The simulation of this provider.
    pub(crate) fn simulation(&self, name: &str) -> Result<&SimulatedProvider, Problem> {
        self.check_provider(name)?;
        let found = self.simulations.as_ref().and_then(|simulations| simulations.find(name));
        found.ok_or_else(|| {
            Problem::new(format!("{name} is not simulated"))
                .advice("run without --real and --config to do this to it")
        })
    }

    /// Whether the vault goes with the program.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Where the vault is, and where its key.
    pub(crate) fn place(&self) -> (String, String) {
        let settings = self.runtime.settings();
        let value = |setting| {
            let explained = settings.explain_setting(setting);
            explained.and_then(|it| serde_json::from_str::<Value>(&it.value).ok())
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let vault = value("vault.path").as_ref().map(text).unwrap_or_default();
        let key = value("vault.key").unwrap_or_default();
        let key = match &key["env"] {
            Value::String(name) => format!("environment variable {name}"),
            _ => text(&key["file"]),
        };
        (vault, key)
    }
}

/// What the arguments say about where settings come from. Simulated providers need none.
fn settings(arguments: &Arguments) -> Settings {
    let mut settings = Settings::new();
    if arguments.simulated() {
        return settings;
    }
    if arguments.real {
        // An empty section selects a provider.
        let built_in = catalog::names().fold(String::new(), |mut sections, name| {
            let _ = writeln!(sections, "[providers.{name}]");
            sections
        });
        settings = settings.with_toml("--real", &built_in);
    }
    if let Some(path) = &arguments.config {
        settings = settings.with_file(path);
    }
    if arguments.openai_public_client {
        settings = settings.set("providers.openai.client", "public");
    }
    settings.with_environment()
}

/// Adds where the vault is: as the arguments say, else as the settings say, else a folder that goes
/// with the program. The key of a vault that no file names is beside it, unless the environment
/// has one.
fn with_vault(
    settings: Settings,
    arguments: &Arguments,
) -> Result<(Settings, Option<TempDir>), Problem> {
    if arguments.vault.is_none() && settings.origin("vault.path").is_some() {
        return Ok((settings, None));
    }
    let temporary = arguments.vault.is_none().then(temporary_folder).transpose()?;
    let in_folder = temporary.as_ref().map(|folder| folder.path().join("vault"));
    let vault = arguments.vault.clone().or(in_folder).unwrap_or_default();
    let mut settings = settings.set("vault.path", &vault);
    if settings.origin("vault.key").is_none() {
        let key = json!({ "file": beside(&vault, "key"), "create_if_missing": true });
        settings = settings.set("vault.key", key);
    }
    Ok((settings, temporary))
}

/// The path of a file beside the vault: its name with something after it.
fn beside(vault: &Path, what: &str) -> PathBuf {
    let mut name = vault.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    vault.with_file_name(name)
}

fn temporary_folder() -> Result<TempDir, Problem> {
    let folder = tempfile::Builder::new().prefix("tokenward-").tempdir();
    folder.map_err(|error| {
        let place = std::env::temp_dir();
        let place = place.display();
        Problem::new(format!("no folder can be made in {place}, name one with --vault: {error}"))
    })
}
