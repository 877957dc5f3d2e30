//! Where the master key comes from: an environment variable, a file, or the host. Whatever is not
//! 32 good bytes, or can be read by others, is refused with the reason and with what to do.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::error::VaultError;
use super::keys::random_key;
use super::seal::KeyBytes;
use crate::clock::Entropy;
use crate::secret::file::{self, Unreadable};

/// More than any encoding of a key takes, so that a wrong path does not fill memory.
const LONGEST_FILE: usize = 4 * 1024;

/// The key that everything in a vault hangs on: 32 random bytes, written as base64 or as 64
/// hexadecimal digits.
///
/// It is looked at when the vault is opened; whatever is wrong with it is reported then.
#[derive(Clone)]
pub struct MasterKey(Source);

#[derive(Clone)]
enum Source {
    Environment { name: String, value: Option<Zeroizing<String>> },
    File { path: PathBuf, create: bool },
    Given(KeyBytes),
}

impl MasterKey {
    /// The key in the environment variable `name`, which is read now and only now.
    pub fn from_env(name: impl Into<String>) -> Self {
        let name = name.into();
        // What is not text can not be a key either; it is kept so that it is refused, not missed.
        let value = std::env::var_os(&name).map(|value| value.into_string().unwrap_or_default());
        Self::from_variable(name, value)
    }

    /// The key in the environment variable `name`, whose value was read already.
    pub(crate) fn from_variable(name: String, value: Option<String>) -> Self {
        Self(Source::Environment { name, value: value.map(Zeroizing::new) })
    }

    /// The key in the file at `path`. On Unix the file must belong to the user of this process
    /// and must not be open to any other.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File { path: path.into(), create: false })
    }

    /// The key itself. The caller wipes its own copy.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self(Source::Given(Zeroizing::new(key)))
    }

    /// Lets a key file that is missing be created with a fresh key, for a vault that is new too.
    /// An existing vault is never given a new key. Other sources are not changed by this.
    #[must_use]
    pub fn create_if_missing(mut self) -> Self {
        if let Source::File { create, .. } = &mut self.0 {
            *create = true;
        }
        self
    }

    /// Where the key comes from, in words.
    pub(crate) fn describe(&self) -> String {
        match &self.0 {
            Source::Environment { name, .. } => format!("environment variable {name}"),
            Source::File { path, .. } => format!("file {}", path.display()),
            Source::Given(_) => "the host".to_owned(),
        }
    }

    /// The key, as it stands in its source.
    pub(crate) fn load(&self) -> Result<KeyBytes, VaultError> {
        match &self.0 {
            Source::Environment { name, value: None } => Err(VaultError::missing_key(format!(
                "there is no master key: set the environment variable {name} to 32 random bytes \
                 as base64 or hexadecimal"
            ))),
            Source::Environment { value: Some(text), .. } => self.decode(text),
            Source::File { path, .. } => self.decode(&read_private(path)?),
            Source::Given(key) => Ok(key.clone()),
        }
    }

    /// Whether a missing key may be created.
    pub(crate) fn can_be_created(&self) -> bool {
        matches!(self.0, Source::File { create: true, .. })
    }

    /// Creates the key in its source and reads it back, so that nothing is ever sealed with a key
    /// that was not kept.
    pub(crate) fn create(&self, entropy: &dyn Entropy) -> Result<KeyBytes, VaultError> {
        if let Source::File { path, create: true } = &self.0 {
            let key = random_key(entropy)?;
            write_private(path, &key).map_err(|error| {
                VaultError::missing_key(format!(
                    "the master key file {} can not be created: {error}",
                    path.display()
                ))
            })?;
            if self.load()? != key {
                return Err(VaultError::unusable_key(format!(
                    "the master key file {} does not hold what was written to it, check its disk",
                    path.display()
                )));
            }
        }
        self.load()
    }

    /// The key that `text` writes.
    fn decode(&self, text: &str) -> Result<KeyBytes, VaultError> {
        decode(text.trim()).ok_or_else(|| {
            VaultError::unusable_key(format!(
                "the master key in the {} is not 32 bytes as base64 or hexadecimal (a passphrase \
                 is not a key), make one with `openssl rand -base64 32`",
                self.describe()
            ))
        })
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.describe())
    }
}

