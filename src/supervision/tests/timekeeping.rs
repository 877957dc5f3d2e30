use tokio::sync::mpsc;

use super::*;
use crate::clock::Clock as _;

const HOUR: Duration = Duration::from_hours(1);

async fn timekeeper(stage: &Stage) -> Timekeeper {
    let (sources, bus) = (stage.clock.sources(), stage.bus.clone());
    let timekeeper = Timekeeper::start(&stage.root, sources, bus).await.expect("a timekeeper");
    stage.clock.until_waits(1).await;
    timekeeper
}

/// An alarm that reports `name` when it rings.
fn alarm(
    timekeeper: &Timekeeper,
    name: &'static str,
    rung: &mpsc::UnboundedSender<&'static str>,
) -> Alarm {
    let rung = rung.clone();
    timekeeper.alarm(move || {
        let _ = rung.send(name);
    })
}

/// Lets the timekeeper take up what was set, until it waits for no longer than `at_most`.
async fn until_it_waits_for(clock: &ManualClock, at_most: Duration) {
    while clock.next_wait().is_none_or(|wait| wait > at_most) {
        tokio::task::yield_now().await;
    }
}

/// Lets `beats` heartbeats pass.
async fn beat(clock: &ManualClock, beats: u32) {
    for _ in 0..beats {
        clock.until_waits(1).await;
        clock.advance(Duration::from_secs(10));
    }
    clock.until_waits(1).await;
}

#[tokio::test]
async fn alarms_ring_in_the_order_of_their_deadlines_and_once() {
    let stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let now = stage.clock.now();
    let later = alarm(&timekeeper, "later", &rung);
    let sooner = alarm(&timekeeper, "sooner", &rung);
    later.set(now.after(Duration::from_secs(8)));
    sooner.set(now.after(Duration::from_secs(5)));
    until_it_waits_for(&stage.clock, Duration::from_secs(5)).await;
    stage.clock.advance(Duration::from_secs(5));
    assert_eq!(rings.recv().await, Some("sooner"));
    until_it_waits_for(&stage.clock, Duration::from_secs(3)).await;
    stage.clock.advance(Duration::from_secs(3));
    assert_eq!(rings.recv().await, Some("later"));
    beat(&stage.clock, 3).await;
    assert!(rings.try_recv().is_err());
}

#[tokio::test]
async fn an_alarm_set_for_the_past_rings_at_once() {
    let stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let alarm = alarm(&timekeeper, "past", &rung);
    alarm.set(stage.clock.now());
    assert_eq!(rings.recv().await, Some("past"));
}

#[tokio::test]
async fn an_alarm_that_was_moved_cleared_or_dropped_does_not_ring() {
    let stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let soon = stage.clock.now().after(Duration::from_secs(5));
    let [moved, cleared, dropped, kept] =
        ["moved", "cleared", "dropped", "kept"].map(|name| alarm(&timekeeper, name, &rung));
    for alarm in [&moved, &cleared, &dropped, &kept] {
        alarm.set(soon);
    }
    moved.set(soon.after(HOUR));
    cleared.clear();
    drop(dropped);
    beat(&stage.clock, 2).await;
    assert_eq!(rings.recv().await, Some("kept"));
    assert!(rings.try_recv().is_err());
}

