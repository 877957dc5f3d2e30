use super::*;

struct Busy {
    open: watch::Sender<bool>,
    asking: tokio::task::JoinHandle<Result<(), AskError>>,
}

/// A child in the middle of a handler that ends when the gate is opened.
async fn busy(under: &Supervisor, name: &str) -> Busy {
    let handle = under.start_child(sound(name)).await.expect("a child");
    let (began, until_begun) = oneshot::channel();
    let (open, gate) = watch::channel(false);
    let asking =
        tokio::spawn(async move { handle.ask(|reply| Ask::Wait { began, gate, reply }).await });
    until_begun.await.expect("it is being handled");
    Busy { open, asking }
}

fn draining(supervisor: &Supervisor, within: Duration) -> tokio::task::JoinHandle<Vec<String>> {
    let supervisor = supervisor.clone();
    tokio::spawn(async move { supervisor.drain(within).await })
}

#[tokio::test]
async fn draining_lets_the_running_handler_finish() {
    let stage = Stage::set().await;
    let busy = busy(&stage.root, "baker").await;
    let drained = draining(&stage.root, Duration::from_secs(10));
    stage.clock.until_waits(1).await;
    assert!(!drained.is_finished(), "the handler still runs");
    busy.open.send_replace(true);
    assert_eq!(busy.asking.await.expect("no panic"), Ok(()), "its caller got the answer");
    assert!(drained.await.expect("no panic").is_empty());
}

#[tokio::test]
async fn draining_takes_no_new_work() {
    let stage = Stage::set().await;
    let idle = stage.root.start_child(sound("idle")).await.expect("a child");
    let bakery = stage.root.start_supervisor("bakery").await.expect("a supervisor");
    let baker = bakery.start_child(sound("baker")).await.expect("a child");
    assert!(stage.root.drain(Duration::from_secs(10)).await.is_empty());
    for handle in [idle, baker] {
        assert_eq!(echo(&handle, 1).await, Err(AskError::Stopped));
    }
    for supervisor in [&stage.root, &bakery] {
        let refused = supervisor.start_child(sound("late")).await.expect_err("it is over");
        assert!(refused.is_shutting_down());
    }
    assert_eq!(stage.root.tree().await.status, ChildStatus::Stopped);
    assert!(stage.root.escalation().borrow().is_none(), "this was no fault");
}

#[tokio::test]
async fn what_does_not_finish_is_named_killed_and_starves_no_one() {
    let stage = Stage::set().await;
    let first = busy(&stage.root, "vault").await;
    let bakery = stage.root.start_supervisor("bakery").await.expect("a supervisor");
    bakery.start_child(sound("idle")).await.expect("a child");
    let stuck = busy(&bakery, "baker").await;

    let drained = draining(&stage.root, Duration::from_secs(10));
    stage.clock.until_waits(1).await;
    assert_eq!(stage.clock.next_wait(), Some(Duration::from_secs(5)), "half of what is left");
    stage.clock.advance(Duration::from_secs(5));
    assert_eq!(stuck.asking.await.expect("no panic"), Err(AskError::Interrupted));
    first.open.send_replace(true);
    assert_eq!(first.asking.await.expect("no panic"), Ok(()), "the vault had its time");
    assert_eq!(drained.await.expect("no panic"), ["bakery/baker"]);
}

#[tokio::test]
async fn a_child_that_others_still_need_is_restarted_during_the_drain() {
    let stage = Stage::set().await;
    let vault = stage.root.start_child(sound("vault")).await.expect("a child");
    let busy = busy(&stage.root, "baker").await;
    let drained = draining(&stage.root, Duration::from_secs(10));
    stage.clock.until_waits(1).await;
    stage.root.crash_child("vault").await;
    assert_eq!(echo(&vault, 1).await, Ok((2, 1)));
    busy.open.send_replace(true);
    assert!(drained.await.expect("no panic").is_empty());
}

#[tokio::test]
async fn a_stopped_child_is_gone_and_its_siblings_are_not() {
    let stage = Stage::set().await;
    let baker = stage.root.start_child(sound("baker")).await.expect("a child");
    let calm = stage.root.start_child(sound("calm")).await.expect("a child");
    assert!(stage.root.stop_child("baker").await);
    assert!(!stage.root.stop_child("baker").await);
    assert_eq!(echo(&baker, 1).await, Err(AskError::Stopped));
    assert_eq!(echo(&calm, 1).await, Ok((1, 1)));
    let again = stage.root.start_child(sound("baker")).await.expect("the name is free");
    assert_eq!(echo(&again, 1).await, Ok((1, 1)));
}

#[tokio::test]
async fn a_child_that_waits_for_its_restart_can_be_stopped() {
    let mut stage = Stage::set().await;
    let sick = stage.root.start_child(dying_in("sick", 1..99)).await.expect("a child");
    stage.until_quarantine().await;
    assert!(stage.root.stop_child("sick").await);
    assert_eq!(sick.status(), ChildStatus::Stopped);
    assert_eq!(stage.clock.waits(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_killed_tree_stops_at_once_and_for_good() {
    let stage = Stage::set().await;
    let bakery = stage.root.start_supervisor("bakery").await.expect("a supervisor");
    let busy = busy(&bakery, "baker").await;
    stage.root.kill();
    assert_eq!(busy.asking.await.expect("no panic"), Err(AskError::Interrupted));
    assert!(stage.root.start_child(sound("late")).await.is_err());
    assert!(stage.root.drain(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test]
async fn a_supervisor_can_be_drained_without_the_one_above() {
    let stage = Stage::set().await;
    let bakery = stage.root.start_supervisor("bakery").await.expect("a supervisor");
    let baker = bakery.start_child(sound("baker")).await.expect("a child");
    assert!(bakery.drain(Duration::from_secs(1)).await.is_empty());
    assert_eq!(echo(&baker, 1).await, Err(AskError::Stopped));
    assert!(stage.root.tree().await.children.is_empty(), "it is not brought back");
}
