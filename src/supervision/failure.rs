//! What actors die of, in words that are fit for logs and events.

use ractor::SpawnErr;

use crate::error::{Error, ErrorKind};

/// How much of a panic's or an error's text is reported, in characters.
const LONGEST: usize = 160;

/// The first line of `text`, cut where it is long and without control characters.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if line.chars().count() > LONGEST {
        short.push('…');
    }
    short
}

/// Why an actor could not be started.
pub(super) fn of_a_start(error: &SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(inner) => shortened(&inner.to_string()),
        other => shortened(&other.to_string()),
    }
}

/// The error for whoever asked for the first start: the starter's own, where it gave one.
pub(super) fn of_a_first_start(name: &str, error: SpawnErr) -> Error {
    let reason = of_a_start(&error);
    if let SpawnErr::StartupFailed(inner) = error
        && let Ok(own) = inner.downcast::<Error>()
    {
        return *own;
    }
    Error::new(ErrorKind::Transient, format!("{name} did not start: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_actor_died_of_is_reported_in_short() {
        assert_eq!(shortened("one\ntwo"), "one");
        assert_eq!(shortened("a\u{1b}[31mb"), "a[31mb");
        assert_eq!(shortened(&"x".repeat(200)).chars().count(), LONGEST + 1);
    }
}
