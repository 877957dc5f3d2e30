//! How things look: colours where there is a terminal for them, aligned columns, durations as
//! people say them.

use std::time::{Duration, SystemTime};

use tokenward::event::{CredentialState, HealthState};
use tokenward::supervision::ChildStatus;

/// Writes with colours, or without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    pub(crate) colour: bool,
}

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Faint,
    Strong,
    Good,
    Busy,
    Bad,
}

impl Palette {
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Faint => "2",
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Lines `rows` up in columns. The last column is as wide as it is.
    pub(crate) fn table(self, rows: &[Vec<Cell>]) -> String {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            rows.iter()
                .filter(|row| column + 1 < row.len())
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let lines = rows.iter().map(|row| {
            let mut line = String::new();
            let mut padding = 0;
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&" ".repeat(padding));
                line.push_str(&self.paint(cell.tone, &cell.text));
                padding = width.saturating_sub(cell.text.chars().count()) + 2;
            }
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// One field of a table.
#[derive(Debug)]
pub(crate) struct Cell {
    tone: Tone,
    text: String,
}

/// A field in a tone.
pub(crate) fn cell(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { tone, text: text.into() }
}

/// A row of headings.
pub(crate) fn headings(texts: &[&str]) -> Vec<Cell> {
    texts.iter().map(|text| cell(Tone::Faint, *text)).collect()
}

/// The tone of a credential's state.
pub(crate) fn tone_of_state(state: CredentialState) -> Tone {
    match state {
        CredentialState::Valid => Tone::Good,
        CredentialState::Loading
        | CredentialState::ExpiringSoon
        | CredentialState::Refreshing
        | CredentialState::Degraded
        | CredentialState::Uncertain => Tone::Busy,
        CredentialState::Expired
        | CredentialState::ReauthorizationRequired
        | CredentialState::Unreadable => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// The tone of a provider's health.
pub(crate) fn tone_of_health(state: HealthState) -> Tone {
    match state {
        HealthState::Healthy => Tone::Good,
        HealthState::Unhealthy => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// The tone of how an actor fares.
pub(crate) fn tone_of_status(status: ChildStatus) -> Tone {
    match status {
        ChildStatus::Running => Tone::Good,
        ChildStatus::Restarting => Tone::Busy,
        ChildStatus::Asleep => Tone::Faint,
        _ => Tone::Bad,
    }
}

/// A duration in its two largest units: `1h 5m`, `42s`.
pub(crate) fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let whole = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// How far `time` is from `now`, to the nearest second: `in 42s`, `3s ago`.
pub(crate) fn from_now(time: SystemTime, now: SystemTime) -> String {
    let (apart, passed) = match time.duration_since(now) {
        Ok(left) => (left, false),
        Err(passed) => (passed.duration(), true),
    };
    let seconds = (apart + Duration::from_millis(500)).as_secs();
    match (seconds, passed) {
        (0, _) => "now".to_owned(),
        (seconds, false) => format!("in {}", human(Duration::from_secs(seconds))),
        (seconds, true) => format!("{} ago", human(Duration::from_secs(seconds))),
    }
}

/// `1 restart`, `2 restarts`.
pub(crate) fn count(number: impl Into<u64>, thing: &str) -> String {
    let number = number.into();
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Breaks lines that are wider than `width` between words. What follows is indented as the last
/// column of the line is. A word that is too long alone, such as a URL, is left to the terminal.
pub(crate) fn fold(text: &str, width: usize) -> String {
    text.split('\n').map(|line| fold_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn fold_line(line: &str, width: usize) -> String {
    let indent = last_column(line, width * 2 / 3);
    let (mut folded, mut column) = (String::new(), 0);
    for (gap, word) in words(line) {
        let length = visible_length(word);
        if column > indent && column + gap + length > width && indent + length <= width {
            folded.push('\n');
            folded.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            folded.push_str(&" ".repeat(gap));
            column += gap;
        }
        folded.push_str(word);
        column += length;
    }
    folded
}

/// Where the last column begins that begins before `limit`: after two spaces or more.
fn last_column(line: &str, limit: usize) -> usize {
    let (mut column, mut last) = (0, 0);
    for (gap, word) in words(line) {
        column += gap;
        if gap >= 2 && column < limit {
            last = column;
        }
        column += visible_length(word);
    }
    last
}

/// The words of a line, each with the number of spaces before it.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut gap = 0;
    line.split(' ').enumerate().filter_map(move |(index, word)| {
        gap += usize::from(index > 0);
        (!word.is_empty()).then(|| (std::mem::take(&mut gap), word))
    })
}

/// How wide a word is without its colours.
fn visible_length(word: &str) -> usize {
    let mut in_colour = false;
    let visible = word.chars().filter(|char| match char {
        '\x1b' => {
            in_colour = true;
            false
        }
        'm' if in_colour => {
            in_colour = false;
            false
        }
        _ => !in_colour,
    });
    visible.count()
}
