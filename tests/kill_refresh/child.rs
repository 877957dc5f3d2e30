//! The process that is killed, and how both sides open what they have in common.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokenward::Runtime;
use tokenward::clock::Sources;
use tokenward::credential::CredentialHandle;
use tokenward::identity::{Label, Method};
use tokenward::provider::ProviderSpec;
use tokenward::testing::ManualClock;
use tokenward::vault::{MasterKey, Vault};

use crate::{common, killing};

/// How long an access token lives.
pub(super) const LIFETIME: Duration = Duration::from_hours(1);

/// How the child comes to renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cause {
    /// Somebody asks for it; the token is as good as new.
    Asked,
    /// It is due, and the token lives for some minutes more.
    Due,
    /// Somebody needs a token, and there is none any more.
    Needed,
}

impl Cause {
    pub(super) const ALL: [Self; 3] = [Self::Asked, Self::Due, Self::Needed];

    /// How old the token is then.
    pub(super) fn age(self) -> Duration {
        match self {
            Self::Asked => Duration::from_secs(5),
            Self::Due => Duration::from_mins(56),
            Self::Needed => LIFETIME + Duration::from_secs(1),
        }
    }
}

/// What one child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) vault: PathBuf,
    pub(super) provider: ProviderSpec,
    pub(super) clock: SystemTime,
    /// A user who signs in by an API key.
    pub(super) bystander: String,
    pub(super) key: String,
    pub(super) cause: Cause,
    /// The step of a renewal at which it kills itself.
    pub(super) step: String,
}

/// Signs two users in, says so, and renews until it dies of it.
pub(super) async fn renew_until_killed(orders: Orders) {
    let Orders { vault, provider, clock, bystander, key, cause, step } = orders;
    let clock = ManualClock::new(clock);
    let runtime = start(&vault, clock.sources(), provider).await;
    let login = runtime.user("ada").sign_in("openai").in_browser().await.expect("a sign-in");
    // An HTTP client that follows redirects is browser enough.
    common::http_client().get(login.url()).send().await.expect("the way there and back");
    login.finished().await.expect("signed in");
    let bystander = runtime.user(&bystander);
    bystander.sign_in("openai").with_api_key(key.as_str()).await.expect("signed in");
    let credential = credential_of_ada(&runtime).await;
    killing::acknowledge(credential.snapshot().generation());

    killing::suicide::die_at("tokenward::rotation", Some(&step), 0);
    clock.advance(cause.age());
    match cause {
        Cause::Asked => drop(credential.refresh().await),
        Cause::Needed => drop(credential.acquire().await),
        // The timekeeper does it.
        Cause::Due => std::future::pending().await,
    }
    unreachable!("it was to die of this");
}

pub(super) async fn start(vault: &Path, sources: Sources, provider: ProviderSpec) -> Runtime {
    Runtime::builder()
        .sources(sources)
        .vault(Vault::open(vault).master_key(MasterKey::from_bytes([7; 32])))
        .provider(provider)
        .start()
        .await
        .expect("the vault opens")
}

pub(super) async fn credential_of_ada(runtime: &Runtime) -> CredentialHandle {
    let ada = runtime.user("ada");
    ada.credential("openai", Method::AuthorizationCode, &Label::default()).await.expect("there")
}
