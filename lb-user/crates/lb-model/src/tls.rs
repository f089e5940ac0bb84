//! Rules for TLS option lists, common to listeners and pools (contract 2.2, 8.3).

use crate::{defaults, fault::Fault};

/// Letters, digits and the operators of an OpenSSL cipher list; nothing that could be anything else.
pub fn check_ciphers(ciphers: &str) -> Result<(), Fault> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-+!:@=_.".contains(&byte);
    if !ciphers.is_empty() && ciphers.bytes().all(legal) {
        return Ok(());
    }
    Err(Fault::option(
        "tls_ciphers",
        ciphers,
        "Value should be an OpenSSL cipher list.",
    ))
}

/// Known versions, at least one.
pub fn check_versions(versions: &[String]) -> Result<(), Fault> {
    known("tls_versions", versions, defaults::TLS_VERSIONS_KNOWN)
}

/// Known protocol ids, at least one.
pub fn check_alpn(protocols: &[String]) -> Result<(), Fault> {
    known("alpn_protocols", protocols, defaults::ALPN_PROTOCOLS)
}

fn known(field: &str, values: &[String], allowed: &[&str]) -> Result<(), Fault> {
    if values.is_empty() {
        return Err(Fault::option(field, "[]", "The list must not be empty."));
    }
    match values
        .iter()
        .find(|value| !allowed.contains(&value.as_str()))
    {
        None => Ok(()),
        Some(value) => Err(Fault::option(
            field,
            value,
            format!("Value should be one of: {}", allowed.join(", ")),
        )),
    }
}
