//! A tree as rows.
//!
//! `ordinal` keeps the order of a list: it only ever grows within one list, with gaps where
//! something was removed, so that a change in the middle rewrites nothing before it. An L7 policy's
//! ordinal is its position and has no gaps.

use std::collections::{BTreeSet, HashMap};

use lb_model::{
    id::SecretId,
    resource::{Common, HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool},
    tree::Tree,
    written::WrittenAddr,
};
use uuid::Uuid;

use crate::{
    error::StoreError,
    secret::reference,
    sql::{NewRow, counter},
    summary,
};

pub(crate) const LOAD_BALANCERS: &str = "load_balancers";
pub(crate) const LISTENERS: &str = "listeners";
pub(crate) const POOLS: &str = "pools";
pub(crate) const MEMBERS: &str = "members";
pub(crate) const HEALTH_MONITORS: &str = "health_monitors";
pub(crate) const L7POLICIES: &str = "l7policies";
pub(crate) const L7RULES: &str = "l7rules";

/// Where each object stood in its list.
pub(crate) type Ordinals = HashMap<Uuid, i64>;

/// Everything a tree is in the database, parents before children.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) rows: Vec<NewRow>,
    pub(crate) tags: HashMap<Uuid, Vec<String>>,
    pub(crate) secrets: BTreeSet<SecretId>,
}

struct Encoder<'a> {
    load_balancer: &'a LoadBalancer,
    ordinals: &'a Ordinals,
    out: Encoded,
}

/// Turns a tree into rows. `ordinals` are the ones its objects are stored with now.
pub(crate) fn encode(tree: &Tree, ordinals: &Ordinals) -> Result<Encoded, StoreError> {
    let load_balancer = &tree.load_balancer;
    let mut encoder = Encoder {
        load_balancer,
        ordinals,
        out: Encoded::default(),
    };
    encoder.load_balancer(summary::encode(tree)?, summary::encode_shown(tree))?;
    encoder.each(tree.listeners.iter(), |l| l.id.0, Encoder::listener)?;
    encoder.each(tree.pools.iter(), |p| p.id.0, Encoder::pool)?;
    Ok(encoder.out)
}

