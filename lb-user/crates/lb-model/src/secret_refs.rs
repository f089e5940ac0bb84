//! Which secrets an object names, and as what: a certificate with its key, a CA, a list of revoked
//! certificates (contract 2.2, 2.3, 8.1).
//!
//! Requests say what they will need judged, stored objects what they use; both in this one form, so
//! that nobody who fetches, keeps or counts secrets looks at single fields.

use std::collections::BTreeSet;

use crate::{
    request::{ListenerUpdate, PoolUpdate},
    resource::{Listener, Pool},
    tree::Tree,
};

/// References, each as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretRefs {
    /// To be served or shown: a certificate with its key.
    pub certificates: BTreeSet<String>,
    /// A CA that the other side's certificates must chain to.
    pub authorities: BTreeSet<String>,
    /// Revoked certificates.
    pub revocation_lists: BTreeSet<String>,
}

impl SecretRefs {
    /// Nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Every reference, of whatever kind.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.certificates
            .iter()
            .chain(&self.authorities)
            .chain(&self.revocation_lists)
    }

    /// Adds what another object names.
    pub fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
        self.authorities.extend(other.authorities);
        self.revocation_lists.extend(other.revocation_lists);
    }

    /// Whether a change of these needs the CA and the list judged against each other.
    #[must_use]
    pub fn touches_revocation(&self) -> bool {
        !self.authorities.is_empty() || !self.revocation_lists.is_empty()
    }

    /// Only what revocation is judged by.
    #[must_use]
    pub fn revocation(self) -> Self {
        Self {
            certificates: BTreeSet::new(),
            ..self
        }
    }

    fn of<'a>(
        certificates: impl IntoIterator<Item = &'a String>,
        authority: Option<&String>,
        revocation_list: Option<&String>,
    ) -> Self {
        Self {
            certificates: certificates.into_iter().cloned().collect(),
            authorities: authority.into_iter().cloned().collect(),
            revocation_lists: revocation_list.into_iter().cloned().collect(),
        }
    }
}

impl ListenerUpdate {
    /// Every reference in this body.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        let default = self.default_tls_container_ref.value();
        let sni = self.sni_container_refs.value();
        SecretRefs::of(
            default.into_iter().chain(sni.into_iter().flatten()),
            self.client_ca_tls_container_ref.value(),
            self.client_crl_container_ref.value(),
        )
    }
}

impl PoolUpdate {
    /// Every reference in this body.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        SecretRefs::of(
            self.tls_container_ref.value(),
            self.ca_tls_container_ref.value(),
            self.crl_container_ref.value(),
        )
    }
}

impl Listener {
    /// Every reference it holds.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        let default = self.default_tls_container_ref.iter();
        SecretRefs::of(
            default.chain(&self.sni_container_refs),
            self.client_ca_tls_container_ref.as_ref(),
            self.client_crl_container_ref.as_ref(),
        )
    }
}

impl Pool {
    /// Every reference it holds.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        SecretRefs::of(
            &self.tls_container_ref,
            self.ca_tls_container_ref.as_ref(),
            self.crl_container_ref.as_ref(),
        )
    }
}

impl Tree {
    /// Every reference in the tree.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        let mut refs = SecretRefs::default();
        let listeners = self.listeners.iter().map(Listener::secret_refs);
        let pools = self.pools.iter().map(Pool::secret_refs);
        listeners.chain(pools).for_each(|more| refs.extend(more));
        refs
    }
}
