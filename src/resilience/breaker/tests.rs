//! The breaker against its rules one by one, against a model, and under threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::core::{ByHand, Core, Outcome};
use super::{Breaker, BreakerPolicy, Change, Counts, HeldBack, Reason, State};
use crate::clock::{Sources, SystemEntropy};
use crate::error::Error;
use crate::testing::ManualClock;

const FAILURE: Outcome = Outcome::Failure { retry_after: None };

struct Bench {
    breaker: Breaker,
    clock: Arc<ManualClock>,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Bench {
    fn new(policy: BreakerPolicy) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let sources = Sources { clock: clock.clone(), entropy: Arc::new(SystemEntropy::new()) };
        let changes = Arc::new(Mutex::new(Vec::new()));
        let told = changes.clone();
        let report = move |change| told.lock().expect("no panic").push(change);
        let breaker = Breaker::new(policy, sources, report).expect("a policy that makes sense");
        Self { breaker, clock, changes }
    }

    fn fail(&self, calls: u32) {
        for _ in 0..calls {
            self.breaker.admit().expect("admitted").failed(None);
        }
    }

    fn state(&self) -> State {
        self.breaker.status().state
    }

    /// Opens the breaker, and lets the time of its first opening pass.
    fn ready_to_probe(policy: BreakerPolicy) -> Self {
        let bench = Self::new(policy);
        bench.fail(policy.minimum_calls);
        bench.clock.advance(policy.open_for * 2);
        bench
    }
}

/// A host that is told of a change asks for more, and says what is to be done about it.
#[test]
fn who_is_told_may_ask_and_change_the_breaker_and_is_told_of_that_next() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let asked: Arc<Mutex<Option<Breaker>>> = Arc::default();
    let report = {
        let (told, asked) = (Arc::clone(&told), Arc::clone(&asked));
        move |change: Change| {
            let breaker = asked.lock().expect("no panic").clone().expect("it is there");
            let now = breaker.status();
            told.lock().expect("no panic").push((change.to.as_str(), now.state.as_str()));
            if matches!(change.to, State::Open { .. }) {
                breaker.force_open();
                breaker.disable();
            }
        }
    };
    let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), report);
    let breaker = breaker.expect("a policy that makes sense");
    *asked.lock().expect("no panic") = Some(breaker.clone());
    for _ in 0..BreakerPolicy::default().minimum_calls {
        breaker.admit().expect("admitted").failed(None);
    }
    let expected = [("open", "open"), ("forced-open", "disabled"), ("disabled", "disabled")];
    assert_eq!(*told.lock().expect("no panic"), expected, "in order, each once");
    // They hold each other.
    *asked.lock().expect("no panic") = None;
}

#[test]
fn a_report_that_panics_keeps_no_later_change_from_being_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let report = {
        let told = Arc::clone(&told);
        move |change: Change| {
            told.lock().expect("no panic here").push(change.generation);
            assert!(change.generation != 1, "the host makes a mistake");
        }
    };
    let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), report);
    let breaker = breaker.expect("a policy that makes sense");
    let mistaken = breaker.clone();
    std::thread::spawn(move || mistaken.force_open()).join().expect_err("it panics");
    breaker.close();
    assert_eq!(*told.lock().expect("no panic"), [1, 2]);
}

/// B-2: the window, the minimum and the rate.
#[test]
fn half_of_ten_calls_that_fail_open_it() {
    let bench = Bench::new(BreakerPolicy::default());
    for _ in 0..5 {
        bench.breaker.admit().expect("admitted").succeeded();
    }
    bench.fail(4);
    assert_eq!(bench.state(), State::Closed, "nine calls are fewer than the minimum");
    bench.fail(1);
    let HeldBack { retry_in } = bench.breaker.admit().expect_err("held back");
    let retry_in = retry_in.expect("a time to come back");
    assert!((24..=36).contains(&retry_in.as_secs()), "thirty seconds, a fifth more or less");
    let changes = bench.changes.lock().expect("no panic");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].reason, Reason::Failures);
    assert_eq!((changes[0].counts.calls, changes[0].counts.failures), (10, 5));
}

