//! Files that hold a master key or a passphrase: read only when nobody else can open them, created
//! so that nobody else can.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::secret::file::{self, Unreadable};
use crate::vault::error::VaultError;

/// More than any key or passphrase takes, so that a wrong path does not fill memory.
const LONGEST_FILE: usize = 4 * 1024;

/// The text of a file that only we can read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, VaultError> {
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

/// Writes `text` to a new file that only we can read, durably.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
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
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    #[cfg(unix)]
    fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}
