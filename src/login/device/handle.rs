//! One pending device sign-in as its front ends see it: what to show the user, and the end of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::super::outcome::{self, Outcome};
use super::messages::DeviceMessage;
use crate::error::Error;
use crate::identity::{CredentialId, LoginId};
use crate::oauth::DeviceAuthorization;
use crate::supervision::Handle;

/// A pending sign-in on another device (RFC 8628). Show the user
/// [`user_code`](DeviceLogin::user_code) and [`verification_uri`](DeviceLogin::verification_uri),
/// and wait for [`finished`](DeviceLogin::finished): the provider is asked by itself, at its pace.
/// Clones are the same one. Dropping it ends nothing.
///
/// ```
/// use tokenward::testing::{ManualClock, SimulatedProvider};
/// use tokenward::{Method, Runtime, Vault};
/// # use tokenward::clock::Clock as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clock = ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
/// # let google = SimulatedProvider::google().sources(clock.sources()).start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory()).sources(clock.sources());
/// # let runtime = builder.provider(google.spec()).start().await?;
/// let login = runtime.user("ada").sign_in("google").with_device_code().await?;
/// println!("open {} anywhere, enter {}", login.verification_uri(), login.user_code());
/// # // What the user does, and the time until the first poll.
/// # google.approve_device(login.user_code())?;
/// # let mut progress = login.progress();
/// # let next = progress.wait_for(|now| now.next_poll.is_some()).await?.next_poll;
/// # clock.advance(next.expect("a poll").duration_since(clock.now().wall)?);
///
/// // The provider is asked at its own pace until the user has decided.
/// let credential = login.finished().await?;
/// assert_eq!(credential.method, Method::DeviceCode);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nobody is signed in before the user has typed user_code()"]
pub struct DeviceLogin(Arc<Face>);

/// What a device sign-in shows of itself.
struct Face {
    id: LoginId,
    credential: CredentialId,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_at: SystemTime,
    messages: Handle<DeviceMessage>,
    progress: watch::Receiver<DeviceProgress>,
    outcome: watch::Receiver<Outcome>,
}

/// How a device sign-in goes on while the user is busy elsewhere.
///
/// ```
/// # async fn example(login: tokenward::DeviceLogin) -> Result<(), Box<dyn std::error::Error>> {
/// let mut progress = login.progress();
/// while progress.changed().await.is_ok() {
///     let now = *progress.borrow_and_update();
///     println!("asked {} times, every {:?}", now.polls, now.interval);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceProgress {
    /// How many polls have had an outcome.
    pub polls: u32,
    /// How long it waits between two polls; the provider can make it longer.
    pub interval: Duration,
    /// When the provider is asked next; none while it is being asked, and at the end.
    pub next_poll: Option<SystemTime>,
}

impl DeviceProgress {
    pub(in super::super) fn beginning(authorization: &DeviceAuthorization) -> Self {
        Self { polls: 0, interval: authorization.interval, next_poll: None }
    }
}

impl DeviceLogin {
    pub(in super::super) fn new(
        id: LoginId,
        credential: CredentialId,
        authorization: &DeviceAuthorization,
        messages: Handle<DeviceMessage>,
        progress: watch::Receiver<DeviceProgress>,
        outcome: watch::Receiver<Outcome>,
    ) -> Self {
        let complete = authorization.verification_uri_complete.as_ref();
        Self(Arc::new(Face {
            id,
            credential,
            user_code: authorization.user_code.clone(),
            verification_uri: authorization.verification_uri.to_string(),
            verification_uri_complete: complete.map(ToString::to_string),
            expires_at: authorization.requested_at.after(authorization.lifetime).wall,
            messages,
            progress,
            outcome,
        }))
    }

    /// Its name.
    pub fn id(&self) -> &LoginId {
        &self.0.id
    }

    /// The credential that is to result.
    pub fn credential(&self) -> &CredentialId {
        &self.0.credential
    }

    /// What the user types on the other device. Show it also where
    /// [`verification_uri_complete`](DeviceLogin::verification_uri_complete) is opened: the user
    /// compares the two (RFC 8628 §3.3.1).
    pub fn user_code(&self) -> &str {
        &self.0.user_code
    }

    /// Where the user types it.
    pub fn verification_uri(&self) -> &str {
        &self.0.verification_uri
    }

    /// The same address with the code in it, for a link or a picture to scan, where the provider
    /// has one.
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.0.verification_uri_complete.as_deref()
    }

    /// When it is over if the user is not done.
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }

    /// How it goes on, and each change of that.
    pub fn progress(&self) -> watch::Receiver<DeviceProgress> {
        self.0.progress.clone()
    }

    /// Waits for the end: the credential is stored, or there will be none.
    ///
    /// # Errors
    ///
    /// When the user or the provider refused ([`Error::needs_reauthorization`]), the code was not
    /// entered in time or the sign-in was cancelled ([`Error::is_expired`]), it was interrupted
    /// ([`Error::is_transient`]), or the provider does not go on with it. The text says what to do.
    pub async fn finished(&self) -> Result<CredentialId, Error> {
        outcome::finished(&self.0.outcome).await?;
        Ok(self.0.credential.clone())
    }

    /// Ends it, unless its grant is on its way into the vault already.
    pub async fn cancel(&self) {
        // One that does not answer is over.
        let _ = self.0.messages.ask(|reply| DeviceMessage::Cancel { reply }).await;
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        outcome::is_over(&self.0.outcome)
    }

    /// The same sign-in as messages.
    pub fn messages(&self) -> &Handle<DeviceMessage> {
        &self.0.messages
    }
}

impl fmt::Debug for DeviceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceLogin")
            .field("id", &self.0.id)
            .field("credential", &self.0.credential)
            .field("over", &self.is_over())
            .finish_non_exhaustive()
    }
}
