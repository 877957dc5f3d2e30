//! The outer bound of an exchange with a provider. The requests of this crate have deadlines of their
//! own; a provider that is written by hand may have forgotten them, or panic, and somebody waits for it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::{Exchanging, Failure, FailureClass};
use crate::oauth::Transport;

/// An exchange is given at least this long, and twice the deadline of its requests: their own word
/// on what became of them comes first.
const PATIENCE: Duration = Duration::from_mins(10);

/// What can be left undone is given this long: to tell a provider that a token is over, and to see
/// whether the provider works. The requests of this crate for it end within ten seconds.
const SHORT_PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of `exchange`, or a failure that leaves open whether the provider received anything,
/// when there is none within ten minutes, or it panics. It is given up then.
pub(crate) async fn in_time<T>(
    transport: &Transport,
    exchange: Exchanging<'_, T>,
) -> Result<T, Failure> {
    let patience = PATIENCE.max(transport.deadline().saturating_mul(2));
    within(patience, FailureClass::Uncertain, transport, exchange).await
}

/// The outcome of what spends nothing and can be left undone, or a failure when there is none within
/// half a minute, or it panics. It is given up then.
pub(crate) async fn shortly<T>(
    transport: &Transport,
    exchange: Exchanging<'_, T>,
) -> Result<T, Failure> {
    let given_up = FailureClass::Transient { retry_after: None };
    within(SHORT_PATIENCE, given_up, transport, exchange).await
}

async fn within<T>(
    patience: Duration,
    given_up: FailureClass,
    transport: &Transport,
    exchange: Exchanging<'_, T>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        outcome = AssertUnwindSafe(exchange).catch_unwind() => outcome.unwrap_or_else(|_| {
            Err(Failure::new(given_up, "the provider panicked"))
        }),
        () = transport.sources().clock.wait(patience) => {
            let patience = humantime::format_duration(patience);
            Err(Failure::new(given_up, format!("the provider had no outcome within {patience}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::error::Error;
    use crate::testing::ManualClock;

    fn transport(clock: &std::sync::Arc<ManualClock>) -> Transport {
        Transport::new(clock.sources()).expect("a transport")
    }

    #[tokio::test]
    async fn an_exchange_without_an_end_is_given_up_as_uncertain() {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let transport = transport(&clock);
        let exchange = in_time::<()>(&transport, Box::pin(std::future::pending()));
        let moving = async {
            clock.until_waits(1).await;
            clock.advance(PATIENCE);
        };
        let (outcome, ()) = tokio::join!(exchange, moving);
        let failure = outcome.expect_err("no outcome");
        assert_eq!(failure.class, FailureClass::Uncertain);
        assert!(failure.sent, "nobody knows");
    }

    #[tokio::test]
    async fn an_exchange_that_panics_has_failed() {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let transport = transport(&clock);
        let exchange = async || std::panic::resume_unwind(Box::new("on purpose"));
        let spending = in_time::<()>(&transport, Box::pin(exchange())).await;
        assert_eq!(spending.expect_err("no outcome").class, FailureClass::Uncertain);
        let idle = shortly::<()>(&transport, Box::pin(exchange())).await;
        assert!(Error::from(idle.expect_err("no outcome")).is_transient());
    }

    #[tokio::test]
    async fn an_exchange_that_ends_is_not_touched() {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let transport = transport(&clock);
        assert_eq!(in_time(&transport, Box::pin(std::future::ready(Ok(7)))).await, Ok(7));
        assert_eq!(clock.waits(), 0, "nothing is left behind");
    }
}