#[test]
fn a_call_that_is_held_back_is_told_when_to_come_back_and_not_too_early() {
    let bench = Bench::new(BreakerPolicy::default());
    bench.fail(10);
    bench.clock.advance(Duration::from_millis(1));
    let held_back = bench.breaker.admit().expect_err("held back");
    let wait = held_back.retry_in.expect("a time to come back");
    let text = held_back.to_string();
    let told = text.strip_prefix("calls fail and are held back, retry in ").expect("when");
    let told = humantime::parse_duration(told).expect("a time");
    let later = told.checked_sub(wait).expect("not too early");
    assert!(later < Duration::from_secs(1), "{text} of {wait:?}");
    let error = Error::from(held_back);
    assert!(error.is_circuit_open() && error.to_string() == text, "{error}");
    assert_eq!(error.retry_after(), Some(wait));

    bench.breaker.force_open();
    let by_hand = bench.breaker.admit().expect_err("held back");
    assert_eq!(by_hand.to_string(), "calls are held back by hand, close the breaker to go on");
    assert_eq!(Error::from(by_hand).retry_after(), None, "nobody knows when");
}

/// B-2: evaluated after each result.
#[test]
fn a_success_that_completes_the_minimum_is_evaluated_too() {
    let bench = Bench::new(BreakerPolicy::default());
    bench.fail(9);
    bench.breaker.admit().expect("admitted").succeeded();
    assert!(matches!(bench.state(), State::Open { .. }));
}

/// B-2: slow calls.
#[test]
fn calls_that_are_all_slow_open_it_though_they_succeed() {
    let policy = BreakerPolicy { slow_after: Duration::from_secs(1), ..BreakerPolicy::default() };
    let bench = Bench::new(policy);
    for _ in 0..10 {
        let permit = bench.breaker.admit().expect("admitted");
        bench.clock.advance(Duration::from_millis(1_001));
        permit.succeeded();
    }
    assert!(matches!(bench.state(), State::Open { .. }));
    assert_eq!(bench.changes.lock().expect("no panic")[0].reason, Reason::SlowCalls);
}

/// B-2: slower than, not as slow as.
#[test]
fn a_call_as_long_as_allowed_is_not_slow() {
    let policy = BreakerPolicy { slow_after: Duration::from_secs(1), ..BreakerPolicy::default() };
    let bench = Bench::new(policy);
    for _ in 0..20 {
        let permit = bench.breaker.admit().expect("admitted");
        bench.clock.advance(Duration::from_secs(1));
        permit.succeeded();
    }
    assert_eq!(bench.state(), State::Closed);
}

/// B-4: until `Retry-After`, within five minutes.
#[test]
fn it_stays_open_as_long_as_the_upstream_asks_within_its_limit() {
    for (asked, within) in [(120, 120), (3_600, 300)] {
        let bench = Bench::new(BreakerPolicy { minimum_calls: 1, ..BreakerPolicy::default() });
        bench.breaker.admit().expect("admitted").failed(Some(Duration::from_secs(asked)));
        assert_eq!(bench.state(), State::Open { retry_in: Duration::from_secs(within) });
    }
}

/// B-5: three probes, counted when they are admitted.
#[test]
fn three_probes_that_succeed_close_it_and_a_fourth_call_waits() {
    let bench = Bench::ready_to_probe(BreakerPolicy::default());
    let probes: Vec<_> = (0..3).map(|_| bench.breaker.admit().expect("a probe")).collect();
    let HeldBack { retry_in } = bench.breaker.admit().expect_err("more than the permitted probes");
    assert!(retry_in.is_some_and(|wait| wait <= Duration::from_secs(1)), "they tell in a moment");
    for probe in probes {
        assert_eq!(bench.state(), State::HalfOpen);
        probe.succeeded();
    }
    assert_eq!(bench.state(), State::Closed);
    let reasons: Vec<_> =
        bench.changes.lock().expect("no panic").iter().map(|c| c.reason).collect();
    assert_eq!(reasons, [Reason::Failures, Reason::TimeToProbe, Reason::ProbesSucceeded]);
}

/// B-5: a permit that is dropped.
#[test]
fn a_probe_that_is_dropped_gives_its_place_back() {
    let bench = Bench::ready_to_probe(BreakerPolicy { probes: 1, ..BreakerPolicy::default() });
    drop(bench.breaker.admit().expect("a probe"));
    bench.breaker.admit().expect("its place is free again").succeeded();
    assert_eq!(bench.state(), State::Closed);
}

/// B-4 and B-5: reopened by the first failure, for longer.
#[test]
fn the_first_probe_that_fails_reopens_it_for_twice_as_long() {
    let bench = Bench::ready_to_probe(BreakerPolicy::default());
    let (first, second) =
        (bench.breaker.admit().expect("a probe"), bench.breaker.admit().expect("a probe"));
    first.failed(None);
    let State::Open { retry_in } = bench.state() else { panic!("open again") };
    assert!((48..=72).contains(&retry_in.as_secs()), "a minute, a fifth more or less");
    second.succeeded();
    assert_eq!(bench.breaker.status().late, 1, "the other probe came too late to matter");
    assert!(matches!(bench.state(), State::Open { .. }));
}

