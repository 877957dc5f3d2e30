//! One pending sign-in: turns what comes in into events for the flow, and carries out what the flow
//! says. It waits for nothing; the exchange and the storing are tasks that report back.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};

use super::flow::{Effect, Event, Flow, Submission, Terms};
use super::messages::{Internal, LoginMessage, News};
use super::outcome::{Ending, Outcome};
use super::verdict::{not_stored, stopping};
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::{CredentialId, Generation, LoginId};
use crate::oauth::Transport;
use crate::oauth::redirect::{AuthorizationResponse, Listening, Loopback, Page, Sink};
use crate::provider::{CodeExchange, Failure, FailureClass, Grant, Provider};
use crate::secret::Secret;
use crate::supervision::{Alarm, Errands, EventBus, Reply, Timekeeper};

/// Stores a grant durably as the credential that was signed in for, and says its generation.
pub type GrantSink =
    Arc<dyn Fn(Grant) -> BoxFuture<'static, Result<Generation, Error>> + Send + Sync>;

/// What a sign-in begins with.
pub(super) struct LoginArguments {
    pub(super) id: LoginId,
    pub(super) credential: CredentialId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) transport: Transport,
    pub(super) sink: GrantSink,
    pub(super) terms: Terms,
    pub(super) verifier: Secret,
    pub(super) loopback: Option<Loopback>,
    pub(super) outcome: watch::Sender<Outcome>,
    pub(super) timekeeper: Timekeeper,
    pub(super) sources: Sources,
    pub(super) events: EventBus,
}

/// The arguments, for the one start that a sign-in has.
pub(super) type ForOneStart = Arc<Mutex<Option<LoginArguments>>>;

pub(super) struct LoginActor;

/// None after the end: what is secret in it is wiped then.
pub(super) struct State(Option<Pending>);

struct Pending {
    flow: Flow<Waiter>,
    exchange: Exchange,
    sink: GrantSink,
    errands: Errands<Report>,
    sources: Sources,
    ending: Ending,
    _deadline: Alarm,
    _listening: Option<Listening>,
}

/// Who handed in an answer and waits to hear about it.
enum Waiter {
    Browser(oneshot::Sender<Page>),
    Caller(Reply<Result<(), Error>>),
}

/// What a task of the sign-in comes back with.
enum Report {
    Exchanged(u32, Result<Grant, Failure>),
    Stored(Result<(), Error>),
}

#[ractor::actor(message = LoginMessage, state = State, arguments = ForOneStart)]
impl LoginActor {
    async fn pre_start(
        &self,
        myself: ActorRef<LoginMessage>,
        arguments: ForOneStart,
    ) -> Result<State, ActorProcessingErr> {
        let arguments = arguments.lock().unwrap_or_else(PoisonError::into_inner).take();
        let arguments = arguments.ok_or("a sign-in is started once")?;
        Ok(State(Some(Pending::begin(arguments, myself))))
    }

    async fn handle(
        &self,
        myself: ActorRef<LoginMessage>,
        message: LoginMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(pending) = &mut state.0 else { return Ok(()) };
        pending.take(message);
        if pending.flow.is_over() {
            myself.stop(None);
        }
        Ok(())
    }

    /// The end. A grant that is being obtained is not given up.
    async fn post_stop(
        &self,
        _myself: ActorRef<LoginMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(mut pending) = state.0.take() else { return Ok(()) };
        while !pending.flow.is_over()
            && let Some(report) = pending.errands.next().await
        {
            pending.hear(report);
        }
        pending.ending.end(Err(stopping()));
        Ok(())
    }
}

impl Pending {
    fn begin(arguments: LoginArguments, myself: ActorRef<LoginMessage>) -> Self {
        let LoginArguments { terms, timekeeper, sources, events, id, credential, .. } = arguments;
        let listening =
            arguments.loopback.map(|loopback| loopback.serve(&sources, pass_on(myself.clone())));
        let (nudged, rung) = (myself.clone(), myself);
        // Sending to itself fails only when the sign-in is over.
        let errands = Errands::new(move || drop(nudged.send_message(News::ErrandReturned.into())));
        let deadline =
            timekeeper.alarm(move || drop(rung.send_message(News::DeadlineReached.into())));
        deadline.set(terms.expires_at);
        let exchange = Exchange {
            provider: arguments.provider,
            transport: arguments.transport,
            state: terms.state.clone(),
            redirect_uri: terms.redirect_uri.clone(),
            verifier: arguments.verifier,
        };
        Self {
            flow: Flow::new(terms),
            exchange,
            sink: arguments.sink,
            errands,
            sources,
            ending: Ending::new(id, credential, events, arguments.outcome),
            _deadline: deadline,
            _listening: listening,
        }
    }

