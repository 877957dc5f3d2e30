//! The host program: the runtime with its vault and its providers, simulated or real. This is the
//! part to copy from; all else here is talk.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokenward::Runtime;
use tokenward::clock::Sources;
use tokenward::config::Environment;
use tokenward::provider::{ProviderSpec, catalog};
use tokenward::secret::Secret;
use tokenward::testing::SimulatedProvider;
use tokenward::vault::{MasterKey, Vault};

use crate::Arguments;
use crate::problem::Problem;
use crate::simulations::Simulations;

/// How long what is under way may take when the program ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running runtime and what belongs to it.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) sources: Sources,
    /// None: the providers are real.
    pub(crate) simulations: Option<Simulations>,
    /// What the greeting says about vault and key.
    pub(crate) place: Place,
    /// How long the tokens of simulated providers live.
    pub(crate) token_lifetime: Duration,
    environment: Environment,
}

/// Where the vault is.
pub(crate) struct Place {
    pub(crate) vault: PathBuf,
    pub(crate) key: String,
    /// The folder of a vault that goes with the program.
    temporary: Option<TempDir>,
}

impl Host {
    /// Puts everything together.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self, Problem> {
        let environment = if arguments.real {
            Environment::from_process().map_err(tokenward::Error::from)?
        } else {
            Environment::default()
        };
        let (place, key) = Place::find(arguments, &environment)?;
        let sources = Sources::system();
        let vault = Vault::open(&place.vault).master_key(key);
        let mut builder = Runtime::builder().sources(sources.clone()).vault(vault);

        let simulations = if arguments.real {
            for spec in real_providers(arguments, &environment) {
                builder = builder.provider(spec);
            }
            None
        } else {
            let simulations = Simulations::start(place.memory(), *arguments.token_lifetime).await?;
            for provider in simulations.all() {
                builder = builder.provider(provider.spec());
            }
            Some(simulations)
        };
        let runtime = builder.start().await?;
        let token_lifetime = *arguments.token_lifetime;
        Ok(Self { runtime, sources, simulations, place, token_lifetime, environment })
    }

    /// Lets what is under way finish, and stops. Names what did not finish.
    pub(crate) async fn stop(self) -> Vec<String> {
        let mut unfinished = self.runtime.shutdown(PATIENCE).await;
        if let Some(simulations) = &self.simulations
            && let Err(problem) = simulations.save()
        {
            unfinished.push(problem.to_string());
        }
        unfinished
    }

    /// The names of the providers.
    pub(crate) fn provider_names(&self) -> Vec<String> {
        let providers = self.runtime.providers();
        providers.iter().map(|provider| provider.id().to_string()).collect()
    }

    /// Checks that there is a provider of this name.
    pub(crate) fn check_provider(&self, name: &str) -> Result<(), Problem> {
        let names = self.provider_names();
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        Err(Problem::unknown("provider", name, &names))
    }

    /// The simulation of this provider.
    pub(crate) fn simulation(&self, name: &str) -> Result<&SimulatedProvider, Problem> {
        self.check_provider(name)?;
        let found = self.simulations.as_ref().and_then(|simulations| simulations.find(name));
        found.ok_or_else(|| {
            Problem::new(format!("{name} is real here, run without --real to do this to it"))
        })
    }

    /// The API key that the environment offers for a real provider.
    pub(crate) fn api_key(&self, provider: &str) -> Option<Secret> {
        self.environment.api_key(&provider.parse().ok()?).cloned()
    }
}

impl Place {
    fn find(
        arguments: &Arguments,
        environment: &Environment,
    ) -> Result<(Self, MasterKey), Problem> {
        let temporary = match &arguments.vault {
            Some(_) => None,
            None => Some(temporary_folder()?),
        };
        let vault = match (&arguments.vault, &temporary) {
            (Some(path), _) => path.clone(),
            (None, Some(folder)) => folder.path().join("vault"),
            (None, None) => PathBuf::from("vault"),
        };
        let (key, master_key) = if environment.encryption_key().is_some() {
            let name = "CREDENTIAL_ENCRYPTION_KEY";
            (format!("environment variable {name}"), MasterKey::from_env(name))
        } else {
            let file = beside(&vault, "key");
            (file.display().to_string(), MasterKey::from_file(file).create_if_missing())
        };
        Ok((Self { vault, key, temporary }, master_key))
    }

    /// Whether the vault goes with the program.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Where simulated providers keep what they know.
    fn memory(&self) -> Option<PathBuf> {
        (!self.is_temporary()).then(|| beside(&self.vault, "simulated.json"))
    }
}

/// The path of a file beside the vault: its name with something after it.
fn beside(vault: &std::path::Path, what: &str) -> PathBuf {
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

fn real_providers(arguments: &Arguments, environment: &Environment) -> [ProviderSpec; 4] {
    let openai = if arguments.openai_public_client {
        catalog::openai().client(catalog::OPENAI_PUBLIC_CLIENT_ID)
    } else {
        catalog::openai()
    };
    [catalog::anthropic(), openai, catalog::google(), catalog::orange()]
        .map(|spec| spec.with_environment(environment))
}
