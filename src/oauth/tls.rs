//! TLS for every connection of the crate: ring for the cryptography, the platform for the roots,
//! and nothing installed process-wide.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::error::{Error, ErrorKind};

/// How the clients of one runtime speak TLS. Made once for all of them, since the platform's roots
/// are read for it.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// Trusts the platform's roots; or why it can not, as in a container without certificates.
    pub(super) platform: Result<ClientConfig, String>,
    /// Trusts nobody: for a client that only ever speaks plain text to loopback. Without it
    /// reqwest would look for a process-wide provider.
    pub(super) nobody: ClientConfig,
}

impl Tls {
    /// TLS 1.2 and 1.3 with the platform's trusted roots.
    ///
    /// # Errors
    ///
    /// When ring can not speak these versions, which would be a defect of this crate.
    pub(crate) fn of_the_platform() -> Result<Self, Error> {
        let platform = trust_the_platform().map_err(|error| error.to_string());
        let nobody = trust_nobody().map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("can not set up tls: {error}"))
        })?;
        Ok(Self { platform, nobody })
    }
}

fn trust_the_platform() -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(config)
}

fn trust_nobody() -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
