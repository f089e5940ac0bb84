//! A certificate, its chain and its key, ready to be served.
//!
//! Two forms come in: one payload with everything ([`read`]), and a container with a payload for
//! each part ([`assemble`]). The leaf is the certificate the key belongs to; the chain behind it
//! follows the issuers, whatever the order. What leaves here rustls can serve.
//!
//! Left out on purpose: validation of chains (the contract checks none).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lb_model::{secret::Secret, time::Timestamp};
use rustls::crypto::aws_lc_rs as provider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::parts::{self, Parts, not};
use crate::error::SecretError;

/// Characters in a line of PEM (RFC 7468).
const PEM_COLUMNS: usize = 64;
/// Longest chain that is followed.
const CHAIN_MAX: usize = 10;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A certificate with its key. What is kept of it is this, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bundle {
    /// Leaf first.
    pub(super) chain_pem: String,
    pub(super) key_pem: Secret,
    /// Subject CN and SAN dNSNames, lower case, no duplicates.
    pub(super) hosts: Vec<String>,
    /// The leaf's last moment.
    pub(super) not_after: Timestamp,
}

/// Reads a payload that holds everything.
pub(super) fn read(payload: &[u8]) -> Result<Bundle, SecretError> {
    finish(&parts::split(payload)?)
}

/// Puts together what a certificate container holds.
pub(super) fn assemble(
    certificate: &[u8],
    private_key: &[u8],
    passphrase: Option<&[u8]>,
    intermediates: Option<&[u8]>,
) -> Result<Bundle, SecretError> {
    let mut found = Parts {
        certificates: parts::certificates(certificate)?,
        keys: vec![parts::private_key(private_key, passphrase)?],
    };
    if let Some(intermediates) = intermediates {
        found
            .certificates
            .extend(parts::certificates(intermediates)?);
    }
    finish(&found)
}

fn finish(parts: &Parts) -> Result<Bundle, SecretError> {
    let key = parts
        .keys
        .first()
        .ok_or_else(|| not("it holds no private key"))?;
    let public = public_key(key)?;
    let certificates: Vec<(&CertificateDer<'_>, X509Certificate<'_>)> = parts
        .certificates
        .iter()
        .filter_map(|der| Some((der, X509Certificate::from_der(der).ok()?.1)))
        .collect();
    if certificates.is_empty() {
        return Err(not("it holds no certificate"));
    }
    let (leaf_der, leaf) = certificates
        .iter()
        .find(|(_, certificate)| {
            certificate.public_key().subject_public_key.data.as_ref() == public
        })
        .ok_or(SecretError::KeyMismatch)?;
    let hosts = hosts(leaf);
    if hosts.is_empty() {
        return Err(SecretError::NoHostNames);
    }
    let chain = chain(&certificates, leaf_der, leaf);
    servable(key)?;
    let mut chain_pem = String::new();
    for der in &chain {
        push_pem(&mut chain_pem, "CERTIFICATE", der);
    }
    let mut key_pem = String::new();
    push_pem(&mut key_pem, label(key), key.secret_der());
    let not_after = leaf.validity().not_after.timestamp();
    Ok(Bundle {
        chain_pem,
        key_pem: Secret::new(key_pem),
        hosts,
        not_after: Timestamp(not_after.saturating_mul(MICROS_PER_SECOND)),
    })
}

/// The leaf and its issuers, as far as they are there.
fn chain<'d>(
    certificates: &[(&CertificateDer<'d>, X509Certificate<'_>)],
    leaf_der: &CertificateDer<'d>,
    leaf: &X509Certificate<'_>,
) -> Vec<CertificateDer<'d>> {
    let mut chain = vec![leaf_der.clone()];
    let mut last = leaf;
    for _link in 1..CHAIN_MAX {
        let issued = |(_, candidate): &&(&CertificateDer<'_>, X509Certificate<'_>)| {
            candidate.subject() == last.issuer() && last.issuer() != last.subject()
        };
        let Some((der, issuer)) = certificates.iter().find(issued) else {
            break;
        };
        chain.push((*der).clone());
        last = issuer;
    }
    chain
}

/// What the data path will do with the key, tried once before anyone relies on it. The library's own
/// comparison with the certificate is left out: it reads X.509 v3 only, and ours came before.
fn servable(key: &PrivateKeyDer<'_>) -> Result<(), SecretError> {
    match provider::sign::any_supported_type(key) {
        Ok(_signing) => Ok(()),
        Err(error) => Err(SecretError::NotServable(error.to_string())),
    }
}

/// The public half, as a certificate holds it in subjectPublicKey.
fn public_key(key: &PrivateKeyDer<'_>) -> Result<Vec<u8>, SecretError> {
    let curves = [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
    ];
    let ecdsa = |der: &[u8]| {
        let mut pairs = curves
            .iter()
            .map(|curve| EcdsaKeyPair::from_private_key_der(curve, der));
        let pair = pairs.find_map(Result::ok)?;
        Some(pair.public_key().as_ref().to_vec())
    };
    let rsa = |pair: RsaKeyPair| pair.public_key().as_ref().to_vec();
    let public = match key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(rsa),
        PrivateKeyDer::Sec1(der) => ecdsa(der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let found = RsaKeyPair::from_pkcs8(der)
                .ok()
                .map(rsa)
                .or_else(|| ecdsa(der));
            found.or_else(|| {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
                Some(pair.public_key().as_ref().to_vec())
            })
        }
        _unknown => None,
    };
    public.ok_or_else(|| not("its private key is not RSA of 2048 bits or more, ECDSA or Ed25519"))
}

fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok());
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative
        .into_iter()
        .flat_map(|names| &names.value.general_names);
    let dns = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _other => None,
    });
    let mut hosts: Vec<String> = Vec::new();
    for host in names.chain(dns).map(str::to_ascii_lowercase) {
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

const fn label(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _pkcs8 => "PRIVATE KEY",
    }
}

pub(super) fn push_pem(out: &mut String, label: &str, der: &[u8]) {
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for (index, character) in BASE64_STANDARD.encode(der).char_indices() {
        if index > 0 && index % PEM_COLUMNS == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
}
