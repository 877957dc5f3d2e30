//! A provider whose endpoints come from its metadata document (RFC 8414, OpenID Connect Discovery
//! 1.0). The document is read when it is first needed, and again when it has grown old.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::{
    DeviceAnswer, Exchanging, Failure, FailureClass, Grant, HealthProbe, HealthSpec, KeyVerdict,
    Provider, ProviderSpec, RedirectRules, RefreshPolicy, Registration, Renewal, Revocation,
    RevocationOutcome,
};
use crate::clock::Moment;
use crate::config::Problem;
use crate::error::{Error, ErrorKind};
use crate::identity::{Method, ProviderId};
use crate::oauth::{
    AuthorizationRequest, CodeExchange, DeviceAuthorization, Metadata, MetadataError, Transport,
    fetch_metadata, issuer_url,
};
use crate::resilience::CallPolicy;
use crate::secret::Secret;

/// A document is used for this long before it is read again.
const FRESH_FOR: Duration = Duration::from_hours(1);

/// When it can not be read again, the old one is used on, and the next attempt is this far away.
const TRY_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Reading a document takes no longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

/// A provider as data, with the endpoints that its issuer's metadata document names. An endpoint
/// that the data names itself wins over the document's.
///
/// ```
/// use tokenward::provider::Discovered;
/// use tokenward::{Provider as _, ProviderSpec};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Its endpoints are read from its metadata document when they are first needed.
/// let spec = ProviderSpec::new("house".parse()?, "https://api.house.example".parse()?);
/// let provider = Discovered::new(spec, "https://login.house.example");
/// assert_eq!(provider.id().as_str(), "house");
/// # Ok(())
/// # }
/// ```
pub struct Discovered {
    spec: ProviderSpec,
    issuer: String,
    found: ArcSwapOption<Found>,
    /// Held while the document is read, so that it is read once for everyone who waits; what came
    /// of the last reading, where that was nothing.
    reading: Mutex<Option<Failure>>,
    /// How many readings have ended.
    readings: AtomicU64,
}

/// What a document said, made part of the provider's data.
struct Found {
    spec: ProviderSpec,
    metadata: Metadata,
    read_again_at: Moment,
}

impl Discovered {
    /// The provider `spec` at the authorization server `issuer`, spelt exactly as the server
    /// names itself. Nothing is read yet; [`Provider::problems`] tells when `issuer` is none.
    pub fn new(spec: ProviderSpec, issuer: impl Into<String>) -> Self {
        let (issuer, found) = (issuer.into(), ArcSwapOption::empty());
        Self { spec, issuer, found, reading: Mutex::default(), readings: AtomicU64::new(0) }
    }

    /// What is known of the provider by now, read from its issuer where need be.
    async fn found(&self, transport: &Transport) -> Result<Arc<Found>, Failure> {
        let fresh = |found: &Arc<Found>| !transport.sources().now().has_passed(found.read_again_at);
        if let Some(found) = self.found.load_full().filter(fresh) {
            return Ok(found);
        }
        let ended_before = self.readings.load(Ordering::SeqCst);
        let mut reading = self.reading.lock().await;
        if let Some(found) = self.found.load_full().filter(fresh) {
            return Ok(found);
        }
        // Whoever waited for a reading shares its failure: an issuer that is not there would else be
        // waited for by one after the other.
        if let Some(failure) = &*reading
            && self.readings.load(Ordering::SeqCst) > ended_before
        {
            return Err(failure.clone());
        }
        let outcome = self.read(transport).await;
        if let Ok(found) = &outcome {
            self.found.store(Some(Arc::clone(found)));
        }
        *reading = outcome.as_ref().err().cloned();
        self.readings.fetch_add(1, Ordering::SeqCst);
        outcome
    }

