//! What a simulated provider knows, in a file that has it before anybody is answered.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::simulation::Memory;

/// The file, and what stands in it.
pub(super) struct KeptIn {
    path: PathBuf,
    written: String,
}

impl KeptIn {
    /// A file that is written from now on.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, written: String::new() }
    }

    /// Writes `memory`, if it is another one than was written last. Whoever reads the file at any moment
    /// sees the former or this one.
    pub(super) fn write(&mut self, memory: &Memory) -> io::Result<()> {
        let text = serde_json::to_string(memory).map_err(io::Error::other)?;
        if text == self.written {
            return Ok(());
        }
        let mut draft = self.path.clone().into_os_string();
        draft.push(".draft");
        fs::write(&draft, &text)?;
        fs::rename(&draft, &self.path)?;
        self.written = text;
        Ok(())
    }
}

/// What stands at `path`; none where there is nothing yet, and then a place for it.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
