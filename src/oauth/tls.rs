//! TLS for every connection of the crate: ring for the cryptography, the platform for the roots,
//! and nothing installed process-wide.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// TLS 1.2 and 1.3 with the platform's trusted roots.
///
/// # Errors
///
/// When the platform has no usable roots, as in a container without certificates.
pub(crate) fn client_config() -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(config)
}

/// TLS that trusts nobody, for a client that only ever speaks plain text to loopback. Without it
/// reqwest would look for a process-wide provider.
pub(crate) fn trust_nobody() -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
