//! Commands from a person at a terminal: line editing, history, completion, and events that appear
//! above the line that is being typed.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, mpsc as handover};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};

use crate::commands::greeting;
use crate::completion::{Completion, Vocabulary};
use crate::grammar::{Command, parse};
use crate::host::Host;
use crate::problem::{Answer, Problem};
use crate::repl::{Aside, Repl, say};
use crate::screen::{Palette, Tone};

/// Talks until the person leaves.
pub(crate) async fn run(host: Host) -> Result<ExitCode, Problem> {
    let palette = Palette { colour: io::stdout().is_terminal() && !no_colour() };
    let vocabulary = Arc::new(Mutex::new(Vocabulary::default()));
    let (mut keyboard, aside) = Keyboard::start(palette, vocabulary.clone()).await?;
    let mut repl = Repl::new(host, palette, aside);
    tell_if_the_runtime_fails(&repl);
    println!("{}", greeting(&repl));
    loop {
        let known = Vocabulary::of(&repl).await;
        *vocabulary.lock().unwrap_or_else(PoisonError::into_inner) = known;
        match keyboard.read(prompt(&repl)).await {
            Typed::Line(line) if line.trim().is_empty() => {}
            Typed::Line(line) => match parse(&line) {
                Ok(Command::Quit) => break,
                Ok(command) => print(palette, interruptible(&mut repl, command).await),
                Err(problem) => print(palette, Err(problem)),
            },
            Typed::Interrupted => println!("{}", palette.paint(Tone::Faint, "quit leaves")),
            Typed::End => break,
        }
    }
    println!("{}", palette.paint(Tone::Faint, "stopping"));
    repl.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// Carries a command out, or leaves it alone when ctrl-c is pressed.
async fn interruptible(repl: &mut Repl, command: Command) -> Answer {
    tokio::select! {
        answer = repl.carry_out(command) => answer,
        _ = tokio::signal::ctrl_c() => {
            Err(Problem::new("interrupted; what was begun goes on by itself"))
        }
    }
}

fn tell_if_the_runtime_fails(repl: &Repl) {
    let (runtime, aside) = (repl.host.runtime.clone(), repl.aside.clone());
    tokio::spawn(async move {
        let error = runtime.failed().await;
        say(&aside, format!("the runtime has stopped, quit and start again: {error}"));
    });
}

fn prompt(repl: &Repl) -> String {
    match repl.active() {
        Some(provider) => format!("{} {provider}> ", repl.user),
        None => format!("{}> ", repl.user),
    }
}

fn print(palette: Palette, answer: Answer) {
    match answer {
        Ok(text) if text.is_empty() => {}
        Ok(text) => println!("{text}"),
        Err(problem) => println!("{} {problem}", palette.paint(Tone::Bad, "error:")),
    }
}

/// Whether the person wants no colours (<https://no-color.org>).
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// What came from the keyboard.
enum Typed {
    Line(String),
    Interrupted,
    End,
}

/// The line editor, on a thread of its own: it waits for keys as long as it takes.
struct Keyboard {
    prompts: handover::Sender<String>,
    typed: mpsc::Receiver<Typed>,
}

impl Keyboard {
    /// Opens the terminal, and gives what prints beside the line that is being typed.
    async fn start(
        palette: Palette,
        vocabulary: Arc<Mutex<Vocabulary>>,
    ) -> Result<(Self, Aside), Problem> {
        let (prompts, wanted) = handover::channel();
        let (sender, typed) = mpsc::channel(1);
        let (opened, opening) = oneshot::channel();
        std::thread::spawn(move || match open(vocabulary) {
            Ok((editor, aside)) => {
                if opened.send(Ok(aside)).is_ok() {
                    edit(editor, palette, &wanted, &sender);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        });
        let aside = opening.await.map_err(|error| unusable(&error))?;
        Ok((Self { prompts, typed }, aside.map_err(|error| unusable(&error))?))
    }

    /// The next line.
    async fn read(&mut self, prompt: String) -> Typed {
        if self.prompts.send(prompt).is_err() {
            return Typed::End;
        }
        self.typed.recv().await.unwrap_or(Typed::End)
    }
}

type LineEditor = Editor<Completion, DefaultHistory>;

fn open(vocabulary: Arc<Mutex<Vocabulary>>) -> rustyline::Result<(LineEditor, Aside)> {
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Completion::new(vocabulary)));
    let mut printer = editor.create_external_printer()?;
    let aside: Aside = Arc::new(Mutex::new(move |line: String| {
        // A terminal that is gone shows nothing any more.
        let _ = printer.print(format!("{line}\n"));
    }));
    Ok((editor, aside))
}

fn edit(
    mut editor: LineEditor,
    palette: Palette,
    prompts: &handover::Receiver<String>,
    typed: &mpsc::Sender<Typed>,
) {
    while let Ok(prompt) = prompts.recv() {
        let styled = palette.paint(Tone::Strong, &prompt);
        let input = match editor.readline(&(prompt, styled)) {
            Ok(line) => {
                // What is pasted may be a code: it is not kept.
                if !line.trim_start().starts_with("paste") {
                    let _ = editor.add_history_entry(&line);
                }
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupted,
            Err(_) => Typed::End,
        };
        if typed.blocking_send(input).is_err() {
            return;
        }
    }
}

fn unusable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(format!("this terminal can not be used, give a --script instead: {error}"))
}
