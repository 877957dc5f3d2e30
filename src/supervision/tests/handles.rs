use super::*;

/// A request that the actor keeps until it is dropped or dies.
async fn park(handle: &Handle<Ask>) -> tokio::task::JoinHandle<Result<(), AskError>> {
    let asking = tokio::spawn({
        let handle = handle.clone();
        async move { handle.ask(Ask::Park).await }
    });
    // Two turns: the request stands in the mailbox, then it is parked.
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
    asking
}

#[tokio::test]
async fn a_request_that_died_with_the_actor_is_a_typed_error() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    let parked = park(&handle).await;
    stage.root.crash_child("baker").await;
    let outcome = parked.await.expect("no panic");
    assert_eq!(outcome, Err(AskError::Interrupted));
    assert!(Error::from(AskError::Interrupted).is_transient());
}

#[tokio::test]
async fn an_idempotent_request_is_repeated_once_and_only_once() {
    let stage = Stage::set().await;
    let spec = sound("baker").policy(eager());
    let handle = stage.root.start_child(spec).await.expect("a child");
    let outcome = handle.ask_again(|reply| Ask::PanicUntil(1, reply)).await;
    assert_eq!(outcome, Ok(2), "the second incarnation answered");
    let outcome = handle.ask_again(|reply| Ask::PanicUntil(3, reply)).await;
    assert_eq!(outcome, Err(AskError::Interrupted), "both tries died");
    assert_eq!(echo(&handle, 1).await, Ok((4, 1)));
}

#[tokio::test]
async fn a_request_waits_for_an_actor_that_is_being_restarted_and_a_message_does_not() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(dying_in("baker", 2..3)).await.expect("a child");
    stage.root.crash_child("baker").await;
    stage.clock.until_waits(1).await;
    assert_eq!(handle.status(), ChildStatus::Restarting);
    assert_eq!(handle.send(Ask::Leave), Err(AskError::Interrupted));
    let (answer, ()) = tokio::join!(echo(&handle, 7), async {
        stage.clock.advance(Duration::from_secs(1));
    });
    assert_eq!(answer, Ok((3, 7)));
}

#[tokio::test]
async fn what_a_task_tells_its_actor_waits_for_the_next_incarnation() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(dying_in("baker", 2..3)).await.expect("a child");
    stage.root.crash_child("baker").await;
    stage.clock.until_waits(1).await;
    assert_eq!(handle.status(), ChildStatus::Restarting);
    let (sender, answer) = oneshot::channel();
    handle.post(Ask::Echo(7, sender.into()));
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(answer.await, Ok((3, 7)));
}

#[tokio::test]
async fn a_task_may_tell_its_actor_something_before_the_supervisor_knows_it() {
    let stage = Stage::set().await;
    let (sender, answer) = oneshot::channel();
    let early = std::sync::Mutex::new(Some(Ask::Echo(7, sender.into())));
    let spec = ChildSpec::new("baker", move |spawning: Spawning<Ask>| {
        if let Some(message) = early.lock().expect("not poisoned").take() {
            spawning.handle.post(message);
        }
        let handle = spawning.handle.clone();
        let actor = TestActor { incarnation: 1, dies_at_once: false, handle };
        Box::pin(TestActor::spawn_linked(None, actor, (), spawning.supervisor))
    });
    stage.root.start_child(spec).await.expect("a child");
    assert_eq!(answer.await, Ok((1, 7)));
}

#[tokio::test]
async fn a_request_does_not_wait_for_ever() {
    let stage = Stage::set().await;
    let spec = dying_in("baker", 2..3).patience(Duration::ZERO);
    let handle = stage.root.start_child(spec).await.expect("a child");
    stage.root.crash_child("baker").await;
    stage.clock.until_waits(1).await;
    assert_eq!(echo(&handle, 7).await, Err(AskError::Interrupted));
}

#[tokio::test]
async fn more_requests_than_are_admitted_are_refused_until_one_is_answered() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker").admission(2)).await.expect("a child");
    let (began, until_begun) = oneshot::channel();
    let (open, gate) = watch::channel(false);
    let first = tokio::spawn({
        let handle = handle.clone();
        async move { handle.ask(|reply| Ask::Wait { began, gate, reply }).await }
    });
    until_begun.await.expect("it is being handled");
    let second = park(&handle).await;

    assert_eq!(echo(&handle, 1).await, Err(AskError::Overloaded));
    assert_eq!(handle.send(Ask::Leave), Err(AskError::Overloaded));
    assert!(Error::from(AskError::Overloaded).is_overloaded());

    open.send_replace(true);
    first.await.expect("no panic").expect("an answer");
    assert_eq!(echo(&handle, 1).await, Ok((1, 1)));
    drop(second);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_make_room_while_its_request_stands() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker").admission(1)).await.expect("a child");
    let parked = park(&handle).await;
    parked.abort();
    assert!(parked.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(echo(&handle, 1).await, Err(AskError::Overloaded));

    stage.root.crash_child("baker").await;
    while handle.status() == ChildStatus::Running && echo(&handle, 1).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(echo(&handle, 1).await, Ok((2, 1)), "the request died, its permit is free");
}

#[tokio::test]
async fn a_one_way_message_gives_its_permit_back_when_it_was_handled() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker").admission(2)).await.expect("a child");
    assert_eq!(handle.send_with(Ask::Note), Ok(()));
    assert_eq!(handle.send_with(Ask::Note), Ok(()));
    assert_eq!(handle.send_with(Ask::Note), Err(AskError::Overloaded));
    while handle.send_with(Ask::Note) == Err(AskError::Overloaded) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dead_incarnation_gives_the_permits_of_its_mailbox_back() {
    let stage = Stage::set().await;
    let spec = sound("baker").admission(100).policy(eager());
    let handle = stage.root.start_child(spec).await.expect("a child");
    for _ in 0..20 {
        handle.send(Ask::Panic("burnt")).expect("sent");
        let asks = (0..50).map(|value| handle.ask(move |reply| Ask::Echo(value, reply)));
        for outcome in futures_util::future::join_all(asks).await {
            assert!(matches!(outcome, Ok(_) | Err(AskError::Interrupted)), "{outcome:?}");
        }
        echo(&handle, 0).await.expect("it is back");
    }
    let asks = (0..100).map(|value| handle.ask(move |reply| Ask::Echo(value, reply)));
    for outcome in futures_util::future::join_all(asks).await {
        assert!(outcome.is_ok(), "every permit is there");
    }
}

#[tokio::test]
async fn an_idle_request_is_small() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    let request = handle.ask(|reply| Ask::Echo(1, reply));
    let size = size_of_val(&request);
    assert!(size <= 256, "{size} bytes for each caller that waits");
    drop(request);
}
