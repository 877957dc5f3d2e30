//! Where the master key comes from: an environment variable, a file, the system's keyring or the
//! host; as 32 bytes or as a passphrase. Whatever is not good enough, or can be read by others, is
//! refused with the reason and with what to do.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::file::{read_private, write_private};
#[cfg(feature = "keyring")]
use super::keyring::Keyring;
use super::ring::random_key;
use crate::clock::Entropy;
use crate::secret::Secret;
use crate::vault::error::VaultError;
use crate::vault::passphrase::{self, Derivation};
use crate::vault::seal::KeyBytes;

/// The master key of a vault in memory that was given none. Everybody knows it.
pub(crate) const KNOWN_KEY: [u8; 32] = [0; 32];

/// The key that opens everything in a vault: 32 random bytes, written as base64 or as 64
/// hexadecimal digits, or a passphrase that it is derived from.
///
/// It is looked at when the vault is opened; whatever is wrong with it is reported then.
///
/// ```
/// use tokenward::vault::MasterKey;
///
/// // A variable where there is one, else a file that is made for a new vault.
/// let key = MasterKey::from_env("CREDENTIAL_ENCRYPTION_KEY")
///     .or(MasterKey::from_file("agent.key").create_if_missing());
/// // What stands in a file is a passphrase.
/// let key = MasterKey::from_file("passphrase").as_passphrase();
/// ```
#[derive(Clone)]
pub struct MasterKey(Vec<Candidate>);

/// One place to look at.
#[derive(Clone)]
struct Candidate {
    source: Source,
    /// What stands there is a passphrase.
    passphrase: bool,
    /// A key is made there if there is none.
    create: bool,
}

