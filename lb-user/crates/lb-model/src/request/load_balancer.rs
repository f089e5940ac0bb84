//! `loadbalancer` bodies (contract 2.1 and, for the tree, 6.1).

use std::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

use super::{
    CommonFields, Given,
    reader::{Reader, required, shorten},
};
use crate::{
    fault::Fault,
    id::{FlavorId, NetworkId, PortId, SubnetId},
    tree_request::TreeRequest,
};

/// Characters in a provider's name.
const PROVIDER_MAX: usize = 64;
/// Characters in a project id.
const PROJECT_MAX: usize = 36;

/// POST, with the whole tree below when it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancerCreate {
    /// Shared part.
    pub common: CommonFields,
    /// `project_id`, or its synonym `tenant_id`.
    pub project_id: Option<String>,
    /// What was asked of the VIP.
    pub vip: VipRequest,
    /// Provider, when named.
    pub provider: Option<String>,
    /// Flavor, when named.
    pub flavor_id: Option<FlavorId>,
    /// Availability zone, when named.
    pub availability_zone: Option<String>,
    /// What is to be enforced on the VIPs.
    pub vip_options: VipOptionsRequest,
    /// Listeners and pools of a single-call create.
    pub tree: TreeRequest,
}

/// PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancerUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// What is to be enforced on the VIPs.
    pub vip_options: VipOptionsRequest,
}

/// What a network service is to enforce on the VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipOptionsRequest {
    /// QoS policy.
    pub qos_policy_id: Given<Uuid>,
    /// Security groups.
    pub sg_ids: Given<Vec<Uuid>>,
}

/// What was asked of the VIP. At least one of port, network and subnet is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipRequest {
    /// A fixed address.
    pub address: Option<IpAddr>,
    /// An existing port.
    pub port_id: Option<PortId>,
    /// A network to take an address from.
    pub network_id: Option<NetworkId>,
    /// A subnet to take an address from.
    pub subnet_id: Option<SubnetId>,
    /// Further VIPs.
    pub additional: Vec<AdditionalVipRequest>,
}

/// One further VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdditionalVipRequest {
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// A fixed address.
    pub address: Option<IpAddr>,
}

impl LoadBalancerCreate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "loadbalancer")?;
        let common = CommonFields::read(&mut reader)?;
        let project = reader.string("project_id", PROJECT_MAX)?.into_value();
        let tenant = reader.string("tenant_id", PROJECT_MAX)?.into_value();
        let vip = VipRequest::read(&mut reader)?;
        let provider = reader.string("provider", PROVIDER_MAX)?.into_value();
        let flavor_id = reader.uuid("flavor_id")?.into_value().map(FlavorId);
        let availability_zone = reader.text("availability_zone")?.into_value();
        let vip_options = VipOptionsRequest::read(&mut reader)?;
        let tree = TreeRequest::read(&mut reader)?;
        reader.finish()?;
        vip.check()?;
        Ok(Self {
            common,
            project_id: tenant.or(project),
            vip,
            provider,
            flavor_id,
            availability_zone,
            vip_options,
            tree,
        })
    }

    /// Every reference whose fact the tree will want.
    #[must_use]
    pub fn secret_refs(&self) -> crate::secret_refs::SecretRefs {
        self.tree.secret_refs()
    }
}

impl LoadBalancerCreate {
    /// The addresses of members that will be asked about ([`crate::ctx::Facts::forbidden`]).
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.tree.addresses()
    }
}

impl LoadBalancerUpdate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "loadbalancer")?;
        let common = CommonFields::read(&mut reader)?;
        let vip_options = VipOptionsRequest::read(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            common,
            vip_options,
        })
    }
}

impl VipOptionsRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let sg_ids = reader.texts("vip_sg_ids")?.try_map(|ids| {
            let mut groups: Vec<Uuid> = Vec::with_capacity(ids.len());
            for text in ids {
                let group = text.parse().map_err(|_no_uuid| {
                    Fault::option("vip_sg_ids", shorten(&text), "Every value must be a UUID.")
                })?;
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
            Ok(groups)
        })?;
        Ok(Self {
            qos_policy_id: reader.uuid("vip_qos_policy_id")?,
            sg_ids,
        })
    }
}

impl VipRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut additional = Vec::new();
        if let Given::Value(items) = reader.list("additional_vips")? {
            for item in items {
                let mut item = Reader::object(item, "additional_vips")?;
                additional.push(AdditionalVipRequest {
                    subnet_id: required("subnet_id", item.uuid("subnet_id")?)?,
                    address: item.address("ip_address")?.into_value(),
                });
                // Part of the type, filled by the server.
                let _ignored: Given<PortId> = item.uuid("port_id")?;
                item.finish()?;
            }
        }
        Ok(Self {
            address: reader.address("vip_address")?.into_value(),
            port_id: reader.uuid("vip_port_id")?.into_value(),
            network_id: reader.uuid("vip_network_id")?.into_value(),
            subnet_id: reader.uuid("vip_subnet_id")?.into_value(),
            additional,
        })
    }

    fn check(&self) -> Result<(), Fault> {
        if self.port_id.is_none() && self.network_id.is_none() && self.subnet_id.is_none() {
            return Err(Fault::invalid(
                "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.",
            ));
        }
        let mut seen: Vec<SubnetId> = self.subnet_id.into_iter().collect();
        for vip in &self.additional {
            if seen.contains(&vip.subnet_id) {
                return Err(Fault::invalid(format!(
                    "Duplicate VIP subnet {}: each subnet can be used once.",
                    vip.subnet_id
                )));
            }
            seen.push(vip.subnet_id);
        }
        Ok(())
    }
}

/// The project that a child's body may name: accepted, without effect (contract 6.4).
pub(super) fn ignore_project(reader: &mut Reader<'_>) -> Result<(), Fault> {
    let _ignored = reader.string("project_id", PROJECT_MAX)?;
    let _ignored = reader.string("tenant_id", PROJECT_MAX)?;
    Ok(())
}
