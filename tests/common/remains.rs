//! What is left of something in files that should have none of it: the bytes that they got with it, looked for
//! wherever they may stand. What is sealed looks like chance, so no sixteen bytes of it come twice.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// So many bytes that are new follow one another in what was added. Shorter ones may be what was there
/// before, put together anew.
const SHORTEST: usize = 256;

/// What is left out at both ends of those, for the same reason.
const EDGE: usize = 32;

/// Longer than what an engine writes between two sealed values, which does come twice.
const WINDOW: usize = 16;

/// Bytes that stood in no file before something was added.
pub(crate) struct Remains(HashSet<[u8; WINDOW]>);

impl Remains {
    /// Of what the files beneath `folder` have and did not have at the time of `before`.
    pub(crate) fn since(before: &[Vec<u8>], folder: &Path) -> Self {
        let known: HashSet<_> = before.iter().flat_map(|file| windows(file)).collect();
        let mut remains = HashSet::new();
        for file in files(folder) {
            let is_new: Vec<bool> = windows(&file).map(|it| !known.contains(&it)).collect();
            let mut at = 0;
            for stretch in is_new.chunk_by(|one, two| one == two) {
                let (start, length) = (at, stretch.len());
                at += length;
                if stretch[0] && length >= SHORTEST {
                    let inner = &file[start + EDGE..start + length - EDGE];
                    remains.extend(windows(inner).filter(|it| is_like_chance(*it)));
                }
            }
        }
        Self(remains)
    }

    /// How many of them there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The places beneath `folder` in which some of them stand: the files, and where in them.
    pub(crate) fn places(&self, folder: &Path) -> Vec<(PathBuf, usize)> {
        let mut places = Vec::new();
        for path in paths(folder) {
            let file = std::fs::read(&path).expect("a file");
            let found = windows(&file).enumerate().filter(|(_, it)| self.0.contains(it));
            places.extend(found.map(|(at, _)| (path.clone(), at)));
        }
        places
    }
}

/// The content of every file beneath `folder`.
pub(crate) fn files(folder: &Path) -> Vec<Vec<u8>> {
    paths(folder).iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// Every file beneath `folder`.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            paths.extend(self::paths(&path));
        } else {
            paths.push(path);
        }
    }
    paths
}

fn windows(file: &[u8]) -> impl Iterator<Item = [u8; WINDOW]> {
    file.windows(WINDOW).map(|window| window.try_into().expect("sixteen"))
}

/// Whether it is nothing that an engine writes: no filling, no places in its files, in which the same
/// bytes come again and again, and no row of small numbers. Of what is sealed, a hundredth is not.
fn is_like_chance(window: [u8; WINDOW]) -> bool {
    let different = window.iter().collect::<HashSet<_>>().len();
    let large = window.iter().filter(|byte| **byte >= 128).count();
    different >= WINDOW - 3 && large >= WINDOW / 4
}
