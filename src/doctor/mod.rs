//! What stands between this host and its providers: the store, the key, the clock, and for each address
//! the layers beneath a request, tried from the bottom up. The lowest that fails is named.

mod check;
mod clock;
mod endpoint;
mod proxy;

use std::fmt;
use std::time::Duration;

use crate::identity::ProviderId;

/// What was looked at, in the order in which one thing needs the other.
///
/// A [`Finding`] names the lowest one that fails: what is above it could not be looked at.
///
/// ```
/// use tokenward::doctor::Layer;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # openai.stop().await?;
/// let diagnosis = runtime.doctor().await;
/// // What is wrong with this machine, before what is wrong beyond it.
/// let (here, beyond): (Vec<_>, Vec<_>) =
///     diagnosis.failed().partition(|finding| finding.layer <= Layer::Clock);
/// assert!(here.is_empty());
/// assert_eq!(beyond[0].layer.as_str(), "connection");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// The vault can be read and written.
    Store,
    /// Where the master key of the vault comes from.
    MasterKey,
    /// This machine's clock, compared with those of the providers.
    Clock,
    /// The proxy that requests go through.
    Proxy,
    /// The name of a host has an address.
    Dns,
    /// Something listens at that address.
    Connection,
    /// The other side proves who it is, and this side trusts whoever vouches for it.
    Tls,
    /// A request without a credential gets an answer, whatever it says.
    Http,
}

/// How something was found.
///
/// [`Diagnosis::failed`] has the findings that are [`Verdict::Failed`].
///
/// ```
/// use tokenward::doctor::Verdict;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let diagnosis = runtime.doctor().await;
/// for finding in &diagnosis.findings {
///     match finding.verdict {
///         Verdict::Good => {}
///         Verdict::Doubtful => println!("{finding}"), // it works, for now
///         _ => eprintln!("{finding}"),
///     }
/// }
/// # assert!(diagnosis.is_well());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and should be seen to.
    Doubtful,
    /// It fails. Nothing that needs it works.
    Failed,
}

/// One thing that was looked at.
///
/// ```
/// use tokenward::doctor::{Layer, Verdict};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// openai.stop().await?;
/// let diagnosis = runtime.doctor().await;
/// let finding = diagnosis.failed().next().expect("nothing listens there");
/// assert_eq!((finding.layer, finding.verdict), (Layer::Connection, Verdict::Failed));
/// println!("{finding}"); // what was seen, and what to do
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Which layer: of an address the lowest that fails, or the highest where none does.
    pub layer: Layer,
    /// What was looked at: `vault`, or the address.
    pub subject: String,
    /// The providers that are reached there; none where it is not about an address.
    pub providers: Vec<ProviderId>,
    /// How it was found.
    pub verdict: Verdict,
    /// What was seen, and what to do where that is not good. Without a secret.
    pub detail: String,
    /// How long it took, of what was asked over the network.
    pub took: Option<Duration>,
}

/// Everything that was found. One line each when printed.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let diagnosis = runtime.doctor().await;
/// print!("{diagnosis}"); // a line for each layer that was looked at
/// if !diagnosis.is_well() {
///     for finding in diagnosis.failed() {
///         eprintln!("{}: {}", finding.subject, finding.detail);
///     }
/// }
/// # assert!(diagnosis.findings.len() > 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The findings: the vault's, the clock's, the proxy's, and then each address.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether nothing failed.
    pub fn is_well(&self) -> bool {
        self.failed().next().is_none()
    }

    /// What failed.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Failed)
    }
}

impl Finding {
    fn good(layer: Layer, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(layer, subject, Verdict::Good, detail)
    }

    fn new(
        layer: Layer,
        subject: impl Into<String>,
        verdict: Verdict,
        detail: impl Into<String>,
    ) -> Self {
        let (subject, detail) = (subject.into(), detail.into());
        Self { layer, subject, providers: Vec::new(), verdict, detail, took: None }
    }
}

impl Layer {
    /// Its name: `store`, `master key`, `clock`, `proxy`, `dns`, `connection`, `tls`, `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::MasterKey => "master key",
            Self::Clock => "clock",
            Self::Proxy => "proxy",
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, subject, providers, verdict, detail, .. } = self;
        f.write_str(subject)?;
        if !providers.is_empty() {
            let names: Vec<_> = providers.iter().map(ProviderId::as_str).collect();
            write!(f, " ({})", names.join(", "))?;
        }
        write!(f, " {layer}: {verdict}, {detail}")
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.findings.iter().enumerate() {
            let line_break = if number > 0 { "\n" } else { "" };
            write!(f, "{line_break}{finding}")?;
        }
        Ok(())
    }
}
