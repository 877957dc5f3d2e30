//! Everything in a vault in one file under a passphrase, and a new vault from such a file: to move to
//! another machine, another master key, or another release.

mod running;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, IntoInnerError, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

pub(super) use self::running::Exporting;
use self::stream::{OpeningReader, SealingWriter};
use super::audit::{AuditEntry, AuditKind};
use super::batch::MOST_BYTES;
use super::error::VaultError;
use super::index::{Meta, MetaError};
use super::offline::{blocking, build_beside};
use super::opened::OpenVault;
#[cfg(test)]
use super::record::{RecordKey, RecordVersion};
#[cfg(test)]
use super::seal::KeyId;
use super::settings::Vault;
use super::store::sync_entries;
use crate::clock::Sources;
use crate::secret::Secret;

/// The most that a record's name and tags take.
const LONGEST_META: usize = 64 * 1024;

/// How many records of an import are written at once, and how many bytes.
const RECORDS_AT_ONCE: usize = 256;

/// A file that an export goes to, with the key that was derived for it.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::vault::ExportFile;
/// use tokenward::Secret;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("agent.export");
/// // Readable anywhere by whoever knows the passphrase, so let it be a long one.
/// let passphrase = Secret::new("correct horse battery staple");
/// let file = ExportFile::create(&path, passphrase, &Sources::system()).await?;
/// let exported = runtime.vault().export(file).await?;
/// assert!(exported.records > 0 && exported.left_out == 0);
/// # Ok(())
/// # }
/// ```
pub struct ExportFile {
    path: PathBuf,
    /// None once it has its end.
    writer: Option<Box<SealingWriter<BufWriter<File>>>>,
}

/// What an export or an import was about.
///
/// ```
/// use tokenward::Secret;
/// use tokenward::clock::Sources;
/// use tokenward::vault::ExportFile;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("agent.export");
/// # let passphrase = Secret::new("correct horse battery staple");
/// # runtime.user("ada").sign_in("orange").with_client_credentials().await?;
/// let file = ExportFile::create(path, passphrase, &Sources::system()).await?;
/// let exported = runtime.vault().export(file).await?;
/// println!("{} records", exported.records);
/// if exported.left_out > 0 {
///     eprintln!("{} do not open, and stay behind", exported.left_out);
/// }
/// # assert!(exported.records > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Exported {
    /// The records in the file.
    pub records: usize,
    /// The records that do not open, and are left out.
    pub left_out: usize,
}

impl ExportFile {
    /// Creates the file at `path`, which only its owner can read, and derives a key for it from
    /// `passphrase` by Argon2id with 64 MiB and 3 passes.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_occupied`] when there is something at `path`,
    /// [`VaultError::is_unusable_key`] for a passphrase of less than 12 characters.
    pub async fn create(
        path: impl Into<PathBuf>,
        passphrase: Secret,
        sources: &Sources,
    ) -> Result<Self, VaultError> {
        let (path, entropy) = (path.into(), Arc::clone(&sources.entropy));
        blocking(move || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o600);
            }
            let file = options.open(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => VaultError::occupied(&path),
                _ => error.into(),
            })?;
            SealingWriter::new(BufWriter::new(file), passphrase.expose(), &*entropy)
                .map(|writer| Self { path: path.clone(), writer: Some(Box::new(writer)) })
                .inspect_err(|_| discard(&path))
        })
        .await
    }

    /// Writes the end of the file, durably.
    fn finish(mut self) -> Result<(), VaultError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let ended = writer.finish().and_then(|writer| {
            let file = writer.into_inner().map_err(IntoInnerError::into_error)?;
            Ok(file.sync_all()?)
        });
        let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty());
        let synced = ended.and_then(|()| Ok(sync_entries(folder.unwrap_or(Path::new(".")))?));
        synced.inspect_err(|_| discard(&self.path))
    }
}

impl Drop for ExportFile {
    /// Leaves no file that has no end.
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            discard(&self.path);
        }
    }
}

impl fmt::Debug for ExportFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes this vault anew from the export at `path`, whatever [`Vault::create_if_missing`] says: to
    /// import is to create. The file is read through, to its authenticated end, before anything is
    /// created; times are kept, versions begin anew.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_occupied`] when there is a vault already; for the file:
    /// [`VaultError::is_wrong_key`] when the passphrase is not its, [`VaultError::is_damaged`] when
    /// it is cut short or was changed, [`VaultError::is_newer_format`]; and whatever keeps a vault
    /// from being created.
    pub async fn import(
        &self,
        path: impl Into<PathBuf>,
        passphrase: Secret,
    ) -> Result<Exported, VaultError> {
        let (vault, path) = (self.clone().create_if_missing(true), path.into());
        blocking(move || {
            let mut file = File::open(path)?;
            let mut import = Import::open(&file, passphrase.expose())?;
            while import.next()?.is_some() {}
            file.rewind()?;
            build_beside(&vault, |aside| {
                let mut vault = OpenVault::open(aside, Sources::system(), Arc::new(|_| {}))?;
                if vault.index.len() > 0 {
                    return Err(VaultError::occupied(Path::new("this place")));
                }
                vault.import(Import::open(&file, passphrase.expose())?)
            })
        })
        .await
    }
}

