//! Commands without a person: each is echoed, answers are plain lines, and the first command that
//! fails ends it.

use std::io::{self, BufRead, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::grammar::{Command, parse};
use crate::host::Host;
use crate::leaving::told_to_end;
use crate::problem::{Answer, Problem};
use crate::repl::{Aside, Repl};
use crate::screen::{Palette, human};

/// How long one command may take: longer than the longest `wait`.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs `lines` to their end, to `quit`, or to the first command that fails.
pub(crate) async fn run(host: Host, lines: Box<dyn BufRead + Send>) -> Result<ExitCode, Problem> {
    let aside: Aside = Arc::new(Mutex::new(|line: String| print(&line)));
    let repl = Repl::new(host, Palette { colour: false }, aside);
    let mut script = Script { repl, last: String::new() };
    let outcome = tokio::select! {
        outcome = script.run(read(lines)) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Problem::new("interrupted")),
        () = told_to_end() => Err(Problem::new("terminated")),
    };
    if let Err(problem) = &outcome {
        eprintln!("error: {problem}");
    }
    script.repl.stop().await?;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Script {
    repl: Repl,
    /// What the last command said, for `expect`.
    last: String,
}

impl Script {
    async fn run(&mut self, mut lines: mpsc::Receiver<io::Result<String>>) -> Result<(), Problem> {
        let mut number = 0;
        while let Some(line) = lines.recv().await {
            number += 1;
            let at = |problem| Problem::new(format!("line {number}: {problem}"));
            let line = line.map_err(|error| {
                at(Problem::new(format!("the script can not be read: {error}")))
            })?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            print(&format!("> {line}"));
            let command = parse(line).map_err(at)?;
            if matches!(command, Command::Quit) {
                break;
            }
            let outcome = timeout(PATIENCE, self.carry_out(command)).await;
            let late = |_| Err(Problem::new(format!("not done after {}", human(PATIENCE))));
            outcome.unwrap_or_else(late).map_err(at)?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), Problem> {
        match command {
            Command::Expect { text, wanted } => {
                if self.last.contains(&text) == wanted {
                    return Ok(());
                }
                let complaint = if wanted { "does not contain" } else { "contains" };
                return Err(Problem::new(format!("the last answer {complaint}: {text}")));
            }
            Command::ExpectError(line) => match self.answer(&line).await {
                Ok(_) => return Err(Problem::new(format!("this was to fail: {line}"))),
                Err(problem) => self.last = format!("error: {problem}"),
            },
            command => self.last = self.repl.carry_out(command).await?,
        }
        print(&self.last);
        Ok(())
    }

    async fn answer(&mut self, line: &str) -> Answer {
        self.repl.carry_out(parse(line)?).await
    }
}

/// Reads lines on a thread of its own, since a pipe may let it wait.
fn read(lines: Box<dyn BufRead + Send>) -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in lines.lines() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

/// Prints a line, if there is anything in it. A reader that is gone ends nothing: what the
/// commands do is worth doing all the same.
fn print(text: &str) {
    if !text.is_empty() {
        // In one piece: events are printed at the same time.
        let _ = io::stdout().write_all(format!("{text}\n").as_bytes());
    }
}
