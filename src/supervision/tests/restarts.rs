use super::*;

#[tokio::test]
async fn a_crashed_actor_comes_back_and_a_held_handle_reaches_the_new_one() {
    let mut stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    assert_eq!(echo(&handle, 7).await, Ok((1, 7)));

    handle.send(Ask::Panic("burnt")).expect("sent");

    assert_eq!(echo(&handle, 8).await, Ok((2, 8)));
    let expected = EventKind::ActorRestarted {
        actor: "baker".to_owned(),
        restarts: 1,
        reason: "it panicked, or failed in words that are not repeated here".to_owned(),
    };
    assert_eq!(stage.event().await, expected);
}

#[tokio::test]
async fn a_killed_actor_comes_back_and_a_stranger_is_not_killed() {
    let stage = Stage::set().await;
    let handle = stage.root.start_child(sound("baker")).await.expect("a child");
    assert!(stage.root.crash_child("baker").await);
    assert!(!stage.root.crash_child("butcher").await);
    assert_eq!(echo(&handle, 1).await, Ok((2, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_random_crashes_lose_no_answer_of_a_sibling() {
    let stage = Stage::set().await;
    let shaky = stage.root.start_child(sound("shaky").policy(eager())).await.expect("a child");
    let calm = stage.root.start_child(sound("calm")).await.expect("a child");
    let sources = stage.clock.sources();
    let crashes = async {
        for _ in 0..1_000 {
            match sources.noise() % 3 {
                0 => drop(shaky.ask(|reply| Ask::PanicUntil(u32::MAX - 1, reply)).await),
                1 => drop(stage.root.crash_child("shaky").await),
                _ => drop(shaky.send(Ask::Panic("burnt"))),
            }
        }
    };
    let calls = async {
        for value in 0..5_000 {
            assert_eq!(calm.ask(|reply| Ask::Echo(value, reply)).await, Ok((1, value)));
        }
    };
    tokio::join!(crashes, calls);
    assert!(echo(&shaky, 1).await.is_ok());
}

#[tokio::test]
async fn a_child_that_keeps_crashing_is_quarantined_then_tried_again_while_the_rest_serve() {
    let mut stage = Stage::set().await;
    let calm = stage.root.start_child(sound("calm")).await.expect("a child");
    let sick = stage.root.start_child(dying_in("sick", 1..7)).await.expect("a child");

    assert_eq!(stage.until_quarantine().await, 5);

    assert_eq!(echo(&calm, 1).await, Ok((1, 1)));
    let refused = echo(&sick, 1).await;
    let Err(AskError::Quarantined { retry_in }) = refused else { panic!("{refused:?}") };
    assert!(retry_in >= Duration::from_mins(1) && retry_in <= Duration::from_secs(75));
    assert_eq!(stage.root.tree().await.children[1].status, ChildStatus::Quarantined);

    stage.clock.until_waits(1).await;
    stage.clock.advance(retry_in);
    assert!(matches!(stage.event().await, EventKind::ActorRestarted { .. }));
    assert_eq!(echo(&sick, 2).await, Ok((7, 2)));

    stage.clock.until_waits(1).await;
    stage.clock.advance(Duration::from_secs(10));
    assert_eq!(stage.event().await, EventKind::ActorRecovered { actor: "sick".to_owned() });
}

#[tokio::test]
async fn a_child_that_fails_its_probation_is_quarantined_again_at_once() {
    let mut stage = Stage::set().await;
    stage.root.start_child(dying_in("sick", 1..8)).await.expect("a child");
    assert_eq!(stage.until_quarantine().await, 5);
    assert_eq!(stage.until_quarantine().await, 1);
}

#[tokio::test]
async fn an_escalating_child_that_can_not_come_back_stops_the_host() {
    let stage = Stage::set().await;
    let beneath = stage.root.start_supervisor("beneath").await.expect("a supervisor");
    let mut escalation = stage.root.escalation();
    assert!(escalation.borrow().is_none());
    let spec = dying_in("vault", 1..99).escalates();
    let vault = beneath.start_child(spec).await.expect("a child");
    let error = loop {
        tokio::select! {
            biased;
            changed = escalation.changed() => {
                changed.expect("the tree lives");
                break escalation.borrow().clone().expect("an error");
            }
            () = stage.clock.until_waits(1) => {
                stage.clock.advance(stage.clock.next_wait().unwrap_or_default());
            }
        }
    };
    assert_eq!(error.to_string(), "beneath/vault can not be kept running: no bread");
    assert_eq!(echo(&vault, 1).await, Err(AskError::Stopped));
}

#[tokio::test]
async fn a_start_that_fails_later_is_an_exit_like_any_other() {
    let mut stage = Stage::set().await;
    let attempts = AtomicU32::new(0);
    let spec = ChildSpec::new("baker", move |spawning: Spawning<Ask>| {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(attempt != 3, "a panic in the starter");
        Box::pin(async move {
            if attempt == 2 {
                return Err(ractor::SpawnErr::StartupFailed("no flour".into()));
            }
            let handle = spawning.handle.clone();
            let actor = TestActor { incarnation: attempt, dies_at_once: false, handle };
            TestActor::spawn_linked(None, actor, (), spawning.supervisor).await
        })
    });
    let handle = stage.root.start_child(spec.policy(eager())).await.expect("a child");
    stage.root.crash_child("baker").await;
    assert_eq!(echo(&handle, 1).await, Ok((4, 1)));
    let EventKind::ActorRestarted { restarts, reason, .. } = stage.event().await else {
        panic!("no restart");
    };
    assert_eq!((restarts, reason.as_str()), (3, "did not start: the starter panicked"));
}

#[tokio::test]
async fn a_first_start_that_fails_is_told_and_leaves_nothing_behind() {
    let stage = Stage::set().await;
    let own = Error::from(AskError::Overloaded);
    let spec = ChildSpec::<Ask>::new("baker", move |_| {
        let own = own.clone();
        Box::pin(async move { Err(ractor::SpawnErr::StartupFailed(Box::new(own))) })
    });
    let error = stage.root.start_child(spec).await.expect_err("it fails");
    assert!(error.is_overloaded(), "the starter's own error");
    assert!(stage.root.tree().await.children.is_empty());
    assert!(stage.root.start_child(sound("baker")).await.is_ok(), "the name is free");
    let error = stage.root.start_child(sound("baker")).await.expect_err("it is taken");
    assert_eq!(error.to_string(), "there is an actor baker already, choose another name");
}

#[tokio::test]
async fn temporary_and_transient_children_end_as_they_say() {
    let stage = Stage::set().await;
    for (spec, last_words) in [
        (sound("login").restart(Restart::Temporary), Ask::Panic("burnt")),
        (sound("login").restart(Restart::Transient), Ask::Leave),
    ] {
        let handle = stage.root.start_child(spec).await.expect("the name is free");
        handle.send(last_words).expect("sent");
        assert_eq!(echo(&handle, 1).await, Err(AskError::Stopped));
        assert!(stage.root.tree().await.children.is_empty());
    }
    let transient = sound("login").restart(Restart::Transient);
    let handle = stage.root.start_child(transient).await.expect("a child");
    handle.send(Ask::Panic("burnt")).expect("sent");
    assert_eq!(echo(&handle, 1).await, Ok((2, 1)));
}

#[tokio::test]
async fn a_supervisor_that_dies_comes_back_with_its_children() {
    let mut stage = Stage::set().await;
    let bakery = stage.root.start_supervisor("bakery").await.expect("a supervisor");
    let baker = bakery.start_child(sound("baker")).await.expect("a child");
    assert!(stage.root.crash_child("bakery").await);
    assert_eq!(echo(&baker, 1).await, Ok((2, 1)));
    assert!(bakery.start_child(sound("apprentice")).await.is_ok());
    let mut restarted = Vec::new();
    for _ in 0..2 {
        let EventKind::ActorRestarted { actor, .. } = stage.event().await else { panic!() };
        restarted.push(actor);
    }
    restarted.sort();
    assert_eq!(restarted, ["bakery", "bakery/baker"]);
}

#[tokio::test]
async fn the_tree_shows_what_lives_and_what_does_not() {
    let stage = Stage::set().await;
    let bakery = stage.root.start_supervisor("bakery").await.expect("a supervisor");
    let baker = bakery.start_child(sound("baker")).await.expect("a child");
    assert!(stage.root.crash_child("bakery/baker").await, "a path leads beneath");
    echo(&baker, 1).await.expect("it is back");
    let leaf = TreeNode {
        name: "baker".to_owned(),
        status: ChildStatus::Running,
        restarts: 1,
        children: vec![],
    };
    let bakery =
        TreeNode { name: "bakery".to_owned(), restarts: 0, children: vec![leaf.clone()], ..leaf };
    let root =
        TreeNode { name: "root".to_owned(), restarts: 0, children: vec![bakery.clone()], ..bakery };
    assert_eq!(stage.root.tree().await, root);
}

#[tokio::test]
async fn two_trees_with_equal_names_live_side_by_side() {
    let (one, two) = (Stage::set().await, Stage::set().await);
    let first = one.root.start_child(sound("baker")).await.expect("a child");
    let second = two.root.start_child(sound("baker")).await.expect("a child");
    assert!(one.root.drain(Duration::from_secs(1)).await.is_empty());
    assert_eq!(echo(&first, 1).await, Err(AskError::Stopped));
    assert_eq!(echo(&second, 1).await, Ok((1, 1)));
}