#[tokio::test]
async fn after_a_suspend_what_is_due_by_the_wall_clock_rings_within_a_heartbeat() {
    let mut stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let alarm = alarm(&timekeeper, "woken", &rung);
    alarm.set(stage.clock.now().after(HOUR));
    stage.clock.suspend(2 * HOUR);
    beat(&stage.clock, 1).await;
    assert_eq!(rings.recv().await, Some("woken"));
    assert_eq!(stage.event().await, EventKind::ClockStepped { by_millis: 7_200_000 });
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_holds_no_alarm_up() {
    let mut stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let alarm = alarm(&timekeeper, "on time", &rung);
    alarm.set(stage.clock.now().after(Duration::from_secs(30)));
    stage.clock.step_wall_back(HOUR);
    beat(&stage.clock, 2).await;
    assert!(rings.try_recv().is_err(), "not early");
    beat(&stage.clock, 1).await;
    assert_eq!(rings.recv().await, Some("on time"));
    assert_eq!(stage.event().await, EventKind::ClockStepped { by_millis: -3_600_000 });
}

#[tokio::test]
async fn a_clock_that_is_slewed_is_not_reported() {
    let mut stage = Stage::set().await;
    let _timekeeper = timekeeper(&stage).await;
    for _ in 0..10 {
        stage.clock.step_wall_forward(Duration::from_millis(1_900));
        beat(&stage.clock, 1).await;
    }
    stage.bus.emit(EventKind::ShuttingDown);
    assert_eq!(stage.event().await, EventKind::ShuttingDown, "nothing came before");
}

#[tokio::test]
async fn a_crash_of_the_timekeeper_loses_no_deadline() {
    let mut stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let alarm = alarm(&timekeeper, "kept", &rung);
    alarm.set(stage.clock.now().after(Duration::from_secs(5)));
    assert!(stage.root.crash_child("timekeeper").await);
    assert!(matches!(stage.event().await, EventKind::ActorRestarted { .. }));
    beat(&stage.clock, 1).await;
    assert_eq!(rings.recv().await, Some("kept"));
}

#[tokio::test]
async fn an_alarm_that_panics_takes_no_other_with_it() {
    let stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let due = stage.clock.now();
    let bad = timekeeper.alarm(|| panic!("a bad ring"));
    let good = alarm(&timekeeper, "good", &rung);
    bad.set(due);
    good.set(due);
    assert_eq!(rings.recv().await, Some("good"));
    assert_eq!(stage.root.tree().await.children[0].restarts, 0);
}

#[tokio::test]
async fn alarms_may_be_set_and_dropped_while_one_rings() {
    let stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let next = alarm(&timekeeper, "next", &rung);
    let (clock, doomed) = (Arc::clone(&stage.clock), alarm(&timekeeper, "doomed", &rung));
    let doomed = std::sync::Mutex::new(Some(doomed));
    let first = timekeeper.alarm(move || {
        next.set(clock.now());
        drop(doomed.lock().map(|mut doomed| doomed.take()));
    });
    first.set(stage.clock.now());
    assert_eq!(rings.recv().await, Some("next"));
}

#[tokio::test]
async fn alarms_that_ring_in_turn_keep_nothing_waiting_that_is_on_time_or_urgent() {
    let stage = Stage::set().await;
    let timekeeper = timekeeper(&stage).await;
    let (rung, mut rings) = mpsc::unbounded_channel();
    let now = stage.clock.now();
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let rung = rung.clone();
            timekeeper.alarm_in_turn(move || {
                let _ = rung.send("overdue");
            })
        })
        .collect();
    let urgent = alarm(&timekeeper, "urgent", &rung);
    let on_time = timekeeper.alarm_in_turn({
        let rung = rung.clone();
        move || {
            let _ = rung.send("on time");
        }
    });
    for alarm in crowd.iter().chain([&urgent]) {
        alarm.set(now.after(HOUR));
    }
    stage.clock.suspend(2 * HOUR);
    on_time.set(stage.clock.now().after(Duration::from_secs(10)));
    beat(&stage.clock, 1).await;
    let mut heard: Vec<_> = std::iter::from_fn(|| rings.try_recv().ok()).collect();
    heard.sort_unstable();
    assert_eq!(heard[..2], ["on time", "overdue"]);
    assert_eq!(heard.len(), 16 + 2, "a few at once");
    assert_eq!(heard.last(), Some(&"urgent"));
    stage.clock.advance(Duration::from_secs(1));
    stage.clock.until_waits(1).await;
    assert_eq!(std::iter::from_fn(|| rings.try_recv().ok()).count(), 50, "then 50 a second");
}
