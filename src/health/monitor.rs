//! When one provider is looked at, and what its answers mean: a plain function of events and of
//! evidence.

use std::time::Duration;

use super::board::{Health, LastFailure};
use crate::clock::{Moment, share};
use crate::event::HealthState;

/// How providers are watched.
///
/// ```
/// use std::time::Duration;
/// use tokenward::health::HealthPolicy;
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory()).provider(openai.spec());
/// // Twice a minute, and told as unhealthy only after three failures in a row.
/// let policy = HealthPolicy {
///     every: Duration::from_secs(30),
///     unhealthy_after: 3,
///     ..HealthPolicy::default()
/// };
/// let runtime = builder.health(policy).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// How long it is from one look at a provider to the next, where the provider's own data does
    /// not say ([`HealthSpec::every`](crate::provider::HealthSpec::every)).
    pub every: Duration,
    /// Each wait is shortened by up to this share of itself, in percent, so that several hosts do
    /// not look at a provider at the same moment.
    pub jitter_percent: u8,
    /// After this many failed looks in a row a provider is unhealthy. Until then it is looked at
    /// four times as often.
    pub unhealthy_after: u32,
}

impl Default for HealthPolicy {
    /// Once a minute, with a jitter of a quarter; unhealthy after two failures.
    fn default() -> Self {
        Self { every: Duration::from_mins(1), jitter_percent: 25, unhealthy_after: 2 }
    }
}

/// What the actor knows at the moment of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    pub(super) now: Moment,
    /// A random number, for jitter.
    pub(super) noise: u64,
    /// Whether anybody uses the provider.
    pub(super) in_use: bool,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// The actor begins.
    Begin,
    /// The alarm rang.
    Due,
    /// Somebody wants to know now.
    Asked,
    /// A look ended: how long it took, or what failed.
    Looked(Result<Duration, String>),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Look at the provider.
    Look,
    /// Let everyone see this, and answer whoever waits.
    Publish(Health),
    /// Report that it fails, or is back.
    Tell { from: HealthState, to: HealthState, reason: Option<String> },
}

/// The watch over one provider.
#[derive(Debug)]
pub(super) struct Monitor {
    policy: HealthPolicy,
    /// Whether it is looked at without being asked.
    periodic: bool,
    health: Health,
    looking: bool,
    due: Option<Moment>,
}

impl Monitor {
    /// A watch that goes on from what was known. Without `periodic`, it looks when it is asked.
    pub(super) fn new(policy: HealthPolicy, periodic: bool, known: Health) -> Self {
        Self { policy, periodic, health: known, looking: false, due: None }
    }

    /// When the alarm has to ring next.
    pub(super) fn due(&self) -> Option<Moment> {
        self.due
    }

    pub(super) fn step(&mut self, event: Event, evidence: Evidence) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            // The first look is spread over the whole interval: many hosts start together.
            Event::Begin => self.wait(self.policy.every, 100, evidence),
            // An alarm may ring once more for a deadline that was set before.
            Event::Due if self.due.is_none_or(|due| !evidence.now.has_passed(due)) => {}
            Event::Due if evidence.in_use => self.look(&mut effects),
            Event::Due => self.wait(self.policy.every, self.policy.jitter_percent, evidence),
            Event::Asked if self.looking => {}
            Event::Asked => self.look(&mut effects),
            Event::Looked(outcome) => self.looked(outcome, evidence, &mut effects),
        }
        effects
    }

    fn look(&mut self, to: &mut Vec<Effect>) {
        (self.looking, self.due) = (true, None);
        to.push(Effect::Look);
    }

    fn looked(
        &mut self,
        outcome: Result<Duration, String>,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        self.looking = false;
        let health = &mut self.health;
        let from = health.state;
        let reason = match outcome {
            Ok(latency) => {
                health.state = HealthState::Healthy;
                health.latency = Some(latency);
                health.last_success = Some(evidence.now.wall);
                health.consecutive_failures = 0;
                None
            }
            Err(reason) => {
                health.consecutive_failures = health.consecutive_failures.saturating_add(1);
                let at = evidence.now.wall;
                health.last_failure = Some(LastFailure { at, reason: reason.clone() });
                if health.consecutive_failures >= self.policy.unhealthy_after {
                    health.state = HealthState::Unhealthy;
                }
                Some(reason)
            }
        };
        let now = health.state;
        to.push(Effect::Publish(health.clone()));
        // That a provider answers the first time is what everybody expects.
        if from != now && (from, now) != (HealthState::Unknown, HealthState::Healthy) {
            to.push(Effect::Tell { from, to: now, reason });
        }
        let in_question = health.consecutive_failures > 0 && now != HealthState::Unhealthy;
        let every = if in_question { self.policy.every / 4 } else { self.policy.every };
        self.wait(every, self.policy.jitter_percent, evidence);
    }

    fn wait(&mut self, every: Duration, jitter_percent: u8, evidence: Evidence) {
        let widest = every.saturating_mul(u32::from(jitter_percent.min(100))) / 100;
        let wait = every.saturating_sub(share(widest, evidence.noise)).max(SHORTEST);
        self.due = self.periodic.then(|| evidence.now.after(wait));
    }
}