#[derive(Clone)]
enum Source {
    Environment {
        name: String,
        value: Option<Zeroizing<String>>,
    },
    File(PathBuf),
    #[cfg(feature = "keyring")]
    Keyring(Keyring),
    Given(KeyBytes),
    GivenPassphrase(Secret),
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
        Self::only(Source::Environment { name, value: value.map(Zeroizing::new) })
    }

    /// The key in the file at `path`. On Unix the file must belong to the user of this process
    /// and must not be open to any other.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self::only(Source::File(path.into()))
    }

    /// The key in the keyring of the operating system, under the name `service`: the keychain on
    /// macOS, the credential manager on Windows, the kernel's keyring on Linux.
    ///
    /// **On Linux the kernel forgets it at the next reboot**: keep a copy elsewhere. A look at
    /// the vault says so, too.
    #[cfg(feature = "keyring")]
    pub fn from_keyring(service: impl Into<String>) -> Self {
        Self::only(Source::Keyring(Keyring::of_system(service.into())))
    }

    #[cfg(all(test, feature = "keyring"))]
    pub(super) fn from_this_keyring(keyring: Keyring) -> Self {
        Self::only(Source::Keyring(keyring))
    }

    /// The key itself. The caller wipes its own copy.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self::only(Source::Given(Zeroizing::new(key)))
    }

    /// The key that is derived from `passphrase` by Argon2id (RFC 9106) with 64 MiB and 3 passes.
    /// Salt and cost stand in the vault. At least 12 characters.
    pub fn from_passphrase(passphrase: impl Into<Secret>) -> Self {
        Self::only(Source::GivenPassphrase(passphrase.into())).as_passphrase()
    }

    /// Reads what stands in the source, an environment variable, a file or the keyring, as a
    /// passphrase; see [`MasterKey::from_passphrase`]. White space around it is not part of it.
    #[must_use]
    pub fn as_passphrase(mut self) -> Self {
        self.0.iter_mut().for_each(|candidate| candidate.passphrase = true);
        self
    }

    /// Lets a key that is missing from a file or the keyring be created with a fresh one, for a
    /// vault that is new too. An existing vault is never given a new key. Nothing is sealed with a
    /// created key before it was read back. Other sources, and passphrases, are not changed by
    /// this.
    #[must_use]
    pub fn create_if_missing(mut self) -> Self {
        self.0.iter_mut().for_each(|candidate| candidate.create = true);
        self
    }

    /// Looks at `next` where there is no key here. What is here and is wrong is refused, never
    /// passed over.
    #[must_use]
    pub fn or(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    fn only(source: Source) -> Self {
        Self(vec![Candidate { source, passphrase: false, create: false }])
    }

    /// Where the key may come from, in words.
    pub(crate) fn describe(&self) -> String {
        let places: Vec<String> = self.0.iter().map(Candidate::describe).collect();
        places.join(", else ")
    }

    /// The first key that is there.
    pub(crate) fn find(&self) -> Result<Found, VaultError> {
        let mut looked_at = Vec::new();
        let mut missing = Vec::new();
        for candidate in &self.0 {
            match candidate.load() {
                Ok(held) => return Ok(candidate.found(held, looked_at)),
                Err(error) if error.is_missing_key() => {
                    looked_at.push(format!("{}: nothing there", candidate.describe()));
                    missing.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::missing_key(missing.join("; ")))
    }

    /// Whether a missing key may be created.
    pub(crate) fn can_be_created(&self) -> bool {
        self.0.iter().any(Candidate::can_be_created)
    }

    /// Creates the key in the first source that allows it and reads it back, so that nothing is
    /// ever sealed with a key that was not kept. Without such a source, it is looked for again.
    pub(crate) fn create(&self, entropy: &dyn Entropy) -> Result<Found, VaultError> {
        match self.0.iter().find(|candidate| candidate.can_be_created()) {
            Some(candidate) => {
                let held = candidate.create(entropy)?;
                Ok(candidate.found(held, vec![format!("{}: created", candidate.describe())]))
            }
            None => self.find(),
        }
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.describe())
    }
}

/// What a source holds.
pub(crate) enum Held {
    Key(KeyBytes),
    Passphrase(Secret),
}

impl Held {
    /// The master key of a vault that says `how` it is derived, if it is.
    pub(super) fn key(&self, how: Option<&Derivation>) -> Result<KeyBytes, VaultError> {
        match (self, how) {
            (Self::Key(key), None) => Ok(key.clone()),
            (Self::Passphrase(passphrase), Some(how)) => how.key(passphrase.expose()),
            (Self::Key(_), Some(_)) => Err(VaultError::wrong_key(
                "this vault is opened by a passphrase and a key was given: if it is the passphrase, \
                 say so (`as_passphrase`, in settings `passphrase = true`)",
            )),
            (Self::Passphrase(_), None) => Err(VaultError::wrong_key(
                "this vault is opened by a key and a passphrase was given: give the key",
            )),
        }
    }

    /// A master key for a vault that is new, or gets a new one, and how it was derived.
    pub(crate) fn new_key(
        &self,
        entropy: &dyn Entropy,
    ) -> Result<(KeyBytes, Option<Derivation>), VaultError> {
        let how = match self {
            Self::Key(_) => None,
            Self::Passphrase(_) => Some(Derivation::fresh(entropy)?),
        };
        Ok((self.key(how.as_ref())?, how))
    }
}

/// What was found in the sources of a master key.
pub(crate) struct Found {
    pub(crate) held: Held,
    pub(crate) told: FoundIn,
}

/// Where a master key was found: what is told of it, without the key.
pub(crate) struct FoundIn {
    /// In words.
    pub(crate) source: String,
    /// The places that were looked at, and what was there.
    pub(crate) looked_at: Vec<String>,
    /// Why it may be gone one day.
    pub(crate) warning: Option<String>,
}

/// A master key that a vault is to hang on from now on: looked for and derived before the vault's
/// thread sees it, since that takes a while.
pub(crate) struct NewMaster {
    pub(crate) key: KeyBytes,
    pub(crate) derivation: Option<Derivation>,
    pub(crate) found: FoundIn,
    /// Where it is to be looked for at the next opening.
    pub(crate) settings: MasterKey,
}

impl NewMaster {
    /// Looks for the key, creates it where that is allowed, and derives it. It blocks.
    pub(crate) fn prepare(settings: MasterKey, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        let found = match settings.find() {
            Err(error) if error.is_missing_key() => settings.create(entropy)?,
            found => found?,
        };
        let (key, derivation) = found.held.new_key(entropy)?;
        Ok(Self { key, derivation, found: found.told, settings })
    }
}

impl fmt::Debug for NewMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewMaster({})", self.found.source)
    }
}

impl Candidate {
    fn describe(&self) -> String {
        let place = match &self.source {
            Source::Environment { name, .. } => format!("environment variable {name}"),
            Source::File(path) => format!("file {}", path.display()),
            #[cfg(feature = "keyring")]
            Source::Keyring(keyring) => keyring.describe(),
            Source::Given(_) | Source::GivenPassphrase(_) => "the host".to_owned(),
        };
        if self.passphrase { format!("passphrase from {place}") } else { place }
    }

