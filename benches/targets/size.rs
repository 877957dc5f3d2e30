//! The size of a program that has everything in it.

use std::env::consts::EXE_SUFFIX;

use crate::table::{Report, Row};

/// Tells how big the REPL is, where it was built: the release build lies beside this program.
pub(crate) fn run(report: &mut Report) {
    let program = std::env::current_exe().expect("this program");
    let examples = program.ancestors().nth(2).expect("the folder of the build").join("examples");
    match std::fs::metadata(examples.join(format!("repl{EXE_SUFFIX}"))) {
        Ok(file) => {
            let bytes = u32::try_from(file.len()).expect("less than 4 GB");
            report.add(Row::new("release binary of the REPL", "MB", f64::from(bytes) / 1e6));
        }
        Err(_) => eprintln!("no REPL to measure: cargo build --release --example repl"),
    }
}
