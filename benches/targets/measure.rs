//! How things are measured: by turns, so that a machine that changes its mind changes it for both
//! sides, and as medians of the turns.

use std::time::{Duration, Instant};

use stats_alloc::Region;

use crate::ALLOCATOR;

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs everything that follows in it on as many threads as there are cores.
pub(crate) fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// A folder beside this program, for as long as it is held. The folder for temporary files may be no disk.
pub(crate) fn folder() -> tempfile::TempDir {
    let program = std::env::current_exe().expect("this program");
    tempfile::tempdir_in(program.parent().expect("a folder")).expect("a folder")
}

/// The median time of one `floor` and of one `figure`, in seconds. Both have `turns` turns, with `times` of them in
/// each.
pub(crate) async fn by_turns(
    turns: u32,
    times: u32,
    floor: impl AsyncFn(),
    figure: impl AsyncFn(),
) -> [f64; 2] {
    let start = now();
    let clock = || start.elapsed();
    timed_by_turns(turns, timed(clock, times, floor), timed(clock, times, figure)).await
}

/// As [`by_turns`], in what all threads of this process have used, a server's among them. Unlike the time
/// that passes it says something on a machine that has other things to do.
#[cfg(unix)]
pub(crate) async fn processor_time_by_turns(
    turns: u32,
    times: u32,
    floor: impl AsyncFn(),
    figure: impl AsyncFn(),
) -> [f64; 2] {
    use rustix::time::{ClockId, clock_gettime};
    let clock =
        || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("since the start");
    timed_by_turns(turns, timed(clock, times, floor), timed(clock, times, figure)).await
}

/// The median of each side, where the sides measure themselves. Each goes first as often as the other.
pub(crate) async fn timed_by_turns(
    turns: u32,
    floor: impl AsyncFn() -> f64,
    figure: impl AsyncFn() -> f64,
) -> [f64; 2] {
    let (mut floors, mut figures) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        for second in [false, true] {
            if second == (turn % 2 == 0) {
                figures.push(figure().await);
            } else {
                floors.push(floor().await);
            }
        }
    }
    [median(floors), median(figures)]
}

/// What one of `times` takes, in seconds.
fn timed(clock: impl Fn() -> Duration, times: u32, work: impl AsyncFn()) -> impl AsyncFn() -> f64 {
    async move || {
        let began = clock();
        for _ in 0..times {
            work().await;
        }
        clock().saturating_sub(began).as_secs_f64() / f64::from(times)
    }
}

pub(crate) fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no value is not a number"));
    values[values.len() / 2]
}

/// How many allocations one `work` makes, of `times`.
pub(crate) async fn allocations(times: u32, work: impl AsyncFn()) -> f64 {
    let region = Region::new(ALLOCATOR);
    for _ in 0..times {
        work().await;
    }
    let count = u32::try_from(region.change().allocations).expect("fewer");
    f64::from(count) / f64::from(times)
}

/// In nanoseconds.
pub(crate) fn nanos(seconds: f64) -> f64 {
    seconds * 1e9
}

/// In microseconds.
pub(crate) fn micros(seconds: f64) -> f64 {
    seconds * 1e6
}

/// In milliseconds.
pub(crate) fn millis(seconds: f64) -> f64 {
    seconds * 1e3
}
