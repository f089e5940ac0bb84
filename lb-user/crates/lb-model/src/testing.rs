//! A small world for this crate's tests: two subnets, one certificate, a load balancer at rest.
#![expect(
    clippy::needless_pass_by_value,
    reason = "json! literals read best by value"
)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    address::ForbiddenAddresses,
    capability::CapabilitySet,
    ctx::{AuthorityFact, CertificateFact, Ctx, Facts, RevocationListFact, SubnetInfo},
    enums::Topology,
    fault::Fault,
    id::{HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, MemberId, PoolId},
    provider,
    quota::Allowance,
    request::{
        HealthMonitorCreate, HealthMonitorUpdate, L7PolicyCreate, L7PolicyUpdate, L7RuleCreate,
        L7RuleUpdate, ListenerCreate, ListenerUpdate, LoadBalancerCreate, MemberBatch,
        MemberCreate, MemberUpdate, PoolCreate, PoolUpdate,
    },
    resource::{Placement, Vip},
    time::Timestamp,
    tree::{NewLoadBalancer, Tree},
};

/// A certificate reference that can be read.
pub(crate) const CERTIFICATE: &str = "https://keys/v1/secrets/1";
/// A CA that can be read.
pub(crate) const AUTHORITY: &str = "https://keys/v1/secrets/2";
/// A CRL signed by that CA.
pub(crate) const REVOCATION_LIST: &str = "https://keys/v1/secrets/3";
/// The IPv4 subnet, which is the VIP's.
pub(crate) const SUBNET_V4: u128 = 0x40;
/// The IPv6 subnet of the same network.
pub(crate) const SUBNET_V6: u128 = 0x60;
/// Their network.
pub(crate) const NETWORK: u128 = 0x10;

/// Facts, a clock and a source of ids, around one tree.
pub(crate) struct World {
    pub(crate) tree: Tree,
    pub(crate) facts: Facts,
    pub(crate) clock: i64,
    pub(crate) last_id: u128,
    /// What every operation may create.
    pub(crate) quota: Allowance,
}

pub(crate) fn uuid(id: u128) -> Uuid {
    Uuid::from_u128(id)
}

pub(crate) fn facts() -> Facts {
    let subnet = |id: u128, cidr: &str| SubnetInfo {
        id: uuid(id).into(),
        network_id: uuid(NETWORK).into(),
        project_id: None,
        cidr: cidr.parse().unwrap(),
        gateway_ip: None,
        free_addresses: 100,
    };
    Facts {
        deployment: crate::deployment::Deployment::default(),
        vip_options: false,
        any_subnet: false,
        subnets: vec![
            subnet(SUBNET_V4, "192.0.2.0/24"),
            subnet(SUBNET_V6, "2001:db8::/64"),
        ],
        forbidden: ForbiddenAddresses {
            deny: Vec::new(),
            hosts: vec!["203.0.113.1".parse().unwrap()],
            amphorae: vec!["192.0.2.200".parse().unwrap()],
        },
        certificates: [
            (
                CERTIFICATE.to_owned(),
                CertificateFact::Usable {
                    hosts: vec!["example.com".to_owned()],
                },
            ),
            (
                "broken".to_owned(),
                CertificateFact::Unreadable {
                    reason: "not a certificate".to_owned(),
                },
            ),
        ]
        .into(),
        authorities: [
            (AUTHORITY.to_owned(), AuthorityFact::Usable),
            ("other-ca".to_owned(), AuthorityFact::Usable),
        ]
        .into(),
        revocation_lists: [(
            REVOCATION_LIST.to_owned(),
            RevocationListFact::Usable {
                issuers: [AUTHORITY.to_owned()].into(),
            },
        )]
        .into(),
        capabilities: CapabilitySet::default(),
    }
}

pub(crate) fn vip() -> Vip {
    Vip {
        address: "192.0.2.10".parse().unwrap(),
        port_id: uuid(0x99).into(),
        subnet_id: uuid(SUBNET_V4).into(),
        network_id: uuid(NETWORK).into(),
    }
}

