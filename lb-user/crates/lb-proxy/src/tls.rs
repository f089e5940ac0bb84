//! TERMINATED_HTTPS: certificates by SNI, TLS 1.2 and 1.3.

use std::{collections::HashMap, sync::Arc};

use lb_model::spec::{CertificateSpec, ListenerSpec};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// The one cryptography of the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Why a listener's TLS cannot be served. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("certificate '{0}' is not there")]
    Missing(String),
    #[error("a TERMINATED_HTTPS listener needs a certificate")]
    None,
    #[error("certificate '{id}' cannot be read: {reason}")]
    Pem { id: String, reason: String },
    #[error("certificate '{id}' cannot be served: {source}")]
    Unusable { id: String, source: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Certificates by name.
#[derive(Debug)]
struct BySni {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// Keyed by what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

impl BySni {
    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        // A wildcard stands for exactly one label (RFC 6125).
        let parent = name.split_once('.').map_or("", |(_label, parent)| parent);
        self.exact
            .get(&name)
            .or_else(|| self.wildcard.get(parent))
            .unwrap_or(&self.default)
    }
}

/// A listener's TLS, from the certificates it names. Without a default the first SNI one stands in.
pub(crate) fn server_config(
    listener: &ListenerSpec,
    certificates: &[CertificateSpec],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let mut exact = HashMap::new();
    let mut wildcard = HashMap::new();
    let mut first = None;
    for spec in named(listener, certificates)? {
        let key = Arc::new(certified_key(spec, &provider)?);
        for host in &spec.hosts {
            match host.strip_prefix("*.") {
                Some(parent) => wildcard
                    .entry(parent.to_ascii_lowercase())
                    .or_insert_with(|| Arc::clone(&key)),
                None => exact
                    .entry(host.to_ascii_lowercase())
                    .or_insert_with(|| Arc::clone(&key)),
            };
        }
        first.get_or_insert(key);
    }
    let resolver = BySni {
        exact,
        wildcard,
        default: first.ok_or(TlsError::None)?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The specs a listener's TLS is made of, default first: when they are equal, so is the TLS.
pub(crate) fn named<'a>(
    listener: &ListenerSpec,
    certificates: &'a [CertificateSpec],
) -> Result<Vec<&'a CertificateSpec>, TlsError> {
    listener
        .default_certificate
        .iter()
        .chain(&listener.sni_certificates)
        .map(|id| {
            certificates
                .iter()
                .find(|spec| spec.id == *id)
                .ok_or_else(|| TlsError::Missing(id.clone()))
        })
        .collect()
}

fn certified_key(
    spec: &CertificateSpec,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let pem = |error: rustls_pki_types::pem::Error| TlsError::Pem {
        id: spec.id.clone(),
        reason: error.to_string(),
    };
    let chain = CertificateDer::pem_slice_iter(spec.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(spec.key_pem.expose().as_bytes()).map_err(pem)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Unusable {
        id: spec.id.clone(),
        source,
    })
}
