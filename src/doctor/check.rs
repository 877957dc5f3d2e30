//! Everything that is looked at, for one runtime.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use url::Url;
use zeroize::Zeroizing;

use super::endpoint::{self, Seen};
use super::proxy::Proxies;
use super::{Diagnosis, Finding, Layer, Verdict, clock};
use crate::error::{Error, ErrorKind};
use crate::identity::{ProviderId, UserId};
use crate::runtime::Runtime;
use crate::vault::{Batch, Expect, Inspection, RecordKey, RecordKind, Tags};

/// What the findings about the vault are about.
const VAULT: &str = "vault";

/// How long the vault may take for what it is asked. A disk may hang.
const PATIENCE: Duration = Duration::from_secs(10);

const SILENT: &str = "the vault gives no answer, see to its disk";

/// How many addresses are tried at once.
const AT_ONCE: usize = 8;

impl Runtime {
    /// Looks at what this runtime stands on: the store, where its key comes from, the clock, the proxy, and
    /// for the address of each provider the name, the connection, TLS and an answer, from the bottom up. Of
    /// what fails, the layer is named.
    ///
    /// A record is written into the vault and removed again. To the root of each address goes a request without a
    /// credential, and nothing to the providers' endpoints. It takes up to 35 seconds for each address that
    /// says nothing, eight at a time. What is found holds no secret, but the paths of the vault and of its key.
    ///
    /// ```
    /// # async fn example(runtime: tokenward::Runtime) {
    /// let diagnosis = runtime.doctor().await;
    /// for finding in diagnosis.failed() {
    ///     eprintln!("{finding}");
    /// }
    /// # }
    /// ```
    pub async fn doctor(&self) -> Diagnosis {
        diagnosed(self).await
    }
}

async fn diagnosed(runtime: &Runtime) -> Diagnosis {
    let mut findings = vault(runtime).await;
    let shared = runtime.inside().credentials.shared();
    // The clients of token requests: they keep no connection, so each look begins from the bottom.
    let (sources, clients) = (&shared.sources, shared.transport.clients());
    let proxies = Proxies::of_the_system();
    let origins = origins(runtime);
    let mut seen: Vec<(usize, Seen)> = stream::iter(origins.iter().enumerate())
        .map(|(number, Origin { url, providers })| {
            let proxies = &proxies;
            async move {
                let mut seen = endpoint::tried(url, clients, proxies, sources).await;
                seen.finding.providers.clone_from(providers);
                (number, seen)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    seen.sort_by_key(|(number, _)| *number);
    let skews = seen.iter().filter_map(|(_, seen)| Some((&*seen.finding.subject, seen.clock?)));
    findings.push(clock::compared(sources.now().wall, skews));
    let seen: Vec<Finding> = seen.into_iter().map(|(_, seen)| seen.finding).collect();
    let stops_there = seen.iter().any(|finding| finding.layer == Layer::Proxy);
    findings
        .extend(proxies.finding(origins.iter().map(|origin| &origin.url)).filter(|_| !stops_there));
    findings.extend(seen);
    Diagnosis { findings }
}

/// Where providers are reached.
struct Origin {
    url: Url,
    providers: Vec<ProviderId>,
}

/// Each origin that a provider is reached at, once, in the order of the providers' names.
fn origins(runtime: &Runtime) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for provider in runtime.providers() {
        for url in provider.endpoints().into_iter().filter(Url::has_host) {
            let known = origins.iter_mut().find(|known| known.url.origin() == url.origin());
            match known {
                Some(known) if known.providers.contains(provider.id()) => {}
                Some(known) => known.providers.push(provider.id().clone()),
                None => origins.push(Origin { url, providers: vec![provider.id().clone()] }),
            }
        }
    }
    origins
}

/// The store and its key.
async fn vault(runtime: &Runtime) -> Vec<Finding> {
    let sources = &runtime.inside().sources;
    let tried = sources.within(PATIENCE, tried(runtime)).await;
    let tried = tried.unwrap_or_else(|| Err(Error::new(ErrorKind::VaultUnavailable, SILENT)));
    let inspection = match sources.within(PATIENCE, runtime.inspect_vault()).await {
        Some(Ok(inspection)) => inspection,
        Some(Err(error)) => return vec![failed(&error)],
        None => return vec![failed(&Error::new(ErrorKind::VaultUnavailable, SILENT))],
    };
    if let Err(error) = tried {
        return closed(&error, &inspection);
    }
    let Inspection { store, records, .. } = &inspection;
    let store = format!("{store}, {records} records, written and read");
    let mut findings = vec![
        Finding::good(Layer::Store, VAULT, store),
        Finding::good(Layer::MasterKey, VAULT, key_of(&inspection)),
    ];
    let warnings = inspection.warnings.into_iter();
    findings.extend(warnings.map(|it| Finding::new(Layer::Store, VAULT, Verdict::Doubtful, it)));
    findings
}

/// Writes a record, reads it, and removes it: what a store says of itself is not what it does.
async fn tried(runtime: &Runtime) -> Result<(), Error> {
    let key = RecordKey::new(RecordKind::Probe, UserId::reserved("doctor"), "probe");
    let payload = Zeroizing::new(b"whether it can be written".to_vec());
    let anything = Expect::AnythingOrQuarantined;
    let vault = runtime.vault();
    let put = Batch::new().put(key.clone(), payload, anything, Tags::default());
    vault.commit(put).await?;
    // Another look at the same time may have removed it already: that it can be read is the question.
    vault.read(&key).await?;
    Ok(vault.commit(Batch::new().delete(key, anything)).await?)
}

/// A vault that can not be used for now.
fn closed(error: &Error, inspection: &Inspection) -> Vec<Finding> {
    if error.is_vault_locked() {
        return vec![failed(error)];
    }
    let reason = inspection.degraded.as_ref();
    let detail =
        reason.map_or_else(|| error.to_string(), |it| format!("opened again by itself: {it}"));
    let store = Finding { detail, ..failed(error) };
    let key = format!("as it was when the vault was open: {}", key_of(inspection));
    vec![store, Finding::new(Layer::MasterKey, VAULT, Verdict::Doubtful, key)]
}

fn key_of(inspection: &Inspection) -> String {
    if inspection.key_chain.is_empty() {
        format!("from {}", inspection.master_key)
    } else {
        inspection.key_chain.join(", ")
    }
}

/// The key is the lower layer of the two: without it the store does not open.
fn failed(error: &Error) -> Finding {
    let layer = if error.is_vault_locked() { Layer::MasterKey } else { Layer::Store };
    Finding::new(layer, VAULT, Verdict::Failed, error.to_string())
}
