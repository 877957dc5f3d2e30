//! Where the value of a setting comes from, and which of two origins wins.

use std::fmt;

/// Where the value of a setting comes from. A later one of these wins over an earlier one, setting
/// by setting.
///
/// ```
/// use tokenward::Settings;
/// use tokenward::config::Origin;
///
/// let settings = Settings::new().with_toml("host.toml", "[sessions]\ntimeout = \"1h\"\n");
/// let origin = settings.origin("sessions.timeout").expect("it is set");
/// assert_eq!(origin, Origin::File { file: "host.toml".to_owned(), line: 2 });
/// assert_eq!(origin.to_string(), "host.toml:2");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The catalogue's data of this built-in provider.
    Preset(String),
    /// A line of a TOML file.
    File {
        /// The file, as it was named.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// The program.
    Builder,
}

impl Origin {
    /// What decides between two values of one setting. Of equal ranks, what was said last.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::Preset(_) => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::Builder => 3,
        }
    }

    /// Whether somebody set it, rather than nobody.
    pub(crate) fn is_set(&self) -> bool {
        self.rank() > 0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Builder => f.write_str("builder"),
        }
    }
}