/// Reads hexadecimal where there are 64 characters, base64 of either alphabet otherwise.
fn decode(text: &str) -> Option<KeyBytes> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() == 64 {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            let high = char::from(*digits.first()?).to_digit(16)?;
            let low = char::from(*digits.last()?).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        return Some(key);
    }
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let bytes = Zeroizing::new(engines.iter().find_map(|engine| engine.decode(text).ok())?);
    key.copy_from_slice(bytes.get(..32).filter(|_| bytes.len() == 32)?);
    Some(key)
}

/// The text of a key file that only we can read.
fn read_private(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    match file::read(path, LONGEST_FILE) {
        // What is no text is refused with the words for what is no key.
        Err(Unreadable::NotText { .. }) => Ok(Zeroizing::default()),
        Err(Unreadable::Failed(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(VaultError::missing_key(format!(
                "there is no master key: the file {} does not exist, create it or correct the path",
                path.display()
            )))
        }
        found => found.map_err(|error| {
            VaultError::unusable_key(format!("the master key file {} {error}", path.display()))
        }),
    }
}

/// Writes the key to a new file that only we can read, durably.
fn write_private(path: &Path, key: &KeyBytes) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    let text = Zeroizing::new(STANDARD.encode(key.as_slice()));
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    #[cfg(unix)]
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    fn in_env(value: &str) -> MasterKey {
        let value = Some(Zeroizing::new(value.to_owned()));
        MasterKey(Source::Environment { name: "KEY".to_owned(), value })
    }

    #[test]
    fn a_key_is_read_as_base64_or_hexadecimal() {
        let key: Vec<u8> = (200..232).collect();
        let hex: Vec<String> = key.iter().map(|byte| format!("{byte:02X}")).collect();
        let hex = hex.concat();
        let encodings =
            [STANDARD.encode(&key), URL_SAFE_NO_PAD.encode(&key), hex.to_lowercase(), hex + "\n"];
        for text in encodings {
            assert_eq!(in_env(&text).load().expect("a key").as_slice(), key, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused_without_being_repeated() {
        for text in ["", "correct horse battery staple", &STANDARD.encode([1; 31]), &"g".repeat(64)]
        {
            let error = in_env(text).load().expect_err("refused");
            assert!(error.is_unusable_key());
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
    }

    #[test]
    fn an_unset_variable_is_a_missing_key() {
        let key = MasterKey::from_env("TOKENWARD_TEST_VARIABLE_THAT_NO_ONE_SETS");
        let error = key.load().expect_err("missing");
        assert!(error.is_missing_key());
        assert!(error.to_string().contains("TOKENWARD_TEST_VARIABLE_THAT_NO_ONE_SETS"));
    }

    #[test]
    fn a_key_file_is_created_only_when_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys").join("master");
        let key = MasterKey::from_file(&path);
        assert!(key.load().is_err_and(|error| error.is_missing_key()));
        assert!(!key.can_be_created());
        let key = key.create_if_missing();
        let created = key.create(&SystemEntropy::new()).expect("created");
        assert_eq!(key.load().expect("read"), created);
        assert!(key.create(&SystemEntropy::new()).is_err(), "never a second time");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master");
        fs::write(&path, STANDARD.encode([1; 32])).expect("a file");
        for (mode, good) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(MasterKey::from_file(&path).load().is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn debug_shows_where_the_key_is_and_not_the_key() {
        let text = STANDARD.encode([1; 32]);
        assert_eq!(format!("{:?}", in_env(&text)), "MasterKey(environment variable KEY)");
        assert_eq!(format!("{:?}", MasterKey::from_bytes([1; 32])), "MasterKey(the host)");
    }
}
