//! Where an assertion comes from. Nothing of it is kept: whoever issues it replaces it long before a
//! program ends.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::secret::Secret;

/// The longest assertion, in bytes: more is another file.
const LONGEST: usize = 64 * 1024;

/// Where the assertion of an exchange by RFC 7523 is found. It is read for each exchange. In
/// settings it is `{ file = "path" }` or `{ env = "NAME" }`.
///
/// ```
/// use tokenward::Secret;
/// use tokenward::provider::AssertionSource;
///
/// // Read afresh for each exchange: from a file, from a variable, or from the host itself.
/// let from_a_file = AssertionSource::file("/run/secrets/assertion.jwt");
/// let obtain = || async { Ok(Secret::new("header.claims.signature")) };
/// let from_the_host = AssertionSource::function(obtain);
/// assert_ne!(from_a_file, from_the_host);
/// ```
#[derive(Clone)]
pub struct AssertionSource(Place);

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Variable(String),
    Function(Arc<dyn Fn() -> BoxFuture<'static, Result<Secret, Error>> + Send + Sync>),
}

impl AssertionSource {
    /// A file that holds the assertion and is replaced from time to time, such as a projected
    /// service account token.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// An environment variable that holds it.
    pub fn variable(name: impl Into<String>) -> Self {
        Self(Place::Variable(name.into()))
    }

    /// A function that obtains it.
    pub fn function<F, A>(obtain: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Secret, Error>> + Send + 'static,
    {
        Self(Place::Function(Arc::new(move || Box::pin(obtain()))))
    }

    /// The assertion as it is now, or why there is none, with what to do about it.
    pub(super) async fn read(&self) -> Result<Secret, String> {
        self.read_with(|name| std::env::var(name).ok()).await
    }

    /// The same where `variable` looks up what the environment holds.
    async fn read_with(
        &self,
        variable: impl Fn(&str) -> Option<String> + Send,
    ) -> Result<Secret, String> {
        let (text, place) = match &self.0 {
            Place::File(path) => {
                let read = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&read)).await;
                let place = format!("the assertion file {}", path.display());
                let text = read
                    .unwrap_or_else(|_| Err(std::io::Error::other("reading it was interrupted")))
                    .map_err(|error| format!("{place} can not be read, check it: {error}"))?;
                (text, place)
            }
            Place::Variable(name) => {
                let place = format!("the variable {name}");
                let text =
                    variable(name).ok_or_else(|| format!("{place} holds no assertion, set it"))?;
                (Zeroizing::new(text), place)
            }
            Place::Function(obtain) => {
                let obtained = obtain().await.map_err(|error| {
                    format!("the assertion can not be obtained, check its source: {error}")
                })?;
                let text = Zeroizing::new(obtained.expose().to_owned());
                (text, "the function for assertions".to_owned())
            }
        };
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "{place} gives no assertion, let it give one jwt and nothing else"
            ));
        }
        Ok(Secret::new(text))
    }
}

/// No more of the file than an assertion can be long.
fn read_file(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST + 2));
    let limit = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

impl PartialEq for AssertionSource {
    /// The same place; functions are equal when they are clones.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::File(one), Place::File(other)) => one == other,
            (Place::Variable(one), Place::Variable(other)) => one == other,
            (Place::Function(one), Place::Function(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for AssertionSource {}

/// A place as settings write it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Written {
    File(PathBuf),
    Env(String),
}

impl Serialize for AssertionSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Place::File(path) => Written::File(path.clone()).serialize(to),
            Place::Variable(name) => Written::Env(name.clone()).serialize(to),
            Place::Function(_) => Err(S::Error::custom("a function can not be written down")),
        }
    }
}

impl<'de> Deserialize<'de> for AssertionSource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match Written::deserialize(from)? {
            Written::File(path) => Place::File(path),
            Written::Env(name) => Place::Variable(name),
        }))
    }
}

impl fmt::Debug for AssertionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => f.debug_tuple("File").field(path).finish(),
            Place::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
            Place::Function(_) => f.write_str("Function"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_file_is_read_each_time_and_its_line_break_is_not_part_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let source = AssertionSource::file(&path);
        let missing = source.read().await.expect_err("no file yet");
        assert!(missing.contains("can not be read") && missing.contains("token"), "{missing}");
        for text in ["a.b.c\n", " d.e.f"] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(source.read().await, Ok(Secret::new(text.trim())));
        }
    }

    #[tokio::test]
    async fn what_is_no_assertion_is_refused_and_not_quoted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        for text in ["", "\n", "canary two", "canary\u{e9}", &"canary".repeat(20_000)] {
            std::fs::write(&path, text).expect("written");
            let why = AssertionSource::file(&path).read().await.expect_err("no assertion");
            assert!(!why.contains("canary"), "{why}");
        }
        std::fs::write(&path, b"canary\xff").expect("written");
        let why = AssertionSource::file(&path).read().await.expect_err("no text");
        assert!(!why.contains("canary"), "{why}");
    }

    #[tokio::test]
    async fn a_function_and_a_variable_are_sources_too() {
        let source = AssertionSource::function(|| async { Ok(Secret::new("a.b.c")) });
        assert_eq!(source.read().await, Ok(Secret::new("a.b.c")));
        let down = || async { Err(Error::new(ErrorKind::Transient, "the issuer is down")) };
        let why = AssertionSource::function(down).read().await.expect_err("down");
        assert!(why.contains("the issuer is down"), "{why}");
        let unset = AssertionSource::variable("TOKENWARD_TEST_NO_SUCH_VARIABLE");
        assert!(unset.read().await.is_err_and(|why| why.contains("set it")));
        let held = |name: &str| (name == "ASSERTION").then(|| "a.b.c\n".to_owned());
        let read = AssertionSource::variable("ASSERTION").read_with(held).await;
        assert_eq!(read, Ok(Secret::new("a.b.c")));
    }

    #[test]
    fn a_place_reads_back_as_it_is_written_and_a_function_is_not() {
        let source: AssertionSource =
            serde_json::from_str(r#"{"file":"/run/token"}"#).expect("a place");
        assert_eq!(source, AssertionSource::file("/run/token"));
        assert_eq!(serde_json::to_string(&source).expect("plain"), r#"{"file":"/run/token"}"#);
        let source: AssertionSource = serde_json::from_str(r#"{"env":"NAME"}"#).expect("a place");
        assert_eq!(source, AssertionSource::variable("NAME"));
        let function = AssertionSource::function(|| async { Ok(Secret::new("x")) });
        assert!(serde_json::to_string(&function).is_err());
        assert_eq!(function, function.clone());
        assert_ne!(function, source);
    }
}
