//! The TLS of listeners and pools, with the secrets that they name.
//!
//! Invariant: nothing is served with less than what was asked for. A listener or pool whose secret
//! cannot be read is not served at all, rather than without a check.

use std::collections::{BTreeMap, BTreeSet};

use lb_model::{
    enums::{ClientAuthentication, ListenerProtocol},
    resource::{Listener, Pool},
    secret_refs::SecretRefs,
    spec::{CertificateSpec, HstsSpec, ListenerSpec, ListenerTlsSpec, PoolSpec, PoolTlsSpec},
};

use super::Inputs;

/// Whether a listener speaks TLS: a PROMETHEUS one does when it has certificates.
pub(super) fn terminates(listener: &Listener) -> bool {
    match listener.protocol {
        ListenerProtocol::TerminatedHttps => true,
        ListenerProtocol::Prometheus => {
            listener.default_tls_container_ref.is_some() || !listener.sni_container_refs.is_empty()
        }
        ListenerProtocol::Http
        | ListenerProtocol::Https
        | ListenerProtocol::Tcp
        | ListenerProtocol::Udp
        | ListenerProtocol::Sctp => false,
    }
}

/// Why a listener cannot be served that has given its certificates up.
pub(super) fn without_certificate(listener: &Listener) -> Option<String> {
    let named =
        listener.default_tls_container_ref.is_some() || !listener.sni_container_refs.is_empty();
    (terminates(listener) && !named).then(|| "it names no certificate".to_owned())
}

/// What a listener needs read: references left over from what it was before are not needed.
pub(super) fn listener_refs(listener: &Listener) -> SecretRefs {
    if !terminates(listener) {
        return SecretRefs::default();
    }
    let mut refs = listener.secret_refs();
    if listener.client_authentication == ClientAuthentication::None {
        refs.authorities.clear();
        refs.revocation_lists.clear();
    }
    refs
}

/// What a pool needs read.
pub(super) fn pool_refs(pool: &Pool) -> SecretRefs {
    if pool.tls_enabled {
        pool.secret_refs()
    } else {
        SecretRefs::default()
    }
}

/// Why something cannot be served, when one of `refs` could not be read.
pub(super) fn missing(refs: &SecretRefs, inputs: &Inputs<'_>) -> Option<String> {
    let has = |id: &String| inputs.certificates.iter().any(|one| one.id == *id);
    let lacks = |found: &BTreeMap<String, String>, wanted: &BTreeSet<String>| {
        wanted.iter().find(|id| !found.contains_key(*id)).cloned()
    };
    if let Some(reference) = refs.certificates.iter().find(|id| !has(id)) {
        return Some(format!("certificate {reference} cannot be read"));
    }
    if let Some(reference) = lacks(inputs.authorities, &refs.authorities) {
        return Some(format!("certificate authority {reference} cannot be read"));
    }
    lacks(inputs.revocation_lists, &refs.revocation_lists)
        .map(|reference| format!("revocation list {reference} cannot be read"))
}

pub(super) fn listener_tls(listener: &Listener, inputs: &Inputs<'_>) -> ListenerTlsSpec {
    if !terminates(listener) {
        return ListenerTlsSpec::default();
    }
    let refs = listener_refs(listener);
    let max_age = listener.hsts_max_age.and_then(|it| u64::try_from(it).ok());
    ListenerTlsSpec {
        tls_versions: listener.tls_versions.clone().unwrap_or_default(),
        tls_ciphers: listener.tls_ciphers.clone().unwrap_or_default(),
        alpn_protocols: listener.alpn_protocols.clone().unwrap_or_default(),
        hsts: max_age.map(|max_age| HstsSpec {
            max_age,
            include_subdomains: listener.hsts_include_subdomains,
            preload: listener.hsts_preload,
        }),
        client_authentication: listener.client_authentication,
        client_ca: first(&refs.authorities, inputs.authorities),
        client_crl: first(&refs.revocation_lists, inputs.revocation_lists),
    }
}

pub(super) fn pool_tls(pool: &Pool, inputs: &Inputs<'_>) -> Option<PoolTlsSpec> {
    let refs = pool_refs(pool);
    pool.tls_enabled.then(|| PoolTlsSpec {
        client_certificate: pool.tls_container_ref.clone(),
        ca: first(&refs.authorities, inputs.authorities),
        crl: first(&refs.revocation_lists, inputs.revocation_lists),
        tls_versions: pool.tls_versions.clone().unwrap_or_default(),
        tls_ciphers: pool.tls_ciphers.clone().unwrap_or_default(),
        alpn_protocols: pool.alpn_protocols.clone().unwrap_or_default(),
    })
}

/// A listener or pool names at most one of a kind.
fn first(wanted: &BTreeSet<String>, found: &BTreeMap<String, String>) -> Option<String> {
    wanted.iter().find_map(|id| found.get(id).cloned())
}

/// The certificates that are served or shown.
pub(super) fn named_certificates(
    listeners: &[ListenerSpec],
    pools: &[PoolSpec],
    found: &[CertificateSpec],
) -> Vec<CertificateSpec> {
    let served = listeners.iter().flat_map(|listener| {
        let default = listener.default_certificate.iter();
        default.chain(&listener.sni_certificates)
    });
    let shown = pools.iter().filter_map(|pool| pool.tls.as_ref());
    let shown = shown.filter_map(|tls| tls.client_certificate.as_ref());
    let named: BTreeSet<&String> = served.chain(shown).collect();
    let named = named.into_iter();
    named
        .filter_map(|id| found.iter().find(|one| one.id == *id).cloned())
        .collect()
}
