//! Whom this machine trusts to say which server has which name.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::WebSeedError;

/// Reading over a hundred certificates takes milliseconds and they take room: once is enough for all web seeds.
static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// TLS as this machine's owner has set it up: an office's own authority counts, too.
pub(super) async fn config() -> Result<Arc<ClientConfig>, WebSeedError> {
    let reading = || async {
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| error.to_string());
        loaded.flatten().map_err(WebSeedError::NoAuthorities)
    };
    SYSTEM.get_or_try_init(reading).await.cloned()
}

fn load() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Single ones that cannot be read are normal: only their servers are not trusted then.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(why);
    }
    with_roots(roots).map(Arc::new).map_err(|error| error.to_string())
}

/// TLS that believes these.
pub(super) fn with_roots(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