impl OpenVault {
    fn import(&mut self, mut import: Import<impl Read>) -> Result<Exported, VaultError> {
        let mut exported = Exported::default();
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some((meta, payload)) = import.next()? {
            bytes += payload.len();
            records.push((meta, payload));
            exported.records += 1;
            if records.len() == RECORDS_AT_ONCE || bytes >= MOST_BYTES {
                self.adopt(std::mem::take(&mut records))?;
                bytes = 0;
            }
        }
        self.adopt(records)?;
        self.record(&AuditEntry::new(AuditKind::VaultImported)).map_err(|failure| failure.error)?;
        Ok(exported)
    }
}

/// A record in an export: what the index knows of it, and its payload.
type Item = (Meta, Zeroizing<Vec<u8>>);

/// The records in an export, one after the other.
struct Import<R>(OpeningReader<R>);

impl<'f> Import<BufReader<&'f File>> {
    fn open(file: &'f File, passphrase: &str) -> Result<Self, VaultError> {
        Ok(Self(OpeningReader::new(BufReader::new(file), passphrase)?))
    }
}

impl<R: Read> Import<R> {
    fn next(&mut self) -> Result<Option<Item>, VaultError> {
        let Some(meta) = self.part(LONGEST_META)? else { return Ok(None) };
        let payload = self.part(MOST_BYTES)?.ok_or_else(senseless)?;
        let meta = Meta::parse(&meta).map_err(|error| match error {
            MetaError::Malformed => senseless(),
            MetaError::Newer(_) => VaultError::newer_format(format!(
                "a record of the export can not be imported, update tokenward: {error}"
            )),
        })?;
        Ok(Some((meta, payload)))
    }

    /// The next part of at most `longest` bytes; none at the end.
    fn part(&mut self, longest: usize) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let mut length = [0; 4];
        if !self.0.fill(&mut length)? {
            return Ok(None);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > longest {
            return Err(senseless());
        }
        let mut part = Zeroizing::new(vec![0; length]);
        if length > 0 && !self.0.fill(&mut part)? {
            return Err(senseless());
        }
        Ok(Some(part))
    }
}

/// Under a secret of its own, since deriving one from a passphrase takes a while.
#[cfg(test)]
impl ExportFile {
    const SECRET: [u8; 32] = [7; 32];

    pub(super) fn without_passphrase(path: PathBuf, sources: &Sources) -> Self {
        let file = BufWriter::new(File::create_new(&path).expect("a file"));
        let derivation = super::passphrase::Derivation::fresh(&*sources.entropy).expect("a salt");
        let secret = Zeroizing::new(Self::SECRET);
        let writer = SealingWriter::with(file, derivation, &secret).expect("a writer");
        Self { path, writer: Some(Box::new(writer)) }
    }

    /// The records in the file, to its end.
    pub(super) fn read(path: &Path) -> Vec<(RecordKey, Zeroizing<Vec<u8>>)> {
        let file = BufReader::new(File::open(path).expect("a file"));
        let secret = Zeroizing::new(Self::SECRET);
        let mut import = Import(OpeningReader::with(file, |_| Ok(secret)).expect("an export"));
        let next = || import.next().expect("whole");
        let key = |meta: Meta| meta.into_slot(RecordVersion(0), KeyId::default()).entry.key;
        std::iter::from_fn(next).map(|(meta, payload)| (key(meta), payload)).collect()
    }
}

/// Reads `bytes` as an export, and as what is sealed in one.
#[cfg(fuzzing)]
pub fn read_anything(bytes: &[u8]) {
    let secret = Zeroizing::new([7; 32]);
    let read = |file: &[u8]| -> Result<(), VaultError> {
        let mut import = Import(OpeningReader::with(file, |_| Ok(secret.clone()))?);
        while import.next()?.is_some() {}
        Ok(())
    };
    let _ = read(bytes);
    let entropy = crate::clock::SystemEntropy::new();
    let derivation = super::passphrase::Derivation::fresh(&entropy).expect("a salt");
    let mut writer = SealingWriter::with(Vec::new(), derivation, &secret).expect("a writer");
    writer.write_all(bytes).expect("it is in memory");
    let _ = read(&writer.finish().expect("it is in memory"));
}

fn senseless() -> VaultError {
    VaultError::damaged("the export holds what is not a record, use another copy of it")
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "an unfinished export was not removed");
    }
}
