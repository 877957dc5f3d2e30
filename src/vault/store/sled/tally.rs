//! The number of the last acknowledged commit, in a file of its own, so that commits which sled
//! silently gives up at an opening are missed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Sixteen bytes: the number, and its complement as the check.
///
/// They are written after the barrier of each commit and not synced: they outlive the process at
/// once, and a power cut leaves an older number at worst, which promises less.
#[derive(Debug)]
pub(super) struct Tally {
    file: File,
    /// What stood in the file when it was opened.
    acknowledged: Option<u64>,
}

impl Tally {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let acknowledged = parse(&bytes);
        if acknowledged.is_none() && !bytes.is_empty() {
            tracing::warn!("the number of the vault's last commit can not be read");
        }
        Ok(Self { file, acknowledged })
    }

    /// The last commit that was acknowledged before this opening, as far as is known.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    /// Notes that every commit up to `number` is durable.
    pub(super) fn acknowledge(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..].copy_from_slice(&(!number).to_be_bytes());
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

pub(super) fn parse(bytes: &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    let number = u64::from_be_bytes(*number);
    let check = u64::from_be_bytes(*rest.first_chunk()?);
    (check == !number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_what_is_torn_promises_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("commits");
        let mut tally = Tally::open(&path).expect("a tally");
        assert_eq!(tally.acknowledged(), None);
        for number in [0, 1, 300] {
            tally.acknowledge(number).expect("written");
            let again = Tally::open(&path).expect("a tally");
            assert_eq!(again.acknowledged(), Some(number));
        }
        std::fs::write(&path, [7; 16]).expect("written");
        assert_eq!(Tally::open(&path).expect("a tally").acknowledged(), None);
    }
}
