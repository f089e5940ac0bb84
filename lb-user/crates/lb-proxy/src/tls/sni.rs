//! Which certificate a client is shown.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    CipherSuite, SignatureAlgorithm,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Certificates by name. Several for one name differ in their keys: a client gets the first that it
/// can check.
#[derive(Debug)]
pub(super) struct BySni {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Keyed by what follows the `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Of the default certificate's names: shown when no name fits.
    default: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.find(hello.server_name());
        let usable = candidates.iter().find(|key| can_check(&hello, key));
        usable.or_else(|| candidates.first()).map(Arc::clone)
    }
}

impl BySni {
    /// Of certificates with the names they are for; the first is the default.
    pub(super) fn new(certificates: &[(Arc<CertifiedKey>, &[String])]) -> Option<Self> {
        let (default, default_hosts) = certificates.first()?;
        let mut sni = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: vec![Arc::clone(default)],
        };
        for (key, hosts) in certificates {
            for host in *hosts {
                let host = host.to_ascii_lowercase();
                let keys = match host.strip_prefix("*.") {
                    Some(parent) => sni.wildcard.entry(parent.to_owned()).or_default(),
                    None => sni.exact.entry(host).or_default(),
                };
                keys.push(Arc::clone(key));
            }
            let is_twin = !Arc::ptr_eq(key, default) && *hosts == *default_hosts;
            if is_twin {
                sni.default.push(Arc::clone(key));
            }
        }
        Some(sni)
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        // A wildcard stands for exactly one label (RFC 6125).
        let parent = name.split_once('.').map_or("", |(_label, parent)| parent);
        self.exact
            .get(&name)
            .or_else(|| self.wildcard.get(parent))
            .unwrap_or(&self.default)
    }
}

/// Whether a client can check signatures of a key, in any version and suite it offers.
fn can_check(hello: &ClientHello<'_>, certified: &CertifiedKey) -> bool {
    let signs = certified.key.choose_scheme(hello.signature_schemes());
    let suites = hello.cipher_suites();
    signs.is_some()
        && suites.iter().any(|suite| {
            let name = suite.as_str().unwrap_or_default();
            match certified.key.algorithm() {
                SignatureAlgorithm::RSA => is_tls13(*suite) || name.contains("_RSA_"),
                _ => is_tls13(*suite) || name.contains("_ECDSA_"),
            }
        })
}

const fn is_tls13(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    )
}
