//! Commands from a person at a terminal: line editing, history, completion, and events that appear
//! above the line that is being typed.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as handover};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};

use crate::commands::greeting;
use crate::completion::{Completion, Vocabulary};
use crate::grammar::{Command, may_be_secret, parse};
use crate::host::Host;
use crate::leaving::told_to_end;
use crate::problem::{Answer, Problem};
use crate::repl::{Aside, Repl, say};
use crate::screen::{Palette, Tone, fold};

/// Talks until the person leaves.
pub(crate) async fn run(host: Host) -> Result<ExitCode, Problem> {
    let palette = Palette { colour: io::stdout().is_terminal() && !no_colour() };
    let vocabulary = Arc::new(Mutex::new(Vocabulary::default()));
    let (mut keyboard, aside) = Keyboard::start(palette, vocabulary.clone()).await?;
    let mut repl = Repl::new(host, palette, aside);
    tell_if_the_runtime_fails(&repl);
    keyboard.print(&greeting(&repl));
    tokio::select! {
        () = talk(&mut repl, &mut keyboard, &vocabulary) => {}
        () = told_to_end() => {}
    }
    keyboard.print(&palette.paint(Tone::Faint, "stopping"));
    repl.stop().await?;
    Ok(ExitCode::SUCCESS)
}

async fn talk(repl: &mut Repl, keyboard: &mut Keyboard, vocabulary: &Mutex<Vocabulary>) {
    loop {
        let known = Vocabulary::of(repl).await;
        *vocabulary.lock().unwrap_or_else(PoisonError::into_inner) = known;
        let answer = match keyboard.read(prompt(repl)).await {
            Typed::Line(line) if line.trim().is_empty() => Ok(String::new()),
            Typed::Line(line) => match parse(&line) {
                Ok(Command::Quit) => return,
                Ok(command) => interruptible(repl, command).await,
                Err(problem) => Err(problem),
            },
            Typed::Interrupted => Ok(repl.palette.paint(Tone::Faint, "ctrl-d or quit leaves")),
            Typed::End => return,
        };
        match answer {
            Ok(text) => keyboard.print(&text),
            Err(problem) => {
                let error = repl.palette.paint(Tone::Bad, "error:");
                keyboard.print(&format!("{error} {problem}"));
            }
        }
    }
}

/// Carries a command out, or leaves it alone when ctrl-c is pressed.
async fn interruptible(repl: &mut Repl, command: Command) -> Answer {
    tokio::select! {
        answer = repl.carry_out(command) => answer,
        _ = tokio::signal::ctrl_c() => {
            // The terminal has shown ^C on this line.
            let _ = io::stdout().write_all(b"\n");
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
    width: Width,
}

/// How many characters a line of the terminal has, as last seen.
type Width = Arc<AtomicUsize>;

impl Keyboard {
    /// Opens the terminal, and gives what prints beside the line that is being typed.
    async fn start(
        palette: Palette,
        vocabulary: Arc<Mutex<Vocabulary>>,
    ) -> Result<(Self, Aside), Problem> {
        let (prompts, wanted) = handover::channel();
        let (sender, typed) = mpsc::channel(1);
        let (opened, opening) = oneshot::channel();
        let width = Width::default();
        let seen = width.clone();
        std::thread::spawn(move || match open(vocabulary, &seen) {
            Ok((editor, aside)) => {
                if opened.send(Ok(aside)).is_ok() {
                    edit(editor, palette, &wanted, &sender, &seen);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        });
        let aside = opening.await.map_err(|error| unusable(&error))?;
        Ok((Self { prompts, typed, width }, aside.map_err(|error| unusable(&error))?))
    }

    /// The next line.
    async fn read(&mut self, prompt: String) -> Typed {
        if self.prompts.send(prompt).is_err() {
            return Typed::End;
        }
        self.typed.recv().await.unwrap_or(Typed::End)
    }

    /// Prints an answer, if there is anything in it. A terminal that is gone shows nothing.
    fn print(&self, text: &str) {
        if !text.is_empty() {
            // In one piece: events are printed at the same time.
            let _ = io::stdout().write_all(format!("{}\n", folded(text, &self.width)).as_bytes());
        }
    }
}

type LineEditor = Editor<Completion, DefaultHistory>;

fn open(
    vocabulary: Arc<Mutex<Vocabulary>>,
    width: &Width,
) -> rustyline::Result<(LineEditor, Aside)> {
    // Lines that are pasted are commands one after the other, not one text.
    let config = Config::builder().completion_type(CompletionType::List).bracketed_paste(false);
    let config = config.build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Completion::new(vocabulary)));
    measure(&mut editor, width);
    let mut printer = editor.create_external_printer()?;
    let width = width.clone();
    let aside: Aside = Arc::new(Mutex::new(move |line: String| {
        let _ = printer.print(format!("{}\n", folded(&line, &width)));
    }));
    Ok((editor, aside))
}

fn edit(
    mut editor: LineEditor,
    palette: Palette,
    prompts: &handover::Receiver<String>,
    typed: &mpsc::Sender<Typed>,
    width: &Width,
) {
    while let Ok(prompt) = prompts.recv() {
        let styled = palette.paint(Tone::Strong, &prompt);
        let input = match editor.readline(&(prompt, styled)) {
            Ok(line) => {
                if !may_be_secret(&line) {
                    let _ = editor.add_history_entry(&line);
                }
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupted,
            Err(_) => Typed::End,
        };
        measure(&mut editor, width);
        if typed.blocking_send(input).is_err() {
            return;
        }
    }
}

fn measure(editor: &mut LineEditor, width: &Width) {
    if let Some((columns, _)) = editor.dimensions() {
        width.store(columns.into(), Ordering::Relaxed);
    }
}

fn folded(text: &str, width: &Width) -> String {
    match width.load(Ordering::Relaxed) {
        0 => text.to_owned(),
        width => fold(text, width),
    }
}

fn unusable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(format!("this terminal can not be used, give a --script instead: {error}"))
}
