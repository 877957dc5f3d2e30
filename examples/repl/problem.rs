//! Why a command failed, in words that say what to do, and the nearest word to one that is unknown.

use std::fmt;
use std::process::ExitCode;

/// A command that failed, in words for the one who typed it.
#[derive(Debug)]
pub(crate) struct Problem {
    text: String,
    of_settings: bool,
}

/// How a command ends: with what it has to say, or with why it could not be done.
pub(crate) type Answer = Result<String, Problem>;

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), of_settings: false }
    }

    /// Why the runtime did not start.
    pub(crate) fn at_start(error: &tokenward::Error) -> Self {
        Self { text: error.to_string(), of_settings: error.is_configuration() }
    }

    /// Why `account` could not be used, with the command that helps.
    pub(crate) fn with(account: &str, error: tokenward::Error) -> Self {
        let (signs_in, opens) = (error.needs_reauthorization(), error.is_circuit_open());
        let problem = Self::from(error);
        if signs_in {
            problem.advice(&format!("with: sign-in {account}"))
        } else if opens {
            let provider = account.split(':').next().unwrap_or(account);
            problem.advice(&format!("or let calls through now: breaker {provider} closed"))
        } else {
            problem
        }
    }

    /// The status with which the program ends.
    pub(crate) fn status(&self) -> ExitCode {
        if self.of_settings { ExitCode::from(2) } else { ExitCode::FAILURE }
    }

    /// There is no such thing; names the nearest one, and all there are when they are few.
    pub(crate) fn unknown(kind: &str, given: &str, known: &[&str]) -> Self {
        let mut text = format!("there is no {kind} {given}");
        if let Some(near) = nearest(given, known) {
            text.push_str(", did you mean ");
            text.push_str(near);
            text.push('?');
        } else if !known.is_empty() && known.len() <= 10 {
            text.push_str(", there are: ");
            text.push_str(&known.join(", "));
        }
        Self::new(text)
    }

    /// Adds what to do about it.
    pub(crate) fn advice(mut self, text: &str) -> Self {
        self.text.push_str(if self.text.ends_with('?') { " " } else { ", " });
        self.text.push_str(text);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<tokenward::Error> for Problem {
    fn from(error: tokenward::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The word of `known` that was probably meant: at most a third of its letters are different.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = |word: &str| distance(given, word);
    let word = known.iter().copied().min_by_key(|word| far(word))?;
    let begins = given.len() >= 3 && word.starts_with(given);
    (begins || far(word) * 3 <= word.chars().count().max(3)).then_some(word)
}

/// How many letters to insert, drop, change or swap with their neighbour to get from one word to
/// the other.
fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let mut rows = vec![(0..=two.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=two.len() {
            let changed = usize::from(one[i - 1] != two[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][two.len()]
}
