//! TLS for both ends: 1.3 only, certificates on both sides, the provider named.

use std::sync::Arc;

use lb_model::secret::Secret;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::WireError;

/// HTTP/2 and nothing else.
const ALPN: &[u8] = b"h2";

/// A certificate, its key and the CA that the other side must be from. PEM.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The internal CA.
    pub ca_pem: String,
    /// Own certificate.
    pub certificate_pem: String,
    /// Own key.
    pub key_pem: Secret,
}

/// The agent's side.
///
/// # Errors
/// PEM that is none, a key that does not belong to the certificate.
pub fn client_config(credentials: &Credentials) -> Result<Arc<ClientConfig>, WireError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_root_certificates(roots(credentials)?)
        .with_client_auth_cert(chain(credentials)?, key(credentials)?)
        .map_err(setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The server's side: whoever has no certificate of this CA does not get past the handshake.
///
/// # Errors
/// PEM that is none, a key that does not belong to the certificate.
pub fn server_config(credentials: &Credentials) -> Result<Arc<ServerConfig>, WireError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(credentials)?), provider())
            .build()
            .map_err(setup)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(credentials)?, key(credentials)?)
        .map_err(setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The common name of a verified certificate: which host an agent speaks for.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(credentials: &Credentials) -> Result<RootCertStore, WireError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(credentials.ca_pem.as_bytes()) {
        roots.add(certificate.map_err(setup)?).map_err(setup)?;
    }
    Ok(roots)
}

fn chain(credentials: &Credentials) -> Result<Vec<CertificateDer<'static>>, WireError> {
    CertificateDer::pem_slice_iter(credentials.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(setup)
}

fn key(credentials: &Credentials) -> Result<PrivateKeyDer<'static>, WireError> {
    PrivateKeyDer::from_pem_slice(credentials.key_pem.expose().as_bytes()).map_err(setup)
}

fn setup(error: impl std::fmt::Display) -> WireError {
    WireError::TlsSetup(error.to_string())
}