    fn take(&mut self, message: LoginMessage) {
        match message {
            LoginMessage::Paste { text, reply } => match text.expose().parse() {
                Ok(pasted) => {
                    let answer = Submission::Pasted(pasted);
                    self.step(Event::Submitted { answer, by: Waiter::Caller(reply) });
                }
                Err(error) => drop(reply.send(Err(Error::from(error)))),
            },
            LoginMessage::Cancel { reply } => {
                self.step(Event::Cancelled);
                let _ = reply.send(());
            }
            LoginMessage::Internal(Internal(News::Redirected { response, page })) => {
                let answer = Submission::Redirected(response);
                self.step(Event::Submitted { answer, by: Waiter::Browser(page) });
            }
            LoginMessage::Internal(Internal(News::DeadlineReached)) => {
                self.step(Event::DeadlineReached);
            }
            LoginMessage::Internal(Internal(News::ErrandReturned)) => {
                while let Some(report) = self.errands.returned() {
                    self.hear(report);
                }
            }
        }
    }

    fn hear(&mut self, report: Report) {
        self.step(match report {
            Report::Exchanged(attempt, result) => Event::Exchanged { attempt, result },
            Report::Stored(result) => Event::Stored(result),
        });
    }

    fn step(&mut self, event: Event<Waiter>) {
        for effect in self.flow.step(event, self.sources.now()) {
            match effect {
                Effect::Exchange { attempt, code } => {
                    let exchange = self.exchange.clone();
                    self.errands.send(
                        async move { Report::Exchanged(attempt, exchange.of(code).await) },
                        move || Report::Exchanged(attempt, Err(died())),
                    );
                }
                Effect::Store { grant, after } => {
                    let (sink, pause) = (Arc::clone(&self.sink), self.sources.clock.wait(after));
                    let work = async move {
                        pause.await;
                        Report::Stored(sink(grant).await.map(|_| ()))
                    };
                    self.errands.send(work, || Report::Stored(Err(not_stored())));
                }
                Effect::Tell(by, verdict) => match by {
                    // Either fails only when nobody waits any more.
                    Waiter::Browser(page) => drop(page.send(verdict.page())),
                    Waiter::Caller(reply) => drop(reply.send(verdict.into_result())),
                },
                Effect::Finish(result) => self.ending.end(result),
            }
        }
    }
}

/// What the exchange of a code needs besides the code.
#[derive(Clone)]
struct Exchange {
    provider: Arc<dyn Provider>,
    transport: Transport,
    state: Secret,
    redirect_uri: String,
    verifier: Secret,
}

impl Exchange {
    async fn of(self, code: Secret) -> Result<Grant, Failure> {
        let exchange = CodeExchange {
            code: &code,
            state: &self.state,
            redirect_uri: &self.redirect_uri,
            code_verifier: &self.verifier,
        };
        self.provider.exchange_code(&self.transport, exchange).await
    }
}

/// The listener's way to the sign-in. It holds no permit: the listener limits its connections.
fn pass_on(myself: ActorRef<LoginMessage>) -> Sink {
    Arc::new(move |response: AuthorizationResponse| {
        let myself = myself.clone();
        Box::pin(async move {
            let (page, answer) = oneshot::channel();
            let sent = myself.send_message(News::Redirected { response, page }.into());
            if sent.is_err() {
                return Page::Over;
            }
            answer.await.unwrap_or(Page::Over)
        })
    })
}

/// The outcome of an exchange that died: nobody knows how far it got.
fn died() -> Failure {
    Failure::new(FailureClass::Uncertain, "the exchange was interrupted")
}
