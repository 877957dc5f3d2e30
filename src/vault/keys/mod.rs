//! The keys of a vault: where its master key comes from, the ring of keys that the master key seals
//! into the header, and how both are exchanged while the vault is in use.

mod encoding;
mod file;
mod header;
#[cfg(feature = "keyring")]
mod keyring;
mod master;
mod policy;
mod ring;
mod rotation;

pub(crate) use self::header::{
    FORMAT, HEADER_KEY, Rotation, Unlocked, VaultHeader, is_open_to_everybody, put_header, unlock,
};
pub use self::master::MasterKey;
pub(crate) use self::master::{Found, FoundIn, KNOWN_KEY, NewMaster};
pub use self::policy::DataKeyPolicy;
pub(crate) use self::ring::{KeyRing, random_key};
pub(crate) use self::rotation::Sweep;

/// Reads `text` as a master key, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn read_anything(text: &str) {
    let _ = master::decode(text);
}
