//! One value of a setting, with where it comes from; secrets among them are never shown.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::endpoint::names_a_user;
use super::origin::Origin;
use super::schema::{Kind, Known};
use crate::secret::{Secret, file};

/// The longest secret in a file, in bytes: more is another file.
const LONGEST_SECRET: usize = 64 * 1024;

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// What a setting is set to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Plain(toml::Value),
    Secret(Secret),
    SecretIn(Place),
}

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    Env(String),
    File(PathBuf),
}

impl Value {
    /// `value` as `known` takes it, or the problem with it. `folder` is where relative paths of
    /// secrets begin.
    pub(crate) fn of(
        known: &Known,
        value: toml::Value,
        folder: Option<&Path>,
    ) -> Result<Self, String> {
        if known.kind == Kind::Secret {
            return match value {
                toml::Value::String(text) => Ok(Self::Secret(Secret::from(text))),
                table => match table.try_into() {
                    Ok(Place::File(path)) => Ok(Self::SecretIn(Place::File(within(folder, &path)))),
                    Ok(Place::Env(name)) if !is_variable_name(&name) => {
                        Err("names no variable: a name has letters, digits and _".to_owned())
                    }
                    Ok(place @ Place::Env(_)) => Ok(Self::SecretIn(place)),
                    Err(_) => Err(
                        "is not a secret: write { env = \"NAME\" } or { file = \"path\" }, or the \
                         text itself where nobody else can read it"
                            .to_owned(),
                    ),
                },
            };
        }
        let value = match known.kind {
            Kind::Path => from_folder(folder, value),
            _ => value,
        };
        let removed = known.kind == Kind::Removable && value.as_bool() == Some(false);
        if removed || (known.fits)(&value) {
            return Ok(Self::Plain(value));
        }
        let or_none = if known.kind == Kind::Removable { ", or false for none" } else { "" };
        Err(format!("does not fit, write {}{or_none}", known.takes))
    }

    /// The text of a secret, read from where it stands; `None` where it is no secret.
    pub(crate) fn secret(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Result<Secret, String>> {
        match self {
            Self::Plain(_) => None,
            Self::Secret(secret) => Some(Ok(secret.clone())),
            Self::SecretIn(Place::Env(name)) => {
                let found = variable(name).filter(|text| !text.is_empty()).map(Secret::from);
                Some(found.ok_or_else(|| format!("the variable {name} is not set, set it")))
            }
            Self::SecretIn(Place::File(path)) => Some(read_secret(path)),
        }
    }

    /// What may be shown of it.
    pub(crate) fn shown(&self, kind: Kind) -> String {
        match self {
            Self::SecretIn(Place::Env(name)) => format!("the secret in the variable {name}"),
            Self::SecretIn(Place::File(path)) => format!("the secret in {}", path.display()),
            Self::Secret(_) => "a secret".to_owned(),
            Self::Plain(value)
                if kind == Kind::Secret || kind == Kind::Withheld || holds_a_user(value) =>
            {
                "(not shown)".to_owned()
            }
            Self::Plain(value) => {
                serde_json::to_string(value).unwrap_or_else(|_| "(not shown)".to_owned())
            }
        }
    }
}

/// Whether an address with a user or a password is anywhere in `value`. It is refused, and not shown
/// before that either.
fn holds_a_user(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => Url::parse(text).is_ok_and(|url| names_a_user(&url)),
        toml::Value::Array(values) => values.iter().any(holds_a_user),
        toml::Value::Table(table) => table.values().any(holds_a_user),
        _ => false,
    }
}

/// What else stands where a name should may be the secret itself, and is not repeated.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A path in a file is meant from the folder of that file.
fn within(folder: Option<&Path>, path: &Path) -> PathBuf {
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// The same for a value that is a path, or a table whose `file` is one.
fn from_folder(folder: Option<&Path>, value: toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => {
            // A folder whose name is no text leaves the path as it was written.
            let whole = within(folder, Path::new(&text)).into_os_string().into_string();
            toml::Value::String(whole.unwrap_or(text))
        }
        toml::Value::Table(mut table) => {
            if let Some(file) = table.remove("file") {
                table.insert("file".to_owned(), from_folder(folder, file));
            }
            toml::Value::Table(table)
        }
        other => other,
    }
}

/// The file's text without the line break at its end.
fn read_secret(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let text = file::read(path, LONGEST_SECRET).map_err(|why| format!("the file {shown} {why}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("the file {shown} is empty, write the secret into it")),
        secret => Ok(Secret::new(secret)),
    }
}
