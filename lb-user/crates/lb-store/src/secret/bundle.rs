//! A certificate, its chain and its key out of one payload.
//!
//! Two forms: PKCS#12 without a password in every shape that is about (OpenSSL 3's AES, its legacy
//! 3DES and RC2, without MAC, and what python-cryptography writes without encryption), and PEM with
//! certificates and a key in any order. The leaf is the certificate the key belongs to; the chain
//! behind it follows the issuers, whatever the order in the payload.
//!
//! p12-keystore stands on pre-releases, so its types stay in this file.
//!
//! Left out on purpose: PKCS#7 bundles, encrypted PEM keys, validation of chains and dates (the
//! contract checks neither).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lb_model::secret::Secret;
use p12_keystore::Pkcs12Archive;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use crate::error::SecretError;

/// Characters in a line of PEM (RFC 7468).
const PEM_COLUMNS: usize = 64;
/// Longest chain that is followed.
const CHAIN_MAX: usize = 10;

/// A certificate with its key, ready to be served.
#[derive(Debug)]
pub(super) struct Bundle {
    /// Leaf first.
    pub(super) chain_pem: String,
    pub(super) key_pem: Secret,
    /// Subject CN and SAN dNSNames, lower case, no duplicates.
    pub(super) hosts: Vec<String>,
}

struct Parts {
    certificates: Vec<CertificateDer<'static>>,
    keys: Vec<PrivateKeyDer<'static>>,
}

/// Reads a payload.
pub(super) fn read(payload: &[u8]) -> Result<Bundle, SecretError> {
    let parts = split(payload)?;
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
    let mut chain_pem = String::new();
    push_pem(&mut chain_pem, "CERTIFICATE", leaf_der);
    let mut last = leaf;
    for _link in 1..CHAIN_MAX {
        let issued = |(_, candidate): &&(&CertificateDer<'_>, X509Certificate<'_>)| {
            candidate.subject() == last.issuer() && last.issuer() != last.subject()
        };
        let Some((der, issuer)) = certificates.iter().find(issued) else {
            break;
        };
        push_pem(&mut chain_pem, "CERTIFICATE", der);
        last = issuer;
    }
    let mut key_pem = String::new();
    push_pem(&mut key_pem, label(key), key.secret_der());
    Ok(Bundle {
        chain_pem,
        key_pem: Secret::new(key_pem),
        hosts,
    })
}

fn not(why: &str) -> SecretError {
    SecretError::NotABundle(why.to_owned())
}

fn split(payload: &[u8]) -> Result<Parts, SecretError> {
    const PEM_BEGIN: &[u8] = b"-----BEGIN ";
    let is_pem = payload
        .windows(PEM_BEGIN.len())
        .any(|window| window == PEM_BEGIN);
    if is_pem {
        let certificates = CertificateDer::pem_slice_iter(payload).collect::<Result<_, _>>();
        let keys = PrivateKeyDer::pem_slice_iter(payload).collect::<Result<_, _>>();
        return Ok(Parts {
            certificates: certificates.map_err(|error| not(&error.to_string()))?,
            keys: keys.map_err(|_error| not("its private key is not well-formed PEM"))?,
        });
    }
    // Base64 of PKCS#12 is what a shell makes where a client takes text only.
    let text: Vec<u8> = payload
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let decoded = BASE64_STANDARD.decode(text);
    let der = decoded.as_deref().unwrap_or(payload);
    let archive = Pkcs12Archive::from_pkcs12(der, "").map_err(|error| {
        not(&format!(
            "neither PEM nor PKCS#12 without a password ({error})"
        ))
    })?;
    let certificates = archive.certs.iter();
    let keys = archive.keys.iter();
    Ok(Parts {
        certificates: certificates
            .map(|bag| bag.cert.as_der().to_vec().into())
            .collect(),
        keys: keys
            .map(|bag| PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()).into())
            .collect(),
    })
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

fn push_pem(out: &mut String, label: &str, der: &[u8]) {
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for (index, character) in BASE64_STANDARD.encode(der).char_indices() {
        if index > 0 && index % PEM_COLUMNS == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
}
