//! Rows back into trees: any number of load balancers in a constant number of queries.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
};

use lb_model::{
    id::{L7PolicyId, ListenerId, LoadBalancerId, PoolId},
    resource::{
        Common, HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Placement, Pool,
        Vip, VipOptions,
    },
    tree::Tree,
    written::WrittenAddr,
};
use uuid::Uuid;

use crate::{
    db::{Builder, On},
    encode::{
        HEALTH_MONITORS, L7POLICIES, L7RULES, LISTENERS, LOAD_BALANCERS, MEMBERS, Ordinals, POOLS,
    },
    error::StoreError,
    sql::Reader,
    whole::{Extent, Rows, TAGS},
};

/// Trees as loaded, with what is needed to write one back.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) trees: BTreeMap<LoadBalancerId, Tree>,
    pub(crate) ordinals: Ordinals,
}

/// By object.
pub(crate) type Tags = HashMap<Uuid, Vec<String>>;
type ByParent<P, I> = HashMap<P, Vec<I>>;

/// Loads the trees of these load balancers, in one statement; an id that does not exist is left out.
pub(crate) async fn load(
    on: impl Into<On<'_>>,
    ids: &[LoadBalancerId],
) -> Result<Loaded, StoreError> {
    if ids.is_empty() {
        return Ok(Loaded::default());
    }
    trees(&fetch(on, Extent::Tree, ids).await?)
}

/// Rows of these load balancers, of every table that is asked for.
pub(crate) async fn fetch(
    on: impl Into<On<'_>>,
    extent: Extent,
    ids: &[LoadBalancerId],
) -> Result<Rows, StoreError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows = extent.statement(&ids).build().fetch_all(on).await?;
    Rows::sort(extent, rows)
}

/// What stands where in its list.
type Placed<I> = (i64, Uuid, I);

/// The trees that rows are of.
pub(crate) fn trees(rows: &Rows) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let mut tags = all_tags(rows)?;
    let mut rules: ByParent<L7PolicyId, Placed<L7Rule>> = HashMap::new();
    for read in rows.of(L7RULES) {
        let rule = l7rule(&read, &mut tags)?;
        let ordinal = loaded.note(rule.id.0, &read)?;
        add(
            &mut rules,
            read.parse("l7policy_id")?,
            (ordinal, rule.id.0, rule),
        );
    }
    let mut policies: ByParent<ListenerId, Placed<L7Policy>> = HashMap::new();
    for read in rows.of(L7POLICIES) {
        let mut it = l7policy(&read, &mut tags)?;
        it.rules = in_order(rules.remove(&it.id));
        // A policy's ordinal is its position.
        let position = read.int("ordinal")?;
        add(
            &mut policies,
            read.parse("listener_id")?,
            (position, it.id.0, it),
        );
    }
    let mut listeners: ByParent<LoadBalancerId, Placed<Listener>> = HashMap::new();
    for read in rows.of(LISTENERS) {
        let mut it = listener(&read, &mut tags)?;
        it.l7policies = in_order(policies.remove(&it.id));
        let ordinal = loaded.note(it.id.0, &read)?;
        add(
            &mut listeners,
            read.parse("load_balancer_id")?,
            (ordinal, it.id.0, it),
        );
    }
    let mut members: ByParent<PoolId, Placed<Member>> = HashMap::new();
    for read in rows.of(MEMBERS) {
        let it = member(&read, &mut tags)?;
        let ordinal = loaded.note(it.id.0, &read)?;
        add(&mut members, read.parse("pool_id")?, (ordinal, it.id.0, it));
    }
    let mut monitors: HashMap<PoolId, HealthMonitor> = HashMap::new();
    for read in rows.of(HEALTH_MONITORS) {
        monitors.insert(read.parse("pool_id")?, health_monitor(&read, &mut tags)?);
    }
    let mut pools: ByParent<LoadBalancerId, Placed<Pool>> = HashMap::new();
    for read in rows.of(POOLS) {
        let mut it = pool(&read, &mut tags)?;
        it.members = in_order(members.remove(&it.id));
        it.health_monitor = monitors.remove(&it.id);
        let ordinal = loaded.note(it.id.0, &read)?;
        add(
            &mut pools,
            read.parse("load_balancer_id")?,
            (ordinal, it.id.0, it),
        );
    }
    for read in rows.of(LOAD_BALANCERS) {
        let load_balancer = load_balancer(&read, &mut tags)?;
        let id = load_balancer.id;
        let tree = Tree {
            load_balancer,
            listeners: in_order(listeners.remove(&id)),
            pools: in_order(pools.remove(&id)),
        };
        loaded.trees.insert(id, tree);
    }
    Ok(loaded)
}

