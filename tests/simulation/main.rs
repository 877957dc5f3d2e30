//! The whole runtime on simulated time, with faults in the network, the provider, the store, the clocks
//! and the actors, all of which a seed decides.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how many seeds are lived through; without it, a few. A failure tells the
//! seed, and with that in `TOKENWARD_SOAK_SEED` the same happens again, as far as the order of two
//! threads allows. `TOKENWARD_SOAK_ALOUD` tells everything that happens.

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

use crate::authority::Figures;
use crate::world::World;

/// How many seeds are lived through, unless the environment says so.
const SEEDS: u64 = 40;

#[test]
fn whatever_fails_nobody_is_signed_out_by_it_and_nothing_is_lost_or_stuck() {
    let seeds = seeds(SEEDS);
    let mut all = Figures::default();
    for seed in &seeds {
        let mut world = World::new(*seed);
        world.run();
        all.add(world.figures());
    }
    println!("{} seeds: {all:?}", seeds.len());
}

/// How many seeds go over real HTTP, unless the environment says so.
const SEEDS_ON_THE_WIRE: u64 = 8;

#[tokio::test]
async fn whatever_comes_over_http_nobody_is_signed_out_by_it_and_nothing_is_stuck() {
    for seed in seeds(SEEDS_ON_THE_WIRE) {
        wire::run(seed).await;
    }
}

/// The seeds to live through: the one that is asked for, or as many as are.
fn seeds(few: u64) -> Vec<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    if let Some(seed) = number("TOKENWARD_SOAK_SEED") {
        return vec![seed];
    }
    (0..number("TOKENWARD_SOAK_ROUNDS").unwrap_or(few)).collect()
}