    /// Reads the document. An old one is used on when there is none to be had, whatever the reason,
    /// but not beside one that is of another issuer.
    async fn read(&self, transport: &Transport) -> Result<Arc<Found>, Failure> {
        let metadata = fetch_metadata(&transport.within(DEADLINE), &self.issuer).await;
        let now = transport.sources().now();
        Ok(Arc::new(match (metadata, self.found.load_full()) {
            (Ok(metadata), _) => Found {
                spec: self.filled(&metadata),
                metadata,
                read_again_at: now.after(FRESH_FOR),
            },
            (
                Err(MetadataError::Unreached(reason) | MetadataError::Unusable(reason)),
                Some(old),
            ) => {
                tracing::warn!(provider = %self.spec.id, reason, "using an old metadata document");
                Found {
                    spec: old.spec.clone(),
                    metadata: old.metadata.clone(),
                    read_again_at: now.after(TRY_AGAIN_AFTER),
                }
            }
            (Err(error), _) => return Err(self.failure(&error)),
        }))
    }

    fn filled(&self, metadata: &Metadata) -> ProviderSpec {
        let mut spec = self.spec.clone();
        let fill = |own: &mut Option<Url>, found: &Option<Url>| {
            if own.is_none() {
                own.clone_from(found);
            }
        };
        fill(&mut spec.oauth.authorization_endpoint, &metadata.authorization_endpoint);
        fill(&mut spec.oauth.token_endpoint, &metadata.token_endpoint);
        fill(&mut spec.oauth.revocation_endpoint, &metadata.revocation_endpoint);
        fill(&mut spec.oauth.device.endpoint, &metadata.device_authorization_endpoint);
        spec
    }

    fn failure(&self, error: &MetadataError) -> Failure {
        let provider = &self.spec.id;
        match error {
            MetadataError::Unreached(reason) => Failure::new(
                FailureClass::Transient { retry_after: None },
                format!("the metadata of {provider} can not be had for now: {reason}"),
            ),
            MetadataError::Unusable(reason) | MetadataError::Foreign(reason) => Failure::new(
                FailureClass::Misconfigured,
                format!("the metadata of {provider} can not be used: {reason}"),
            ),
        }
    }

    /// PKCE is never given up silently: where the server announces that it has no S256, the
    /// operator decides (RFC 9700 §2.1.1).
    fn check_pkce(&self, metadata: &Metadata) -> Result<(), Failure> {
        if self.spec.oauth.pkce && metadata.offers_s256 == Some(false) {
            let provider = &self.spec.id;
            return Err(Failure::new(
                FailureClass::Misconfigured,
                format!(
                    "{provider} announces pkce without S256, set oauth.pkce to false to sign in \
                     without it"
                ),
            ));
        }
        Ok(())
    }
}

// A default of the trait would hide what the data says: each method is passed on, and one that the
// trait gains does not pass the lints before it is.
#[deny(clippy::missing_trait_methods)]
impl Provider for Discovered {
    fn id(&self) -> &ProviderId {
        &self.spec.id
    }

    fn methods(&self) -> &[Method] {
        &self.spec.methods
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = match issuer_url(&self.issuer) {
            Ok(url) => {
                // What is missing is in the document.
                let endpoint = Some(url);
                let metadata = Metadata {
                    authorization_endpoint: endpoint.clone(),
                    token_endpoint: endpoint.clone(),
                    revocation_endpoint: None,
                    device_authorization_endpoint: endpoint,
                    offers_s256: None,
                    names_issuer: false,
                };
                return self.filled(&metadata).problems();
            }
            Err(text) => vec![Problem {
                setting: "oauth.metadata".to_owned(),
                source: format!("provider {}", self.spec.id),
                text: text.to_owned(),
            }],
        };
        problems.extend(self.spec.problems());
        problems
    }

    fn base_url(&self) -> &Url {
        &self.spec.base_url
    }

    /// What the document says of them, once it was read; and where it is.
    fn endpoints(&self) -> Vec<Url> {
        let found = self.found.load_full();
        let spec = found.as_ref().map_or(&self.spec, |found| &found.spec);
        spec.endpoints().into_iter().chain(self.issuer.parse()).collect()
    }

