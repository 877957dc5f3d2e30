//! Files that hold a master key or a passphrase: read only when nobody else can open them, created
//! so that nobody else can.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::secret::file::{self, Unreadable};
use crate::vault::error::VaultError;
use crate::vault::store::steps::{self, done};
use crate::vault::store::{beside, create_private, sync_entries};

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

/// Writes `text` to a new file that only we can read, durably: all of it, or there is none. What stands
/// there already is left as it is.
pub(super) fn write_private(path: &Path, text: &str, entropy: &dyn Entropy) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        create_private(directory)?;
    }
    // Under a name of its own, since another process may be about the same.
    let token = entropy.token().map_err(|error| io::Error::other(error.to_string()))?;
    let aside = beside(path, &format!(".{}.new", token.get(..16).unwrap_or(&token)));
    let placed = write_whole(&aside, text).and_then(|()| put_in_place(&aside, path));
    if placed.is_err() {
        // There may be none, or no room for it.
        drop(fs::remove_file(&aside));
    }
    placed?;
    sync_entries(directory.unwrap_or(Path::new(".")))
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    done(steps::WRITTEN, path);
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    done(steps::WRITTEN, path);
    file.sync_all()?;
    done(steps::SYNCED, path);
    Ok(())
}

/// Moves a file to where nothing stands. A renaming would take the place of what another process has
/// just put there, so it is given a second name, and loses the first.
fn put_in_place(aside: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(aside, path) {
        Ok(()) => {
            done(steps::RENAMED, path);
            fs::remove_file(aside)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // A file system whose files have one name each.
        Err(_) if !path.exists() => fs::rename(aside, path)?,
        Err(error) => return Err(error),
    }
    done(steps::RENAMED, path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn what_stands_there_is_left_as_it_is_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a").join("b").join("agent.key");
        let write = |text| write_private(&path, text, &SystemEntropy::new());
        write("one").expect("written");
        let error = write("two").expect_err("it is there already");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("text"), "one\n");
        let beside = path.parent().expect("a folder").read_dir().expect("a folder");
        assert_eq!(beside.count(), 1);
        #[cfg(unix)]
        for (path, mode) in [(&*path, 0o600), (path.parent().expect("a folder"), 0o700)] {
            use std::os::unix::fs::PermissionsExt as _;
            let found = fs::metadata(path).expect("metadata").permissions().mode();
            assert_eq!(found & 0o777, mode, "{}", path.display());
        }
    }
}
