//! How long tests wait for what is real: sockets, threads, processes. What never happens fails its
//! test, and does not hold it up.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::time::Duration;

use tokenward::testing::ManualClock;

/// How long that may take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What `work` comes to.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it comes to an end in two minutes")
}

/// Lets everybody else go on until something is so.
pub(crate) async fn until(mut it_is_so: impl FnMut() -> bool) {
    in_time(async {
        while !it_is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Lets time pass while `work` goes on.
pub(crate) async fn while_time_passes<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    by_turns(work, || clock.advance(Duration::from_millis(1))).await
}

/// Whether somebody waits to make a call again. The runtime itself wakes only every ten seconds.
pub(crate) fn is_about_to_try_again(clock: &ManualClock) -> bool {
    clock.next_wait().is_some_and(|wait| wait < Duration::from_secs(5))
}

/// Lets time pass while `work` waits to make a call again, and only then.
pub(crate) async fn patiently<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let step = || {
        if is_about_to_try_again(clock)
            && let Some(wait) = clock.next_wait()
        {
            clock.advance(wait);
        }
    };
    by_turns(work, step).await
}

/// Lets `work` go on, and takes a `step` each time that it waits.
async fn by_turns<T>(work: impl Future<Output = T>, mut step: impl FnMut()) -> T {
    let mut work = Box::pin(work);
    in_time(async {
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::task::yield_now() => step(),
            }
        }
    })
    .await
}
