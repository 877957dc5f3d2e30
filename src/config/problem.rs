//! What is wrong with the settings: all of it at once, each problem with its setting and source.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// One setting that is missing or can not be used.
///
/// [`Problems::iter`] goes through all of them.
///
/// ```
/// use tokenward::catalog;
///
/// let mut spec = catalog::orange();
/// spec.health.path = Some("status".to_owned());
/// let problems = spec.problems();
/// assert_eq!(problems[0].setting, "health.path");
/// println!("{}", problems[0]); // the setting, its source, and what to do
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The name of the setting, as its source spells it.
    pub setting: String,
    /// Where it comes from: `environment`, `provider openai`.
    pub source: String,
    /// What is wrong and what to do. Never the value: it may be a secret.
    pub text: String,
}

impl Problem {
    /// What is wrong with `setting`, which comes from `source`, and what to do: for
    /// [`Provider::problems`](crate::Provider::problems) of a provider of your own. `text` never has
    /// the value: it may be a secret.
    pub fn new(
        setting: impl Into<String>,
        source: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), source: source.into(), text: text.into() }
    }

    /// The text for a time that has to pass and is none.
    pub(crate) const NO_TIME: &str = "is zero, set a longer time";

    /// The text for the size of an answer that is none.
    pub(crate) const NO_ROOM: &str = "is zero, so that no answer would fit";
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.setting, self.source, self.text)
    }
}

/// Everything that is wrong with the settings. There is at least one problem.
///
/// ```
/// use tokenward::Settings;
///
/// let text = "[sessions]\ntimeout = \"soon\"\n[vault]\npaht = \"agent.vault\"\n";
/// let problems = Settings::new().with_toml("host.toml", text).check().expect_err("two mistakes");
/// for problem in problems.iter() {
///     println!("{problem}"); // where it stands, and what to do
/// }
/// assert!(problems.iter().any(|problem| problem.setting == "sessions.timeout"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` when `problems` is empty.
    ///
    /// # Errors
    ///
    /// All of `problems`, when there are any.
    pub fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings can not be used")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::new(ErrorKind::Configuration, problems.to_string())
    }
}
