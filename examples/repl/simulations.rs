//! The simulated providers, and what they know of tokens when the program is started again: with a
//! vault that is kept, their memory is kept in a file beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokenward::provider::{AssertionSource, ProviderSpec};
use tokenward::testing::SimulatedProvider;
use tracing::warn;

use crate::problem::Problem;

/// How long an assertion is good for, from when it is issued for an exchange.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(5);

/// The simulated providers of one run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Simulations {
    providers: Arc<[SimulatedProvider]>,
    memory: Option<Arc<MemoryFile>>,
}

/// Where the memories are kept, and what stands there.
struct MemoryFile {
    path: PathBuf,
    written: Mutex<String>,
}

impl Simulations {
    /// Starts them all, with the memories of the last run where `memory` names a file.
    pub(crate) async fn start(
        memory: Option<PathBuf>,
        token_lifetime: Duration,
    ) -> Result<Self, Problem> {
        let mut remembered = memory.as_deref().map(read).transpose()?.unwrap_or_default();
        let builders = [
            SimulatedProvider::anthropic(),
            SimulatedProvider::openai(),
            SimulatedProvider::google(),
            SimulatedProvider::orange(),
            SimulatedProvider::github_copilot(),
        ];
        let names = ["anthropic", "openai", "google", "orange", "github-copilot"];
        let mut providers = Vec::new();
        for (name, mut builder) in names.into_iter().zip(builders) {
            if let Some(memory) = remembered.remove(name) {
                builder = builder.remember(&memory.to_string())?;
            }
            let builder = builder.token_lifetime(token_lifetime);
            let provider = builder.start().await.map_err(|error| {
                Problem::new(format!("{name} can not be simulated, no port is free: {error}"))
            })?;
            providers.push(provider);
        }
        let memory = memory.map(|path| Arc::new(MemoryFile { path, written: Mutex::default() }));
        let simulations = Self { providers: providers.into(), memory };
        simulations.save()?;
        simulations.save_whenever_tokens_change();
        Ok(simulations)
    }

    /// The simulated provider of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&SimulatedProvider> {
        self.all().iter().find(|provider| provider.name() == name)
    }

    pub(crate) fn all(&self) -> &[SimulatedProvider] {
        &self.providers
    }

    /// What a runtime has to know of them. Whoever federates with one has an issuer of assertions,
    /// too.
    pub(crate) fn specs(&self) -> impl Iterator<Item = ProviderSpec> {
        self.all().iter().map(|provider| {
            let issuer = provider.clone();
            provider.spec().assertion(AssertionSource::function(move || {
                std::future::ready(Ok(issuer.issue_assertion(ASSERTION_LIFETIME)))
            }))
        })
    }

    /// Writes what the providers know, if it has changed and is to be kept.
    pub(crate) fn save(&self) -> Result<(), Problem> {
        let Some(file) = &self.memory else { return Ok(()) };
        let mut memories = BTreeMap::new();
        // Held for the whole of it, so that an older memory never replaces a newer one.
        let mut written = file.written.lock().unwrap_or_else(PoisonError::into_inner);
        for provider in self.all() {
            let memory: Value = serde_json::from_str(&provider.memory()?).unwrap_or_default();
            memories.insert(provider.name(), memory);
        }
        let text = serde_json::to_string(&memories).unwrap_or_default();
        if text != *written {
            replace(&file.path, &text).map_err(|error| {
                let path = file.path.display();
                Problem::new(format!("{path} can not be written: {error}"))
            })?;
            *written = text;
        }
        Ok(())
    }

    /// Tokens are also renewed while nobody types. The program may be killed at any time, and a
    /// provider that forgets what it issued would refuse it in the next run.
    fn save_whenever_tokens_change(&self) {
        if self.memory.is_none() {
            return;
        }
        for provider in self.all() {
            let (provider, simulations) = (provider.clone(), self.clone());
            tokio::spawn(async move {
                loop {
                    let before = provider.counters();
                    if let Err(problem) = simulations.save() {
                        warn!(%problem, "the memory of the simulated providers is not kept");
                    }
                    provider.until(|counters| *counters != before).await;
                }
            });
        }
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Value>, Problem> {
    let problem = |error: &dyn std::fmt::Display| {
        let path = path.display();
        Problem::new(format!("{path} can not be read, delete it to start without: {error}"))
    };
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| problem(&error)),
        // Whether it can be written there is found out at once.
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(BTreeMap::new()),
        Err(error) => Err(problem(&error)),
    }
}

/// Writes a file as a whole: whoever reads it sees the old text or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("draft");
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}
