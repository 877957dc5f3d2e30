//! What actors die of, in words that are fit for logs and events: those of this crate's own errors. Nobody
//! knows what else a panic or another error repeats, so neither is quoted.

use ractor::{ActorProcessingErr, SpawnErr};

use crate::error::{Error, ErrorKind};

/// How much of a text is reported, in characters.
const LONGEST: usize = 160;

/// Told in place of a text that may hold anything. The panic hook of the process has had it.
const UNTOLD: &str = "it panicked, or failed in words that are not repeated here";

/// The first line of `text`, cut where it is long and without control characters.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if line.chars().count() > LONGEST {
        short.push('…');
    }
    short
}

/// What an actor ended by. A panic comes as an error, too: as a bare text.
pub(super) fn of_a_death(error: &ActorProcessingErr) -> String {
    let own = error.downcast_ref::<Error>();
    own.map_or_else(|| UNTOLD.to_owned(), |own| shortened(&own.to_string()))
}

/// Why an actor could not be started.
pub(super) fn of_a_start(error: &SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(inner) => of_a_death(inner),
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
    fn only_an_error_of_this_crate_is_quoted() {
        let own = Error::new(ErrorKind::VaultUnavailable, "the disk is gone");
        assert_eq!(of_a_death(&own.into()), "the disk is gone");
        let foreign = std::io::Error::other("canary");
        for other in ["canary".into(), String::from("canary").into(), foreign.into()] {
            assert_eq!(of_a_death(&other), UNTOLD);
            assert_eq!(of_a_start(&SpawnErr::StartupFailed(other)), UNTOLD);
        }
    }

    #[test]
    fn what_an_actor_died_of_is_reported_in_short() {
        assert_eq!(shortened("one\ntwo"), "one");
        assert_eq!(shortened("a\u{1b}[31mb"), "a[31mb");
        assert_eq!(shortened(&"x".repeat(200)).chars().count(), LONGEST + 1);
    }
}