impl Loaded {
    fn note(&mut self, id: Uuid, read: &Reader<'_>) -> Result<i64, StoreError> {
        let ordinal = read.int("ordinal")?;
        self.ordinals.insert(id, ordinal);
        Ok(ordinal)
    }
}

fn in_order<I>(list: Option<Vec<Placed<I>>>) -> Vec<I> {
    let mut list = list.unwrap_or_default();
    list.sort_unstable_by_key(|(ordinal, id, _)| (*ordinal, *id));
    list.into_iter().map(|(_, _, item)| item).collect()
}

fn all_tags(rows: &Rows) -> Result<Tags, StoreError> {
    let mut placed: HashMap<Uuid, Vec<(i64, String)>> = HashMap::new();
    for read in rows.of(TAGS) {
        let tag = (read.int("ordinal")?, read.text("tag")?);
        placed
            .entry(read.parse("resource_id")?)
            .or_default()
            .push(tag);
    }
    let in_order = placed.into_iter().map(|(id, mut tags)| {
        tags.sort_unstable();
        (id, tags.into_iter().map(|(_, tag)| tag).collect())
    });
    Ok(in_order.collect())
}

/// Appends the ids as bound parameters and closes the list.
pub(crate) fn push_ids(query: &mut Builder, ids: &[LoadBalancerId]) {
    query.push_list(ids.iter().map(ToString::to_string));
    query.push(")");
}

fn add<P: Eq + Hash, I>(lists: &mut ByParent<P, I>, parent: P, item: I) {
    lists.entry(parent).or_default().push(item);
}

fn common(read: &Reader<'_>, tags: &mut Tags) -> Result<Common, StoreError> {
    Ok(Common {
        name: read.text("name")?,
        description: read.text("description")?,
        admin_state_up: read.bool("admin_state_up")?,
        provisioning_status: read.parse("provisioning_status")?,
        operating_status: read.parse("operating_status")?,
        created_at: read.time("created_at")?,
        updated_at: read.opt_time("updated_at")?,
        tags: tags.remove(&read.parse("id")?).unwrap_or_default(),
    })
}

pub(crate) fn load_balancer(
    read: &Reader<'_>,
    tags: &mut Tags,
) -> Result<LoadBalancer, StoreError> {
    Ok(LoadBalancer {
        id: read.parse("id")?,
        project_id: read.text("project_id")?,
        common: common(read, tags)?,
        vip: Vip {
            address: read.parse("vip_address")?,
            port_id: read.parse("vip_port_id")?,
            subnet_id: read.parse("vip_subnet_id")?,
            network_id: read.parse("vip_network_id")?,
        },
        additional_vips: read.json("additional_vips")?,
        provider: read.text("provider")?,
        topology: read.parse("topology")?,
        placement: Placement {
            flavor_id: read.opt_parse("flavor_id")?,
            availability_zone: read.opt_text("availability_zone")?,
            vip_vnic_type: read.parse("vip_vnic_type")?,
            member_sriov: read.bool("member_sriov")?,
            forwarding_mode: read.parse("forwarding_mode")?,
            l4_path: read.parse("l4_path")?,
        },
        vip_options: VipOptions {
            qos_policy_id: read.opt_parse("vip_qos_policy_id")?,
            sg_ids: read.json("vip_sg_ids")?,
        },
        generation: read.int("generation")?,
        failover_count: read.int("failover_count")?,
    })
}

pub(crate) fn listener(read: &Reader<'_>, tags: &mut Tags) -> Result<Listener, StoreError> {
    Ok(Listener {
        id: read.parse("id")?,
        common: common(read, tags)?,
        protocol: read.parse("protocol")?,
        protocol_port: read.int("protocol_port")?,
        connection_limit: read.opt_int("connection_limit")?,
        default_pool_id: read.opt_parse("default_pool_id")?,
        default_tls_container_ref: read.opt_text("default_tls_container_ref")?,
        sni_container_refs: read.json("sni_container_refs")?,
        insert_headers: read.json("insert_headers")?,
        timeout_client_data: read.opt_int("timeout_client_data")?,
        timeout_member_connect: read.opt_int("timeout_member_connect")?,
        timeout_member_data: read.opt_int("timeout_member_data")?,
        timeout_tcp_inspect: read.opt_int("timeout_tcp_inspect")?,
        client_ca_tls_container_ref: read.opt_text("client_ca_tls_container_ref")?,
        client_authentication: read.parse("client_authentication")?,
        client_crl_container_ref: read.opt_text("client_crl_container_ref")?,
        allowed_cidrs: read.json("allowed_cidrs")?,
        tls_ciphers: read.opt_text("tls_ciphers")?,
        tls_versions: read.opt_json("tls_versions")?,
        alpn_protocols: read.opt_json("alpn_protocols")?,
        hsts_max_age: read.opt_int("hsts_max_age")?,
        hsts_include_subdomains: read.bool("hsts_include_subdomains")?,
        hsts_preload: read.bool("hsts_preload")?,
        l7policies: Vec::new(),
    })
}

