//! A listener's TLS.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use lb_model::{
    enums::ClientAuthentication,
    spec::{CertificateSpec, ListenerSpec, ListenerTlsSpec},
};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    Seed, TlsError, alpn, certified_key, named, provider, revocation_lists, roots, sni::BySni,
    tickets::Tickets, verifier, versions,
};

/// A listener's TLS with what it was made of: reused while that is equal.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    certificates: Vec<CertificateSpec>,
    spec: ListenerTlsSpec,
    seed: Seed,
    pub(crate) config: Arc<ServerConfig>,
}

/// A listener's TLS, from the certificates it names. Without a default the first SNI one stands in.
pub(crate) fn server_config(
    listener: &ListenerSpec,
    certificates: &[CertificateSpec],
    seed: &Seed,
    before: Option<&Made>,
) -> Result<Made, TlsError> {
    let named = named(listener, certificates)?;
    if let Some(made) = before
        && made.spec == listener.tls
        && made.seed == *seed
        && made.certificates.iter().eq(named.iter().copied())
    {
        return Ok(made.clone());
    }
    let provider = provider(&listener.tls.tls_ciphers);
    let keys = named
        .iter()
        .map(|spec| {
            let mut key = certified_key(spec, &provider)?;
            key.ocsp = staple(spec)?;
            Ok((Arc::new(key), spec.hosts.as_slice()))
        })
        .collect::<Result<Vec<_>, TlsError>>()?;
    let resolver = BySni::new(&keys).ok_or(TlsError::None)?;
    let clients = client_verifier(&listener.tls, &provider)?;
    let versions = versions(&listener.tls.tls_versions);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = alpn(&listener.tls.alpn_protocols);
    config.ticketer = Arc::new(Tickets::new(seed, listener.id, &listener.tls));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Made {
        certificates: named.into_iter().cloned().collect(),
        spec: listener.tls.clone(),
        seed: seed.clone(),
        config: Arc::new(config),
    })
}

fn staple(spec: &CertificateSpec) -> Result<Option<Vec<u8>>, TlsError> {
    let Some(ocsp) = &spec.ocsp else {
        return Ok(None);
    };
    let text: String = ocsp.split_ascii_whitespace().collect();
    let der = BASE64_STANDARD.decode(text);
    der.map(Some).map_err(|error| TlsError::Pem {
        id: spec.id.clone(),
        reason: format!("its OCSP response: {error}"),
    })
}

/// NONE asks for no certificate. OPTIONAL lets clients without one in; one that is shown is checked
/// all the same.
fn client_verifier(
    tls: &ListenerTlsSpec,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let optional = match tls.client_authentication {
        ClientAuthentication::None => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuthentication::Optional => true,
        ClientAuthentication::Mandatory => false,
    };
    let authority = tls.client_ca.as_deref().ok_or(TlsError::Authority {
        what: "certificate authority",
        reason: "clients shall show certificates, and nobody says by whom".to_owned(),
    })?;
    let lists = revocation_lists(tls.client_crl.as_deref())?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(roots(authority)?, Arc::clone(provider));
    if !lists.is_empty() {
        // As OpenSSL: a list past its time says nothing any more.
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(verifier)
}
