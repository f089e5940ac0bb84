//! What X.509 certificates say of themselves.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// The names a certificate is for: the subject's CN and the dNSNames of the first certificate in
/// `chain`, lower case, each once.
///
/// # Errors
///
/// Why the certificate cannot be read.
pub fn hosts(chain: &str) -> Result<Vec<String>, String> {
    let der = CertificateDer::from_pem_slice(chain.as_bytes())
        .map_err(|error| format!("a certificate cannot be read: {error}"))?;
    let (_, leaf) = X509Certificate::from_der(&der)
        .map_err(|error| format!("a certificate cannot be read: {error}"))?;
    let mut hosts: Vec<String> = Vec::new();
    let names = leaf.subject().iter_common_name();
    let mut add = |name: &str| {
        let name = name.to_ascii_lowercase();
        if !hosts.contains(&name) {
            hosts.push(name);
        }
    };
    names.filter_map(|it| it.as_str().ok()).for_each(&mut add);
    if let Ok(Some(alternatives)) = leaf.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                add(name);
            }
        }
    }
    Ok(hosts)
}
