//! Vaults with many credentials: what they take in memory and how long it takes to start with them. What is
//! measured there has a process of its own, which is this program again.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::table::Report;
use crate::{measure, memory, start, stock};

/// Credentials of one vault.
pub(crate) const SOME: u32 = 100_000;
pub(crate) const MANY: u32 = 1_000_000;

/// What a process measures that is started to do nothing else: it has the path of a vault, and prints numbers.
pub(crate) type Alone = (&'static str, fn(&Path) -> Vec<f64>);

pub(crate) fn run(report: &mut Report) {
    let folder = measure::folder();
    let runtime = measure::tokio();
    let (some, many) = (folder.path().join("some"), folder.path().join("many"));
    runtime.block_on(stock::fill(&some, SOME));
    memory::of_live(report, &some);
    runtime.block_on(start::with_some(report, &some));
    runtime.block_on(stock::fill(&many, MANY));
    memory::of_idle(report, &many);
    runtime.block_on(start::with_many(report, &many));
}

/// What `name` measures in a process of its own.
pub(crate) fn alone<const N: usize>(name: &str, path: &Path) -> [f64; N] {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args(["--alone", name]).arg(path).output();
    let output = output.expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let numbers: Vec<f64> = text.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.try_into().expect("as many as there are")
}

/// The other side of [`alone`].
pub(crate) fn measure_alone(name: &str, path: &Path) -> ExitCode {
    let mut all = memory::ALONE.iter().chain(start::ALONE);
    let Some((_, measure)) = all.find(|(known, _)| *known == name) else {
        return ExitCode::from(2);
    };
    for number in measure(path) {
        println!("{number}");
    }
    ExitCode::SUCCESS
}
