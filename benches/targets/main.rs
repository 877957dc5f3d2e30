//! What this crate costs over its floors: every number that `docs/performance.md` has, each over what
//! the same machine needs at least, measured in the same run.
//!
//! `cargo bench` measures everything and prints one table at the end. `cargo bench -- vault storm` measures
//! the groups that are named, `--quick` with a fifth of the turns. `--plot FILE` draws the table, too.

mod bare;
mod callers;
mod http;
mod measure;
mod memory;
mod plot;
mod scale;
mod server;
mod size;
mod start;
mod stock;
mod storm;
mod table;
mod vault;

use std::path::Path;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use table::Report;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// What a group is called, and what measures it.
type Group = (&'static str, fn(&mut Report));

const GROUPS: &[Group] = &[
    ("http", http::run),
    ("callers", callers::run),
    ("storm", storm::run),
    ("vault", vault::run),
    ("server", server::run),
    ("scale", scale::run),
    ("size", size::run),
];

fn main() -> ExitCode {
    // `cargo bench` says so to every benchmark.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [option, what, path] = arguments.as_slice()
        && option == "--alone"
    {
        return scale::measure_alone(what, Path::new(path));
    }
    let Some(wanted) = Wanted::from(&arguments) else {
        let groups: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: cargo bench -- [--quick] [--plot FILE] [{}]...", groups.join("|"));
        return ExitCode::from(2);
    };
    let mut report = Report::new(wanted.quick);
    for (name, run) in GROUPS {
        if wanted.groups.is_empty() || wanted.groups.contains(name) {
            run(&mut report);
        }
    }
    print!("{report}");
    if let Some(file) = wanted.plot
        && let Err(error) = std::fs::write(file, plot::svg(report.rows()))
    {
        eprintln!("{file} can not be written: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What is asked for.
#[derive(Default)]
struct Wanted<'a> {
    quick: bool,
    /// Where the picture of the table goes.
    plot: Option<&'a str>,
    /// None named: all of them.
    groups: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    /// None when it makes no sense.
    fn from(arguments: &'a [String]) -> Option<Self> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "--quick" => wanted.quick = true,
                "--plot" => wanted.plot = Some(arguments.next()?),
                group => {
                    wanted.groups.push(GROUPS.iter().map(|it| it.0).find(|it| *it == group)?);
                }
            }
        }
        Some(wanted)
    }
}
