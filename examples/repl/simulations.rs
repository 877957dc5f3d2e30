//! The simulated providers, and what they know of tokens when the program is started again: with a
//! vault that is kept, their memory is kept in a folder beside it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokenward::provider::{AssertionSource, ProviderSpec};
use tokenward::testing::SimulatedProvider;

use crate::problem::Problem;

/// How long an assertion is good for, from when it is issued for an exchange.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(5);

/// The simulated providers of one run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Simulations(Arc<[SimulatedProvider]>);

impl Simulations {
    /// Starts them all, with what they knew in the last run where `memory` names a folder. Tokens are also
    /// renewed while nobody types, and the program may be killed at any time: a provider that forgets what
    /// it issued would refuse it in the next run.
    pub(crate) async fn start(
        memory: Option<&Path>,
        token_lifetime: Duration,
    ) -> Result<Self, Problem> {
        let builders = [
            ("anthropic", SimulatedProvider::anthropic()),
            ("openai", SimulatedProvider::openai()),
            ("google", SimulatedProvider::google()),
            ("orange", SimulatedProvider::orange()),
            ("github-copilot", SimulatedProvider::github_copilot()),
        ];
        let mut providers = Vec::new();
        for (name, mut builder) in builders {
            if let Some(folder) = memory {
                builder = builder.kept_in(folder.join(name).with_extension("json"))?;
            }
            let provider = builder.token_lifetime(token_lifetime).start().await;
            providers.push(
                provider.map_err(|error| {
                    Problem::new(format!("{name} can not be simulated: {error}"))
                })?,
            );
        }
        Ok(Self(providers.into()))
    }

    /// The simulated provider of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&SimulatedProvider> {
        self.all().iter().find(|provider| provider.name() == name)
    }

    pub(crate) fn all(&self) -> &[SimulatedProvider] {
        &self.0
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
}