/// B-4: five minutes at most.
#[test]
fn it_is_never_open_for_longer_than_its_limit() {
    let bench = Bench::ready_to_probe(BreakerPolicy::default());
    for _ in 0..40 {
        bench.breaker.admit().expect("a probe").failed(None);
        let State::Open { retry_in } = bench.state() else { panic!("open again") };
        assert!(retry_in <= Duration::from_mins(5));
        bench.clock.advance(retry_in);
    }
}

/// B-5: half-open ends by itself.
#[test]
fn probes_that_never_come_back_reopen_it() {
    let policy = BreakerPolicy::default();
    let bench = Bench::ready_to_probe(policy);
    let lost: Vec<_> = (0..3).map(|_| bench.breaker.admit().expect("a probe")).collect();
    bench.clock.advance(policy.half_open_for);
    assert!(bench.breaker.admit().is_err());
    assert!(matches!(bench.state(), State::Open { .. }));
    drop(lost);
    assert_eq!(
        bench.changes.lock().expect("no panic").last().map(|change| change.reason),
        Some(Reason::ProbesUnanswered)
    );
}

/// B-5: what ends half-open is that nothing is heard from a probe, and not that few calls are made.
#[test]
fn an_upstream_that_is_called_rarely_is_seen_to_be_back() {
    let policy = BreakerPolicy::default();
    let bench = Bench::ready_to_probe(policy);
    for _ in 0..3 {
        bench.breaker.admit().expect("a probe").succeeded();
        bench.clock.advance(policy.half_open_for);
    }
    assert_eq!(bench.state(), State::Closed);
}

/// B-5: a probe has its time, however long ago the first one was.
#[test]
fn a_late_probe_has_as_long_as_an_early_one() {
    let policy = BreakerPolicy::default();
    let policy = BreakerPolicy { slow_after: policy.half_open_for, ..policy };
    let bench = Bench::ready_to_probe(policy);
    bench.breaker.admit().expect("a probe").succeeded();
    bench.clock.advance(policy.half_open_for);
    let late = bench.breaker.admit().expect("a probe");
    bench.clock.advance(policy.half_open_for.saturating_sub(Duration::from_secs(1)));
    drop(bench.breaker.admit().expect("the third probe"));
    late.succeeded();
    assert_eq!(bench.state(), State::HalfOpen);
}

/// B-5: callers that give up one after the other do not keep it half-open.
#[test]
fn probes_that_are_given_up_in_turn_reopen_it() {
    let policy = BreakerPolicy::default();
    let bench = Bench::ready_to_probe(policy);
    for _ in 0..10 {
        let given_up = bench.breaker.admit().expect("a probe");
        bench.clock.advance(policy.half_open_for / 10);
        drop(given_up);
    }
    assert!(bench.breaker.admit().is_err());
    assert!(matches!(bench.state(), State::Open { .. }));
}

/// B-5: nobody waits for an answer while no probe is under way, however long that is.
#[test]
fn a_probe_that_was_given_up_long_ago_holds_nobody_back() {
    let policy = BreakerPolicy::default();
    let bench = Bench::ready_to_probe(policy);
    drop(bench.breaker.admit().expect("a probe"));
    bench.clock.advance(policy.half_open_for * 100);
    bench.breaker.admit().expect("another probe").succeeded();
    assert_eq!(bench.state(), State::HalfOpen);
}

/// B-1: the states by hand.
#[test]
fn by_hand_it_is_held_open_put_out_of_the_way_and_closed() {
    let bench = Bench::new(BreakerPolicy::default());
    bench.breaker.force_open();
    assert_eq!(bench.breaker.admit().expect_err("held back"), HeldBack { retry_in: None });
    bench.breaker.disable();
    bench.fail(100);
    assert_eq!(bench.state(), State::Disabled);
    bench.breaker.close();
    bench.fail(9);
    assert_eq!(bench.state(), State::Closed, "what failed while it was disabled is not counted");
    bench.breaker.disable();
    bench.breaker.disable();
    assert_eq!(bench.changes.lock().expect("no panic").len(), 4, "to itself is no change");
}

