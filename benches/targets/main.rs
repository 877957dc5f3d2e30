//! What this crate costs over its floors: every number that `docs/performance.md` has, each over what
//! the same machine needs at least, measured in the same run.
//!
//! `cargo bench` measures everything and prints one table at the end. `cargo bench -- vault storm` measures
//! the groups that are named, `--quick` with a fifth of the turns.

mod bare;
mod http;
mod measure;
mod server;
mod table;
mod vault;

use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use table::Report;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// What a group is called, and what measures it.
type Group = (&'static str, fn(&mut Report));

const GROUPS: &[Group] = &[("http", http::run), ("server", server::run), ("vault", vault::run)];

fn main() -> ExitCode {
    // `cargo bench` says so to every benchmark.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let (options, names): (Vec<_>, Vec<_>) =
        arguments.iter().map(String::as_str).partition(|it| it.starts_with("--"));
    let known = |name: &&str| GROUPS.iter().any(|(group, _)| group == name);
    if !names.iter().all(known) || options.iter().any(|option| *option != "--quick") {
        let groups: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: cargo bench -- [--quick] [{}]...", groups.join("|"));
        return ExitCode::from(2);
    }
    let mut report = Report::new(options.contains(&"--quick"));
    for (name, run) in GROUPS {
        if names.is_empty() || names.contains(name) {
            run(&mut report);
        }
    }
    print!("{report}");
    ExitCode::SUCCESS
}
