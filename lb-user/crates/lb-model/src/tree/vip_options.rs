//! What a network service enforces on a load balancer's VIPs: a QoS policy and security groups
//! (contract 2.1). Which of them exist is the network driver's to say; one that enforces neither makes
//! both absent.

use crate::{
    enums::VnicType,
    fault::Fault,
    request::load_balancer::VipOptionsRequest,
    resource::{LoadBalancer, VipOptions},
    tree::Tree,
};

/// Why they are refused where nobody enforces them.
const NOBODY_ENFORCES: &str = "the network driver does not enforce it";

impl VipOptionsRequest {
    /// Changes what is stored: absent leaves, null clears.
    fn apply(self, options: &mut VipOptions) {
        self.qos_policy_id
            .apply_option(&mut options.qos_policy_id, None);
        self.sg_ids.apply(&mut options.sg_ids, Vec::new());
    }

    fn refuse(&self) -> Result<(), Fault> {
        if let Some(id) = self.qos_policy_id.value() {
            return Err(Fault::option("vip_qos_policy_id", id, NOBODY_ENFORCES));
        }
        match self.sg_ids.value().and_then(|ids| ids.first()) {
            Some(id) => Err(Fault::option("vip_sg_ids", id, NOBODY_ENFORCES)),
            None => Ok(()),
        }
    }
}

impl Tree {
    /// Takes over what a request says of the VIPs' options. `enforced`: there is a network driver that
    /// knows them.
    pub(super) fn set_vip_options(
        &mut self,
        request: VipOptionsRequest,
        enforced: bool,
    ) -> Result<(), Fault> {
        if !enforced {
            request.refuse()?;
        }
        request.apply(&mut self.load_balancer.vip_options);
        if self.load_balancer.vip_options.sg_ids.is_empty() {
            return Ok(());
        }
        if self.load_balancer.placement.vip_vnic_type == VnicType::Direct {
            return Err(Fault::validation(
                "VIP Security Groups are not allowed with VNIC direct type VIPs.",
            ));
        }
        let mut filtered = self.listeners.iter();
        match filtered.find(|listener| !listener.allowed_cidrs.is_empty()) {
            Some(listener) => Err(Fault::validation(format!(
                "VIP Security Groups cannot be used while listener {} has allowed_cidrs.",
                listener.id
            ))),
            None => Ok(()),
        }
    }
}

/// `allowed_cidrs` become rules of a security group of our own, which the users' replace.
pub(super) fn check_filtered(load_balancer: &LoadBalancer) -> Result<(), Fault> {
    if load_balancer.vip_options.sg_ids.is_empty() {
        return Ok(());
    }
    Err(Fault::validation(
        "Allowed CIDRs are not allowed when using custom VIP Security Groups.",
    ))
}
