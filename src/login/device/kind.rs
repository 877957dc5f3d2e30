//! The sign-in on another device as a kind: turns messages into events for the flow, and carries
//! out what the flow says.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::watch;

use super::super::actor::Kind;
use super::super::desk::{self, Redemption};
use super::super::transit::InTransit;
use super::flow::{Effect, Event, Flow};
use super::handle::DeviceProgress;
use super::messages::{DeviceInternal, DeviceMessage, News};
use crate::oauth::DeviceAuthorization;
use crate::provider::{DeviceAnswer, FailureClass, in_time};
use crate::secret::Secret;
use crate::supervision::Alarm;

type Desk = desk::Desk<Polled>;
type Report = desk::Report<Polled>;

/// What it begins with.
pub(in crate::login) struct DeviceOpening {
    pub(in crate::login) authorization: DeviceAuthorization,
    pub(in crate::login) progress: watch::Sender<DeviceProgress>,
}

/// A poll was answered, or was not.
pub(in crate::login) struct Polled {
    attempt: u32,
    answer: InTransit<DeviceAnswer>,
}

/// A pending sign-in on another device.
pub(in crate::login) struct OnDevice {
    flow: Flow,
    authorization: Arc<DeviceAuthorization>,
    alarm: Alarm,
    progress: watch::Sender<DeviceProgress>,
}

impl Kind for OnDevice {
    type Message = DeviceMessage;
    type Terms = DeviceOpening;
    type Own = Polled;

    fn begin(opening: DeviceOpening, myself: ActorRef<DeviceMessage>, desk: &mut Desk) -> Self {
        let DeviceOpening { authorization, progress } = opening;
        // Sending to itself fails only when the sign-in is over.
        let rung = move || drop(myself.send_message(News::AlarmRang.into()));
        let alarm = desk.means.timekeeper.alarm(rung);
        let end = authorization.requested_at.after(authorization.lifetime);
        let flow = Flow::new(authorization.interval, desk.means.sources.now(), end);
        let pending = Self { flow, authorization: Arc::new(authorization), alarm, progress };
        pending.wake_up();
        pending
    }

    fn take(&mut self, message: DeviceMessage, desk: &mut Desk) {
        match message {
            DeviceMessage::Cancel { reply } => {
                self.step(Event::Cancelled, desk);
                let _ = reply.send(());
            }
            DeviceMessage::Internal(DeviceInternal(News::AlarmRang)) => {
                self.step(Event::AlarmRang, desk);
            }
            DeviceMessage::Internal(DeviceInternal(News::ErrandReturned)) => {}
        }
    }

    fn hear(&mut self, report: Report, desk: &mut Desk) {
        match report {
            Report::Own(Polled { attempt, answer }) => {
                self.progress.send_modify(|progress| progress.polls += 1);
                if let Some(result) = answer.arrive() {
                    self.step(Event::Polled { attempt, result }, desk);
                }
            }
            Report::Exchanged(attempt, outcome) => {
                if let Some(result) = outcome.arrive() {
                    self.step(Event::Exchanged { attempt, result }, desk);
                }
            }
            Report::Stored(result) => self.step(Event::Stored(result), desk),
        }
    }

    fn is_over(&self) -> bool {
        self.flow.is_over()
    }

    fn is_of_front_end(message: &DeviceMessage) -> bool {
        !matches!(message, DeviceMessage::Internal(_))
    }

    fn nudge() -> DeviceMessage {
        News::ErrandReturned.into()
    }
}

impl OnDevice {
    fn step(&mut self, event: Event, desk: &mut Desk) {
        let effects = self.flow.step(event, desk.means.sources.now());
        self.wake_up();
        for effect in effects {
            match effect {
                Effect::Poll { attempt } => self.poll(attempt, desk),
                Effect::Exchange { attempt, code } => {
                    let redemption = Redemption {
                        code: code.code,
                        // The provider itself made the code and its verifier: there was no redirect
                        // to bind.
                        state: Secret::new(""),
                        redirect_uri: code.redirect_uri,
                        verifier: code.code_verifier,
                    };
                    desk.exchange(attempt, redemption);
                }
                Effect::Store { grant, after } => desk.store(grant, after),
                Effect::GiveBack(grant) => desk.give_back(&grant),
                Effect::Finish(result) => desk.end(result),
            }
        }
    }

    fn poll(&self, attempt: u32, desk: &mut Desk) {
        let device = Arc::clone(&self.authorization);
        desk.request(
            |provider, transport| async move {
                in_time(&transport, provider.poll_device(&transport, &device)).await
            },
            // The next poll tells.
            FailureClass::Transient { retry_after: None },
            move |answer| Report::Own(Polled { attempt, answer }),
        );
    }

    /// Sets the alarm for what is next, and tells the holders.
    fn wake_up(&self) {
        let next = self.flow.next();
        match next {
            Some(next) => self.alarm.set(next),
            None => self.alarm.clear(),
        }
        let interval = self.flow.interval();
        self.progress.send_modify(|progress| {
            progress.interval = interval;
            progress.next_poll = next.map(|next| next.wall);
        });
    }
}
