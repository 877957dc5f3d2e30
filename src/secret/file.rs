//! A file that holds a secret and nothing else. It is read only when nobody but the user of this
//! process could have read it before, and those to whom the machine's administrator gave it.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// Why a file gives no secret, in words that follow its name.
#[derive(Debug, Error)]
pub(crate) enum Unreadable {
    /// There is none, or it can not be read.
    #[error("can not be read: {0}, create it or correct the path")]
    Failed(#[from] io::Error),
    /// Somebody else can change it.
    #[error("belongs to another user, change its owner to the one that runs this program")]
    #[cfg_attr(not(unix), allow(dead_code, reason = "only told on Unix"))]
    NotOurs,
    /// Somebody else can open it.
    #[error(
        "has mode {mode:03o} and others can open it, run `chmod 600` on it and consider what it \
         holds as seen"
    )]
    #[cfg_attr(not(unix), allow(dead_code, reason = "only told on Unix"))]
    Open {
        /// Its permissions.
        mode: u32,
    },
    /// It is another kind of file.
    #[error("is not a text of at most {longest} bytes, correct the path")]
    NotText {
        /// The longest text that would have been taken.
        longest: usize,
    },
}

/// The text of the file at `path`, which is no longer than `longest` bytes.
///
/// On Unix the file must belong to the user of this process and must not be open to any other. One
/// that belongs to root may be readable by its group: so a container gets its secrets, and root could
/// read and change any other file as well. On Windows a file in the user's profile is private by inheritance, and nothing is checked.
pub(crate) fn read(path: &Path, longest: usize) -> Result<Zeroizing<String>, Unreadable> {
    let file = File::open(path)?;
    check_private(&file.metadata()?)?;
    // Room for all of it from the start, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest + 64));
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > longest {
        return Err(Unreadable::NotText { longest });
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(Unreadable::NotText { longest })
        }
    }
}

#[cfg(unix)]
fn check_private(metadata: &Metadata) -> Result<(), Unreadable> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = rustix::process::geteuid().as_raw();
    check_owner_and_mode(metadata.uid(), metadata.mode() & 0o777, ours)
}

#[cfg(unix)]
fn check_owner_and_mode(owner: u32, mode: u32, ours: u32) -> Result<(), Unreadable> {
    const ROOT: u32 = 0;
    let to_others = match owner {
        _ if owner == ours => 0o077,
        ROOT => 0o037,
        _ => return Err(Unreadable::NotOurs),
    };
    if mode & to_others == 0 { Ok(()) } else { Err(Unreadable::Open { mode }) }
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "the other systems can refuse here")]
fn check_private(_metadata: &Metadata) -> Result<(), Unreadable> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, bytes).expect("a file");
        #[cfg(unix)]
        set_mode(&path, 0o600);
        (directory, path)
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn a_text_is_read_up_to_its_longest() {
        let (_directory, path) = written(b"four\n");
        assert_eq!(read(&path, 5).expect("read").as_str(), "four\n");
        let why = read(&path, 4).expect_err("longer").to_string();
        assert_eq!(why, "is not a text of at most 4 bytes, correct the path");
        let (_directory, path) = written(&[0xff, 0xfe]);
        assert!(matches!(read(&path, 5), Err(Unreadable::NotText { longest: 5 })));
    }

    #[test]
    fn a_file_that_is_not_there_is_told_as_such() {
        let directory = tempfile::tempdir().expect("a directory");
        let why = read(&directory.path().join("absent"), 5).expect_err("absent");
        assert!(matches!(&why, Unreadable::Failed(it) if it.kind() == io::ErrorKind::NotFound));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_open_is_refused() {
        let (_directory, path) = written(b"secret");
        for (mode, good) in [(0o644, false), (0o640, false), (0o602, false), (0o400, true)] {
            set_mode(&path, mode);
            let found = read(&path, 64);
            assert_eq!(found.is_ok(), good, "{mode:o}");
            if let Err(why) = found {
                assert!(why.to_string().contains("chmod 600"), "{why}");
                assert!(why.to_string().contains(&format!("mode {mode:03o}")), "{why}");
            }
        }
    }
    #[cfg(unix)]
    #[test]
    fn a_file_of_root_may_be_read_by_its_group_and_by_nobody_else() {
        let (root, us, somebody) = (0, 1000, 1001);
        for (owner, mode, good) in [
            (root, 0o400, true),
            (root, 0o440, true),
            (root, 0o640, true),
            (root, 0o444, false),
            (root, 0o660, false),
            (us, 0o600, true),
            (us, 0o640, false),
            (somebody, 0o400, false),
        ] {
            let found = check_owner_and_mode(owner, mode, us);
            assert_eq!(found.is_ok(), good, "{owner} {mode:o}");
        }
    }
}
