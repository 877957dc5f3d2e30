//! The words that follow a command's name, taken one by one; what is missing or too much is told
//! with how the command is written.

use std::str::FromStr;

use crate::grammar::Entry;
use crate::problem::Problem;

/// The words after a command's name.
pub(crate) struct Words<'a> {
    rest: &'a str,
    entry: &'static Entry,
}

impl<'a> Words<'a> {
    pub(crate) fn new(rest: &'a str, entry: &'static Entry) -> Self {
        Self { rest: rest.trim(), entry }
    }

    /// The next word.
    pub(crate) fn word(&mut self) -> Result<String, Problem> {
        self.optional().ok_or_else(|| self.incomplete())
    }

    /// The next word, if there is one.
    pub(crate) fn optional(&mut self) -> Option<String> {
        let (word, rest) = self.rest.split_once(char::is_whitespace).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// The next word, if there is one, as a value that is read from text.
    pub(crate) fn optional_as<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
    ) -> Result<Option<T>, Problem> {
        self.optional().map(|word| read(&word)).transpose()
    }

    /// The next word, as a value that is read from text.
    pub(crate) fn word_as<T: FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T, Problem> {
        read(&self.word()?)
    }

    /// All that is left.
    pub(crate) fn text(&mut self) -> Result<String, Problem> {
        self.optional_text().ok_or_else(|| self.incomplete())
    }

    /// All that is left, if there is anything.
    pub(crate) fn optional_text(&mut self) -> Option<String> {
        let text = std::mem::take(&mut self.rest);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The next word, which has to be one of `choices`.
    pub(crate) fn one_of(&mut self, choices: &[&'static str]) -> Result<&'static str, Problem> {
        let word = self.word()?;
        let chosen = choices.iter().copied().find(|choice| *choice == word);
        chosen.ok_or_else(|| self.wrong(&word))
    }

    /// The next word, which has to be a number.
    pub(crate) fn number(&mut self) -> Result<usize, Problem> {
        let word = self.word()?;
        self.read_number(&word)
    }

    /// A word as a number.
    pub(crate) fn read_number(&self, word: &str) -> Result<usize, Problem> {
        word.parse().map_err(|_| self.wrong(word))
    }

    /// Nothing may be left.
    pub(crate) fn end(&mut self) -> Result<(), Problem> {
        match self.optional() {
            None => Ok(()),
            Some(word) => Err(self.wrong(&word)),
        }
    }

    fn incomplete(&self) -> Problem {
        Problem::new(format!("{} needs more, write: {}", self.entry.name, self.entry.usage()))
    }

    /// A word that can not stand where it does.
    pub(crate) fn wrong(&self, word: &str) -> Problem {
        Problem::new(format!("{word} does not belong there, write: {}", self.entry.usage()))
    }
}

fn read<T: FromStr<Err: std::fmt::Display>>(word: &str) -> Result<T, Problem> {
    word.parse().map_err(|error| Problem::new(format!("{word}: {error}")))
}
