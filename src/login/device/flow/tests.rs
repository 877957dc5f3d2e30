//! One test for each promise of a device sign-in, and one that tries everything in any order.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::provider::FailureClass;
use crate::secret::Secret;

const OUTAGE: FailureClass = FailureClass::Transient { retry_after: None };
const LIFETIME: u64 = 900;

fn at(seconds: u64) -> Moment {
    let start = Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::ZERO };
    start.after(Duration::from_secs(seconds))
}

fn flow() -> Flow {
    Flow::new(Duration::from_secs(5), at(0), at(LIFETIME))
}

fn grant() -> Grant {
    Grant {
        access_token: Secret::new("access"),
        refresh_token: None,
        lifetime: None,
        requested_at: at(0),
        server_date: None,
        scopes: None,
        account: None,
    }
}

fn code() -> DeviceCode {
    DeviceCode {
        code: Secret::new("code"),
        code_verifier: Secret::new("verifier"),
        redirect_uri: "https://auth.example/callback".to_owned(),
    }
}

fn failed(class: FailureClass) -> Failure {
    Failure::new(class, "it did not work")
}

fn not_sent() -> Failure {
    failed(OUTAGE).not_sent()
}

/// Effects as short words, for whole comparisons.
fn words(effects: Vec<Effect>) -> String {
    let word = |effect| match effect {
        Effect::Poll { attempt } => format!("poll {attempt}"),
        Effect::Exchange { attempt, .. } => format!("exchange {attempt}"),
        Effect::GiveBack(_) => "give back".to_owned(),
        Effect::Store { after, .. } => format!("store after {}ms", after.as_millis()),
        Effect::Finish(Ok(())) => "finish signed in".to_owned(),
        Effect::Finish(Err(error)) => format!("finish {:?}", error.kind()),
    };
    let words: Vec<_> = effects.into_iter().map(word).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn polled(attempt: u32, answer: DeviceAnswer) -> Event {
    Event::Polled { attempt, result: Ok(answer) }
}

#[test]
fn the_provider_is_asked_when_the_interval_is_over_and_the_grant_is_stored() {
    let mut flow = flow();
    assert_eq!(flow.next(), Some(at(5)));
    assert_eq!(words(flow.step(Event::AlarmRang, at(4))), "nothing");
    assert_eq!(words(flow.step(Event::AlarmRang, at(5))), "poll 1");
    assert_eq!(flow.next(), None, "the provider is being asked");
    assert_eq!(words(flow.step(Event::AlarmRang, at(50))), "nothing");
    assert_eq!(words(flow.step(polled(1, DeviceAnswer::Pending), at(50))), "nothing");
    assert_eq!(words(flow.step(Event::AlarmRang, at(55))), "poll 2");
    let granted = polled(2, DeviceAnswer::Granted(grant()));
    assert_eq!(words(flow.step(granted, at(56))), "store after 0ms");
    let restarting = Event::Stored(Err(Error::new(ErrorKind::Interrupted, "restarting")));
    assert_eq!(words(flow.step(restarting, at(57))), "store after 250ms");
    assert_eq!(words(flow.step(Event::Stored(Ok(())), at(58))), "finish signed in");
    assert!(flow.is_over());
}

#[test]
fn a_grant_that_is_not_stored_for_good_is_given_back() {
    let mut flow = flow();
    flow.step(Event::AlarmRang, at(5));
    flow.step(polled(1, DeviceAnswer::Granted(grant())), at(6));
    let locked = Event::Stored(Err(Error::new(ErrorKind::VaultLocked, "another key")));
    assert_eq!(words(flow.step(locked, at(6))), "give back, finish VaultLocked");
}

#[test]
fn a_grant_that_comes_after_the_end_is_a_grant() {
    let mut flow = flow();
    flow.step(Event::AlarmRang, at(LIFETIME - 1));
    let granted = polled(1, DeviceAnswer::Granted(grant()));
    assert_eq!(words(flow.step(granted, at(LIFETIME + 10))), "store after 0ms");
}

#[test]
fn nothing_is_asked_at_the_end_or_after_it() {
    assert_eq!(words(flow().step(Event::AlarmRang, at(LIFETIME))), "finish Expired");
    let mut flow = flow();
    flow.step(Event::AlarmRang, at(LIFETIME - 1));
    let late = flow.step(polled(1, DeviceAnswer::Pending), at(LIFETIME));
    assert_eq!(words(late), "finish Expired");
}

#[test]
fn every_answer_that_ends_it_says_why() {
    for (result, end) in [
        (Ok(DeviceAnswer::Denied), "finish ReauthorizationRequired"),
        (Ok(DeviceAnswer::Expired), "finish Expired"),
        (Err(failed(FailureClass::ReauthorizationRequired)), "finish ReauthorizationRequired"),
        (Err(failed(FailureClass::Misconfigured)), "finish Configuration"),
        (Err(failed(FailureClass::Protocol)), "finish Protocol"),
    ] {
        let mut flow = flow();
        flow.step(Event::AlarmRang, at(5));
        assert_eq!(words(flow.step(Event::Polled { attempt: 1, result }, at(6))), end);
        assert!(flow.is_over());
    }
}

#[test]
fn a_code_is_exchanged_again_only_when_it_was_not_sent() {
    let mut flow = flow();
    flow.step(Event::AlarmRang, at(5));
    assert_eq!(words(flow.step(polled(1, DeviceAnswer::Code(code())), at(5))), "exchange 2");
    let put_off = Event::Exchanged { attempt: 2, result: Err(not_sent()) };
    assert_eq!(words(flow.step(put_off, at(6))), "nothing");
    assert_eq!(flow.next(), Some(at(16)));
    assert_eq!(words(flow.step(Event::AlarmRang, at(16))), "exchange 3", "not another poll");
    let refused = Event::Exchanged { attempt: 3, result: Err(failed(OUTAGE)) };
    assert_eq!(words(flow.step(refused, at(17))), "finish Transient");
}

#[test]
fn cancelling_ends_it_until_its_grant_exists() {
    assert_eq!(words(flow().step(Event::Cancelled, at(1))), "finish Expired");
    let mut flow = flow();
    flow.step(Event::AlarmRang, at(5));
    assert_eq!(words(flow.step(Event::Cancelled, at(5))), "finish Expired");
    let late = polled(1, DeviceAnswer::Granted(grant()));
    assert_eq!(words(flow.step(late, at(6))), "give back");

    let mut flow = self::flow();
    flow.step(Event::AlarmRang, at(5));
    flow.step(polled(1, DeviceAnswer::Granted(grant())), at(6));
    assert_eq!(words(flow.step(Event::Cancelled, at(6))), "nothing");
    assert_eq!(words(flow.step(Event::Stored(Ok(())), at(6))), "finish signed in");
}

/// What the outside world may do, in any order.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// The alarm rings when it was set for, or this much later or too early.
    Ring {
        seconds: i64,
    },
    PollEnds {
        late: bool,
        how: u8,
    },
    ExchangeEnds {
        how: u8,
    },
    StoreEnds {
        well: bool,
    },
    Cancel,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (-3_i64..60).prop_map(|seconds| Act::Ring { seconds }),
        4 => (prop::bool::weighted(0.1), 0_u8..12)
            .prop_map(|(late, how)| Act::PollEnds { late, how }),
        2 => (0_u8..4).prop_map(|how| Act::ExchangeEnds { how }),
        2 => any::<bool>().prop_map(|well| Act::StoreEnds { well }),
        1 => prop::bool::weighted(0.05).prop_map(|cancel| {
            if cancel { Act::Cancel } else { Act::Ring { seconds: 0 } }
        }),
    ];
    prop::collection::vec(act, 1..80)
}

