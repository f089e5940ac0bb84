//! CAs that the other side's certificates must chain to, and lists of revoked certificates
//! (contract 2.2, 2.3).
//!
//! Invariant: a list counts as signed by a CA only when the signature over its bytes verifies under
//! that CA's key; names alone prove nothing.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::{Any, FromDer as _},
    certificate::X509Certificate,
    oid_registry::{
        OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
        OID_SIG_ED25519,
    },
    revocation_list::CertificateRevocationList,
};

use super::parts;
use crate::error::SecretError;

const CRL: &str = "X509 CRL";

/// Certificates of authorities, one at least.
#[derive(Debug)]
pub(super) struct Authority {
    certificates: Vec<CertificateDer<'static>>,
}

/// A list of revoked certificates.
#[derive(Debug)]
pub(super) struct RevocationList {
    der: Vec<u8>,
}

impl RevocationList {
    pub(super) fn pem(&self) -> String {
        let mut pem = String::new();
        super::bundle::push_pem(&mut pem, CRL, &self.der);
        pem
    }
}

/// Reads PEM; bundles pass as they are, when every certificate in them is one.
pub(super) fn read_authority(payload: &[u8]) -> Result<Authority, SecretError> {
    if !parts::is_pem(payload) {
        return Err(SecretError::NotAnAuthority);
    }
    let certificates =
        parts::certificates(payload).map_err(|_malformed| SecretError::NotAnAuthority)?;
    let all_read = certificates
        .iter()
        .all(|der| X509Certificate::from_der(der).is_ok());
    if certificates.is_empty() || !all_read {
        return Err(SecretError::NotAnAuthority);
    }
    Ok(Authority { certificates })
}

/// Reads PEM or DER.
pub(super) fn read_revocation_list(payload: &[u8]) -> Result<RevocationList, SecretError> {
    let der = if parts::is_pem(payload) {
        let mut sections = parts::sections(payload, CRL).into_iter();
        sections.next().ok_or(SecretError::NotARevocationList)?
    } else {
        parts::unwrapped(payload).unwrap_or_else(|| payload.to_vec())
    };
    match CertificateRevocationList::from_der(&der) {
        Ok(_list) => Ok(RevocationList { der }),
        Err(_malformed) => Err(SecretError::NotARevocationList),
    }
}

impl RevocationList {
    /// Whether one of the authority's certificates signed it.
    pub(super) fn is_signed_by(&self, authority: &Authority) -> bool {
        authority
            .certificates
            .iter()
            .any(|certificate| self.verifies(certificate).is_some())
    }

    fn verifies(&self, certificate: &CertificateDer<'_>) -> Option<()> {
        let (_, list) = CertificateRevocationList::from_der(&self.der).ok()?;
        let (_, issuer) = X509Certificate::from_der(certificate).ok()?;
        if list.issuer() != issuer.subject() {
            return None;
        }
        // The first element of the outer sequence, with its header: what was signed.
        let (_, outer) = Any::from_der(&self.der).ok()?;
        let (rest, _) = Any::from_der(outer.data).ok()?;
        let signed = outer
            .data
            .get(..outer.data.len().checked_sub(rest.len())?)?;
        let key = &issuer.public_key().subject_public_key.data;
        let algorithms = algorithms(&list)?;
        algorithms.iter().find_map(|algorithm| {
            let key = UnparsedPublicKey::new(*algorithm, key);
            key.verify(signed, &list.signature_value.data).ok()
        })
    }
}

/// Which the signature may be of: an ECDSA signature's name leaves the curve open.
fn algorithms(
    list: &CertificateRevocationList<'_>,
) -> Option<&'static [&'static dyn VerificationAlgorithm]> {
    let named = &list.signature_algorithm.algorithm;
    let known: [(_, &'static [&'static dyn VerificationAlgorithm]); 7] = [
        (OID_PKCS1_SHA256WITHRSA, &[&RSA_PKCS1_2048_8192_SHA256]),
        (OID_PKCS1_SHA384WITHRSA, &[&RSA_PKCS1_2048_8192_SHA384]),
        (OID_PKCS1_SHA512WITHRSA, &[&RSA_PKCS1_2048_8192_SHA512]),
        (
            OID_SIG_ECDSA_WITH_SHA256,
            &[&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA256_ASN1],
        ),
        (
            OID_SIG_ECDSA_WITH_SHA384,
            &[&ECDSA_P384_SHA384_ASN1, &ECDSA_P256_SHA384_ASN1],
        ),
        (OID_SIG_ECDSA_WITH_SHA512, &[&ECDSA_P521_SHA512_ASN1]),
        (OID_SIG_ED25519, &[&ED25519]),
    ];
    known
        .into_iter()
        .find_map(|(oid, algorithms)| (oid == *named).then_some(algorithms))
}
