//! The whole runtime on simulated time, with faults in the network, the provider, the store, the clocks
//! and the actors, all of which a seed decides.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how many seeds are lived through; without it, a few. A failure tells the
//! seed, and with that in `TOKENWARD_SOAK_SEED` the same happens again, as far as the order of two
//! threads allows; with both, it is the first of so many. `TOKENWARD_SOAK_ALOUD` tells everything that
//! happens.

mod authority;
mod chance;
mod deeds;
mod model;
mod plan;
mod process;
mod time;
mod weather;
mod wire;
mod world;

use std::ops::Range;

use crate::authority::Figures;
use crate::world::World;

/// How many seeds are lived through, unless the environment says so.
const SEEDS: u64 = 40;

#[test]
fn whatever_fails_nobody_is_signed_out_by_it_and_nothing_is_lost_or_stuck() {
    let seeds = seeds(SEEDS);
    let mut all = Figures::default();
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        world.run();
        all.add(world.figures());
    }
    println!("seeds {seeds:?}: {all:?}");
}

/// How many seeds go over real HTTP, unless the environment says so.
const SEEDS_ON_THE_WIRE: u64 = 8;

#[tokio::test]
async fn whatever_comes_over_http_nobody_is_signed_out_by_it_and_nothing_is_stuck() {
    for seed in seeds(SEEDS_ON_THE_WIRE) {
        wire::run(seed).await;
    }
}

/// The seeds to live through: a few, or as many as are asked for, from the one that is asked for.
fn seeds(few: u64) -> Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (first, few) = match number("TOKENWARD_SOAK_SEED") {
        Some(seed) => (seed, 1),
        None => (0, few),
    };
    first..first + number("TOKENWARD_SOAK_ROUNDS").unwrap_or(few)
}
