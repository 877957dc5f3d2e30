//! What a pending sign-in of any kind works with: the provider, the errands that go there and to
//! the vault, and the end that is announced once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::course::Course;
use super::outcome::{Ending, Outcome};
use super::transit::{GivesBack, InTransit, MayGrant};
use super::verdict::{Verdict, not_stored};
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::{CredentialId, Generation, LoginId};
use crate::oauth::Transport;
use crate::provider::{CodeExchange, Failure, FailureClass, Grant, Provider, in_time};
use crate::secret::Secret;
use crate::supervision::{Errands, EventBus, Timekeeper};
use crate::vault::audit::AuditSink;

/// Stores a grant durably as the credential that was signed in for, and says its generation.
///
/// It is asked again after an error that [is transient](Error::is_transient). After another the
/// grant is revoked, unless the error [says](Error::is_expired) that a later sign-in or sign-out
/// overtook it: then it was revoked already.
///
/// [`LoginRequest::sink`](super::LoginRequest::sink) has it.
///
/// ```
/// use std::sync::Arc;
/// use tokenward::credential::SignInWith;
/// use tokenward::login::GrantSink;
/// # use tokenward::provider::Grant;
/// # use tokenward::{Label, Method, clock::Sources};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # let (method, label) = (Method::AuthorizationCode, Label::default());
/// # let credential = ada.credential("openai", method, &label).await?;
/// let sink: GrantSink = Arc::new(move |grant| {
///     let credential = credential.clone();
///     Box::pin(async move { credential.sign_in(SignInWith::Grant(grant)).await })
/// });
/// # sink(Grant::new("token", Sources::system().now())).await?;
/// # assert_eq!(ada.credentials().await?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub type GrantSink =
    Arc<dyn Fn(Grant) -> BoxFuture<'static, Result<Generation, Error>> + Send + Sync>;

/// What every sign-in begins with.
pub(super) struct Materials {
    pub(super) id: LoginId,
    pub(super) credential: CredentialId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) sink: GrantSink,
    pub(super) outcome: watch::Sender<Outcome>,
    pub(super) means: Means,
    pub(super) course: Course,
}

/// What all sign-ins of a runtime share.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) transport: Transport,
    pub(super) timekeeper: Timekeeper,
    pub(super) sources: Sources,
    pub(super) events: EventBus,
    /// Takes what is recorded of sign-ins that come to nothing.
    pub(super) audit: AuditSink,
    /// Requests that are finished whatever becomes of their sign-in.
    pub(super) tasks: TaskTracker,
}

/// What one sign-in works with. `O` is what only errands of its kind report.
pub(super) struct Desk<O> {
    pub(super) errands: Errands<Report<O>>,
    pub(super) means: Means,
    pub(super) course: Course,
    provider: Arc<dyn Provider>,
    sink: GrantSink,
    gives_back: GivesBack,
    ending: Ending,
}

/// What an errand comes back with.
pub(super) enum Report<O> {
    /// The exchange of a code ended.
    Exchanged(u32, Box<InTransit<Grant>>),
    /// A grant is durable, or could not be made so.
    Stored(Result<(), Error>),
    /// What only this kind asks for.
    Own(O),
}

/// A code, with all that its exchange needs.
pub(super) struct Redemption {
    pub(super) code: Secret,
    pub(super) state: Secret,
    pub(super) redirect_uri: String,
    pub(super) verifier: Secret,
}

impl<O: Send + 'static> Desk<O> {
    pub(super) fn new(materials: Materials, nudge: impl Fn() + Send + Sync + 'static) -> Self {
        let Materials { id, credential, provider, sink, outcome, means, course } = materials;
        let gives_back = GivesBack {
            credential: credential.clone(),
            provider: Arc::clone(&provider),
            transport: means.transport.clone(),
            tasks: means.tasks.clone(),
        };
        let ending =
            Ending::new(id, credential, means.events.clone(), means.audit.clone(), outcome);
        let errands = Errands::new(nudge);
        Self { errands, means, course, provider, sink, gives_back, ending }
    }

    /// Exchanges a code, as attempt number `attempt`.
    pub(super) fn exchange(&mut self, attempt: u32, of: Redemption) {
        let exchange = move |provider: Arc<dyn Provider>, transport: Transport| async move {
            let exchange = CodeExchange {
                code: &of.code,
                state: &of.state,
                redirect_uri: &of.redirect_uri,
                code_verifier: &of.verifier,
            };
            in_time(&transport, provider.exchange_code(&transport, exchange)).await
        };
        self.request(exchange, FailureClass::Uncertain, move |it| {
            Report::Exchanged(attempt, Box::new(it))
        });
    }

    /// Asks the provider for what may be a grant. The request is finished whatever becomes of the
    /// sign-in, since it can not be unsaid; a grant that nobody waits for any more is given back.
    /// `if_it_dies` is the outcome of one that panics.
    pub(super) fn request<T, F>(
        &mut self,
        request: impl FnOnce(Arc<dyn Provider>, Transport) -> F + Send + 'static,
        if_it_dies: FailureClass,
        report: impl Fn(InTransit<T>) -> Report<O> + Clone + Send + Sync + 'static,
    ) where
        T: MayGrant,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (deliver, delivered) = oneshot::channel();
        let (provider, transport) = (Arc::clone(&self.provider), self.means.transport.clone());
        let gives_back = self.gives_back.clone();
        let asking = async move {
            let outcome = request(provider, transport).await;
            // What can not be delivered is dropped, and gives itself back by that.
            drop(deliver.send(InTransit::new(outcome, gives_back)));
        };
        self.means.tasks.spawn(asking.in_current_span());
        let gives_back = self.gives_back.clone();
        let died = move || {
            let failure = Failure::new(if_it_dies, "the exchange was interrupted");
            InTransit::new(Err(failure), gives_back.clone())
        };
        let (if_it_dies, then) = (died.clone(), report.clone());
        let delivery = async move { report(delivered.await.unwrap_or_else(|_| died())) };
        self.errands.send(delivery, move || then(if_it_dies()));
    }

    /// Waits for `after`, and makes `grant` durable.
    pub(super) fn store(&mut self, grant: Grant, after: Duration) {
        let (sink, pause) = (Arc::clone(&self.sink), self.means.sources.clock.wait(after));
        let work = async move {
            pause.await;
            Report::Stored(sink(grant).await.map(|_| ()))
        };
        self.errands.send(work, || Report::Stored(Err(not_stored())));
    }

    /// Tells the provider that `grant` is not wanted any more.
    pub(super) fn give_back(&self, grant: &Grant) {
        self.gives_back.revoke(grant);
    }

    /// Records what was handed in and is no answer to this sign-in.
    pub(super) fn heard(&self, verdict: &Verdict) {
        self.ending.heard(verdict);
    }

    /// The sign-in is over. What comes later is not heard.
    pub(super) fn end(&mut self, result: Result<(), Error>) {
        self.ending.end(result);
    }
}
