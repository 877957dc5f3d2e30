//! A provider that is written by hand, and badly: what stands between it and everybody else.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokenward::credential::{CredentialHandle, SignInWith};
use tokenward::identity::{CredentialId, Label, Method, ProviderId, UserId};
use tokenward::oauth::{AuthorizationRequest, CodeExchange, DeviceAuthorization, Transport};
use tokenward::provider::{
    DeviceAnswer, Exchanging, Grant, RedirectRules, RefreshPolicy, Registration, Renewal,
    Revocation, RevocationOutcome,
};
use tokenward::testing::ManualClock;
use tokenward::{Error, Provider, ProviderSpec, Runtime, Secret, Vault, catalog};
use tokio::task::JoinHandle;
use url::Url;

use crate::patience::{in_time, until};

/// What is bad about a provider.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Nothing that it is asked for ever ends.
    NeverAnswers,
    /// It panics over whatever it is asked for.
    Panics,
    /// It panics when it has to say who its client is, for as long as this is set.
    ForgetsItsClient(Arc<AtomicBool>),
    /// It wants to be polled without a pause, and counts how often it is.
    PollsAtOnce(Arc<AtomicUsize>),
}

/// Google, but for its manner.
#[derive(Debug)]
pub(crate) struct ByHand {
    spec: ProviderSpec,
    manner: Manner,
    /// How often it was asked for what does not end.
    asked: Arc<AtomicUsize>,
}

impl ByHand {
    pub(crate) fn new(spec: ProviderSpec, manner: Manner) -> Self {
        Self { spec, manner, asked: Arc::default() }
    }

    fn answer<T: Send + 'static>(&self) -> Exchanging<'_, T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::Panics => Box::pin(async { resume_unwind(Box::new("on purpose")) }),
            _ => Box::pin(std::future::pending()),
        }
    }
}

impl Provider for ByHand {
    fn id(&self) -> &ProviderId {
        &self.spec.id
    }

    fn methods(&self) -> &[Method] {
        &self.spec.methods
    }

    fn base_url(&self) -> &Url {
        &self.spec.base_url
    }

    fn refresh_policy(&self) -> RefreshPolicy {
        self.spec.refresh
    }

    fn registration(&self) -> Registration {
        if let Manner::ForgetsItsClient(now) = &self.manner
            && now.load(Ordering::SeqCst)
        {
            resume_unwind(Box::new("on purpose"));
        }
        self.spec.registration()
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

    fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<String, Error> {
        self.spec.authorization_url(request)
    }

    fn exchange_code<'a>(
        &'a self,
        _transport: &'a Transport,
        _exchange: CodeExchange<'a>,
    ) -> Exchanging<'a, Grant> {
        self.answer()
    }

    fn authorize_device<'a>(
        &'a self,
        transport: &'a Transport,
    ) -> Exchanging<'a, DeviceAuthorization> {
        if !matches!(self.manner, Manner::PollsAtOnce(_)) {
            return self.answer();
        }
        let page = "https://google.example/device".parse().expect("a url");
        let (lifetime, now) = (Duration::from_mins(10), transport.sources().now());
        let device = DeviceAuthorization::new("device-code", "USER-CODE", page, lifetime, now);
        Box::pin(std::future::ready(Ok(device.with_interval(Duration::ZERO))))
    }

    fn poll_device<'a>(
        &'a self,
        _transport: &'a Transport,
        _device: &'a DeviceAuthorization,
    ) -> Exchanging<'a, DeviceAnswer> {
        if let Manner::PollsAtOnce(polls) = &self.manner {
            polls.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(Ok(DeviceAnswer::Pending)))
    }

    fn renew<'a>(
        &'a self,
        _transport: &'a Transport,
        _renewal: Renewal<'a>,
    ) -> Exchanging<'a, Grant> {
        self.answer()
    }

    fn revoke<'a>(
        &'a self,
        _transport: &'a Transport,
        _revocation: Revocation<'a>,
    ) -> Exchanging<'a, RevocationOutcome> {
        self.answer()
    }

    fn check_health<'a>(&'a self, _transport: &'a Transport) -> Exchanging<'a, ()> {
        self.answer()
    }
}

pub(crate) fn credential_id() -> CredentialId {
    CredentialId {
        user: UserId::new("ada").expect("a name"),
        provider: ProviderId::new("google").expect("a name"),
        method: Method::AuthorizationCode,
        label: Label::default(),
    }
}

pub(crate) fn grant(clock: &Arc<ManualClock>) -> Grant {
    Grant::new("access", clock.sources().now())
        .with_refresh_token("refresh")
        .with_lifetime(Duration::from_mins(30))
}

/// No renewal and no sign-in takes longer, and a revocation or a check by far not so long.
const LONGEST: Duration = Duration::from_mins(10);

pub(crate) struct Scene {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) runtime: Runtime,
    pub(crate) credential: CredentialHandle,
    asked: Arc<AtomicUsize>,
}

impl Scene {
    /// Ada is signed in at a provider of this manner.
    pub(crate) async fn set(manner: Manner) -> Self {
        Self::with_policy(manner, RefreshPolicy::default()).await
    }

    /// The same where tokens are renewed by `policy`.
    pub(crate) async fn with_policy(manner: Manner, policy: RefreshPolicy) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let mut spec = catalog::google().client("client").client_secret("secret");
        spec.methods.extend([Method::ClientCredentials, Method::DeviceCode]);
        spec.refresh = policy;
        let provider = ByHand::new(spec, manner);
        let asked = provider.asked.clone();
        let runtime = Runtime::builder()
            .sources(clock.sources())
            .vault(Vault::in_memory())
            .provider(provider)
            .start()
            .await
            .expect("a runtime");
        let credential = runtime.credential(&credential_id()).await.expect("a credential");
        credential.sign_in(SignInWith::Grant(grant(&clock))).await.expect("signed in");
        Self { clock, runtime, credential, asked }
    }

    /// What `task` comes to, which waits for the provider: from when that is asked, and not while the vault
    /// is at work, as much time passes as the provider is given.
    pub(crate) async fn ended<T>(&self, task: JoinHandle<T>) -> T {
        until(|| task.is_finished() || self.asked.load(Ordering::SeqCst) > 0).await;
        if self.asked.swap(0, Ordering::SeqCst) > 0 {
            self.clock.advance(LONGEST);
        }
        in_time(task).await.expect("no panic")
    }
}
