//! Everything that a program could write down, kept for a search: log lines, and what the test
//! hands in itself.

use std::fmt::{Debug, Display};
use std::io;
use std::sync::{Arc, Mutex};

use tokenward::supervision::{Events, Notice};
use tracing_subscriber::fmt::MakeWriter;

/// The pages on which it all stands. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Capture {
    logged: Arc<Mutex<Vec<u8>>>,
    shown: Arc<Mutex<String>>,
}

impl Capture {
    /// Captures every log line of this process from now on: all levels, all targets, and what
    /// dependencies log by the `log` crate.
    pub(crate) fn start() -> Self {
        let capture = Self::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(capture.clone())
            .init();
        capture
    }

    /// Keeps all events, in both forms.
    pub(crate) fn follow(&self, mut events: Events) {
        let capture = self.clone();
        tokio::spawn(async move {
            while let Some(notice) = events.next().await {
                let Notice::Event(event) = notice else { panic!("an event was missed") };
                let json = serde_json::to_string(&event.kind).expect("json");
                capture.note(format_args!("event {event:?} {json}"));
            }
        });
    }

    /// Keeps what `value` looks like to a debugger.
    pub(crate) fn show(&self, value: &dyn Debug) {
        self.note(format_args!("{value:?}\n{value:#?}"));
    }

    /// Keeps a result: all of an error, with everything that it came from.
    pub(crate) fn result<T: Debug, E: std::error::Error + 'static>(&self, result: &Result<T, E>) {
        match result {
            Ok(value) => self.show(value),
            Err(error) => {
                let mut next: Option<&dyn std::error::Error> = Some(error);
                while let Some(error) = next {
                    self.note(format_args!("error {error} {error:?} {error:#?}"));
                    next = error.source();
                }
            }
        }
    }

    /// Keeps a text.
    pub(crate) fn note(&self, text: impl Display) {
        let mut shown = self.shown.lock().expect("no panic while writing");
        shown.push_str(&text.to_string());
        shown.push('\n');
    }

    /// All log lines.
    pub(crate) fn logged(&self) -> String {
        let logged = self.logged.lock().expect("no panic while writing");
        String::from_utf8_lossy(&logged).into_owned()
    }

    /// All that was handed in.
    pub(crate) fn shown(&self) -> String {
        self.shown.lock().expect("no panic while writing").clone()
    }

    /// How much was searched, for whoever asks for it.
    pub(crate) fn tell_how_much(&self, of_files: usize) {
        let (log, output) = (self.logged().len(), self.shown().len());
        println!("searched: {log} bytes of the log, {output} of output, {of_files} of files");
    }
}

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.logged.lock().expect("no panic while writing").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Capture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
