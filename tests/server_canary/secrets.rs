//! Everything that was secret, and what of each would give it away.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::host::Host;
use crate::search::Needles;

/// How many bytes of a secret that stand somewhere in a row give it away.
const TELLING: usize = 16;

pub(crate) struct Secrets {
    /// The parts that nothing but the secret has: of a token its signature, of a refresh token what
    /// follows the name of its family.
    telling: BTreeSet<String>,
    /// The same, as bytes, by how they begin.
    raw: HashSet<[u8; TELLING]>,
}

impl Secrets {
    pub(crate) fn new(canary: &str) -> Self {
        Self { telling: BTreeSet::from([canary.to_owned()]), raw: HashSet::new() }
    }

    /// A client secret, an access token or a refresh token that the server made.
    pub(crate) fn add(&mut self, secret: &str) {
        let telling = match (secret.rsplit_once('.'), secret.strip_prefix("rt_")) {
            (Some((_, signature)), _) => signature,
            // The name of the family has 16 bytes.
            (None, Some(rest)) => &rest[24..64],
            (None, None) => secret,
        };
        let bytes = URL_SAFE_NO_PAD.decode(&telling[..40]).expect("base64url");
        self.raw.insert(*bytes.first_chunk().expect("it is longer"));
        self.telling.insert(telling.to_owned());
    }

    pub(crate) fn count(&self) -> usize {
        self.telling.len()
    }

    pub(crate) fn needles(&self) -> Needles {
        self.with_names(&[])
    }

    /// And these texts, which may be told to those who run the host, and are sealed.
    pub(crate) fn with_names(&self, names: &[&str]) -> Needles {
        Needles::new(self.telling.iter().map(String::as_str).chain(names.iter().copied()))
    }

    /// What was found, for a failure: the beginnings.
    pub(crate) fn names(&self, found: &BTreeSet<&str>) -> String {
        let shown = found.iter().map(|it| it.get(..8).unwrap_or(it));
        format!("{} of {}: {:?}", found.len(), self.count(), shown.collect::<Vec<_>>())
    }

    /// Whether the bytes of one stand in `bytes` as they are.
    pub(crate) fn stand_raw_in(&self, bytes: &[u8]) -> bool {
        let mut windows = bytes.windows(TELLING);
        windows.any(|window| window.first_chunk().is_some_and(|it| self.raw.contains(it)))
    }
}

/// All files of the host.
pub(crate) fn files(host: &Host) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![host.folder.path().to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("readable");
                files.push((path, bytes));
            }
        }
    }
    files
}
