//! What an operation on a tree needs from outside: time, fresh ids, and facts about the world.
//!
//! The caller gathers the facts before the transaction or inside it; the model only judges them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use uuid::Uuid;

use crate::{
    address::ForbiddenAddresses,
    capability::CapabilitySet,
    deployment::Deployment,
    id::{NetworkId, SubnetId},
    quota::Allowance,
    time::Timestamp,
};

/// Handed to every operation.
pub struct Ctx<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// A fresh id at every call.
    pub new_id: &'a mut dyn FnMut() -> Uuid,
    /// What is known of the world.
    pub facts: &'a Facts,
    /// What the project may still create.
    pub quota: Allowance,
}

impl std::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx")
            .field("now", &self.now)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Ctx<'_> {
    /// A fresh typed id.
    pub(crate) fn id<T: From<Uuid>>(&mut self) -> T {
        T::from((self.new_id)())
    }
}

/// What is known of the world when a request is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every subnet that exists.
    pub subnets: Vec<SubnetInfo>,
    /// Every other subnet exists too, as far as anybody can tell (noop network driver).
    pub any_subnet: bool,
    /// The network driver enforces QoS policies and security groups, and every one exists.
    pub vip_options: bool,
    /// Addresses no member may have.
    pub forbidden: ForbiddenAddresses,
    /// What was found under each certificate reference that the request names (see
    /// [`crate::secret_refs`]). A reference that is not here counts as unreadable.
    pub certificates: BTreeMap<String, CertificateFact>,
    /// The same for references to CAs.
    pub authorities: BTreeMap<String, AuthorityFact>,
    /// The same for references to lists of revoked certificates.
    pub revocation_lists: BTreeMap<String, RevocationListFact>,
    /// What the operator allows.
    pub deployment: Deployment,
    /// What every host can do beyond the least.
    pub capabilities: CapabilitySet,
}

impl Facts {
    /// The subnet with this id, when the project may use it: another project's is as absent as one
    /// that does not exist.
    #[must_use]
    pub fn subnet(&self, id: SubnetId, project_id: &str) -> Option<&SubnetInfo> {
        self.subnets.iter().find(|subnet| {
            let owner = subnet.project_id.as_deref();
            subnet.id == id && owner.is_none_or(|owner| owner == project_id)
        })
    }
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetInfo {
    /// Identity.
    pub id: SubnetId,
    /// Its network.
    pub network_id: NetworkId,
    /// The one project that may use it; `None`: it is shared by all.
    pub project_id: Option<String>,
    /// Its addresses.
    pub cidr: IpNet,
    /// Router, when there is one.
    pub gateway_ip: Option<IpAddr>,
    /// How many addresses its pools have left.
    pub free_addresses: u64,
}

/// What was found under a certificate reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFact {
    /// A certificate with its key, which we can serve.
    Usable {
        /// Subject CN and SAN dNSNames.
        hosts: Vec<String>,
    },
    /// Nothing that could be read, or nothing that could be served.
    Unreadable {
        /// Why, for the person who asked.
        reason: String,
    },
}

/// What was found under a reference to a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityFact {
    /// X.509 certificates in PEM.
    Usable,
    /// Nothing that could be read, or no certificate.
    Unreadable {
        /// Why, for the person who asked.
        reason: String,
    },
}

/// What was found under a reference to a list of revoked certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationListFact {
    /// An X.509 CRL.
    Usable {
        /// Of the references in [`Facts::authorities`], those by whose CA it is signed.
        issuers: BTreeSet<String>,
    },
    /// Nothing that could be read, or no CRL.
    Unreadable {
        /// Why, for the person who asked.
        reason: String,
    },
}