    fn refresh_policy(&self) -> RefreshPolicy {
        self.spec.refresh
    }

    fn call_policy(&self) -> CallPolicy {
        self.spec.calls
    }

    fn registration(&self) -> Registration {
        let known = self.spec.registration();
        let issuer = || issuer_url(&self.issuer).ok().map(|_| self.issuer.clone());
        Registration { server: known.server.or_else(issuer), ..known }
    }

    fn check_api_key(&self, key: &Secret) -> Result<(), Error> {
        self.spec.check_api_key(key)
    }

    fn headers(&self, method: Method, secret: &Secret) -> Result<HeaderMap, Error> {
        self.spec.headers(method, secret)
    }

    fn redirect(&self) -> Option<&RedirectRules> {
        self.spec.redirect()
    }

    fn prepare<'a>(&'a self, transport: &'a Transport) -> Exchanging<'a, ()> {
        Box::pin(async move { self.check_pkce(&self.found(transport).await?.metadata) })
    }

    fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<String, Error> {
        let found = self.found.load_full().ok_or_else(|| {
            let text = format!("the metadata of {} was not read yet, prepare it", self.spec.id);
            Error::new(ErrorKind::Configuration, text)
        })?;
        found.spec.authorization_url(request)
    }

    fn issuer(&self) -> Option<&str> {
        let announced = self.found.load().as_ref().is_some_and(|it| it.metadata.names_issuer);
        self.spec.oauth.issuer.as_deref().or_else(|| announced.then_some(self.issuer.as_str()))
    }

    fn exchange_code<'a>(
        &'a self,
        transport: &'a Transport,
        exchange: CodeExchange<'a>,
    ) -> Exchanging<'a, Grant> {
        Box::pin(async move {
            self.found(transport).await?.spec.exchange_code(transport, exchange).await
        })
    }

    fn authorize_device<'a>(
        &'a self,
        transport: &'a Transport,
    ) -> Exchanging<'a, DeviceAuthorization> {
        Box::pin(async move { self.found(transport).await?.spec.authorize_device(transport).await })
    }

    fn poll_device<'a>(
        &'a self,
        transport: &'a Transport,
        device: &'a DeviceAuthorization,
    ) -> Exchanging<'a, DeviceAnswer> {
        Box::pin(
            async move { self.found(transport).await?.spec.poll_device(transport, device).await },
        )
    }

    fn renew<'a>(
        &'a self,
        transport: &'a Transport,
        renewal: Renewal<'a>,
    ) -> Exchanging<'a, Grant> {
        Box::pin(async move { self.found(transport).await?.spec.renew(transport, renewal).await })
    }

    fn revoke<'a>(
        &'a self,
        transport: &'a Transport,
        revocation: Revocation<'a>,
    ) -> Exchanging<'a, RevocationOutcome> {
        Box::pin(
            async move { self.found(transport).await?.spec.revoke(transport, revocation).await },
        )
    }

    fn caches_tokens(&self) -> bool {
        self.spec.cache_tokens
    }

    fn verify_api_key<'a>(
        &'a self,
        transport: &'a Transport,
        key: &'a Secret,
    ) -> Exchanging<'a, KeyVerdict> {
        self.spec.verify_api_key(transport, key)
    }

    fn health(&self) -> HealthSpec {
        self.spec.health.clone()
    }

    fn check_health<'a>(&'a self, transport: &'a Transport) -> Exchanging<'a, ()> {
        Box::pin(async move {
            match self.spec.health.probe {
                // The token endpoint may stand in the document.
                HealthProbe::Token => {
                    self.found(transport).await?.spec.check_health(transport).await
                }
                _ => self.spec.check_health(transport).await,
            }
        })
    }

    fn body_may_refuse(&self, status: StatusCode) -> bool {
        self.spec.body_may_refuse(status)
    }

    fn refuses_credential(&self, status: StatusCode, body: &[u8]) -> bool {
        self.spec.refuses_credential(status, body)
    }
}

impl fmt::Debug for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovered")
            .field("spec", &self.spec)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
