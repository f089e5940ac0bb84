//! Rules for TLS option lists, common to listeners and pools (contract 2.2, 8.3).

mod ciphers;
mod left_out;
mod words;

pub use self::{
    ciphers::{not_offered, offered_names},
    left_out::{LeftOut, left_out},
};
use crate::{
    ctx::{AuthorityFact, CertificateFact, Facts, RevocationListFact},
    defaults,
    fault::Fault,
    secret_refs::SecretRefs,
};

/// Letters, digits and the operators of an OpenSSL cipher list; nothing that could be anything else,
/// and nothing that OpenSSL does not know.
pub fn check_ciphers(ciphers: &str) -> Result<(), Fault> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-+!:@=_.".contains(&byte);
    if !ciphers.is_empty() && ciphers.bytes().all(legal) {
        return ciphers::check_known(ciphers);
    }
    Err(Fault::option(
        "tls_ciphers",
        ciphers,
        "Value should be an OpenSSL cipher list.",
    ))
}

/// Where TLS is spoken, every enabled version has a cipher that can be offered.
pub fn check_offered(ciphers: Option<&str>, versions: Option<&[String]>) -> Result<(), Fault> {
    match (ciphers, versions) {
        (Some(ciphers), Some(versions)) => ciphers::check_offered(ciphers, versions),
        // What is not named is the default, which offers something for everything.
        _ => Ok(()),
    }
}

/// Known versions, at least one.
pub fn check_versions(versions: &[String]) -> Result<(), Fault> {
    if versions.is_empty() {
        return Err(Fault::validation(
            "Empty TLS version list. Either specify at least one TLS version or remove this \
             parameter to use the default.",
        ));
    }
    let unknown = strangers(versions, defaults::TLS_VERSIONS_KNOWN);
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown = unknown.join(", ");
    Err(Fault::validation(format!(
        "Invalid TLS versions: {unknown}"
    )))
}

/// Known protocol ids. Where TLS is not spoken the list may be empty.
pub fn check_alpn(protocols: &[String], spoken: bool) -> Result<(), Fault> {
    if protocols.is_empty() && !spoken {
        return Ok(());
    }
    if protocols.is_empty() {
        return Err(Fault::validation(
            "Empty ALPN protocol list. Either specify at least one ALPN protocol or remove this \
             parameter to use the default.",
        ));
    }
    match strangers(protocols, defaults::ALPN_PROTOCOLS).first() {
        None => Ok(()),
        Some(unknown) => Err(Fault::option(
            "alpn_protocols",
            unknown,
            "Value should be a valid ALPN protocol ID",
        )),
    }
}

/// Everything named can be read and is what it is named as; what is not is told, all of it at once.
pub fn check_readable(refs: &SecretRefs, facts: &Facts) -> Result<(), Fault> {
    let mut broken = Vec::new();
    let mut tell = |reference: &String, reason: Option<&String>| {
        broken.push(match reason {
            Some(reason) => format!("{reference} ({reason})"),
            None => reference.clone(),
        });
    };
    for reference in &refs.certificates {
        match facts.certificates.get(reference) {
            Some(CertificateFact::Usable { .. }) => {}
            Some(CertificateFact::Unreadable { reason }) => tell(reference, Some(reason)),
            None => tell(reference, None),
        }
    }
    for reference in &refs.authorities {
        match facts.authorities.get(reference) {
            Some(AuthorityFact::Usable) => {}
            Some(AuthorityFact::Unreadable { reason }) => tell(reference, Some(reason)),
            None => tell(reference, None),
        }
    }
    for reference in &refs.revocation_lists {
        match facts.revocation_lists.get(reference) {
            Some(RevocationListFact::Usable { .. }) => {}
            Some(RevocationListFact::Unreadable { reason }) => tell(reference, Some(reason)),
            None => tell(reference, None),
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "Could not retrieve certificate: {}",
        broken.join(", ")
    )))
}

/// A list of revoked certificates counts only with the signature of the CA it stands beside.
pub fn check_revocation_list(
    list: Option<&String>,
    authority: Option<&String>,
    facts: &Facts,
) -> Result<(), Fault> {
    let (Some(list), Some(authority)) = (list, authority) else {
        return Ok(());
    };
    match facts.revocation_lists.get(list) {
        Some(RevocationListFact::Usable { issuers }) if issuers.contains(authority) => Ok(()),
        _other => Err(Fault::validation(
            "The CRL specified is not valid for client certificate authority reference supplied.",
        )),
    }
}

/// The values that nobody knows.
fn strangers<'a>(values: &'a [String], known: &[&str]) -> Vec<&'a str> {
    let values = values.iter().map(String::as_str);
    values.filter(|value| !known.contains(value)).collect()
}
