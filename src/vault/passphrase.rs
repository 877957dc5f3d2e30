//! A key from a passphrase: Argon2id (RFC 9106), with its salt and cost written down beside what the
//! key seals.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::VaultError;
use super::seal::KeyBytes;
use crate::clock::{Entropy, EntropyError};

/// The fewest characters of a passphrase.
const SHORTEST: usize = 12;

/// What a derivation costs now: 64 MiB and 3 passes, about 0.15 s.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// The most that may be asked for, so that a changed file can not exhaust the machine: four times the
/// memory and five times the passes of today.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 4;

/// How a key is derived from a passphrase. None of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Derivation {
    /// The function; there is one.
    function: Function,
    /// As base64.
    salt: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Argon2id,
}

impl Derivation {
    /// Today's cost, with a fresh salt.
    pub(super) fn fresh(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let (memory_kib, passes, lanes) = (MEMORY_KIB, PASSES, LANES);
        let salt = STANDARD.encode(salt);
        Ok(Self { function: Function::Argon2id, salt, memory_kib, passes, lanes })
    }

    /// The key. It takes a while, on purpose: never on a thread that others wait for.
    pub(super) fn key(&self, passphrase: &str) -> Result<KeyBytes, VaultError> {
        let unfit = || {
            VaultError::damaged(
                "a derivation of the key is asked for that makes no sense, restore a backup",
            )
        };
        let salt = STANDARD.decode(&self.salt).map_err(|_| unfit())?;
        if self.memory_kib > MOST_MEMORY_KIB || self.passes > MOST_PASSES || self.lanes > MOST_LANES
        {
            return Err(VaultError::damaged(format!(
                "a derivation of the key by {} and {} lanes is asked for, and at most {} MiB, \
                 {MOST_PASSES} passes and {MOST_LANES} lanes are granted: the file was changed, \
                 restore a backup",
                self.describe(),
                self.lanes,
                MOST_MEMORY_KIB / 1024,
            )));
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| unfit())?);
        // Argon2's own buffer would be left as it is; this one is wiped.
        let mut memory = Zeroizing::new(vec![Block::default(); argon.params().block_count()]);
        let mut key = Zeroizing::new([0; 32]);
        let (passphrase, into) = (passphrase.as_bytes(), key.as_mut_slice());
        argon
            .hash_password_into_with_memory(passphrase, &salt, into, memory.as_mut_slice())
            .map_err(|_| unfit())?;
        Ok(key)
    }

    /// What it costs, in words.
    pub(super) fn describe(&self) -> String {
        format!("Argon2id, {} MiB, {} passes", self.memory_kib / 1024, self.passes)
    }
}

/// Refuses a passphrase that is too short to be one.
pub(super) fn check(passphrase: &str) -> Result<(), VaultError> {
    if passphrase.chars().count() >= SHORTEST {
        return Ok(());
    }
    Err(VaultError::unusable_key(format!(
        "the passphrase is too short, take one of at least {SHORTEST} characters"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap(salt: u8) -> Derivation {
        let salt = STANDARD.encode([salt; 16]);
        Derivation { function: Function::Argon2id, salt, memory_kib: 64, passes: 1, lanes: 1 }
    }

    #[test]
    fn the_key_depends_on_the_passphrase_the_salt_and_the_cost() {
        let key = |how: &Derivation, text| how.key(text).expect("a key");
        let one = key(&cheap(1), "correct horse");
        assert_eq!(key(&cheap(1), "correct horse"), one);
        assert_ne!(key(&cheap(1), "correct house"), one);
        assert_ne!(key(&cheap(2), "correct horse"), one);
        assert_ne!(key(&Derivation { passes: 2, ..cheap(1) }, "correct horse"), one);
    }

    #[test]
    fn no_file_can_ask_for_more_than_the_machine_has() {
        for asked in [
            Derivation { memory_kib: MOST_MEMORY_KIB + 1, ..cheap(1) },
            Derivation { passes: MOST_PASSES + 1, ..cheap(1) },
            Derivation { lanes: MOST_LANES + 1, ..cheap(1) },
            Derivation { memory_kib: 1, ..cheap(1) },
            Derivation { salt: "?".to_owned(), ..cheap(1) },
        ] {
            assert!(asked.key("correct horse").is_err_and(|error| error.is_damaged()));
        }
        let (memory_kib, passes) = (1024 * 1024, 64);
        let error = Derivation { memory_kib, passes, ..cheap(1) }.key("correct horse");
        let error = error.expect_err("far too much").to_string();
        assert!(error.contains("1024 MiB, 64 passes") && error.contains("256 MiB"), "{error}");
    }
}