fn answer(how: u8) -> Result<DeviceAnswer, Failure> {
    match how {
        0 => Ok(DeviceAnswer::Granted(grant())),
        1 => Ok(DeviceAnswer::Code(code())),
        2 => Ok(DeviceAnswer::Denied),
        3 => Err(failed(FailureClass::Protocol)),
        4 | 5 => Err(failed(OUTAGE)),
        6 => Ok(DeviceAnswer::SlowDown { interval: None }),
        7 => Ok(DeviceAnswer::SlowDown { interval: Some(Duration::from_secs(40)) }),
        _ => Ok(DeviceAnswer::Pending),
    }
}

/// What a bystander sees, with the promises that are checked at every step.
struct Bystander {
    now: Moment,
    /// When the last answer to a poll came, or the sign-in began.
    heard: Moment,
    /// The interval that the provider has asked for so far.
    interval: Duration,
    polling: Option<u32>,
    exchanging: Option<u32>,
    storing: bool,
    spent: bool,
    /// Grants that were issued, that were taken, and that were given back.
    granted: usize,
    taken: usize,
    given_back: usize,
    finished: usize,
}

impl Bystander {
    fn see(&mut self, effect: &Effect) {
        if let Effect::GiveBack(_) = effect {
            self.given_back += 1;
            return;
        }
        assert_eq!(self.finished, 0, "nothing else is done after the end");
        match effect {
            Effect::GiveBack(_) => {}
            Effect::Poll { attempt } => {
                let quiet = self.now.since(self.heard);
                assert!(quiet >= self.interval, "{quiet:?} is less than {:?}", self.interval);
                assert!(!self.now.has_passed(at(LIFETIME)), "a code that is over is not asked for");
                assert!(self.exchanging.is_none() && !self.storing && !self.spent);
                assert!(self.polling.replace(*attempt).is_none(), "one poll at a time");
            }
            Effect::Exchange { attempt, .. } => {
                assert!(!self.spent, "a code that may be spent is never sent again");
                assert!(self.exchanging.replace(*attempt).is_none(), "one exchange at a time");
            }
            Effect::Store { .. } => {
                assert!(!std::mem::replace(&mut self.storing, true), "one store at a time");
            }
            Effect::Finish(_) => self.finished += 1,
        }
    }

