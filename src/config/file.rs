//! Reads a TOML document against the schema: each setting with its line, and all that is wrong.

use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::origin::Origin;
use super::path::SettingPath;
use super::problem::Problem;
use super::schema::{Found, Schema};
use super::value::{Entry, Value};

/// What a document says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Its settings, in the order of their names.
    pub(crate) settings: Vec<(SettingPath, Entry)>,
    /// The sections that it names, also those without a setting.
    pub(crate) sections: Vec<(SettingPath, Origin)>,
    /// What is wrong with it, in the order of its lines.
    pub(crate) problems: Vec<Problem>,
    /// Whether it is no TOML, so that none of its settings could be read.
    pub(crate) broken: bool,
}

/// Reads `text`, which stands in `file`. Relative paths of secrets are meant from `folder`.
pub(crate) fn read(text: &str, file: &str, folder: Option<&Path>, schema: Schema) -> Document {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader =
        Reader { text, file, folder, schema, document: Document::default(), problems: Vec::new() };
    if errors.is_empty() {
        reader.table(&SettingPath::default(), root.get_ref());
    }
    for error in &errors {
        // Only the message: the whole error quotes the line, which may hold a secret.
        let at = error.span().map_or(0, |span| span.start);
        reader.problem(at, "(syntax)", &format!("is not toml: {}", one_line(error.message())));
    }
    let Reader { mut document, mut problems, .. } = reader;
    document.broken = !errors.is_empty();
    problems.sort_by_key(|(at, _)| *at);
    document.problems = problems.into_iter().map(|(_, problem)| problem).collect();
    document
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
    folder: Option<&'a Path>,
    schema: Schema,
    document: Document,
    /// With the byte at which each begins.
    problems: Vec<(usize, Problem)>,
}

impl Reader<'_> {
    fn table(&mut self, above: &SettingPath, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = above.join(key.get_ref());
            let at = key.span().start;
            match self.schema.find(&path) {
                Found::Setting(known) => {
                    let given = plain(value).and_then(|value| Value::of(known, value, self.folder));
                    match given {
                        Ok(value) => {
                            let entry = Entry { value, origin: self.origin(at) };
                            self.document.settings.push((path, entry));
                        }
                        Err(text) => self.problem(at, &path.to_string(), &text),
                    }
                }
                Found::Section => match value.get_ref() {
                    DeValue::Table(table) => {
                        self.document.sections.push((path.clone(), self.origin(at)));
                        self.table(&path, table);
                    }
                    _ => self.problem(
                        at,
                        &path.to_string(),
                        &format!("is a section, write its settings beneath [{path}]"),
                    ),
                },
                Found::Unknown(meant) => {
                    let meant = meant.map_or_else(
                        || "remove it".to_owned(),
                        |meant| format!("did you mean `{meant}`?"),
                    );
                    self.problem(at, &path.to_string(), &format!("is no setting, {meant}"));
                }
            }
        }
    }

    fn problem(&mut self, at: usize, setting: &str, text: &str) {
        let (setting, source) = (setting.to_owned(), self.origin(at).to_string());
        self.problems.push((at, Problem { setting, source, text: text.to_owned() }));
    }

    fn origin(&self, at: usize) -> Origin {
        let line = 1 + self.text.get(..at).unwrap_or_default().matches('\n').count();
        Origin::File { file: self.file.to_owned(), line }
    }
}

fn plain(value: &Spanned<DeValue<'_>>) -> Result<toml::Value, String> {
    toml::Value::deserialize(ValueDeserializer::from(value.clone()))
        .map_err(|_| "can not be read, write it more simply".to_owned())
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(", ")
}