/// B-3: a body that breaks off.
#[test]
fn an_answer_that_breaks_off_is_a_failure_after_all() {
    let bench = Bench::new(BreakerPolicy::default());
    let answers: Vec<_> =
        (0..10).map(|_| bench.breaker.admit().expect("admitted").succeeded()).collect();
    let mut answers = answers.into_iter();
    answers.by_ref().take(4).for_each(super::Answered::broke_off);
    assert_eq!(bench.breaker.status().counts, Counts { calls: 10, failures: 4, slow: 0 });
    answers.by_ref().take(1).for_each(super::Answered::broke_off);
    assert!(matches!(bench.state(), State::Open { .. }));
    answers.for_each(super::Answered::broke_off);
    assert_eq!(bench.breaker.status().late, 5);
}

/// B-5: under threads.
#[test]
fn half_open_never_admits_more_than_its_probes_whatever_the_threads_do() {
    let policy = BreakerPolicy { probes: 3, ..BreakerPolicy::default() };
    for _ in 0..200 {
        let bench = Bench::ready_to_probe(policy);
        let (admitted, start) = (AtomicU32::new(0), std::sync::Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    // Held until all have asked.
                    let permit = bench.breaker.admit().ok();
                    admitted.fetch_add(u32::from(permit.is_some()), Ordering::Relaxed);
                    start.wait();
                    drop(permit);
                });
            }
        });
        assert_eq!(admitted.into_inner(), 3);
    }
}

/// B-1: under threads.
#[test]
fn results_of_an_older_state_change_nothing_whatever_the_threads_do() {
    let bench = Bench::new(BreakerPolicy::default());
    let late: Vec<_> = (0..64).map(|_| bench.breaker.admit().expect("admitted")).collect();
    bench.fail(10);
    let before = bench.breaker.status();
    assert!(matches!(before.state, State::Open { .. }));
    let late = Mutex::new(late);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (late, bench) = (&late, &bench);
            scope.spawn(move || {
                while let Some(permit) = late.lock().expect("no panic").pop() {
                    match thread % 3 {
                        0 => drop(permit.succeeded()),
                        1 => permit.failed(None),
                        _ => drop(permit),
                    }
                    assert_eq!(bench.breaker.status().generation, before.generation);
                }
            });
        }
    });
    let after = bench.breaker.status();
    assert_eq!((after.state, after.generation), (before.state, before.generation));
    assert_eq!(bench.changes.lock().expect("no panic").len(), 1);
}

/// B-1 and B-9: under threads.
#[test]
fn under_threads_each_change_is_told_once_and_in_order() {
    let policy = BreakerPolicy { open_for: Duration::from_millis(1), ..BreakerPolicy::default() };
    let bench = Bench::new(policy);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                for call in 0..2_000 {
                    if let Ok(permit) = bench.breaker.admit() {
                        if (call + thread) % 3 == 0 {
                            permit.succeeded();
                        } else {
                            permit.failed(None);
                        }
                    } else {
                        bench.clock.advance(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    let changes = bench.changes.lock().expect("no panic");
    assert!(changes.len() > 10, "there is something to check: {} changes", changes.len());
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(change.generation, index as u64 + 1);
        let before = index.checked_sub(1).map_or("closed", |index| changes[index].to.as_str());
        assert_eq!(change.from.as_str(), before);
    }
}

/// What can be done to a breaker.
#[derive(Debug, Clone, Copy)]
enum Act {
    Wait(u64),
    Call,
    /// Ends one of the calls that are under way.
    End(usize, bool),
    Drop(usize),
    Set(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0_u64..40_000).prop_map(Act::Wait),
        10 => Just(Act::Call),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(which, well)| Act::End(which, well)),
        2 => any::<usize>().prop_map(Act::Drop),
        1 => (0_u8..3).prop_map(Act::Set),
    ];
    prop::collection::vec(act, 1..400)
}

/// The rules as one would explain them: every call of the present state is remembered whole, and
/// nothing is counted before it is asked for.
#[derive(Debug, Default)]
struct Model {
    generation: u64,
    ended: Vec<(Duration, bool, bool)>,
    half_open: bool,
    open_until: Option<Duration>,
    by_hand: Option<ByHand>,
    under_way: u32,
    succeeded: u32,
    /// How long probes were under way since the last one that succeeded.
    waited: Duration,
}

impl Model {
    fn changed(&mut self) {
        let generation = self.generation + 1;
        *self = Self { generation, ..Self::default() };
    }