/// A load balancer straight after `POST` of this object.
pub(crate) fn posted(body: Value) -> Result<World, Fault> {
    let mut body = body;
    if body.get("vip_subnet_id").is_none() {
        body["vip_subnet_id"] = json!(uuid(SUBNET_V4));
    }
    let request = LoadBalancerCreate::parse(&json!({ "loadbalancer": body }))?;
    let facts = facts();
    let mut last_id = 0x1000;
    let new = NewLoadBalancer {
        id: uuid(1).into(),
        project_id: "p".to_owned(),
        provider: provider::choose(
            request.provider.as_deref(),
            None,
            "amphora",
            &provider::Provider::built_in(),
        )?,
        placement: Placement::default(),
        topology: Topology::Single,
        vip: vip(),
        additional_vips: Vec::new(),
    };
    let tree = Tree::create(
        request,
        new,
        &mut Ctx {
            now: Timestamp(1_000_000),
            new_id: &mut || {
                last_id += 1;
                uuid(last_id)
            },
            facts: &facts,
            quota: Allowance::unlimited(),
        },
    )?;
    Ok(World {
        tree,
        facts,
        clock: 1_000_000,
        last_id,
        quota: Allowance::unlimited(),
    })
}

/// A bare load balancer at rest.
pub(crate) fn world() -> World {
    let mut world = posted(json!({})).unwrap();
    world.settle();
    world
}

