//! Whether this machine's clock can be trusted, by what the providers' clocks say.

use std::time::{Duration, SystemTime};

use super::{Finding, Layer, Verdict};

/// What clocks may differ by without anybody noticing: a date has whole seconds, and was on its way.
const USUAL: Duration = Duration::from_secs(5);

/// From here on, assertions and codes are refused by careful servers.
const HARMFUL: Duration = Duration::from_mins(1);

/// No machine that runs this has an earlier date: 2025.
const EARLIEST: Duration = Duration::from_hours(55 * 365 * 24);

/// What the clock is worth at `now`, by how far it is from the clocks of others.
pub(super) fn compared<'a>(
    now: SystemTime,
    others: impl Iterator<Item = (&'a str, Skew)>,
) -> Finding {
    let subject = "this machine";
    let shown = humantime::format_rfc3339_seconds(now);
    if now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() < EARLIEST {
        let detail = format!("it says {shown}, set it");
        return Finding::new(Layer::Clock, subject, Verdict::Failed, detail);
    }
    // The median: one provider whose own clock is wrong says nothing about this one.
    let mut skews: Vec<_> = others.collect();
    skews.sort_by_key(|(_, skew)| *skew);
    let Some((other, skew)) = skews.get(skews.len() / 2) else {
        let detail = format!("it says {shown}, and nobody was there to compare it with");
        return Finding::new(Layer::Clock, subject, Verdict::Doubtful, detail);
    };
    let by = Duration::from_secs(skew.0.unsigned_abs());
    let verdict = match by {
        by if by <= USUAL => Verdict::Good,
        // Of two that differ nobody knows who is right.
        by if by <= HARMFUL || skews.len() < 3 => Verdict::Doubtful,
        _ => Verdict::Failed,
    };
    let detail = if verdict == Verdict::Good {
        format!("it says {shown}, and so does {other}")
    } else {
        let by = humantime::format_duration(by);
        let side = if skew.0 < 0 { "behind" } else { "ahead of" };
        format!("it says {shown}, {by} {side} {other}: let a time service set it")
    };
    Finding::new(Layer::Clock, subject, verdict, detail)
}

/// How far this machine's clock is ahead of another one, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skew(i64);

impl Skew {
    /// How far `ours` is ahead of `theirs`.
    pub(super) fn between(ours: SystemTime, theirs: SystemTime) -> Self {
        let seconds = |by: Duration| i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        match ours.duration_since(theirs) {
            Ok(by) => Self(seconds(by)),
            Err(error) => Self(-seconds(error.duration())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const NOW: u64 = 1_800_000_000;

    fn judged(theirs: &[u64]) -> Finding {
        let skew = |theirs: &u64| ("them", Skew::between(at(NOW), at(*theirs)));
        compared(at(NOW), theirs.iter().map(skew))
    }

    #[test]
    fn a_clock_is_as_good_as_it_is_near_to_those_of_most_others() {
        for (theirs, verdict, says) in [
            (&[NOW][..], Verdict::Good, "so does them"),
            (&[NOW + 5], Verdict::Good, "so does them"),
            (&[NOW - 6], Verdict::Doubtful, "6s ahead of them"),
            (&[NOW + 60], Verdict::Doubtful, "1m behind them"),
            (&[NOW + 61; 2], Verdict::Doubtful, "1m 1s behind them"),
            (&[NOW + 61; 3], Verdict::Failed, "1m 1s behind them"),
            (&[NOW, NOW, NOW + 9_000], Verdict::Good, "so does them"),
            (&[NOW - 7_200, NOW, NOW + 7_200], Verdict::Good, "so does them"),
            (&[NOW, NOW + 9_000, NOW + 9_000], Verdict::Failed, "behind them"),
            (&[], Verdict::Doubtful, "nobody was there"),
        ] {
            let finding = judged(theirs);
            assert_eq!(finding.verdict, verdict, "{finding}");
            assert!(finding.detail.contains(says), "{finding}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_told_by_itself() {
        let finding = compared(at(60), std::iter::empty());
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(finding.detail.contains("1970-01-01"), "{finding}");
    }
}