    fn admits(&mut self, policy: &BreakerPolicy, now: Duration, until: Option<Duration>) -> bool {
        if self.open_until.is_some_and(|until| now >= until) {
            self.changed();
            self.half_open = true;
        } else if self.waited >= policy.half_open_for {
            self.changed();
            self.open_until = until;
        }
        match self.by_hand {
            Some(ByHand::ForcedOpen) => return false,
            Some(ByHand::Disabled) => return true,
            _ => {}
        }
        if self.half_open {
            let free = self.under_way + self.succeeded < policy.probes;
            self.under_way += u32::from(free);
            return free;
        }
        self.open_until.is_none()
    }

    /// `until` is when the breaker says that it is open until, which is drawn at random.
    fn ends(
        &mut self,
        policy: &BreakerPolicy,
        now: Duration,
        well: bool,
        slow: bool,
        until: Option<Duration>,
    ) {
        if self.by_hand.is_some() {
            return;
        }
        if self.half_open {
            self.under_way -= 1;
            if !well || slow {
                self.changed();
                self.open_until = until;
            } else {
                self.succeeded += 1;
                // Those that are under way have as long again.
                self.waited = Duration::ZERO;
                if self.succeeded == policy.probes {
                    self.changed();
                }
            }
            return;
        }
        self.ended.push((now, well, slow));
        let step = |at: Duration| {
            at.as_millis() / (policy.window.as_millis() / u128::from(policy.buckets))
        };
        let counted: Vec<_> = self
            .ended
            .iter()
            .filter(|(at, ..)| step(*at) + u128::from(policy.buckets) > step(now))
            .collect();
        let failed = counted.iter().filter(|(_, well, _)| !well).count();
        let slow = counted.iter().filter(|(.., slow)| *slow).count();
        if counted.len() >= policy.minimum_calls as usize
            && (failed * 2 >= counted.len() || slow == counted.len())
        {
            self.changed();
            self.open_until = until;
        }
    }

    fn name(&self) -> &'static str {
        match self.by_hand {
            Some(ByHand::ForcedOpen) => "forced-open",
            Some(ByHand::Disabled) => "disabled",
            _ if self.half_open => "half-open",
            _ if self.open_until.is_some() => "open",
            _ => "closed",
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// B-1 to B-5: against a model; a late result changes nothing.
    #[test]
    fn any_history_of_calls_equals_the_model(acts in acts(), noise: u64) {
        let policy = BreakerPolicy {
            minimum_calls: 4,
            slow_after: Duration::from_secs(20),
            ..BreakerPolicy::default()
        };
        let (mut core, mut model) = (Core::new(policy), Model::default());
        let mut now = Duration::from_hours(1);
        let mut calls: Vec<(u64, Duration)> = Vec::new();
        for act in acts {
            let open_until = |core: &Core| match core.state(now) {
                State::Open { retry_in } => Some(now + retry_in),
                _ => None,
            };
            let change = match act {
                Act::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    if model.under_way > 0 {
                        model.waited += Duration::from_millis(millis);
                    }
                    None
                }
                Act::Call => {
                    let (verdict, change) = core.admit(now, || noise);
                    let until = open_until(&core);
                    prop_assert_eq!(verdict.is_ok(), model.admits(&policy, now, until));
                    calls.extend(verdict.ok().map(|generation| (generation, now)));
                    change
                }
                Act::End(which, well) if !calls.is_empty() => {
                    let (generation, since) = calls.swap_remove(which % calls.len());
                    let late = generation != core.generation();
                    let outcome = if well { Outcome::Success } else { FAILURE };
                    let took = now.saturating_sub(since);
                    let change = core.settle(generation, outcome, took, now, || noise);
                    prop_assert!(!(late && change.is_some()), "a late result changed the state");
                    if !late {
                        let slow = took > policy.slow_after;
                        model.ends(&policy, now, well, slow, open_until(&core));
                    }
                    change
                }
                Act::Drop(which) if !calls.is_empty() => {
                    let (generation, _) = calls.swap_remove(which % calls.len());
                    core.release(generation, now);
                    if model.half_open && generation == core.generation() {
                        model.under_way -= 1;
                    }
                    None
                }
                Act::Set(to) => {
                    let to = [ByHand::ForcedOpen, ByHand::Disabled, ByHand::Closed][usize::from(to)];
                    let change = core.set(to, now);
                    if change.is_some() {
                        model.changed();
                        model.by_hand = (to != ByHand::Closed).then_some(to);
                    }
                    change
                }
                Act::End(..) | Act::Drop(_) => None,
            };
            prop_assert_eq!(core.generation(), model.generation);
            prop_assert_eq!(core.state(now).as_str(), model.name());
            if let Some(change) = change {
                prop_assert_eq!(change.generation, core.generation());
                prop_assert_eq!(change.to, core.state(now));
            }
        }
    }
}
