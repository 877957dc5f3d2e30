//! The keyring of the operating system as a place for the master key, without the process-wide
//! default that the crates for it offer.

use std::sync::Arc;

use keyring_core::{CredentialStore, Entry, Error};
use zeroize::Zeroizing;

use crate::vault::error::VaultError;

/// The name of the master key within its service.
const ACCOUNT: &str = "tokenward master key";

/// One name in a keyring.
#[derive(Clone)]
pub(super) struct Keyring {
    service: String,
    /// Which keyring; none: that of the operating system.
    store: Option<Arc<CredentialStore>>,
}

impl Keyring {
    pub(super) fn of_system(service: String) -> Self {
        Self { service, store: None }
    }

    /// Where it is, in words.
    pub(super) fn describe(&self) -> String {
        format!("{} (service {})", KIND, self.service)
    }

    /// Why what is kept here may be gone one day.
    pub(super) fn warning() -> Option<String> {
        cfg!(target_os = "linux").then(|| {
            "the master key is in the kernel's keyring, which forgets it at the next reboot: keep \
             a copy of it elsewhere"
                .to_owned()
        })
    }

    /// The text that is kept here.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, VaultError> {
        match self.entry()?.get_secret() {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                Ok(Zeroizing::new(std::str::from_utf8(&bytes).unwrap_or_default().to_owned()))
            }
            Err(Error::NoEntry) => Err(VaultError::missing_key(format!(
                "there is no master key: the {} holds none under this name, put it there or allow \
                 it to be created",
                self.describe()
            ))),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Keeps `text` here.
    pub(super) fn write(&self, text: &str) -> Result<(), VaultError> {
        self.entry()?.set_secret(text.as_bytes()).map_err(|error| self.unusable(&error))
    }

    fn entry(&self) -> Result<Entry, VaultError> {
        let store = match &self.store {
            Some(store) => Ok(Arc::clone(store)),
            None => system_store(),
        };
        let entry = store.and_then(|store| store.build(&self.service, ACCOUNT, None));
        entry.map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &Error) -> VaultError {
        VaultError::unusable_key(format!(
            "the {} can not be used for the master key, use a file or an environment variable: \
             {error}",
            self.describe()
        ))
    }
}

#[cfg(target_os = "linux")]
const KIND: &str = "kernel keyring";
#[cfg(target_os = "macos")]
const KIND: &str = "keychain";
#[cfg(target_os = "windows")]
const KIND: &str = "credential manager";
#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
const KIND: &str = "system keyring";

#[cfg(target_os = "linux")]
fn system_store() -> Result<Arc<CredentialStore>, Error> {
    Ok(linux_keyutils_keyring_store::Store::new()?)
}

#[cfg(target_os = "macos")]
fn system_store() -> Result<Arc<CredentialStore>, Error> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

#[cfg(target_os = "windows")]
fn system_store() -> Result<Arc<CredentialStore>, Error> {
    Ok(windows_native_keyring_store::Store::new()?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
fn system_store() -> Result<Arc<CredentialStore>, Error> {
    Err(Error::NotSupportedByStore("there is none for this operating system".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::master::MasterKey;
    use super::*;
    use crate::clock::SystemEntropy;

    fn in_mock() -> MasterKey {
        let store = keyring_core::mock::Store::new().expect("a keyring");
        let service = "agent".to_owned();
        MasterKey::from_this_keyring(Keyring { service, store: Some(store) })
    }

    #[test]
    fn a_key_goes_into_the_keyring_only_when_asked_and_is_read_back() {
        let master = in_mock();
        assert!(master.find().is_err_and(|error| error.is_missing_key()));
        assert!(!master.can_be_created());
        let master = master.create_if_missing();
        assert!(master.find().is_err_and(|error| error.is_missing_key()), "not by looking");
        let created = master.create(&SystemEntropy::new()).expect("created");
        assert!(created.told.source.contains("service agent"));
        assert!(master.find().is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_keyring_that_forgets_says_so() {
        let master = in_mock().create_if_missing();
        let created = master.create(&SystemEntropy::new()).expect("created");
        assert!(created.told.warning.is_some_and(|warning| warning.contains("next reboot")));
    }

    #[test]
    fn the_system_s_keyring_keeps_a_key_or_says_that_it_can_not() {
        let service = format!("tokenward test {}", std::process::id());
        let keyring = Keyring::of_system(service);
        match keyring.write("a key") {
            Ok(()) => {
                assert_eq!(keyring.read().expect("it is there").as_str(), "a key");
                keyring.entry().expect("an entry").delete_credential().expect("removed");
                assert!(keyring.read().is_err_and(|error| error.is_missing_key()));
            }
            Err(error) => {
                assert!(error.is_unusable_key());
                assert!(error.to_string().contains("use a file"), "{error}");
            }
        }
    }
}
