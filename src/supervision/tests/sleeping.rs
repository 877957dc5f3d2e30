use super::*;

/// Asks the actor to sleep; whether it does.
async fn sleep(handle: &Handle<Ask>) -> bool {
    let (outcome, asleep) = oneshot::channel();
    handle.post(Ask::Sleep(outcome));
    asleep.await.expect("an answer")
}

/// Waits until the actor behind a handle that sleeps has ended.
async fn until_ended(stage: &Stage, name: &str) {
    loop {
        let tree = stage.root.tree().await;
        let node = tree.children.iter().find(|child| child.name == name).expect("the child");
        if node.status == ChildStatus::Asleep {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_actor_that_sleeps_is_woken_by_a_request_and_nobody_is_told() {
    let mut stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    assert_eq!(echo(&handle, 1).await, Ok((1, 1)));
    assert!(sleep(&handle).await);
    until_ended(&stage, "baker").await;
    assert_eq!(handle.status(), ChildStatus::Asleep);
    assert!(!stage.root.crash_child("baker").await, "there is nobody to be killed");
    let woken = handle.ask(|reply| Ask::Echo(2, reply)).await;
    assert_eq!(woken, Ok((2, 2)), "another incarnation");
    assert_eq!(stage.root.tree().await.children[0].restarts, 0, "it is no restart");
    stage.root.crash_child("baker").await;
    assert!(matches!(stage.event().await, EventKind::ActorRestarted { restarts: 1, .. }));
}

#[tokio::test]
async fn what_needs_no_answer_wakes_it_too() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    for number in 2..6 {
        assert!(sleep(&handle).await);
        let (sender, answer) = oneshot::channel();
        let message = Ask::Echo(7, sender.into());
        match number {
            2 => handle.post(message),
            // Before it has ended, and after.
            3 => assert_eq!(handle.send(message), Ok(())),
            4 => {
                until_ended(&stage, "baker").await;
                assert_eq!(handle.send(message), Ok(()));
            }
            _ => {
                assert_eq!(handle.send_with(Ask::Note), Ok(()));
                handle.post(message);
            }
        }
        assert_eq!(answer.await, Ok((number, 7)));
    }
}

#[tokio::test]
async fn an_actor_that_owes_an_answer_stays_awake() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    let asking = tokio::spawn({
        let handle = handle.clone();
        async move { handle.ask(Ask::Park).await }
    });
    while handle.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!sleep(&handle).await);
    assert_eq!(echo(&handle, 3).await, Ok((1, 3)));
    asking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_while_it_falls_asleep_is_answered_once() {
    const TIMES: u32 = 200;
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    let (stop, stopped) = watch::channel(false);
    // The latest incarnation that answered either of them.
    let seen = Arc::new(AtomicU32::new(0));
    let ask = || {
        let (handle, stopped, seen) = (handle.clone(), stopped.clone(), seen.clone());
        tokio::spawn(async move {
            let mut value = 0;
            while !*stopped.borrow() {
                value += 1;
                // `ask` repeats nothing: a request that is lost is a failure.
                let (incarnation, answer) = handle.ask(|reply| Ask::Echo(value, reply)).await?;
                assert_eq!(answer, value);
                seen.fetch_max(incarnation, Ordering::SeqCst);
                // Now and then there is nobody who waits.
                for _ in 0..value % 8 {
                    tokio::task::yield_now().await;
                }
            }
            Ok::<_, AskError>(())
        })
    };
    let (one, two) = (ask(), ask());
    let sleeping = async {
        let mut slept = 0;
        // On a busy machine they may not come to ask for a while.
        while slept < TIMES || seen.load(Ordering::SeqCst) < TIMES {
            slept += u32::from(sleep(&handle).await);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), sleeping).await.expect("they are answered");
    let _ = stop.send(true);
    one.await.expect("no panic").expect("every answer");
    two.await.expect("no panic").expect("every answer");
}

#[tokio::test]
async fn more_than_are_admitted_are_refused_awake_or_asleep() {
    let stage = Stage::set().await;
    let spec = sound("baker").admission(1);
    let handle = stage.root.start_child(spec).await.expect("a child");
    assert!(sleep(&handle).await);
    let asking = tokio::spawn({
        let handle = handle.clone();
        async move { handle.ask(Ask::Park).await }
    });
    while handle.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = handle.ask(|reply| Ask::Echo(1, reply)).await;
    assert_eq!(refused, Err(AskError::Overloaded));
    asking.abort();
}

#[tokio::test]
async fn a_supervisor_that_dies_wakes_no_one_and_loses_no_one() {
    let stage = Stage::set().await;
    let team = stage.root.start_supervisor("team").await.expect("a supervisor");
    let asleep = team.start_child(sound("baker")).await.expect("a child");
    let awake = team.start_child(sound("cook")).await.expect("a child");
    assert!(sleep(&asleep).await);
    while team.tree().await.children[0].status != ChildStatus::Asleep {
        tokio::task::yield_now().await;
    }
    assert!(stage.root.crash_child("team").await);
    assert_eq!(echo(&awake, 1).await, Ok((2, 1)), "its sibling was started again");
    assert_eq!(asleep.status(), ChildStatus::Asleep);
    assert_eq!(echo(&asleep, 1).await, Ok((2, 1)));
}

#[tokio::test]
async fn one_that_nobody_holds_is_forgotten_and_its_name_is_free() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    assert!(!stage.root.forget_asleep(&handle), "it is awake");
    assert!(sleep(&handle).await);
    until_ended(&stage, "baker").await;
    let held = handle.clone();
    assert!(!stage.root.forget_asleep(&handle), "somebody holds it");
    drop(held);
    assert!(stage.root.forget_asleep(&handle));
    assert!(stage.root.tree().await.children.is_empty());
    assert_eq!(echo(&handle, 1).await, Err(AskError::Stopped));
    let again = stage.root.start_child(sound("baker")).await.expect("the name is free");
    assert_eq!(echo(&again, 1).await, Ok((1, 1)));
}

#[tokio::test]
async fn what_sleeps_is_stopped_and_drained_as_what_does_not() {
    let stage = Stage::set().await;
    let baker = stage.root.start_child(sound("baker")).await.expect("a child");
    let cook = stage.root.start_child(sound("cook")).await.expect("a child");
    assert!(sleep(&baker).await && sleep(&cook).await);
    assert!(stage.root.stop_child("baker").await);
    assert_eq!(echo(&baker, 1).await, Err(AskError::Stopped));
    assert!(stage.root.drain(Duration::from_secs(5)).await.is_empty(), "all have finished");
    assert_eq!(echo(&cook, 1).await, Err(AskError::Stopped));
}
