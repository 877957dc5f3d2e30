//! What a host configures: a TOML file, environment variables and the program itself, merged
//! setting by setting, each value with where it came from.

mod complete;
mod explain;
mod providers;
mod resolve;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::schema::Found;
use crate::config::value::{Entry, Value};
use crate::config::{Environment, Origin, Problem, Problems, SettingPath, file};
use crate::secret::Secret;

pub use explain::{Explained, Explanation};
pub(crate) use resolve::{OfferedKey, Resolved};
use schema::SCHEMA;

/// The settings of a runtime, from all the places that they come from.
///
/// A variable wins over a file and the program wins over both, setting by setting and whatever the
/// order of the calls; of two files, the later one wins. Nothing fails until the settings are
/// used: everything that is wrong with them is then told at once.
///
/// ```no_run
/// use tokenward::{Runtime, Settings};
///
/// # async fn example() -> Result<(), tokenward::Error> {
/// let settings = Settings::load("tokenward.toml");
/// let runtime = Runtime::builder().settings(settings).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Settings {
    /// All values that each setting was given, the one that wins last.
    given: BTreeMap<SettingPath, Vec<Entry>>,
    /// The sections that were named, which is how a provider is selected.
    sections: BTreeMap<SettingPath, Origin>,
    /// What was set for every provider, by the setting's name within one.
    everywhere: Vec<(SettingPath, Entry)>,
    problems: Vec<Problem>,
    /// Whether a file could not be read at all, so that what seems to be missing may stand there.
    broken: bool,
    variables: Option<Variables>,
}

type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl Settings {
    /// No settings yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The settings of the file at `path`, and of the environment of this process.
    pub fn load(path: impl AsRef<Path>) -> Self {
        Self::new().with_file(path).with_environment()
    }

    /// Adds a TOML file. Relative paths in it are meant from its folder.
    #[must_use]
    pub fn with_file(mut self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = zeroize::Zeroizing::new(text);
                self.read(&text, &name, path.parent());
            }
            Err(error) => {
                let text = format!("can not be read: {error}, create it or correct the path");
                self.broken = true;
                self.problems.push(Problem { setting: name, source: "file".to_owned(), text });
            }
        }
        self
    }

    /// Adds a TOML document that was read elsewhere; `name` stands for it in messages.
    #[must_use]
    pub fn with_toml(mut self, name: &str, text: &str) -> Self {
        self.read(text, name, None);
        self
    }

    /// Adds the environment of this process: the variables that [`Environment`] documents.
    #[must_use]
    pub fn with_environment(self) -> Self {
        self.with_variables(process_variable)
    }

    /// Adds variables from elsewhere than this process. References such as `{ env = "NAME" }` are
    /// looked up there too.
    #[must_use]
    pub fn with_variables(
        mut self,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let (environment, problems) = Environment::layer(&lookup);
        self.variables = Some(Arc::new(lookup));
        self.problems.extend(problems);
        for found in environment.settings() {
            let origin = Origin::Variable(found.variable.to_owned());
            let entry = Entry { value: found.value, origin };
            match found.setting.strip_prefix("providers.*.") {
                Some(within) => self.everywhere.push((SettingPath::parse(within), entry)),
                None => self.add(SettingPath::parse(&found.setting), entry),
            }
        }
        self
    }

    /// Sets one setting from the program, by the name that a file has for it:
    /// `settings.set("providers.openai.client", "public")`.
    #[must_use]
    pub fn set(mut self, setting: &str, value: impl Serialize) -> Self {
        match toml::Value::try_from(value) {
            Ok(value) => self.set_value(setting, |known| Value::of(known, value, None)),
            Err(_) => self.refuse(setting, "can not be written as toml, give plain data"),
        }
        self
    }

    /// Sets one setting that is a secret from the program.
    #[must_use]
    pub fn set_secret(mut self, setting: &str, secret: impl Into<Secret>) -> Self {
        use crate::config::schema::Kind;
        let secret = secret.into();
        self.set_value(setting, |known| match known.kind {
            Kind::Secret => Ok(Value::Secret(secret)),
            _ => Err("is no secret, use set".to_owned()),
        });
        self
    }

    /// Checks everything that a runtime would be made of, and starts nothing.
    ///
    /// # Errors
    ///
    /// All settings that are missing or can not be used, each with its name and its source.
    pub fn check(&self) -> Result<(), Problems> {
        Problems::check(self.resolve(true).1)
    }

    fn read(&mut self, text: &str, name: &str, folder: Option<&Path>) {
        let document = file::read(text, name, folder, SCHEMA);
        self.broken |= document.broken;
        self.problems.extend(document.problems);
        self.sections.extend(document.sections);
        for (path, entry) in document.settings {
            self.add(path, entry);
        }
    }

    fn set_value(
        &mut self,
        setting: &str,
        make: impl FnOnce(&crate::config::schema::Known) -> Result<Value, String>,
    ) {
        let path = SettingPath::parse(setting);
        match SCHEMA.find(&path) {
            Found::Setting(known) => match make(known) {
                Ok(value) => self.add(path, Entry { value, origin: Origin::Builder }),
                Err(text) => self.refuse(setting, &text),
            },
            Found::Section => self.refuse(setting, "is a section, set the settings beneath it"),
            Found::Unknown(Some(meant)) => {
                self.refuse(setting, &format!("is no setting, did you mean `{meant}`?"));
            }
            Found::Unknown(None) => self.refuse(setting, "is no setting"),
        }
    }

    fn refuse(&mut self, setting: &str, text: &str) {
        let (setting, source) = (setting.to_owned(), Origin::Builder.to_string());
        self.problems.push(Problem { setting, source, text: text.to_owned() });
    }

    /// Adds a value after those of its rank and before those of a higher one.
    fn add(&mut self, path: SettingPath, entry: Entry) {
        let given = self.given.entry(path).or_default();
        let rank = entry.origin.rank();
        let at = given.partition_point(|earlier| earlier.origin.rank() <= rank);
        given.insert(at, entry);
    }

    /// The value that wins.
    fn chosen(&self, path: &SettingPath) -> Option<&Entry> {
        self.given.get(path)?.last()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.as_ref().map_or_else(|| process_variable(name), |lookup| lookup(name))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("given", &self.explain().to_string())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

/// A value that is not Unicode is kept as damaged text, so that its check refuses it.
fn process_variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
