//! Creating a load balancer with everything below it in one call (contract 6.1).
//!
//! The body is read into a [`TreeRequest`]; [`TreeRequest::plant`] then does what the single calls
//! would do, in an order in which every reference exists, so that every rule of theirs holds here
//! too. Pools are named, may be defined anywhere (at the load balancer, as a listener's
//! `default_pool`, as a policy's `redirect_pool`) and referred to from anywhere by name.

use std::{collections::HashMap, net::IpAddr};

use serde_json::Value;

use crate::{
    ctx::Ctx,
    enums::ProvisioningStatus,
    fault::Fault,
    id::PoolId,
    request::{
        Given, L7PolicyUpdate, L7RuleCreate, MemberCreate,
        health_monitor::HealthMonitorFields,
        listener::ListenerFields,
        pool::PoolFields,
        reader::{Reader, shorten},
    },
    secret_refs::SecretRefs,
    tree::Tree,
};

/// Keys of a pool object that is only a reference.
const REFERENCE_KEYS: &[&str] = &["name", "admin_state_up", "tls_enabled"];

/// `listeners` and `pools` of a load balancer's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeRequest {
    /// In the order given.
    pub listeners: Vec<TreeListener>,
    /// In the order given.
    pub pools: Vec<TreePool>,
}

/// A listener in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeListener {
    /// As in a stand-alone POST.
    pub fields: ListenerFields,
    /// Its default pool, defined or referred to.
    pub default_pool: Option<TreePoolRef>,
    /// In the order given.
    pub l7policies: Vec<TreeL7Policy>,
}

/// A policy in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeL7Policy {
    /// As in a stand-alone POST.
    pub fields: L7PolicyUpdate,
    /// Where it redirects to, defined or referred to.
    pub redirect_pool: Option<TreePoolRef>,
    /// In the order given.
    pub rules: Vec<L7RuleCreate>,
}

/// A pool in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePool {
    /// Unique in the request.
    pub name: String,
    /// As in a stand-alone POST.
    pub fields: PoolFields,
    /// In the order given.
    pub members: Vec<MemberCreate>,
    /// Its monitor.
    pub health_monitor: Option<HealthMonitorFields>,
}

/// A pool by name; defined here, or elsewhere in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePoolRef {
    /// Whose name.
    pub name: String,
    /// The definition, when it stands here.
    pub definition: Option<Box<TreePool>>,
}

impl TreeRequest {
    /// Reads both lists from the load balancer's object.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            listeners: items(reader, "listeners", TreeListener::parse)?,
            pools: items(reader, "pools", TreePool::parse)?,
        })
    }

    /// Every reference whose fact the tree will want.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        let mut refs = SecretRefs::default();
        for listener in &self.listeners {
            refs.extend(listener.fields.mutable.secret_refs());
        }
        for pool in self.all_pools() {
            refs.extend(pool.fields.mutable.secret_refs());
        }
        refs
    }

    /// Every address of a member that will be asked about.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let members = self.all_pools().flat_map(|pool| &pool.members);
        members.flat_map(MemberCreate::addresses)
    }

    /// Every pool that is defined, wherever it stands.
    fn all_pools(&self) -> impl Iterator<Item = &TreePool> {
        let places = self.listeners.iter().flat_map(|listener| {
            let policies = listener.l7policies.iter();
            let redirects = policies.filter_map(|policy| policy.redirect_pool.as_ref());
            listener.default_pool.iter().chain(redirects)
        });
        let nested = places.filter_map(|place| place.definition.as_deref());
        self.pools.iter().chain(nested)
    }

    /// Makes everything in `tree`, which holds the load balancer alone.
    pub(crate) fn plant(mut self, tree: &mut Tree, ctx: &mut Ctx<'_>) -> Result<(), Fault> {
        let pools = self.hoist();
        // Each step is a change of a load balancer that is at rest.
        tree.rest();
        let mut names: HashMap<String, PoolId> = HashMap::new();
        for pool in pools {
            if names.contains_key(&pool.name) {
                return Err(Fault::validation(
                    "Pool names must be unique when creating a fully populated loadbalancer.",
                ));
            }
            let name = pool.name.clone();
            names.insert(name, pool.plant(tree, ctx)?);
        }
        for listener in self.listeners {
            listener.plant(tree, &names, ctx)?;
        }
        tree.begin_creation();
        Ok(())
    }

    /// Takes every definition out of where it stands; references stay.
    fn hoist(&mut self) -> Vec<TreePool> {
        let mut pools = std::mem::take(&mut self.pools);
        for listener in &mut self.listeners {
            let policies = listener.l7policies.iter_mut();
            let places = listener
                .default_pool
                .iter_mut()
                .chain(policies.filter_map(|policy| policy.redirect_pool.as_mut()));
            pools.extend(
                places
                    .filter_map(|place| place.definition.take())
                    .map(|pool| *pool),
            );
        }
        pools
    }
}

