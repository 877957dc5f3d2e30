//! What was chosen for each setting, and why, without a secret.

use std::fmt;

use super::Settings;
use super::schema::SCHEMA;
use crate::config::schema::{Found, Kind};
use crate::config::value::{Entry, Value};
use crate::config::{Origin, SettingPath};

/// What was chosen for one setting.
///
/// ```
/// use tokenward::Settings;
///
/// let settings = Settings::new().with_toml("host.toml", "[sessions]\ntimeout = \"1h\"\n");
/// let explained = settings.explain_setting("sessions.timeout").expect("it is set");
/// assert_eq!(explained.to_string(), "sessions.timeout = \"1h\", by host.toml:2, over default");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explained {
    /// Its name.
    pub setting: String,
    /// What may be shown of its value; of a secret, where it stands.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// The values that it won over, the strongest first.
    pub over: Vec<Origin>,
    /// What to be aware of: a secret that stands openly in a file, a variable that nothing uses.
    pub note: Option<&'static str>,
}

/// What was chosen for each setting, and why: one line each when printed.
///
/// ```
/// use tokenward::Settings;
///
/// let settings = Settings::new().with_toml("host.toml", "[sessions]\ntimeout = \"1h\"\n");
/// print!("{}", settings.explain()); // a line for everything that is set, without secrets
/// assert!(settings.explain().iter().any(|it| it.setting == "sessions.timeout"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation(Vec<Explained>);

impl Settings {
    /// Where the value of a setting comes from: `settings.origin("providers.openai.base_url")`.
    /// None where it has no value, or there is no such setting.
    pub fn origin(&self, setting: &str) -> Option<Origin> {
        let path = SettingPath::parse(setting);
        self.completed().chosen(&path).map(|entry| entry.origin.clone())
    }

    /// What was chosen for one setting, and why. None as for [`Settings::origin`].
    pub fn explain_setting(&self, setting: &str) -> Option<Explained> {
        let path = SettingPath::parse(setting);
        let completed = self.completed();
        let given = completed.given.get(&path)?;
        completed.explained(&path, given)
    }

    /// What was chosen for every setting that a file, a variable or the program sets.
    pub fn explain(&self) -> Explanation {
        let completed = self.completed();
        let given = completed.given.iter();
        let explained = given.filter_map(|(path, given)| completed.explained(path, given));
        Explanation(explained.filter(|it| it.origin.is_set()).collect())
    }

    /// What to be aware of, though it can be used: secrets that stand openly in a file.
    pub fn warnings(&self) -> Vec<String> {
        let explanation = self.explain();
        let noted = explanation.iter().filter_map(|it| it.note.map(|note| (it, note)));
        noted.map(|(it, note)| format!("{} ({}): {note}", it.setting, it.origin)).collect()
    }

    fn explained(&self, path: &SettingPath, given: &[Entry]) -> Option<Explained> {
        let (chosen, others) = given.split_last()?;
        let kind = match SCHEMA.find(path) {
            Found::Setting(known) => known.kind,
            Found::Section | Found::Unknown(_) => Kind::Withheld,
        };
        Some(Explained {
            setting: path.to_string(),
            value: chosen.value.shown(kind),
            origin: chosen.origin.clone(),
            over: others.iter().rev().map(|entry| entry.origin.clone()).collect(),
            note: self.note(path, chosen),
        })
    }

    fn note(&self, path: &SettingPath, chosen: &Entry) -> Option<&'static str> {
        match (&chosen.value, &chosen.origin) {
            (Value::Secret(_), Origin::File { .. }) => Some(
                "the secret stands openly in a file, move it to { env = \"NAME\" } or \
                 { file = \"path\" }",
            ),
            (_, Origin::Variable(_)) => {
                let provider = path.after(&SettingPath::parse("providers")).and_then(<[_]>::first);
                let unused = provider.is_some_and(|id| !self.selected().contains_key(id));
                unused.then_some("nothing uses it, no such provider is selected")
            }
            _ => None,
        }
    }
}

impl Explanation {
    /// Each setting, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Explained> {
        self.0.iter()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|explained| writeln!(f, "{explained}"))
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}, by {}", self.setting, self.value, self.origin)?;
        for (index, origin) in self.over.iter().enumerate() {
            write!(f, "{}{origin}", if index == 0 { ", over " } else { " and " })?;
        }
        self.note.map_or(Ok(()), |note| write!(f, " ({note})"))
    }
}