impl Encoder<'_> {
    /// Encodes a list: an object keeps its ordinal where that still grows.
    fn each<'i, I: 'i>(
        &mut self,
        items: impl Iterator<Item = &'i I>,
        id: impl Fn(&I) -> Uuid,
        encode: impl Fn(&mut Self, &I, i64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut last = 0;
        for item in items {
            let known = self.ordinals.get(&id(item)).copied();
            last = known.unwrap_or(0).max(last + 1);
            encode(self, item, last)?;
        }
        Ok(())
    }

    fn push(&mut self, row: NewRow, common: &Common) {
        self.out.tags.insert(row.id, common.tags.clone());
        self.out.rows.push(row);
    }

    fn child(&self, table: &'static str, id: Uuid, ordinal: i64, common: &Common) -> NewRow {
        let row = NewRow::new(table, id)
            .text("load_balancer_id", self.load_balancer.id)
            .text("project_id", &self.load_balancer.project_id)
            .int("ordinal", ordinal);
        with_common(row, common)
    }

    fn uses<'r>(&mut self, references: impl IntoIterator<Item = &'r String>) {
        let ids = references
            .into_iter()
            .filter_map(|text| reference(text).ok());
        self.out.secrets.extend(ids);
    }

    fn load_balancer(&mut self, summary: String, shown: Option<String>) -> Result<(), StoreError> {
        let it = self.load_balancer;
        let row = NewRow::new(LOAD_BALANCERS, it.id.0).text("project_id", &it.project_id);
        let row = with_common(row, &it.common)
            .text("vip_address", it.vip.address)
            .text("vip_port_id", it.vip.port_id)
            .text("vip_subnet_id", it.vip.subnet_id)
            .text("vip_network_id", it.vip.network_id)
            .json("additional_vips", &it.additional_vips)?
            .text("provider", &it.provider)
            .text("topology", it.topology)
            .opt_text("flavor_id", it.placement.flavor_id)
            .opt_text("availability_zone", it.placement.availability_zone.as_ref())
            .text("vip_vnic_type", it.placement.vip_vnic_type)
            .bool("member_sriov", it.placement.member_sriov)
            .text("forwarding_mode", it.placement.forwarding_mode)
            .text("l4_path", it.placement.l4_path)
            .opt_text("vip_qos_policy_id", it.vip_options.qos_policy_id)
            .json("vip_sg_ids", &it.vip_options.sg_ids)?
            .int("generation", counter(it.generation))
            .int("failover_count", counter(it.failover_count))
            .text("summary", summary)
            .opt_text("shown", shown);
        self.push(row, &it.common);
        Ok(())
    }

    fn listener(&mut self, it: &Listener, ordinal: i64) -> Result<(), StoreError> {
        let row = self
            .child(LISTENERS, it.id.0, ordinal, &it.common)
            .text("protocol", it.protocol)
            .int("protocol_port", it.protocol_port)
            .opt_int("connection_limit", it.connection_limit)
            .opt_text("default_pool_id", it.default_pool_id)
            .opt_text(
                "default_tls_container_ref",
                it.default_tls_container_ref.as_ref(),
            )
            .json("sni_container_refs", &it.sni_container_refs)?
            .json("insert_headers", &it.insert_headers)?
            .opt_int("timeout_client_data", it.timeout_client_data)
            .opt_int("timeout_member_connect", it.timeout_member_connect)
            .opt_int("timeout_member_data", it.timeout_member_data)
            .opt_int("timeout_tcp_inspect", it.timeout_tcp_inspect)
            .opt_text(
                "client_ca_tls_container_ref",
                it.client_ca_tls_container_ref.as_ref(),
            )
            .text("client_authentication", it.client_authentication)
            .opt_text(
                "client_crl_container_ref",
                it.client_crl_container_ref.as_ref(),
            )
            .json("allowed_cidrs", &it.allowed_cidrs)?
            .opt_text("tls_ciphers", it.tls_ciphers.as_ref())
            .opt_json("tls_versions", it.tls_versions.as_ref())?
            .opt_json("alpn_protocols", it.alpn_protocols.as_ref())?
            .opt_int("hsts_max_age", it.hsts_max_age)
            .bool("hsts_include_subdomains", it.hsts_include_subdomains)
            .bool("hsts_preload", it.hsts_preload);
        self.push(row, &it.common);
        self.uses(&it.default_tls_container_ref);
        self.uses(&it.sni_container_refs);
        self.uses(&it.client_ca_tls_container_ref);
        self.uses(&it.client_crl_container_ref);
        for (index, policy) in it.l7policies.iter().enumerate() {
            let position = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
            self.l7policy(it, policy, position)?;
        }
        Ok(())
    }

    fn l7policy(
        &mut self,
        parent: &Listener,
        it: &L7Policy,
        position: i64,
    ) -> Result<(), StoreError> {
        let row = self
            .child(L7POLICIES, it.id.0, position, &it.common)
            .text("listener_id", parent.id)
            .text("action", it.action)
            .opt_text("redirect_pool_id", it.redirect_pool_id)
            .opt_text("redirect_url", it.redirect_url.as_ref())
            .opt_text("redirect_prefix", it.redirect_prefix.as_ref())
            .opt_int("redirect_http_code", it.redirect_http_code);
        self.push(row, &it.common);
        self.each(
            it.rules.iter(),
            |r| r.id.0,
            |encoder, rule, ordinal| {
                encoder.l7rule(it, rule, ordinal);
                Ok(())
            },
        )
    }

    fn l7rule(&mut self, parent: &L7Policy, it: &L7Rule, ordinal: i64) {
        let row = self
            .child(L7RULES, it.id.0, ordinal, &it.common)
            .text("l7policy_id", parent.id)
            .text("type", it.kind)
            .text("compare_type", it.compare_type)
            .opt_text("rule_key", it.key.as_ref())
            .text("value", &it.value)
            .bool("invert", it.invert);
        self.push(row, &it.common);
    }

    fn pool(&mut self, it: &Pool, ordinal: i64) -> Result<(), StoreError> {
        let row = self
            .child(POOLS, it.id.0, ordinal, &it.common)
            .text("protocol", it.protocol)
            .text("lb_algorithm", it.lb_algorithm)
            .opt_json("session_persistence", it.session_persistence.as_ref())?
            .bool("tls_enabled", it.tls_enabled)
            .opt_text("tls_container_ref", it.tls_container_ref.as_ref())
            .opt_text("ca_tls_container_ref", it.ca_tls_container_ref.as_ref())
            .opt_text("crl_container_ref", it.crl_container_ref.as_ref())
            .opt_text("tls_ciphers", it.tls_ciphers.as_ref())
            .opt_json("tls_versions", it.tls_versions.as_ref())?
            .opt_json("alpn_protocols", it.alpn_protocols.as_ref())?;
        self.push(row, &it.common);
        self.uses(&it.tls_container_ref);
        self.uses(&it.ca_tls_container_ref);
        self.uses(&it.crl_container_ref);
        self.each(
            it.members.iter(),
            |m| m.id.0,
            |encoder, member, ordinal| {
                encoder.member(it, member, ordinal);
                Ok(())
            },
        )?;
        if let Some(monitor) = &it.health_monitor {
            self.health_monitor(it, monitor);
        }
        Ok(())
    }

    fn member(&mut self, parent: &Pool, it: &Member, ordinal: i64) {
        let monitor = it.monitor_address.as_ref();
        let row = self
            .child(MEMBERS, it.id.0, ordinal, &it.common)
            .text("pool_id", parent.id)
            .text("address", it.address.ip())
            .opt_text("address_written", it.address.unusual())
            .int("protocol_port", it.protocol_port)
            .int("weight", it.weight)
            .bool("backup", it.backup)
            .opt_text("subnet_id", it.subnet_id)
            .opt_text("monitor_address", monitor.map(WrittenAddr::ip))
            .opt_text(
                "monitor_address_written",
                monitor.and_then(WrittenAddr::unusual),
            )
            .opt_int("monitor_port", it.monitor_port)
            .text("vnic_type", it.vnic_type);
        self.push(row, &it.common);
    }

    fn health_monitor(&mut self, parent: &Pool, it: &HealthMonitor) {
        let row = self
            .child(HEALTH_MONITORS, it.id.0, 1, &it.common)
            .text("pool_id", parent.id)
            .text("type", it.kind)
            .int("delay", it.delay)
            .int("timeout", it.timeout)
            .int("max_retries", it.max_retries)
            .int("max_retries_down", it.max_retries_down)
            .opt_text("http_method", it.http_method.as_ref())
            .opt_text("url_path", it.url_path.as_ref())
            .opt_text("expected_codes", it.expected_codes.as_ref())
            .opt_text("http_version", it.http_version.as_ref())
            .opt_text("domain_name", it.domain_name.as_ref());
        self.push(row, &it.common);
    }
}

fn with_common(row: NewRow, common: &Common) -> NewRow {
    row.text("name", &common.name)
        .text("description", &common.description)
        .bool("admin_state_up", common.admin_state_up)
        .text("provisioning_status", common.provisioning_status)
        .text("operating_status", common.operating_status)
        .int("created_at", common.created_at.0)
        .opt_int("updated_at", common.updated_at.map(|time| time.0))
}