    fn found(&self, held: Held, mut looked_at: Vec<String>) -> Found {
        let source = self.describe();
        looked_at.push(format!("{source}: used"));
        #[cfg(feature = "keyring")]
        let warning = matches!(self.source, Source::Keyring(_)).then(Keyring::warning).flatten();
        #[cfg(not(feature = "keyring"))]
        let warning = None;
        Found { held, told: FoundIn { source, looked_at, warning } }
    }

    /// What stands in the source.
    fn load(&self) -> Result<Held, VaultError> {
        match &self.source {
            Source::Environment { name, value: None } => Err(VaultError::missing_key(format!(
                "there is no master key: set the environment variable {name} to {}",
                if self.passphrase {
                    "the passphrase"
                } else {
                    "32 random bytes as base64 or hexadecimal"
                }
            ))),
            Source::Environment { value: Some(text), .. } => self.read(text),
            Source::File(path) => self.read(&read_private(path)?),
            #[cfg(feature = "keyring")]
            Source::Keyring(keyring) => self.read(&keyring.read()?),
            Source::Given(key) => Ok(Held::Key(key.clone())),
            Source::GivenPassphrase(passphrase) => self.read(passphrase.expose()),
        }
    }

    fn read(&self, text: &str) -> Result<Held, VaultError> {
        let text = text.trim();
        if self.passphrase {
            passphrase::check(text)?;
            return Ok(Held::Passphrase(Secret::new(text)));
        }
        match decode(text) {
            Some(key) => self.checked(key).map(Held::Key),
            None => Err(VaultError::unusable_key(format!(
                "the master key in the {} is not 32 bytes as base64 or hexadecimal: make one with \
                 `openssl rand -base64 32`{OR_A_PASSPHRASE}",
                self.describe()
            ))),
        }
    }

    /// Refuses bytes that somebody typed: thirty-two random ones are never all printable.
    fn checked(&self, key: KeyBytes) -> Result<KeyBytes, VaultError> {
        if key.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(VaultError::unusable_key(format!(
                "the master key from {} is readable text and not random bytes: make one with \
                 `openssl rand -base64 32`{OR_A_PASSPHRASE}",
                self.describe()
            )));
        }
        Ok(key)
    }

    fn can_be_created(&self) -> bool {
        let place = match &self.source {
            Source::File(_) => true,
            #[cfg(feature = "keyring")]
            Source::Keyring(_) => true,
            Source::Environment { .. } | Source::Given(_) | Source::GivenPassphrase(_) => false,
        };
        place && self.create && !self.passphrase
    }

    fn create(&self, entropy: &dyn Entropy) -> Result<Held, VaultError> {
        let key = random_key(entropy)?;
        let text = Zeroizing::new(STANDARD.encode(key.as_slice()));
        match &self.source {
            Source::File(path) => write_private(path, &text, entropy).map_err(|error| {
                VaultError::missing_key(format!(
                    "the master key file {} can not be created: {error}",
                    path.display()
                ))
            })?,
            #[cfg(feature = "keyring")]
            Source::Keyring(keyring) => keyring.write(&text)?,
            Source::Environment { .. } | Source::Given(_) | Source::GivenPassphrase(_) => {}
        }
        match self.load()? {
            Held::Key(kept) if kept == key => Ok(Held::Key(kept)),
            Held::Key(_) | Held::Passphrase(_) => Err(VaultError::unusable_key(format!(
                "the {} does not hold the master key that was written to it, check it",
                self.describe()
            ))),
        }
    }
}

/// What the owner of something typed is offered.
const OR_A_PASSPHRASE: &str =
    "; if it is a passphrase, say so (`as_passphrase`, in settings `passphrase = true`)";

