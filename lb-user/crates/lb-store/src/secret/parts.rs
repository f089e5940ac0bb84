//! Certificates and keys out of bytes, in every form people keep them in: PEM, DER, PKCS#12 without
//! a password, PKCS#7 without content, private keys under a passphrase.
//!
//! p12-keystore stands on pre-releases, so its types stay in this file.
//!
//! Left out on purpose: the old `Proc-Type: 4,ENCRYPTED` of PEM, whose key comes from one MD5 of the
//! passphrase.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use p12_keystore::Pkcs12Archive;
use pkcs5::{der::Decode as _, pbes2};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use x509_parser::asn1_rs::{Any, Class, FromDer as _, Oid, Tag, oid};

use crate::error::SecretError;

const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const ENCRYPTED_KEY: &str = "ENCRYPTED PRIVATE KEY";
const PKCS7: &str = "PKCS7";
/// RFC 5652: `id-signedData`.
const SIGNED_DATA: Oid<'static> = oid!(1.2.840.113549.1.7.2);
/// Work a passphrase may cost, so that no payload keeps a processor busy.
const ITERATIONS_MAX: u32 = 1_000_000;
/// The same for scrypt: 128 · N · r bytes.
const SCRYPT_BLOCKS_MAX: u64 = 1 << 20;

/// What was found in a payload.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
}

pub(super) fn not(why: &str) -> SecretError {
    SecretError::NotABundle(why.to_owned())
}

/// Everything in one payload: PEM in any order, or PKCS#12, or PKCS#12 as base64.
pub(super) fn split(payload: &[u8]) -> Result<Parts, SecretError> {
    if is_pem(payload) {
        return Ok(Parts {
            certificates: certificates(payload)?,
            keys: PrivateKeyDer::pem_slice_iter(payload)
                .collect::<Result<_, _>>()
                .map_err(|_error| not("its private key is not well-formed PEM"))?,
        });
    }
    let decoded = unwrapped(payload);
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

/// Certificates alone: PEM, one in DER, or PKCS#7 in either.
pub(super) fn certificates(payload: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecretError> {
    if is_pem(payload) {
        let mut found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(payload)
            .collect::<Result<_, _>>()
            .map_err(|error| not(&error.to_string()))?;
        for der in sections(payload, PKCS7) {
            found.extend(pkcs7(&der)?);
        }
        return Ok(found);
    }
    let decoded = unwrapped(payload);
    let der = decoded.as_deref().unwrap_or(payload);
    pkcs7(der).or_else(|_no_pkcs7| Ok(vec![CertificateDer::from(der.to_vec())]))
}

/// A private key alone: PEM or DER, with a passphrase when it is under one.
pub(super) fn private_key(
    payload: &[u8],
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, SecretError> {
    if let Some(encrypted) = sections(payload, ENCRYPTED_KEY).first() {
        return decrypted(encrypted, passphrase);
    }
    if is_pem(payload) {
        return PrivateKeyDer::from_pem_slice(payload)
            .map_err(|_error| not("its private key is not well-formed PEM"));
    }
    let decoded = unwrapped(payload);
    let der = decoded.as_deref().unwrap_or(payload);
    match PrivateKeyDer::try_from(der.to_vec()) {
        Ok(key) => Ok(key),
        Err(_other) => decrypted(der, passphrase),
    }
}

/// Every section of a label in PEM, decoded. The library knows only some labels.
pub(super) fn sections(payload: &[u8], label: &str) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(payload) else {
        return Vec::new();
    };
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let bodies = text.split(begin.as_str()).skip(1);
    bodies
        .filter_map(|rest| {
            let (body, _) = rest.split_once(end.as_str())?;
            let body: String = body.split_ascii_whitespace().collect();
            BASE64_STANDARD.decode(body).ok()
        })
        .collect()
}

pub(super) fn is_pem(payload: &[u8]) -> bool {
    payload
        .windows(PEM_BEGIN.len())
        .any(|window| window == PEM_BEGIN)
}

/// Base64 of something binary is what a shell makes where a client takes text only.
pub(super) fn unwrapped(payload: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = payload
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64_STANDARD.decode(text).ok()
}

/// `EncryptedPrivateKeyInfo` of PKCS#8, opened.
fn decrypted(der: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, SecretError> {
    let malformed = || not("its private key is neither PKCS#8, PKCS#1 nor SEC1");
    let (_, info) = Any::from_der(der).map_err(|_error| malformed())?;
    let (rest, algorithm) = Any::from_der(info.data).map_err(|_error| malformed())?;
    let (_, data) = Any::from_der(rest).map_err(|_error| malformed())?;
    if info.header.tag() != Tag::Sequence || data.header.tag() != Tag::OctetString {
        return Err(malformed());
    }
    let taken = info.data.len().saturating_sub(rest.len());
    let algorithm_der = info.data.get(..taken).unwrap_or(algorithm.data);
    let scheme = pkcs5::EncryptionScheme::from_der(algorithm_der)
        .map_err(|_error| not("its private key is encrypted in a way that is not known"))?;
    let passphrase =
        passphrase.ok_or_else(|| not("its private key is encrypted and there is no passphrase"))?;
    if !scheme.pbes2().is_some_and(is_bounded) {
        return Err(not(
            "its private key is encrypted in a way that costs too much",
        ));
    }
    let plain = scheme
        .decrypt(passphrase, data.data)
        .map_err(|_error| not("the passphrase does not open its private key"))?;
    Ok(PrivatePkcs8KeyDer::from(plain).into())
}

fn is_bounded(parameters: &pbes2::Parameters) -> bool {
    match &parameters.kdf {
        pbes2::Kdf::Pbkdf2(kdf) => kdf.iteration_count <= ITERATIONS_MAX,
        pbes2::Kdf::Scrypt(kdf) => {
            let blocks = kdf.cost_parameter.saturating_mul(u64::from(kdf.block_size));
            blocks.saturating_mul(u64::from(kdf.parallelization)) <= SCRYPT_BLOCKS_MAX
        }
        _newer => false,
    }
}

/// The certificates of a PKCS#7 `SignedData`, which is how some authorities hand out a chain.
fn pkcs7(der: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecretError> {
    let malformed = || not("it is no PKCS#7 with certificates");
    let any = |bytes| Any::from_der(bytes).map_err(|_error| malformed());
    let (_, content_info) = any(der)?;
    let (rest, kind) = any(content_info.data)?;
    if kind.oid().map_err(|_error| malformed())? != SIGNED_DATA {
        return Err(malformed());
    }
    let (_, explicit) = any(rest)?;
    let (_, signed) = any(explicit.data)?;
    let mut rest = signed.data;
    while !rest.is_empty() {
        let (after, field) = any(rest)?;
        rest = after;
        if field.header.class() != Class::ContextSpecific || field.header.tag().0 != 0 {
            continue;
        }
        let mut found = Vec::new();
        let mut bytes = field.data;
        while !bytes.is_empty() {
            let (after, _) = any(bytes)?;
            let length = bytes.len().saturating_sub(after.len());
            found.push(bytes.get(..length).unwrap_or_default().to_vec().into());
            bytes = after;
        }
        return Ok(found);
    }
    Err(malformed())
}