impl TreeListener {
    fn parse(item: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::object(item, "listener")?;
        let listener = Self {
            fields: ListenerFields::read(&mut reader)?,
            default_pool: TreePoolRef::read(&mut reader, "default_pool")?,
            l7policies: items(&mut reader, "l7policies", TreeL7Policy::parse)?,
        };
        reader.finish()?;
        Ok(listener)
    }

    fn plant(
        self,
        tree: &mut Tree,
        names: &HashMap<String, PoolId>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        let mut fields = self.fields;
        if let Some(pool) = &self.default_pool {
            fields.mutable.default_pool_id = Given::Value(resolve(names, &pool.name)?);
        }
        let listener_id = tree.add_listener(fields, ctx)?;
        tree.rest();
        for policy in self.l7policies {
            let mut fields = policy.fields;
            if let Some(pool) = &policy.redirect_pool {
                fields.redirect_pool_id = Given::Value(resolve(names, &pool.name)?);
            }
            let policy_id = tree.add_l7policy(listener_id, fields, ctx)?;
            tree.rest();
            for rule in policy.rules {
                tree.add_l7rule(policy_id, rule, ctx)?;
                tree.rest();
            }
        }
        Ok(())
    }
}

impl TreeL7Policy {
    fn parse(item: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::object(item, "l7policy")?;
        let policy = Self {
            fields: L7PolicyUpdate::read_new(&mut reader)?,
            redirect_pool: TreePoolRef::read(&mut reader, "redirect_pool")?,
            rules: items(&mut reader, "rules", L7RuleCreate::parse_item)?,
        };
        reader.finish()?;
        Ok(policy)
    }
}

impl TreePool {
    fn parse(item: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::object(item, "pool")?;
        let name = match item.get("name").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => {
                return Err(Fault::validation(
                    "Pools must be named when creating a fully populated loadbalancer.",
                ));
            }
        };
        let mandatory = ["protocol", "lb_algorithm"];
        if let Some(missing) = mandatory.iter().find(|key| item.get(**key).is_none()) {
            return Err(Fault::validation(format!(
                "Pool definition for '{}' missing required attribute: {missing}",
                shorten(&name)
            )));
        }
        let fields = PoolFields::read(&mut reader)?;
        let members = items(&mut reader, "members", MemberCreate::parse_item)?;
        let health_monitor = match reader.raw("healthmonitor") {
            Given::Absent | Given::Null => None,
            Given::Value(item) => {
                let mut inner = Reader::object(item, "healthmonitor")?;
                let fields = HealthMonitorFields::read(&mut inner)?;
                inner.finish()?;
                Some(fields)
            }
        };
        reader.finish()?;
        Ok(Self {
            name,
            fields,
            members,
            health_monitor,
        })
    }

    fn plant(self, tree: &mut Tree, ctx: &mut Ctx<'_>) -> Result<PoolId, Fault> {
        let pool_id = tree.add_pool(self.fields, None, ctx)?;
        tree.rest();
        // The monitor first: members that have one start OFFLINE.
        if let Some(fields) = self.health_monitor {
            tree.add_health_monitor(pool_id, fields, ctx)?;
            tree.rest();
        }
        for member in self.members {
            tree.add_member(pool_id, member, ctx)?;
            tree.rest();
        }
        Ok(pool_id)
    }
}

impl TreePoolRef {
    fn read(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<Self>, Fault> {
        let item = match reader.raw(key) {
            Given::Absent | Given::Null => return Ok(None),
            Given::Value(item) => item,
        };
        let mut inner = Reader::object(item, key)?;
        let reference = inner.keys().all(|key| REFERENCE_KEYS.contains(&key));
        if !reference {
            let definition = TreePool::parse(item)?;
            return Ok(Some(Self {
                name: definition.name.clone(),
                definition: Some(Box::new(definition)),
            }));
        }
        match inner.text("name")? {
            Given::Value(name) if !name.is_empty() => Ok(Some(Self {
                name,
                definition: None,
            })),
            _ => Err(Fault::invalid(format!("{key} needs the name of a pool."))),
        }
    }
}

fn resolve(names: &HashMap<String, PoolId>, name: &str) -> Result<PoolId, Fault> {
    names.get(name).copied().ok_or_else(|| {
        Fault::validation(format!(
            "Pool '{name}' was referenced but no full definition was found."
        ))
    })
}

fn items<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    parse: impl Fn(&Value) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    match reader.list(key)? {
        Given::Absent | Given::Null => Ok(Vec::new()),
        Given::Value(items) => items.iter().map(parse).collect(),
    }
}

impl Tree {
    /// Puts everything at rest between two steps.
    fn rest(&mut self) {
        for common in self.commons_mut() {
            common.provisioning_status = ProvisioningStatus::Active;
        }
    }

    /// Everything is new, and nothing has been updated yet.
    fn begin_creation(&mut self) {
        self.load_balancer.generation = 1;
        for common in self.commons_mut() {
            common.provisioning_status = ProvisioningStatus::PendingCreate;
            common.updated_at = None;
        }
    }
}
