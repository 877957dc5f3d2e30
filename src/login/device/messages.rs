//! What a pending device sign-in can be told. [`DeviceLogin`](super::DeviceLogin) has a method for
//! each.

use crate::supervision::Reply;

/// A message to a pending device sign-in.
///
/// [`DeviceLogin::messages`](super::super::DeviceLogin::messages) is where to send one. Each method
/// of [`DeviceLogin`](super::super::DeviceLogin) does the same.
///
/// ```
/// use tokenward::login::DeviceMessage;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let google = SimulatedProvider::google().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(google.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let login = ada.sign_in("google").with_device_code().await?;
/// login.messages().ask(|reply| DeviceMessage::Cancel { reply }).await?;
/// assert!(login.is_over());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum DeviceMessage {
    /// Ends the sign-in, unless its grant is on its way into the vault already.
    Cancel {
        /// Gets an answer when that is done.
        reply: Reply<()>,
    },
    /// What the sign-in is told by its own parts.
    Internal(DeviceInternal),
}

/// What the sign-in is told by its own parts; nobody else can make one.
#[derive(Debug)]
#[doc(hidden)]
pub struct DeviceInternal(pub(super) News);

#[derive(Debug)]
pub(super) enum News {
    /// A task has an outcome.
    ErrandReturned,
    /// There is something to do.
    AlarmRang,
}

impl From<News> for DeviceMessage {
    fn from(news: News) -> Self {
        Self::Internal(DeviceInternal(news))
    }
}
