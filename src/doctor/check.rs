//! Everything that is looked at, for one runtime.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use url::Url;

use super::endpoint::{self, Seen};
use super::proxy::Proxies;
use super::{Diagnosis, Finding, Layer, Verdict, clock};
use crate::error::Error;
use crate::runtime::Runtime;
use crate::vault::Inspection;

/// How many addresses are tried at once.
const AT_ONCE: usize = 8;

impl Runtime {
    /// Looks at what this runtime stands on: the store, where its key comes from, the clock, the proxy, and
    /// for the address of each provider the name, the connection, TLS and an answer, from the bottom up. Of
    /// what fails, the layer is named.
    ///
    /// It sends a request without a credential to the root of each address, and nothing to the providers'
    /// endpoints. It takes up to 30 seconds for each address that says nothing, eight at a time.
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
    let proxies = Proxies::of_the_system();
    let inside = runtime.inside();
    let (sources, clients) = (&inside.sources, &inside.outbound);
    let origins = origins(runtime);
    let mut seen: Vec<(usize, Seen)> = stream::iter(origins.values().enumerate())
        .map(|(number, url)| {
            let proxies = &proxies;
            async move { (number, endpoint::tried(url, clients, proxies, sources).await) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    seen.sort_by_key(|(number, _)| *number);
    let skews = seen.iter().filter_map(|(_, seen)| Some((&*seen.finding.subject, seen.clock?)));
    findings.push(clock::compared(sources.now().wall, skews));
    findings.extend(proxies.finding(origins.values()));
    findings.extend(seen.into_iter().map(|(_, seen)| seen.finding));
    Diagnosis { findings }
}

/// Each origin that a provider is reached at, once.
fn origins(runtime: &Runtime) -> BTreeMap<String, Url> {
    let providers = runtime.providers();
    let urls = providers.iter().flat_map(|provider| provider.endpoints());
    let origin = |url: Url| (url.origin().ascii_serialization(), url);
    urls.filter(Url::has_host).map(origin).collect()
}

/// The store and its key.
async fn vault(runtime: &Runtime) -> Vec<Finding> {
    // What waits to be noted is written, if anything does: whether that can be is the question.
    let written = runtime.vault().write_notes().await;
    let inspection = match runtime.inspect_vault().await {
        Ok(inspection) => inspection,
        Err(error) => return vec![failed(&error)],
    };
    let store = match written.map_err(Error::from) {
        Err(error) => failed(&error),
        Ok(()) => store(&inspection),
    };
    let chain = if inspection.key_chain.is_empty() {
        format!("from {}", inspection.master_key)
    } else {
        inspection.key_chain.join(", ")
    };
    let key = Finding::good(Layer::MasterKey, "vault", chain);
    let warnings = inspection.warnings.into_iter();
    let doubts = warnings.map(|it| Finding::new(Layer::Store, "vault", Verdict::Doubtful, it));
    [store, key].into_iter().chain(doubts).collect()
}

fn store(inspection: &Inspection) -> Finding {
    let Inspection { store, records, .. } = inspection;
    if let Some(reason) = &inspection.degraded {
        let detail = format!("closed, and opened again by itself: {reason}");
        return Finding::new(Layer::Store, "vault", Verdict::Failed, detail);
    }
    if inspection.refuses_writes {
        let detail = "the disk is full, nothing is written until there is room";
        return Finding::new(Layer::Store, "vault", Verdict::Failed, detail);
    }
    Finding::good(Layer::Store, "vault", format!("{store}, {records} records, read and written"))
}

fn failed(error: &Error) -> Finding {
    Finding::new(Layer::Store, "vault", Verdict::Failed, error.to_string())
}
