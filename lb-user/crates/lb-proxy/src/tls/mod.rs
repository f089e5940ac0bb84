//! TLS, towards clients ([`server_config`]) and towards members ([`MemberTls`]).
//!
//! What is offered follows contract 8.3: of a list of ciphers and versions, what rustls has; the API
//! refuses lists that leave nothing.
//!
//! Invariants: one configuration a listener or pool, made when what it is made of changes and shared
//! by every connection; a check that was asked for and cannot be made fails the listener or pool as
//! a whole, and is never left out.

mod client;
mod server;
mod session;
mod sni;
mod tickets;

use std::sync::Arc;

use lb_model::{
    defaults,
    spec::{CertificateSpec, ListenerSpec},
    tls::offered_names,
};
use rustls::{
    RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs, aws_lc_rs::cipher_suite as suite},
    server::VerifierBuilderError,
    sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject as _,
};

pub(crate) use client::MemberTls;
pub(crate) use server::{Made, server_config};
pub(crate) use session::{ClientCertificate, Session, no_certificate};
pub(crate) use tickets::Seed;

/// Seeds the random numbers of this thread. A worker's first handshake would, which takes long enough
/// (from jitter of the processor's clock: 100 ms in an unoptimised build) that the heartbeat is missed.
pub(crate) fn warm_up() {
    if ::aws_lc_rs::rand::fill(&mut [0]).is_err() {
        tracing::warn!("no random numbers yet; TLS handshakes will fail until there are");
    }
}

/// HTTP/2, as ALPN names it.
pub(crate) const H2: &[u8] = b"h2";

/// Why TLS cannot be served as it is asked for. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("certificate '{0}' is not there")]
    Missing(String),
    #[error("a listener that speaks TLS needs a certificate")]
    None,
    #[error("certificate '{id}' cannot be read: {reason}")]
    Pem { id: String, reason: String },
    #[error("certificate '{id}' cannot be served: {source}")]
    Unusable { id: String, source: rustls::Error },
    #[error("the {what} cannot be used: {reason}")]
    Authority { what: &'static str, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The cryptography that a list of ciphers allows; an empty list stands for the default.
fn provider(ciphers: &str) -> Arc<CryptoProvider> {
    let list = if ciphers.is_empty() {
        defaults::TLS_CIPHERS
    } else {
        ciphers
    };
    Arc::new(CryptoProvider {
        cipher_suites: offered_names(list).filter_map(cipher_suite).collect(),
        ..aws_lc_rs::default_provider()
    })
}

fn cipher_suite(name: &str) -> Option<SupportedCipherSuite> {
    let found = match name {
        "TLS_AES_128_GCM_SHA256" => suite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => suite::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => suite::TLS13_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256" => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384" => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305" => suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        _ => return None,
    };
    Some(found)
}

/// The versions of a list that can be offered; an empty list stands for the default.
fn versions(list: &[String]) -> Vec<&'static SupportedProtocolVersion> {
    let names = |name: &str| list.is_empty() || list.iter().any(|it| it == name);
    let known = [
        ("TLSv1.3", &rustls::version::TLS13),
        ("TLSv1.2", &rustls::version::TLS12),
    ];
    let known = known.into_iter();
    known
        .filter(|(name, _)| names(name))
        .map(|(_, version)| version)
        .collect()
}

/// The protocols of a list, as ALPN names them; an empty list stands for the default.
fn alpn(list: &[String]) -> Vec<Vec<u8>> {
    let bytes = |name: &str| name.as_bytes().to_vec();
    if list.is_empty() {
        return defaults::ALPN_PROTOCOLS
            .iter()
            .copied()
            .map(bytes)
            .collect();
    }
    list.iter().map(|name| bytes(name)).collect()
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

fn find<'a>(
    certificates: &'a [CertificateSpec],
    id: &str,
) -> Result<&'a CertificateSpec, TlsError> {
    let found = certificates.iter().find(|spec| spec.id == id);
    found.ok_or_else(|| TlsError::Missing(id.to_owned()))
}

/// The specs a listener's TLS is made of, default first.
fn named<'a>(
    listener: &ListenerSpec,
    certificates: &'a [CertificateSpec],
) -> Result<Vec<&'a CertificateSpec>, TlsError> {
    let ids = listener.default_certificate.iter();
    let ids = ids.chain(&listener.sni_certificates);
    ids.map(|id| find(certificates, id)).collect()
}

/// What certificates of the other side must chain to.
fn roots(pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let unusable = |reason: String| TlsError::Authority {
        what: "certificate authority",
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(Arc::new(roots))
}

fn revocation_lists(
    pem: Option<&str>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(pem.unwrap_or_default().as_bytes());
    let lists: Vec<_> = lists
        .collect::<Result<_, _>>()
        .map_err(|error| revocation(error.to_string()))?;
    if pem.is_some() && lists.is_empty() {
        return Err(revocation("it holds no list".to_owned()));
    }
    Ok(lists)
}

fn revocation(reason: String) -> TlsError {
    TlsError::Authority {
        what: "revocation list",
        reason,
    }
}

fn verifier(error: VerifierBuilderError) -> TlsError {
    match error {
        VerifierBuilderError::NoRootAnchors => TlsError::Authority {
            what: "certificate authority",
            reason: "it holds no certificate".to_owned(),
        },
        VerifierBuilderError::InvalidCrl(error) => revocation(format!("{error:?}")),
        other => revocation(other.to_string()),
    }
}