impl World {
    /// Runs one operation a second later.
    pub(crate) fn run<T>(&mut self, change: impl FnOnce(&mut Tree, &mut Ctx<'_>) -> T) -> T {
        self.clock += 1_000_000;
        let last_id = &mut self.last_id;
        let mut new_id = || {
            *last_id += 1;
            uuid(*last_id)
        };
        let mut ctx = Ctx {
            now: Timestamp(self.clock),
            new_id: &mut new_id,
            facts: &self.facts,
            quota: self.quota,
        };
        change(&mut self.tree, &mut ctx)
    }

    /// Everything asked for is served.
    pub(crate) fn settle(&mut self) {
        self.clock += 1_000_000;
        let generation = self.tree.load_balancer.generation;
        self.tree
            .settle_applied(generation, &BTreeSet::new(), Timestamp(self.clock));
    }

    /// Everything asked for has failed.
    pub(crate) fn fail(&mut self) {
        self.clock += 1_000_000;
        self.tree.settle_failed(Timestamp(self.clock));
    }

    pub(crate) fn listener(&mut self, fields: Value) -> Result<ListenerId, Fault> {
        let body =
            json!({"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": self.tree.id()});
        let request = ListenerCreate::parse(&json!({"listener": merged(body, fields)}))?;
        self.run(|tree, ctx| tree.create_listener(request, ctx))
    }

    pub(crate) fn put_listener(&mut self, id: ListenerId, fields: Value) -> Result<(), Fault> {
        let request = ListenerUpdate::parse(&json!({ "listener": fields }))?;
        self.run(|tree, ctx| tree.update_listener(id, request, ctx))
    }

    pub(crate) fn pool(&mut self, fields: Value) -> Result<PoolId, Fault> {
        let body = json!({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "loadbalancer_id": self.tree.id()});
        let request = PoolCreate::parse(&json!({"pool": merged(body, fields)}))?;
        self.run(|tree, ctx| tree.create_pool(request, ctx))
    }

    pub(crate) fn put_pool(&mut self, id: PoolId, fields: Value) -> Result<(), Fault> {
        let request = PoolUpdate::parse(&json!({ "pool": fields }))?;
        self.run(|tree, ctx| tree.update_pool(id, request, ctx))
    }

    pub(crate) fn member(&mut self, pool: PoolId, fields: Value) -> Result<MemberId, Fault> {
        let body = json!({"address": "192.0.2.20", "protocol_port": 80});
        let request = MemberCreate::parse(&json!({"member": merged(body, fields)}))?;
        self.run(|tree, ctx| tree.create_member(pool, request, ctx))
    }

    pub(crate) fn put_member(
        &mut self,
        pool: PoolId,
        id: MemberId,
        fields: Value,
    ) -> Result<(), Fault> {
        let request = MemberUpdate::parse(&json!({ "member": fields }))?;
        self.run(|tree, ctx| tree.update_member(pool, id, request, ctx))
    }

    pub(crate) fn batch(
        &mut self,
        pool: PoolId,
        members: Value,
        additive: bool,
    ) -> Result<(), Fault> {
        let request = MemberBatch::parse(&json!({ "members": members }))?;
        self.run(|tree, ctx| tree.batch_members(pool, request, additive, ctx))
    }

    pub(crate) fn monitor(
        &mut self,
        pool: PoolId,
        fields: Value,
    ) -> Result<HealthMonitorId, Fault> {
        let body = json!({"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 2,
            "max_retries": 3});
        let request = HealthMonitorCreate::parse(&json!({"healthmonitor": merged(body, fields)}))?;
        self.run(|tree, ctx| tree.create_health_monitor(request, ctx))
    }

    pub(crate) fn put_monitor(&mut self, id: HealthMonitorId, fields: Value) -> Result<(), Fault> {
        let request = HealthMonitorUpdate::parse(&json!({ "healthmonitor": fields }))?;
        self.run(|tree, ctx| tree.update_health_monitor(id, request, ctx))
    }

    pub(crate) fn policy(
        &mut self,
        listener: ListenerId,
        fields: Value,
    ) -> Result<L7PolicyId, Fault> {
        let body = json!({"listener_id": listener, "action": "REJECT"});
        let request = L7PolicyCreate::parse(&json!({"l7policy": merged(body, fields)}))?;
        self.run(|tree, ctx| tree.create_l7policy(request, ctx))
    }

    pub(crate) fn put_policy(&mut self, id: L7PolicyId, fields: Value) -> Result<(), Fault> {
        let request = L7PolicyUpdate::parse(&json!({ "l7policy": fields }))?;
        self.run(|tree, ctx| tree.update_l7policy(id, request, ctx))
    }

    pub(crate) fn rule(&mut self, policy: L7PolicyId, fields: Value) -> Result<L7RuleId, Fault> {
        let body = json!({"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"});
        let request = L7RuleCreate::parse(&json!({"rule": merged(body, fields)}))?;
        self.run(|tree, ctx| tree.create_l7rule(policy, request, ctx))
    }

    pub(crate) fn put_rule(
        &mut self,
        policy: L7PolicyId,
        id: L7RuleId,
        fields: Value,
    ) -> Result<(), Fault> {
        let request = L7RuleUpdate::parse(&json!({ "rule": fields }))?;
        self.run(|tree, ctx| tree.update_l7rule(policy, id, request, ctx))
    }
}

/// The code lb-api gives a fault.
pub(crate) fn code(fault: &Fault) -> u16 {
    match fault {
        Fault::Invalid(_) | Fault::InvalidOption { .. } => 400,
        Fault::Forbidden | Fault::QuotaReached { .. } => 403,
        Fault::NotFound { .. } => 404,
        Fault::Immutable { .. } | Fault::Conflict(_) => 409,
        Fault::NotImplemented { .. } => 501,
        Fault::Unavailable(_) => 503,
        Fault::Bug(_) => 500,
    }
}

/// The code of an outcome; 200 when it succeeded.
pub(crate) fn outcome<T>(result: &Result<T, Fault>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(fault) => code(fault),
    }
}

/// `base` with the keys of `over`; a key whose value is `"<absent>"` is taken out.
pub(crate) fn merged(mut base: Value, over: Value) -> Value {
    let object = base.as_object_mut().unwrap();
    for (key, value) in over.as_object().unwrap().clone() {
        if value == "<absent>" {
            object.remove(&key);
        } else {
            object.insert(key, value);
        }
    }
    base
}
