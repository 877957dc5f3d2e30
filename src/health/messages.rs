//! What can be said to the actor that watches the providers.
//! [`ProviderHealth`](super::ProviderHealth) has a method for each.

use super::board::HealthCheck;
use crate::error::Error;
use crate::identity::ProviderId;
use crate::supervision::Reply;

/// A message to the actor that watches the providers.
///
/// ```
/// use tokenward::health::HealthMessage;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let provider = runtime.providers()[0].id().clone();
/// let ask = |reply| HealthMessage::Check { provider: provider.clone(), reply };
/// let check = runtime.health().messages().ask_again(ask).await??;
/// println!("{:?}", check.latency);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HealthMessage {
    /// Looks at a provider now, due or not, and answers with what was found. Everybody who asks
    /// while a look is under way shares it. What is known of the provider afterwards is published.
    Check {
        /// Which.
        provider: ProviderId,
        /// Where the answer goes.
        reply: Reply<Result<HealthCheck, Error>>,
    },
    /// What the actor tells itself.
    Internal(Internal),
}

/// What the actor tells itself; made only inside the crate.
#[derive(Debug)]
#[doc(hidden)]
pub struct Internal(pub(super) News);

#[derive(Debug)]
pub(super) enum News {
    Due(ProviderId),
    ErrandReturned,
}

impl From<News> for HealthMessage {
    fn from(news: News) -> Self {
        Self::Internal(Internal(news))
    }
}