/// Reads hexadecimal where there are 64 characters, base64 of either alphabet otherwise.
pub(super) fn decode(text: &str) -> Option<KeyBytes> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    fn in_env(value: &str) -> MasterKey {
        MasterKey::from_variable("KEY".to_owned(), Some(value.to_owned()))
    }

    fn key(master: &MasterKey) -> Result<KeyBytes, VaultError> {
        master.find().map(|found| match found.held {
            Held::Key(key) => key,
            Held::Passphrase(_) => panic!("a passphrase"),
        })
    }

    #[test]
    fn a_key_is_read_as_base64_or_hexadecimal() {
        let bytes: Vec<u8> = (200..232).collect();
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let hex = hex.concat();
        let encodings = [
            STANDARD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
            hex.to_lowercase(),
            hex + "\n",
        ];
        for text in encodings {
            assert_eq!(key(&in_env(&text)).expect("a key").as_slice(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused_without_being_repeated_and_offered_as_a_passphrase() {
        let printable = STANDARD.encode(b"correct horse battery staple! ok");
        for text in [
            "",
            "correct horse battery staple",
            &STANDARD.encode([1; 31]),
            &"g".repeat(64),
            &printable,
        ] {
            let error = key(&in_env(text)).expect_err("refused");
            assert!(error.is_unusable_key());
            assert!(text.is_empty() || !error.to_string().contains(text));
            assert!(error.to_string().contains("as_passphrase"), "{error}");
        }
    }

    #[test]
    fn a_passphrase_is_read_where_it_is_said_to_be_one() {
        for master in [
            in_env(" correct horse battery\n").as_passphrase(),
            MasterKey::from_passphrase("correct horse battery"),
        ] {
            let found = master.find().expect("a passphrase");
            let Held::Passphrase(text) = &found.held else { panic!("a key") };
            assert_eq!(text.expose(), "correct horse battery");
            assert!(found.told.source.starts_with("passphrase from"));
        }
        let short = in_env("correct hor").as_passphrase().find().err().expect("refused");
        assert!(short.is_unusable_key() && short.to_string().contains("12 characters"));
    }

    #[test]
    fn an_unset_variable_is_a_missing_key() {
        let master = MasterKey::from_env("TOKENWARD_TEST_VARIABLE_THAT_NO_ONE_SETS");
        let error = key(&master).expect_err("missing");
        assert!(error.is_missing_key());
        assert!(error.to_string().contains("TOKENWARD_TEST_VARIABLE_THAT_NO_ONE_SETS"));
    }

    #[test]
    fn the_first_source_that_has_a_key_is_used_and_the_way_there_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let unset = || MasterKey::from_variable("UNSET".to_owned(), None);
        let set = || in_env(&STANDARD.encode([1; 32]));
        let file = MasterKey::from_file(directory.path().join("none"));
        let found = unset().or(file.clone()).or(set()).find().expect("a key");
        assert_eq!(found.told.source, "environment variable KEY");
        assert_eq!(found.told.looked_at.len(), 3);
        assert_eq!(found.told.looked_at[0], "environment variable UNSET: nothing there");
        assert_eq!(found.told.looked_at[2], "environment variable KEY: used");
        let none = unset().or(file.clone()).find().err().expect("missing");
        assert!(none.is_missing_key() && none.to_string().contains("UNSET"));
        let wrong = in_env("nonsense").or(set()).find().err().expect("refused");
        assert!(wrong.is_unusable_key(), "what is wrong is not passed over");
        let chain = unset().or(file.create_if_missing());
        let created = chain.create(&SystemEntropy::new()).expect("created");
        assert!(created.told.source.starts_with("file "));
        assert!(chain.find().is_ok());
    }

    #[test]
    fn a_key_file_is_created_only_when_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys").join("master");
        let master = MasterKey::from_file(&path);
        assert!(key(&master).is_err_and(|error| error.is_missing_key()));
        assert!(!master.can_be_created());
        assert!(!master.clone().create_if_missing().as_passphrase().can_be_created());
        let master = master.create_if_missing();
        let created = master.create(&SystemEntropy::new()).expect("created");
        assert!(
            matches!(created.held, Held::Key(created) if created == key(&master).expect("read"))
        );
        assert!(master.create(&SystemEntropy::new()).is_err(), "never a second time");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master");
        fs::write(&path, STANDARD.encode([1; 32])).expect("a file");
        for (mode, good) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(MasterKey::from_file(&path).find().is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn debug_shows_where_the_key_is_and_not_the_key() {
        let text = STANDARD.encode([1; 32]);
        assert_eq!(format!("{:?}", in_env(&text)), "MasterKey(environment variable KEY)");
        assert_eq!(format!("{:?}", MasterKey::from_bytes([1; 32])), "MasterKey(the host)");
        let passphrase = MasterKey::from_passphrase("correct horse battery");
        assert_eq!(format!("{passphrase:?}"), "MasterKey(passphrase from the host)");
    }
}
