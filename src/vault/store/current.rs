//! Which of the data in a vault's directory is the vault's: named in a small file of its own, so
//! that rewriting a vault takes effect at once and whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{remove, replace};
use super::engine::{data_names, files_of, parse_data_name};
use super::{Engine, StoreError};

const FILE: &str = "current";

/// What begins a line that names data that is to be removed.
const REMOVE: &str = "remove ";

/// The data in force, and what it took the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Current {
    /// The name of the data in force.
    pub(super) name: String,
    /// What was in force before, as long as it may still be there.
    superseded: Vec<String>,
}

impl Current {
    pub(super) fn new(name: String) -> Self {
        Self { name, superseded: Vec::new() }
    }

    /// Reads which data in `directory` is in force; none when there is no vault.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, StoreError> {
        match fs::read_to_string(directory.join(FILE)) {
            Ok(text) => match parse(&text) {
                Some(current) => Ok(Some(current)),
                None => Err(StoreError::Damaged("the file `current` makes no sense".to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(StoreError::Damaged("the file `current` is not text".to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => found(directory),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes this the truth, durably.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        replace(&directory.join(FILE), self.text().as_bytes())
    }

    /// What the file says.
    fn text(&self) -> String {
        let superseded = self.superseded.iter().map(|name| [REMOVE, name.as_str()].concat());
        let lines: Vec<String> = std::iter::once(self.name.clone()).chain(superseded).collect();
        lines.join("\n") + "\n"
    }

    /// The name of the engine whose data it is, which this build may lack.
    pub(super) fn engine(&self) -> &'static str {
        parse_data_name(&self.name).map_or("an unknown engine", |(_, engine)| engine)
    }

    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(&self.name)
    }

    /// What follows this when everything is rewritten for `engine`.
    pub(super) fn next(&self, engine: Engine) -> Self {
        let mut superseded = self.superseded.clone();
        superseded.push(self.name.clone());
        Self { name: engine.data_name(self.next_number()), superseded }
    }

    fn next_number(&self) -> u64 {
        parse_data_name(&self.name).map_or(1, |(number, _)| number).saturating_add(1)
    }

    /// Removes what a rewriting into whichever engine left when it was cut off: a copy of
    /// everything, which no erasure would reach.
    pub(super) fn remove_unfinished(&self, directory: &Path) -> io::Result<()> {
        let names = data_names(self.next_number());
        names.iter().try_for_each(|name| remove_data(&directory.join(name)))
    }

    /// Removes what this took the place of.
    pub(super) fn remove_superseded(&mut self, directory: &Path) -> io::Result<()> {
        if self.superseded.is_empty() {
            return Ok(());
        }
        for name in &self.superseded {
            remove_data(&directory.join(name))?;
        }
        self.superseded.clear();
        self.write(directory)
    }
}

/// Removes the data at `path`.
pub(super) fn remove_data(path: &Path) -> io::Result<()> {
    files_of(path).iter().try_for_each(|file| remove(file))
}

/// A vault that was created, and not yet written down as such. Data that was rewritten never is
/// that: whoever removed the file that names it must not be given a new vault instead.
fn found(directory: &Path) -> Result<Option<Current>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut first = None;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match parse_data_name(&name) {
            Some((1, _)) => first = Some(Current::new(name)),
            Some(_) => return Err(StoreError::Damaged("the file `current` is gone".to_owned())),
            None => {}
        }
    }
    Ok(first)
}

fn parse(text: &str) -> Option<Current> {
    // Without its end it was cut short, and `store` is what is left of `store.redb`.
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let known = |name: &str| parse_data_name(name).map(|_| name.to_owned());
    let name = known(lines.next()?)?;
    let superseded = lines.map(|line| known(line.strip_prefix(REMOVE)?)).collect::<Option<_>>()?;
    Some(Current { name, superseded })
}

/// For the fuzz targets: what can be read is written as it was.
#[cfg(fuzzing)]
pub(super) fn read_anything(text: &str) {
    if let Some(current) = parse(text) {
        assert_eq!(current.text(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_what_is_torn_is_damage() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Current::read(directory.path()), Ok(None));
        let first = Current::new("store".to_owned());
        let second = first.next(Engine::Sled);
        for current in [first, second] {
            current.write(directory.path()).expect("written");
            assert_eq!(Current::read(directory.path()), Ok(Some(current)));
        }
        for torn in ["", "sto", "store", "../../etc\n", "store\nremove /\n", "store-2\nstore\n"] {
            fs::write(directory.path().join(FILE), torn).expect("written");
            let read = Current::read(directory.path());
            assert!(matches!(read, Err(StoreError::Damaged(_))), "{torn:?}");
        }
    }

    #[test]
    fn what_was_superseded_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["store", "store.commits", "store-2", "other"] {
            fs::write(directory.path().join(name), "x").expect("written");
        }
        let mut current = Current::new("store".to_owned()).next(Engine::Sled);
        current.write(directory.path()).expect("written");
        current.remove_superseded(directory.path()).expect("removed");
        let left = |name: &str| directory.path().join(name).exists();
        assert_eq!(["store", "store.commits"].map(left), [false; 2]);
        assert_eq!(["store-2", "other"].map(left), [true; 2]);
        let read = Current::read(directory.path()).expect("readable").expect("a vault");
        assert_eq!(read, Current::new("store-2".to_owned()));
    }
}
