//! One pending sign-in of any kind: turns what comes in into steps of its kind, and ends when that
//! is over. It waits for nothing; what takes time is a task that reports back.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use ractor::{Actor as _, ActorProcessingErr, ActorRef, Message};
use tracing::Span;
use tracing::span::Id;

use super::desk::{Desk, Materials, Report};
use super::verdict::stopping;
use crate::supervision::{ChildSpec, Restart};

/// How many requests one sign-in admits at a time.
const ADMISSION: usize = 64;

/// A way to sign in: what happens between the beginning, which is the same for all, and a grant
/// that is stored.
pub(super) trait Kind: Sized + Send + 'static {
    /// What such a sign-in can be told.
    type Message: Message;
    /// What was agreed when it began.
    type Terms: Send + 'static;
    /// What its own errands report, beside those that every kind has.
    type Own: Send + 'static;

    /// It begins. `myself` is for whatever has to reach it later.
    fn begin(
        terms: Self::Terms,
        myself: ActorRef<Self::Message>,
        desk: &mut Desk<Self::Own>,
    ) -> Self;

    /// A message came. After each one, whatever the errands have reported is heard.
    fn take(&mut self, message: Self::Message, desk: &mut Desk<Self::Own>);

    /// An errand reports.
    fn hear(&mut self, report: Report<Self::Own>, desk: &mut Desk<Self::Own>);

    /// Whether nothing will happen any more.
    fn is_over(&self) -> bool;

    /// Whether a message comes from a front end, rather than from what belongs to the sign-in itself.
    fn is_of_front_end(message: &Self::Message) -> bool;

    /// The message that means no more than that an errand has reported.
    fn nudge() -> Self::Message;
}

/// The specification of a sign-in as a child of the sign-ins' supervisor, by its `name` in the
/// tree. It is started once: nothing of it could be continued after a crash.
pub(super) fn child<K: Kind>(
    name: String,
    materials: Materials,
    terms: K::Terms,
) -> ChildSpec<K::Message> {
    let once = Arc::new(Mutex::new(Some((materials, terms))));
    let spec = ChildSpec::new(name, move |spawning| {
        let (once, supervisor) = (Arc::clone(&once), spawning.supervisor);
        Box::pin(LoginActor::spawn_linked(None, LoginActor::<K>(PhantomData), once, supervisor))
    });
    spec.restart(Restart::Temporary).admission(ADMISSION)
}

/// The arguments, for the one start that a sign-in has.
type ForOneStart<K> = Arc<Mutex<Option<(Materials, <K as Kind>::Terms)>>>;

struct LoginActor<K>(PhantomData<fn() -> K>);

/// None after the end: what is secret in it is wiped then.
struct State<K: Kind>(Option<Pending<K>>);

struct Pending<K: Kind> {
    kind: K,
    desk: Desk<K::Own>,
    /// The span that a message is handled in which brought none.
    own_span: Option<Id>,
}

#[ractor::actor(message = K::Message, state = State<K>, arguments = ForOneStart<K>)]
impl<K: Kind> LoginActor<K> {
    async fn pre_start(
        &self,
        myself: ActorRef<K::Message>,
        arguments: ForOneStart<K>,
    ) -> Result<State<K>, ActorProcessingErr> {
        let arguments = arguments.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (materials, terms) = arguments.ok_or("a sign-in is started once")?;
        let nudged = myself.clone();
        // Sending to itself fails only when the sign-in is over.
        let mut desk = Desk::new(materials, move || drop(nudged.send_message(K::nudge())));
        let course = desk.course.clone();
        let kind = course.in_scope(|| K::begin(terms, myself, &mut desk));
        Ok(State(Some(Pending { kind, desk, own_span: None })))
    }

    async fn post_start(
        &self,
        _myself: ActorRef<K::Message>,
        state: &mut State<K>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(pending) = &mut state.0 {
            pending.own_span = Span::current().id();
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<K::Message>,
        message: K::Message,
        state: &mut State<K>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(Pending { kind, desk, own_span }) = &mut state.0 else { return Ok(()) };
        let course = desk.course.clone();
        if K::is_of_front_end(&message) {
            course.follow(own_span.as_ref());
        }
        course.in_scope(|| {
            kind.take(message, desk);
            while let Some(report) = desk.errands.returned() {
                kind.hear(report, desk);
            }
        });
        if kind.is_over() {
            myself.stop(None);
        }
        Ok(())
    }

    /// The end. A grant that is being obtained is not given up when the runtime stops, and given
    /// back when the sign-in is over.
    async fn post_stop(
        &self,
        _myself: ActorRef<K::Message>,
        state: &mut State<K>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(Pending { mut kind, mut desk, .. }) = state.0.take() else { return Ok(()) };
        while !kind.is_over()
            && let Some(report) = desk.errands.next().await
        {
            let course = desk.course.clone();
            course.in_scope(|| kind.hear(report, &mut desk));
        }
        desk.end(Err(stopping()));
        Ok(())
    }
}
