//! Verbs of pools (contract 2.3).

use super::{Tree, begin, new_common, pool_rules};
use crate::{
    capability,
    ctx::Ctx,
    defaults,
    enums::{L7PolicyAction, OperatingStatus},
    fault::{Fault, ResourceKind},
    id::{ListenerId, PoolId},
    limits, protocol,
    quota::QuotaClass,
    request::{Given, PoolCreate, PoolUpdate, pool::PoolFields},
    resource::Pool,
    status::Event,
};

impl Tree {
    /// POST a pool.
    pub fn create_pool(&mut self, request: PoolCreate, ctx: &mut Ctx<'_>) -> Result<PoolId, Fault> {
        if let Some(id) = request.loadbalancer_id
            && id != self.id()
        {
            return Err(id.not_found());
        }
        self.atomically(|tree| tree.add_pool(request.fields, request.listener_id, ctx))
    }

    /// PUT a pool.
    pub fn update_pool(
        &mut self,
        id: PoolId,
        request: PoolUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let mut pool = tree.pool(id)?.clone();
            let given = request.clone();
            apply(&mut pool, request)?;
            pool_rules::check_persistence(&pool)?;
            pool_rules::check_tls(&pool, &given, true, ctx.facts)?;
            tree.lock(ctx.now)?;
            begin(&mut pool.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            tree.touch_listeners_using(id, ctx.now);
            capability::pool(tree, &pool, ctx.facts)?;
            *tree.pool_mut(id)? = pool;
            Ok(())
        })
    }

    /// DELETE a pool, with its members and monitor; listeners lose it.
    pub fn delete_pool(&mut self, id: PoolId, ctx: &mut Ctx<'_>) -> Result<(), Fault> {
        self.atomically(|tree| {
            tree.pool(id)?;
            let policies = tree
                .listeners
                .iter()
                .flat_map(|listener| &listener.l7policies);
            let redirected = policies
                .filter(|policy| policy.action == L7PolicyAction::RedirectToPool)
                .find(|policy| policy.redirect_pool_id == Some(id));
            if let Some(policy) = redirected {
                return Err(Fault::Conflict(format!(
                    "Pool {id} is in use by L7 policy {}.",
                    policy.id
                )));
            }
            tree.lock(ctx.now)?;
            tree.touch_listeners_using(id, ctx.now);
            begin(&mut tree.pool_mut(id)?.common, Event::Delete, ctx.now)
                .map_err(|_state| id.immutable())
        })
    }

    pub(crate) fn add_pool(
        &mut self,
        fields: PoolFields,
        listener_id: Option<ListenerId>,
        ctx: &mut Ctx<'_>,
    ) -> Result<PoolId, Fault> {
        if let Some(id) = listener_id {
            protocol::check_pair(self.listener(id)?.protocol, fields.protocol)?;
        }
        let given = fields.mutable.clone();
        let pool = new_pool(ctx.id(), fields, ctx)?;
        pool_rules::check_persistence(&pool)?;
        ctx.quota.take(QuotaClass::Pool, 1)?;
        limits::room(self.pools.len(), limits::POOLS_MAX, ResourceKind::Pool)?;
        if let Some(id) = listener_id
            && self.listener(id)?.default_pool_id.is_some()
        {
            return Err(Fault::Conflict(
                "This listener already has a default pool".to_owned(),
            ));
        }
        self.lock(ctx.now)?;
        pool_rules::check_tls(&pool, &given, pool.tls_enabled, ctx.facts)?;
        let id = pool.id;
        if let Some(listener_id) = listener_id {
            self.listener_mut(listener_id)?.default_pool_id = Some(id);
            self.touch_listeners_using(id, ctx.now);
        }
        capability::pool(self, &pool, ctx.facts)?;
        self.pools.push(pool);
        Ok(id)
    }
}

fn new_pool(id: PoolId, fields: PoolFields, ctx: &Ctx<'_>) -> Result<Pool, Fault> {
    let mutable = fields.mutable;
    let tls_enabled = mutable.tls_enabled.resolve(false, false);
    let list = |given: Given<Vec<String>>, default: &[&str]| match given {
        Given::Value(list) => Some(list),
        Given::Absent | Given::Null => tls_enabled.then(|| defaults::owned(default)),
    };
    let ciphers = match mutable.tls_ciphers {
        Given::Value(ciphers) => Some(ciphers),
        Given::Absent | Given::Null => tls_enabled.then(|| defaults::TLS_CIPHERS.to_owned()),
    };
    let session_persistence = match mutable.session_persistence {
        Given::Absent | Given::Null => None,
        Given::Value(fields) => Some(pool_rules::merge_persistence(None, fields)?),
    };
    Ok(Pool {
        id,
        common: new_common(mutable.common, OperatingStatus::Offline, ctx.now),
        protocol: fields.protocol,
        lb_algorithm: fields.lb_algorithm,
        session_persistence,
        tls_enabled,
        tls_container_ref: mutable.tls_container_ref.into_value(),
        ca_tls_container_ref: mutable.ca_tls_container_ref.into_value(),
        crl_container_ref: mutable.crl_container_ref.into_value(),
        tls_ciphers: ciphers,
        tls_versions: list(mutable.tls_versions, defaults::TLS_VERSIONS),
        alpn_protocols: list(mutable.alpn_protocols, defaults::ALPN_PROTOCOLS),
        members: Vec::new(),
        health_monitor: None,
    })
}

fn apply(pool: &mut Pool, request: PoolUpdate) -> Result<(), Fault> {
    request.common.apply(&mut pool.common);
    if let Given::Value(algorithm) = request.lb_algorithm {
        pool.lb_algorithm = algorithm;
    }
    match request.session_persistence {
        Given::Absent => {}
        Given::Null => pool.session_persistence = None,
        Given::Value(fields) => {
            let stored = pool.session_persistence.take();
            pool.session_persistence = Some(pool_rules::merge_persistence(stored, fields)?);
        }
    }
    request.tls_enabled.apply(&mut pool.tls_enabled, false);
    request
        .tls_container_ref
        .apply_option(&mut pool.tls_container_ref, None);
    request
        .ca_tls_container_ref
        .apply_option(&mut pool.ca_tls_container_ref, None);
    request
        .crl_container_ref
        .apply_option(&mut pool.crl_container_ref, None);
    request.tls_ciphers.apply_option(
        &mut pool.tls_ciphers,
        Some(defaults::TLS_CIPHERS.to_owned()),
    );
    request.tls_versions.apply_option(
        &mut pool.tls_versions,
        Some(defaults::owned(defaults::TLS_VERSIONS)),
    );
    request.alpn_protocols.apply_option(
        &mut pool.alpn_protocols,
        Some(defaults::owned(defaults::ALPN_PROTOCOLS)),
    );
    Ok(())
}