    fn event(&mut self, flow: &Flow, act: Act) -> Option<Event> {
        Some(match act {
            Act::Ring { seconds } => {
                if let Some(next) = flow.next() {
                    let shift = Duration::from_secs(seconds.unsigned_abs());
                    let early = next.monotonic.saturating_sub(shift).as_secs();
                    let at = if seconds < 0 { at(early) } else { next.after(shift) };
                    self.now = if at.monotonic > self.now.monotonic { at } else { self.now };
                }
                Event::AlarmRang
            }
            Act::PollEnds { late, how } => {
                let attempt = self.polling?;
                self.now = self.now.after(Duration::from_secs(1));
                let result = answer(how);
                self.granted += usize::from(matches!(result, Ok(DeviceAnswer::Granted(_))));
                if late {
                    return Some(Event::Polled { attempt: attempt - 1, result });
                }
                self.polling = None;
                self.heard = self.now;
                if let Ok(DeviceAnswer::SlowDown { interval }) = &result
                    && self.finished == 0
                {
                    let longer = self.interval + Duration::from_secs(5);
                    self.interval = longer.max(interval.unwrap_or_default());
                }
                Event::Polled { attempt, result }
            }
            Act::ExchangeEnds { how } => {
                let attempt = self.exchanging.take()?;
                let result = match how {
                    0 => Ok(grant()),
                    1 => Err(failed(OUTAGE)),
                    _ => Err(not_sent()),
                };
                self.granted += usize::from(result.is_ok());
                self.spent |= how < 2;
                Event::Exchanged { attempt, result }
            }
            Act::StoreEnds { well } => {
                if !std::mem::take(&mut self.storing) {
                    return None;
                }
                self.taken += usize::from(well);
                let down = Error::new(ErrorKind::Interrupted, "vault");
                Event::Stored(if well { Ok(()) } else { Err(down) })
            }
            Act::Cancel => Event::Cancelled,
        })
    }
}

proptest! {
    /// C-DEV-2, C-DEV-3 and C-TOK-5, whatever happens in whatever order.
    #[test]
    fn in_any_order_the_pace_is_kept_codes_are_sent_once_and_it_ends_once(acts in acts()) {
        let mut flow = flow();
        let mut seen = Bystander {
            now: at(0),
            heard: at(0),
            interval: Duration::from_secs(5),
            polling: None,
            exchanging: None,
            storing: false,
            spent: false,
            granted: 0,
            taken: 0,
            given_back: 0,
            finished: 0,
        };
        for act in acts {
            let Some(event) = seen.event(&flow, act) else { continue };
            for effect in flow.step(event, seen.now) {
                seen.see(&effect);
            }
            let under_way = seen.polling.is_some() || seen.exchanging.is_some() || seen.storing;
            // It can not get stuck: it is over, or something is under way, or an alarm is set.
            prop_assert!(flow.is_over() || under_way || flow.next().is_some());
            prop_assert_eq!(flow.is_over(), seen.finished == 1);
            let known = seen.taken + seen.given_back + usize::from(seen.storing);
            prop_assert_eq!(known, seen.granted, "none is left about");
            prop_assert_eq!(flow.interval(), seen.interval);
        }
    }
}
