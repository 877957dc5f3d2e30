//! The sign-in in a browser as a kind: turns messages into events for the flow, and carries out
//! what the flow says.

use std::convert::Infallible;
use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::super::actor::Kind;
use super::super::desk::{self, Redemption, Report};
use super::flow::{Effect, Event, Flow, Submission, Terms};
use super::messages::{Internal, LoginMessage, News};
use crate::error::Error;
use crate::oauth::redirect::{AuthorizationResponse, Listening, Loopback, Page, Sink};
use crate::secret::Secret;
use crate::supervision::{Alarm, Reply};

/// It asks for nothing beyond what every kind asks for.
type Desk = desk::Desk<Infallible>;

/// What it begins with.
pub(in crate::login) struct Opening {
    pub(in crate::login) terms: Terms,
    pub(in crate::login) verifier: Secret,
    pub(in crate::login) loopback: Option<Loopback>,
}

/// A pending sign-in in a browser.
pub(in crate::login) struct BrowserLogin {
    flow: Flow<Waiter>,
    state: Secret,
    redirect_uri: String,
    verifier: Secret,
    _deadline: Alarm,
    _listening: Option<Listening>,
}

/// Who handed in an answer and waits to hear about it.
enum Waiter {
    Browser(oneshot::Sender<Page>),
    Caller(Reply<Result<(), Error>>),
}

impl Kind for BrowserLogin {
    type Message = LoginMessage;
    type Terms = Opening;
    type Own = Infallible;

    fn begin(opening: Opening, myself: ActorRef<LoginMessage>, desk: &mut Desk) -> Self {
        let Opening { terms, verifier, loopback } = opening;
        let sources = &desk.means.sources;
        let listening = loopback.map(|loopback| loopback.serve(sources, pass_on(myself.clone())));
        // Sending to itself fails only when the sign-in is over.
        let rung = move || drop(myself.send_message(News::DeadlineReached.into()));
        let deadline = desk.means.timekeeper.alarm(rung);
        deadline.set(terms.expires_at);
        Self {
            state: terms.state.clone(),
            redirect_uri: terms.redirect_uri.clone(),
            flow: Flow::new(terms),
            verifier,
            _deadline: deadline,
            _listening: listening,
        }
    }

    fn take(&mut self, message: LoginMessage, desk: &mut Desk) {
        match message {
            LoginMessage::Paste { text, reply } => match text.expose().parse() {
                Ok(pasted) => {
                    let answer = Submission::Pasted(pasted);
                    self.step(Event::Submitted { answer, by: Waiter::Caller(reply) }, desk);
                }
                Err(error) => drop(reply.send(Err(Error::from(error)))),
            },
            LoginMessage::Cancel { reply } => {
                self.step(Event::Cancelled, desk);
                let _ = reply.send(());
            }
            LoginMessage::Internal(Internal(News::Redirected { response, page })) => {
                let answer = Submission::Redirected(response);
                self.step(Event::Submitted { answer, by: Waiter::Browser(page) }, desk);
            }
            LoginMessage::Internal(Internal(News::DeadlineReached)) => {
                self.step(Event::DeadlineReached, desk);
            }
            LoginMessage::Internal(Internal(News::ErrandReturned)) => {}
        }
    }

    fn hear(&mut self, report: Report<Infallible>, desk: &mut Desk) {
        match report {
            Report::Exchanged(attempt, outcome) => {
                if let Some(result) = outcome.arrive() {
                    self.step(Event::Exchanged { attempt, result }, desk);
                }
            }
            Report::Stored(result) => self.step(Event::Stored(result), desk),
            Report::Own(never) => match never {},
        }
    }

    fn is_over(&self) -> bool {
        self.flow.is_over()
    }

    fn is_of_front_end(message: &LoginMessage) -> bool {
        !matches!(message, LoginMessage::Internal(_))
    }

    fn nudge() -> LoginMessage {
        News::ErrandReturned.into()
    }
}

impl BrowserLogin {
    fn step(&mut self, event: Event<Waiter>, desk: &mut Desk) {
        for effect in self.flow.step(event, desk.means.sources.now()) {
            match effect {
                Effect::Exchange { attempt, code } => {
                    let redemption = Redemption {
                        code,
                        state: self.state.clone(),
                        redirect_uri: self.redirect_uri.clone(),
                        verifier: self.verifier.clone(),
                    };
                    desk.exchange(attempt, redemption);
                }
                Effect::Store { grant, after } => desk.store(grant, after),
                Effect::GiveBack(grant) => desk.give_back(&grant),
                Effect::Tell(by, verdict) => {
                    desk.heard(&verdict);
                    match by {
                        // Either fails only when nobody waits any more.
                        Waiter::Browser(page) => drop(page.send(verdict.page())),
                        Waiter::Caller(reply) => drop(reply.send(verdict.into_result())),
                    }
                }
                Effect::Finish(result) => desk.end(result),
            }
        }
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