pub(crate) fn pool(read: &Reader<'_>, tags: &mut Tags) -> Result<Pool, StoreError> {
    Ok(Pool {
        id: read.parse("id")?,
        common: common(read, tags)?,
        protocol: read.parse("protocol")?,
        lb_algorithm: read.parse("lb_algorithm")?,
        session_persistence: read.opt_json("session_persistence")?,
        tls_enabled: read.bool("tls_enabled")?,
        tls_container_ref: read.opt_text("tls_container_ref")?,
        ca_tls_container_ref: read.opt_text("ca_tls_container_ref")?,
        crl_container_ref: read.opt_text("crl_container_ref")?,
        tls_ciphers: read.opt_text("tls_ciphers")?,
        tls_versions: read.opt_json("tls_versions")?,
        alpn_protocols: read.opt_json("alpn_protocols")?,
        members: Vec::new(),
        health_monitor: None,
    })
}

pub(crate) fn member(read: &Reader<'_>, tags: &mut Tags) -> Result<Member, StoreError> {
    let written = |ip: IpAddr, key| -> Result<WrittenAddr, StoreError> {
        let text: Option<String> = read.opt_text(key)?;
        Ok(WrittenAddr::kept(ip, text.as_deref()))
    };
    let monitor_address: Option<IpAddr> = read.opt_parse("monitor_address")?;
    Ok(Member {
        id: read.parse("id")?,
        common: common(read, tags)?,
        address: written(read.parse("address")?, "address_written")?,
        protocol_port: read.int("protocol_port")?,
        weight: read.int("weight")?,
        backup: read.bool("backup")?,
        subnet_id: read.opt_parse("subnet_id")?,
        monitor_address: monitor_address
            .map(|ip| written(ip, "monitor_address_written"))
            .transpose()?,
        monitor_port: read.opt_int("monitor_port")?,
        vnic_type: read.parse("vnic_type")?,
    })
}

pub(crate) fn health_monitor(
    read: &Reader<'_>,
    tags: &mut Tags,
) -> Result<HealthMonitor, StoreError> {
    Ok(HealthMonitor {
        id: read.parse("id")?,
        common: common(read, tags)?,
        kind: read.parse("type")?,
        delay: read.int("delay")?,
        timeout: read.int("timeout")?,
        max_retries: read.int("max_retries")?,
        max_retries_down: read.int("max_retries_down")?,
        http_method: read.opt_text("http_method")?,
        url_path: read.opt_text("url_path")?,
        expected_codes: read.opt_text("expected_codes")?,
        http_version: read.opt_text("http_version")?,
        domain_name: read.opt_text("domain_name")?,
    })
}

pub(crate) fn l7policy(read: &Reader<'_>, tags: &mut Tags) -> Result<L7Policy, StoreError> {
    Ok(L7Policy {
        id: read.parse("id")?,
        common: common(read, tags)?,
        action: read.parse("action")?,
        redirect_pool_id: read.opt_parse("redirect_pool_id")?,
        redirect_url: read.opt_text("redirect_url")?,
        redirect_prefix: read.opt_text("redirect_prefix")?,
        redirect_http_code: read.opt_int("redirect_http_code")?,
        rules: Vec::new(),
    })
}

pub(crate) fn l7rule(read: &Reader<'_>, tags: &mut Tags) -> Result<L7Rule, StoreError> {
    Ok(L7Rule {
        id: read.parse("id")?,
        common: common(read, tags)?,
        kind: read.parse("type")?,
        compare_type: read.parse("compare_type")?,
        key: read.opt_text("rule_key")?,
        value: read.text("value")?,
        invert: read.bool("invert")?,
    })
}
