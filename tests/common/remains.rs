//! What is left of something in files that should have none of it: the bytes that they got with it, looked for
//! wherever they may stand. What is sealed looks like chance, so no eight bytes of it come twice.

use std::collections::HashSet;
use std::path::Path;

/// So many bytes that are new follow one another in what was added. Shorter ones may be what was there
/// before, put together anew.
const SHORTEST: usize = 256;

/// What is left out at both ends of those, for the same reason.
const EDGE: usize = 32;

const WINDOW: usize = 8;

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

    /// How many places there are beneath `folder` in which some of them stand.
    pub(crate) fn places(&self, folder: &Path) -> usize {
        let places = |file: &Vec<u8>| windows(file).filter(|it| self.0.contains(it)).count();
        files(folder).iter().map(places).sum()
    }
}

/// The content of every file beneath `folder`.
pub(crate) fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(std::fs::read(path).expect("a file"));
        }
    }
    files
}

fn windows(file: &[u8]) -> impl Iterator<Item = [u8; WINDOW]> {
    file.windows(WINDOW).map(|window| window.try_into().expect("eight"))
}

/// Whether it is nothing that an engine writes: no filling, and no numbers, which are small.
fn is_like_chance(window: [u8; WINDOW]) -> bool {
    window.iter().collect::<HashSet<_>>().len() >= WINDOW - 1
}
