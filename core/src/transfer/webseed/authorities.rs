//! The certificate authorities that this machine trusts.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::WebSeedError;

/// The TLS settings of all web seeds. Over a hundred certificates take milliseconds to read and take memory,
/// so they are read once.
static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Returns TLS settings with the authorities that the operating system trusts. An authority that an
/// organisation adds there counts.
///
/// # Errors
/// [`WebSeedError::NoAuthorities`] if there are none.
pub(super) async fn config() -> Result<Arc<ClientConfig>, WebSeedError> {
    let reading = || async {
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| error.to_string());
        loaded.flatten().map_err(WebSeedError::NoAuthorities)
    };
    SYSTEM.get_or_try_init(reading).await.cloned()
}

/// Reads the authorities of the operating system.
fn load() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some certificates cannot be read on most systems. Only the servers below those are not trusted then.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(why);
    }
    with_roots(roots).map(Arc::new).map_err(|error| error.to_string())
}

/// Returns TLS settings that trust these authorities alone.
pub(super) fn with_roots(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