/// No provider is looked at more often than this by itself.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn start() -> Moment {
        let monotonic = Duration::from_secs(1_000);
        Moment { wall: SystemTime::UNIX_EPOCH + monotonic, monotonic }
    }

    fn at(now: Moment, noise: u64, in_use: bool) -> Evidence {
        Evidence { now, noise, in_use }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Ring,
        RingEarly,
        Ask,
        Answer(bool),
        Use(bool),
        Restart,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => Just(Op::Ring),
            1 => Just(Op::RingEarly),
            1 => Just(Op::Ask),
            6 => any::<bool>().prop_map(Op::Answer),
            1 => any::<bool>().prop_map(Op::Use),
            1 => Just(Op::Restart),
        ]
    }

    proptest! {
        #[test]
        fn changes_are_told_once_and_nobody_is_looked_at_twice_at_once(
            ops in prop::collection::vec((op(), any::<u64>()), 0..80),
            unhealthy_after in 1_u32..4,
            periodic: bool,
        ) {
            let policy = HealthPolicy { unhealthy_after, ..HealthPolicy::default() };
            let (mut now, mut in_use, mut looking) = (start(), true, false);
            let (mut failures, mut told) = (0_u32, HealthState::Unknown);
            let mut published = Health::UNKNOWN;
            let mut monitor = Monitor::new(policy, periodic, Health::UNKNOWN);
            monitor.step(Event::Begin, at(now, 0, in_use));
            for (op, noise) in ops {
                let event = match op {
                    Op::Ring => match monitor.due() {
                        Some(due) => {
                            now = now.after(now.until(due));
                            Event::Due
                        }
                        None => continue,
                    },
                    Op::RingEarly => Event::Due,
                    Op::Ask => Event::Asked,
                    Op::Answer(_) if !looking => continue,
                    Op::Answer(good) => {
                        looking = false;
                        failures = if good { 0 } else { failures + 1 };
                        let latency = Duration::from_millis(noise % 1_000);
                        Event::Looked(if good { Ok(latency) } else { Err("503".to_owned()) })
                    }
                    Op::Use(used) => {
                        in_use = used;
                        continue;
                    }
                    Op::Restart => {
                        looking = false;
                        monitor = Monitor::new(policy, periodic, published.clone());
                        Event::Begin
                    }
                };
                let unasked = matches!(event, Event::Due);
                let was_due = monitor.due().is_some_and(|due| now.has_passed(due));
                for effect in monitor.step(event, at(now, noise, in_use)) {
                    match effect {
                        Effect::Look => {
                            prop_assert!(!looking, "one look at a time");
                            prop_assert!(!unasked || (in_use && was_due && periodic));
                            looking = true;
                        }
                        Effect::Publish(health) => published = health,
                        Effect::Tell { from, to, reason } => {
                            prop_assert_ne!(from, to);
                            prop_assert_ne!(to, told, "told once");
                            prop_assert_eq!(reason.is_some(), to == HealthState::Unhealthy);
                            told = to;
                        }
                    }
                }
                prop_assert_eq!(published.consecutive_failures, failures);
                let down = failures >= unhealthy_after;
                prop_assert!(!down || published.state == HealthState::Unhealthy);
                prop_assert!(!periodic || looking || monitor.due().is_some(), "it goes on");
                prop_assert!(periodic || monitor.due().is_none(), "it does not begin by itself");
            }
        }

        #[test]
        fn looks_are_spread_and_never_rarer_than_asked_for(noise: u64, percent in 0_u8..=100) {
            let policy = HealthPolicy { jitter_percent: percent, ..HealthPolicy::default() };
            let mut monitor = Monitor::new(policy, true, Health::UNKNOWN);
            monitor.step(Event::Asked, at(start(), noise, true));
            monitor.step(Event::Looked(Ok(Duration::ZERO)), at(start(), noise, true));
            let wait = start().until(monitor.due().expect("another look"));
            prop_assert!(wait <= policy.every && wait >= SHORTEST);
            prop_assert!(wait >= policy.every * u32::from(100 - percent) / 100);
        }
    }
}
