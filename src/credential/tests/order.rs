//! Events that come earlier, later, or at the same time as one would think.

use super::*;
use crate::error::Error;

fn known(world: &mut World) {
    world.apply(&Op::SignIn);
}

fn step(world: &mut World, event: Event) -> Vec<Effect> {
    world.core.step(event, Evidence { now: world.now, noise: 7 })
}

fn is_parked(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Park))
}

fn is_renewed(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Renew { .. }))
}

fn refusal(effects: &[Effect]) -> Option<&Error> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answer(Err(error)) | Effect::AnswerAll(Err(error)) => Some(error),
        _ => None,
    })
}

/// An actor that was just started, and what the vault will say of its credential.
fn starting() -> (World, Loaded) {
    let mut world = World::new();
    known(&mut world);
    let material = world.stored.clone();
    world.start_again();
    (world, Loaded { material, ..Loaded::default() })
}

#[test]
fn whoever_asks_for_a_renewal_while_one_is_under_way_shares_it() {
    let mut world = World::new();
    known(&mut world);
    assert!(is_renewed(&step(&mut world, Event::Refresh)));
    let effects = step(&mut world, Event::Refresh);
    assert!(is_parked(&effects) && !is_renewed(&effects), "{effects:?}");
}

#[test]
fn a_renewal_by_hand_waits_until_the_shortest_interval_has_passed() {
    let mut world = World::new();
    known(&mut world);
    world.step(Event::Refresh);
    for _ in 0..4 {
        world.progress(Luck::Good);
    }
    assert_eq!(world.core.generation(), Generation(2));
    world.step(Event::Invalidate);
    let effects = step(&mut world, Event::Refresh);
    assert!(!is_renewed(&effects), "at most one renewal a second: {effects:?}");
    assert!(is_parked(&effects), "{effects:?}");
    let due = world.core.next_deadline(world.now).expect("it is renewed then");
    assert_eq!(world.now.until(due), Duration::from_secs(1));
}

#[test]
fn a_token_that_is_invalidated_before_the_vault_answered_is_not_served() {
    let (mut world, loaded) = starting();
    step(&mut world, Event::Invalidate);
    step(&mut world, Event::Loaded(loaded));
    assert_eq!(world.core.usable(world.now), Usable::No);
}

#[test]
fn a_token_that_is_refused_before_the_vault_answered_is_renewed() {
    let (mut world, loaded) = starting();
    let generation = loaded.material.as_ref().expect("material").generation;
    assert!(is_parked(&step(&mut world, Event::Rejected { generation })));
    let effects = step(&mut world, Event::Loaded(loaded));
    assert!(is_renewed(&effects), "{effects:?}");
}

#[test]
fn an_older_token_that_is_refused_before_the_vault_answered_changes_nothing() {
    let (mut world, loaded) = starting();
    step(&mut world, Event::Rejected { generation: Generation(0) });
    assert!(!is_renewed(&step(&mut world, Event::Loaded(loaded))));
    assert!(matches!(world.core.usable(world.now), Usable::Until(_)));
}

#[test]
fn a_renewal_that_was_asked_for_before_a_failed_load_is_not_made_later() {
    let (mut world, loaded) = starting();
    assert!(is_parked(&step(&mut world, Event::Refresh)));
    step(&mut world, Event::LoadFailed { reason: "disk on fire".to_owned(), lasting: false });
    assert!(!is_renewed(&step(&mut world, Event::Loaded(loaded))), "nobody waits for it");
}

#[test]
fn a_vault_that_can_not_be_read_again_asks_nobody_to_sign_in() {
    let mut world = World::new();
    known(&mut world);
    step(&mut world, Event::Refresh);
    let base = world.core.generation();
    step(&mut world, Event::Renewed { base, outcome: RenewalOutcome::Superseded });
    let effects = step(&mut world, Event::Refresh);
    assert!(is_parked(&effects), "the vault is about to answer: {effects:?}");
    step(&mut world, Event::LoadFailed { reason: "disk on fire".to_owned(), lasting: false });
    world.now = world.now.after(Duration::from_hours(2));
    let effects = step(&mut world, Event::Acquire);
    let error = refusal(&effects).expect("there is no token");
    assert!(!error.needs_reauthorization() && error.is_transient(), "{error}");
}

#[test]
fn a_sign_out_that_ends_late_does_not_end_the_one_after_it() {
    let mut world = World::new();
    known(&mut world);
    step(&mut world, Event::SignOut);
    let first = world.core.generation();
    let material = world.mint(first.next());
    step(&mut world, Event::SignedIn { material, unsaved: None });
    step(&mut world, Event::SignOut);
    let second = world.core.generation();
    let failed = Err("disk full".to_owned());
    step(&mut world, Event::Erased { generation: second, result: failed, revoked: true });
    step(&mut world, Event::Erased { generation: first, result: Ok(()), revoked: true });
    assert!(world.core.next_deadline(world.now).is_some(), "it is erased again");
}

/// The generations of the sign-outs and sign-ins that are reported, in their order.
fn reported(effects: &[Effect]) -> Vec<&'static str> {
    let reported = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(EventKind::SignedOut { .. }) => Some("signed out"),
        Effect::Emit(EventKind::SignedIn { .. }) => Some("signed in"),
        _ => None,
    });
    reported.collect()
}

#[test]
fn a_sign_out_is_reported_once_and_before_the_sign_in_that_overtakes_it() {
    let mut world = World::new();
    known(&mut world);
    step(&mut world, Event::SignOut);
    let first = world.core.generation();
    let material = world.mint(first.next());
    let effects = step(&mut world, Event::SignedIn { material, unsaved: None });
    assert_eq!(reported(&effects), ["signed out", "signed in"]);
    let effects =
        step(&mut world, Event::Erased { generation: first, result: Ok(()), revoked: true });
    assert_eq!(reported(&effects), [""; 0], "not a second time");
}

#[test]
fn each_of_two_sign_outs_is_reported_in_whatever_order_they_end() {
    for late_first in [false, true] {
        let mut world = World::new();
        known(&mut world);
        step(&mut world, Event::SignOut);
        let first = world.core.generation();
        step(&mut world, Event::SignOut);
        let second = world.core.generation();
        let order = if late_first { [second, first] } else { [first, second] };
        for generation in order {
            let erased = Event::Erased { generation, result: Ok(()), revoked: true };
            assert_eq!(reported(&step(&mut world, erased)), ["signed out"]);
        }
    }
}
