//! Reads from the store everything that one load balancer's specification is made of.

use std::collections::{BTreeMap, BTreeSet};

use lb_model::{
    id::{AmphoraId, ListenerId, LoadBalancerId, MemberId, SubnetId},
    spec::{AmphoraSpec, CertificateSpec, PortSpec, SubnetSpec},
};
use lb_plan::spec::{self, Built, Inputs, SpecError};
use lb_store::{AmphoraRow, Carried, Place, Port, PortPurpose, Store, StoreError};

use crate::error::ControlError;

/// A load balancer as stored, with what its specification came to.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) carried: Carried,
    pub(crate) built: Result<Built, SpecError>,
}

impl Gathered {
    /// Whether `host` carries it.
    pub(crate) fn belongs_to(&self, host: &str, takes_new: bool) -> bool {
        belongs_to(&self.carried.amphorae, host, takes_new)
    }

    /// The listeners that the specification leaves out. Why there is none at all is told by sync.
    pub(crate) fn left_out(&self) -> BTreeSet<ListenerId> {
        let built = self.built.iter();
        let unservable = built.flat_map(|built| &built.unservable);
        unservable.map(|one| one.listener_id).collect()
    }
}

/// Named in every amphora's row, or in none while new ones are this host's.
pub(crate) fn belongs_to(amphorae: &[AmphoraRow], host: &str, takes_new: bool) -> bool {
    amphorae.iter().all(|row| {
        let placed = row.amphora.host.as_str();
        placed == host || (placed.is_empty() && takes_new)
    })
}

/// `None`: there is no such load balancer any more.
pub(crate) async fn gather(
    store: &Store,
    id: LoadBalancerId,
) -> Result<Option<Gathered>, ControlError> {
    let Some(carried) = store.read_carried(id).await? else {
        return Ok(None);
    };
    let secrets = secrets(store, &carried).await?;
    let health: BTreeMap<MemberId, bool> = carried
        .member_health
        .iter()
        .map(|(id, up)| (*id, *up))
        .collect();
    let built = spec::build(Inputs {
        tree: &carried.tree,
        amphorae: &amphorae(&carried),
        snat: &ports(&carried.ports, PortPurpose::Snat, None),
        subnets: &subnets(store, &carried).await?,
        certificates: &secrets.certificates,
        authorities: &secrets.authorities,
        revocation_lists: &secrets.revocation_lists,
        health: &health,
    });
    Ok(Some(Gathered { carried, built }))
}

#[derive(Default)]
struct Secrets {
    certificates: Vec<CertificateSpec>,
    authorities: BTreeMap<String, String>,
    revocation_lists: BTreeMap<String, String>,
}

/// What its listeners and pools name, as far as it can be read: who names another is left out of
/// the spec, the others are served.
async fn secrets(store: &Store, carried: &Carried) -> Result<Secrets, ControlError> {
    let load_balancer = &carried.tree.load_balancer;
    let (id, project) = (load_balancer.id, &load_balancer.project_id);
    let refs = spec::secret_refs(&carried.tree);
    let mut secrets = Secrets::default();
    for text in refs.certificates {
        let read = store.load_certificate(id, project, &text).await;
        secrets.certificates.extend(readable(id, &text, read)?);
    }
    for text in refs.authorities {
        let read = store.load_authority(id, project, &text).await;
        let read = readable(id, &text, read)?;
        secrets.authorities.extend(read.map(|pem| (text, pem)));
    }
    for text in refs.revocation_lists {
        let read = store.load_revocation_list(id, project, &text).await;
        let read = readable(id, &text, read)?;
        secrets.revocation_lists.extend(read.map(|pem| (text, pem)));
    }
    Ok(secrets)
}

fn readable<T>(
    id: LoadBalancerId,
    reference: &str,
    read: Result<T, StoreError>,
) -> Result<Option<T>, ControlError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Secret(error)) => {
            tracing::warn!(load_balancer = %id, reference, %error, "secret cannot be used");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// By slot; of each the address in the primary VIP's subnet first.
fn amphorae(carried: &Carried) -> Vec<AmphoraSpec> {
    let primary = carried.tree.load_balancer.vip.subnet_id;
    let spec = |id: AmphoraId| {
        let mut ports = ports(&carried.ports, PortPurpose::Amphora, Some(id));
        ports.sort_by_key(|port| (port.subnet_id != primary, port.subnet_id, port.address));
        AmphoraSpec { id, ports }
    };
    let rows = carried.amphorae.iter();
    rows.map(|row| spec(row.amphora.id)).collect()
}

fn ports(all: &[Port], purpose: PortPurpose, owner: Option<AmphoraId>) -> Vec<PortSpec> {
    all.iter()
        .filter(|port| port.purpose == purpose && port.amphora_id == owner)
        .map(|port| PortSpec {
            subnet_id: port.subnet_id,
            address: port.address,
        })
        .collect()
}

/// The subnets that it has addresses or members in.
async fn subnets(store: &Store, carried: &Carried) -> Result<Vec<SubnetSpec>, ControlError> {
    let tree = &carried.tree;
    let load_balancer = &tree.load_balancer;
    let vips = std::iter::once(&load_balancer.vip).chain(&load_balancer.additional_vips);
    let mut ids: BTreeSet<SubnetId> = vips.map(|vip| vip.subnet_id).collect();
    let members = tree.pools.iter().flat_map(|pool| &pool.members);
    ids.extend(members.filter_map(|member| member.subnet_id));
    ids.extend(carried.ports.iter().map(|port| port.subnet_id));
    let mut subnets = Vec::with_capacity(ids.len());
    for id in ids {
        let near = lb_store::near(tree, id);
        let place = store.networks().subnet(id, near).await;
        // One that is gone is missed, by name, by whoever needs it.
        if let Some(Place { network, subnet }) = place.map_err(StoreError::from)? {
            subnets.push(SubnetSpec {
                id,
                network_id: network.id,
                segment: network.segment,
                cidr: subnet.cidr,
                gateway_ip: subnet.gateway_ip,
            });
        }
    }
    Ok(subnets)
}
