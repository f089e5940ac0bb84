//! What of the TLS that was asked for is not offered (contract 8.3): kept, shown, and told in an
//! event.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::not_offered;
use crate::{
    defaults,
    enums::ListenerProtocol,
    resource::{Listener, Pool},
    tree::Tree,
};

/// Listeners and pools, each with the names of what is passed over.
pub type LeftOut = BTreeMap<Uuid, Vec<String>>;

/// Of every listener and pool that speaks TLS; what leaves nothing out is not in it.
#[must_use]
pub fn left_out(tree: &Tree) -> LeftOut {
    let listeners = tree.listeners.iter().filter(|it| speaks_tls(it));
    let listeners = listeners.map(|it| {
        let names = names(it.tls_ciphers.as_deref(), it.tls_versions.as_deref());
        (it.id.0, names)
    });
    let pools = tree.pools.iter().filter(|it: &&Pool| it.tls_enabled);
    let pools = pools.map(|it| {
        let names = names(it.tls_ciphers.as_deref(), it.tls_versions.as_deref());
        (it.id.0, names)
    });
    let all = listeners.chain(pools);
    all.filter(|(_, names)| !names.is_empty()).collect()
}

fn speaks_tls(listener: &Listener) -> bool {
    listener.protocol == ListenerProtocol::TerminatedHttps
}

fn names(ciphers: Option<&str>, versions: Option<&[String]>) -> Vec<String> {
    let ciphers = not_offered(ciphers.unwrap_or(defaults::TLS_CIPHERS));
    let versions = versions.unwrap_or_default().iter().map(String::as_str);
    let old = versions.filter(|version| !defaults::TLS_VERSIONS.contains(version));
    ciphers.into_iter().chain(old).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_named() {
        let dhe = [
            "DHE-RSA-AES128-GCM-SHA256",
            "DHE-RSA-AES256-GCM-SHA384",
            "DHE-RSA-CHACHA20-POLY1305",
        ];
        assert_eq!(names(None, None), dhe);
        let list = Some("TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES128-GCM-SHA256");
        assert_eq!(names(list, None), Vec::<String>::new());
        let old = ["TLSv1.1", "TLSv1.2"].map(str::to_owned);
        assert_eq!(names(list, Some(&old)), ["TLSv1.1"]);
    }
}
