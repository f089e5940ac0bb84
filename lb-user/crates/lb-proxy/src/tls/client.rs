//! A pool's TLS towards its members (contract 8.4).
//!
//! The name asked for is the one the client asked us for; none in clear. Without a CA nothing is
//! verified. With one the chain is, and, when the client asked for a name, the name too.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lb_model::spec::{CertificateSpec, PoolTlsSpec};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use super::{
    H2, TlsError, alpn, certified_key, find, provider, revocation_lists, roots, verifier, versions,
};

/// A pool's TLS with what it was made of: reused while that is equal, and its connections with it.
#[derive(Clone)]
pub(crate) struct MemberTls {
    spec: PoolTlsSpec,
    certificate: Option<CertificateSpec>,
    /// Tells one from another: connections of one are not used by the other.
    id: u64,
    any: TlsConnector,
    http1: TlsConnector,
    names: RandomState,
}

impl std::fmt::Debug for MemberTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberTls")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl MemberTls {
    pub(crate) fn new(
        spec: &PoolTlsSpec,
        certificates: &[CertificateSpec],
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, TlsError> {
        let certificate = spec.client_certificate.as_deref();
        let certificate = certificate.map(|id| find(certificates, id)).transpose()?;
        if let Some(made) = before
            && made.spec == *spec
            && made.certificate.as_ref() == certificate
        {
            return Ok(Arc::clone(made));
        }
        let config = client_config(spec, certificate)?;
        let mut http1 = config.clone();
        http1.alpn_protocols.retain(|protocol| protocol != H2);
        Ok(Arc::new(Self {
            spec: spec.clone(),
            certificate: certificate.cloned(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            any: TlsConnector::from(Arc::new(config)),
            http1: TlsConnector::from(Arc::new(http1)),
            names: RandomState::new(),
        }))
    }

    /// Stands for connections that may stand in for each other: of this pool's TLS, with equal
    /// names asked for. The hash is keyed: no client can make two names alike.
    pub(crate) fn key(&self, sni: Option<&str>, upgradable: bool) -> u64 {
        self.names.hash_one((self.id, sni, upgradable))
    }

    /// Who makes connections; `upgradable` ones are HTTP/1.
    pub(crate) fn connector(&self, upgradable: bool) -> &TlsConnector {
        if upgradable { &self.http1 } else { &self.any }
    }

    /// The name to ask a member for.
    pub(crate) fn name(sni: Option<&str>, member: IpAddr) -> ServerName<'static> {
        sni.and_then(|name| ServerName::try_from(name.to_owned()).ok())
            // An address is never sent as a name.
            .unwrap_or_else(|| ServerName::IpAddress(member.into()))
    }
}

fn client_config(
    spec: &PoolTlsSpec,
    certificate: Option<&CertificateSpec>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider(&spec.tls_ciphers);
    let verifier = Arc::new(match &spec.ca {
        Some(authority) => Members::Checked(checked(authority, spec, &provider)?),
        None => Members::Unchecked(Arc::clone(&provider)),
    });
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&spec.tls_versions))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        Some(certificate) => {
            let key = Arc::new(certified_key(certificate, &provider)?);
            let shown = rustls::sign::SingleCertAndKey::from(key);
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(&spec.alpn_protocols);
    Ok(config)
}

fn checked(
    authority: &str,
    spec: &PoolTlsSpec,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let lists = revocation_lists(spec.crl.as_deref())?;
    let mut builder =
        WebPkiServerVerifier::builder_with_provider(roots(authority)?, Arc::clone(provider));
    if !lists.is_empty() {
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    builder.build().map_err(verifier)
}

/// How members are verified.
#[derive(Debug)]
enum Members {
    Checked(Arc<WebPkiServerVerifier>),
    Unchecked(Arc<CryptoProvider>),
}

impl ServerCertVerifier for Members {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Self::Checked(inner) = self else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The chain was verified before the name was looked at.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if matches!(name, ServerName::IpAddress(_)) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self {
            Self::Checked(inner) => inner.verify_tls12_signature(message, certificate, signed),
            Self::Unchecked(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self {
            Self::Checked(inner) => inner.verify_tls13_signature(message, certificate, signed),
            // Whose key it is nobody asked for.
            Self::Unchecked(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self {
            Self::Checked(inner) => inner.supported_verify_schemes(),
            Self::Unchecked(provider) => provider
                .signature_verification_algorithms
                .supported_schemes(),
        }
    }
}
