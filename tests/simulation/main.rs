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
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::authority::Figures;
use crate::world::World;

/// How many seeds are lived through, unless the environment says so.
const SEEDS: u64 = 200;

#[test]
fn whatever_fails_nobody_is_signed_out_by_it_and_nothing_is_lost_or_stuck() {
    let seeds = seeds(SEEDS);
    let (next, all) = (AtomicU64::new(seeds.start), Mutex::new(Figures::default()));
    let live = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return;
            }
            let mut world = World::new(seed);
            world.run();
            all.lock().expect("no world failed").add(world.figures());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(live);
        }
    });
    println!("seeds {seeds:?}: {:?}", all.into_inner().expect("no world failed"));
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

/// What a failure ends with.
fn tell_how_to_repeat(seed: u64) {
    eprintln!("to see it again: TOKENWARD_SOAK_SEED={seed} cargo test --test simulation");
}
