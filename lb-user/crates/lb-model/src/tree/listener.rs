//! Verbs of listeners (contract 2.2).

use super::{Tree, begin, listener_rules, new_common};
use crate::{
    capability,
    ctx::Ctx,
    defaults,
    enums::{ClientAuthentication, ListenerProtocol, OperatingStatus},
    fault::{Fault, ResourceKind},
    id::{ListenerId, PoolId},
    limits, protocol,
    quota::QuotaClass,
    request::{Given, ListenerCreate, ListenerUpdate, listener::ListenerFields},
    resource::Listener,
    status::Event,
};

impl Tree {
    /// POST a listener.
    pub fn create_listener(
        &mut self,
        request: ListenerCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<ListenerId, Fault> {
        if request.loadbalancer_id != self.id() {
            return Err(request.loadbalancer_id.not_found());
        }
        self.atomically(|tree| tree.add_listener(request.fields, ctx))
    }

    /// PUT a listener.
    pub fn update_listener(
        &mut self,
        id: ListenerId,
        request: ListenerUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let mut listener = tree.listener(id)?.clone();
            tree.check_default_pool(listener.protocol, request.default_pool_id.value())?;
            let given = request.clone();
            apply(&mut listener, request);
            listener_rules::check_update(tree, &listener, &given, ctx.facts)?;
            tree.lock(ctx.now)?;
            begin(&mut listener.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            capability::listener(tree, &listener, ctx.facts)?;
            *tree.listener_mut(id)? = listener;
            Ok(())
        })
    }

    /// DELETE a listener, with its policies and rules; its default pool stays.
    pub fn delete_listener(&mut self, id: ListenerId, ctx: &mut Ctx<'_>) -> Result<(), Fault> {
        self.atomically(|tree| {
            tree.listener(id)?;
            tree.lock(ctx.now)?;
            begin(&mut tree.listener_mut(id)?.common, Event::Delete, ctx.now)
                .map_err(|_state| id.immutable())
        })
    }

    pub(crate) fn add_listener(
        &mut self,
        fields: ListenerFields,
        ctx: &mut Ctx<'_>,
    ) -> Result<ListenerId, Fault> {
        ctx.quota.take(QuotaClass::Listener, 1)?;
        limits::room(
            self.listeners.len(),
            limits::LISTENERS_MAX,
            ResourceKind::Listener,
        )?;
        self.check_default_pool(fields.protocol, fields.mutable.default_pool_id.value())?;
        self.lock(ctx.now)?;
        let given = fields.mutable.clone();
        let listener = new_listener(ctx.id(), fields, ctx);
        listener_rules::check_create(self, &listener, &given, ctx.facts)?;
        capability::listener(self, &listener, ctx.facts)?;
        let id = listener.id;
        self.listeners.push(listener);
        Ok(id)
    }

    /// A default pool must be one of ours and speak a protocol the listener can use.
    fn check_default_pool(
        &self,
        protocol: ListenerProtocol,
        pool_id: Option<&PoolId>,
    ) -> Result<(), Fault> {
        match pool_id {
            None => Ok(()),
            Some(id) => protocol::check_pair(protocol, self.pool(*id)?.protocol),
        }
    }
}

fn new_listener(id: ListenerId, fields: ListenerFields, ctx: &Ctx<'_>) -> Listener {
    let tls = fields.protocol == ListenerProtocol::TerminatedHttps;
    let mutable = fields.mutable;
    // Materialised at create, so that later changes of the defaults leave old listeners alone.
    let list = |given: Given<Vec<String>>, default: &[&str]| match given {
        Given::Value(list) => Some(list),
        Given::Absent | Given::Null => tls.then(|| defaults::owned(default)),
    };
    let ciphers = match mutable.tls_ciphers {
        Given::Value(ciphers) => Some(ciphers),
        Given::Absent | Given::Null => tls.then(|| defaults::TLS_CIPHERS.to_owned()),
    };
    Listener {
        id,
        common: new_common(mutable.common, OperatingStatus::Offline, ctx.now),
        protocol: fields.protocol,
        protocol_port: fields.protocol_port,
        connection_limit: mutable
            .connection_limit
            .or_absent(defaults::CONNECTION_LIMIT),
        default_pool_id: mutable.default_pool_id.into_value(),
        default_tls_container_ref: mutable.default_tls_container_ref.into_value(),
        sni_container_refs: mutable.sni_container_refs.into_value().unwrap_or_default(),
        insert_headers: mutable.insert_headers.into_value().unwrap_or_default(),
        timeout_client_data: timeout(mutable.timeout_client_data, defaults::TIMEOUT_DATA_MS),
        timeout_member_connect: timeout(
            mutable.timeout_member_connect,
            defaults::TIMEOUT_MEMBER_CONNECT_MS,
        ),
        timeout_member_data: timeout(mutable.timeout_member_data, defaults::TIMEOUT_DATA_MS),
        timeout_tcp_inspect: timeout(
            mutable.timeout_tcp_inspect,
            defaults::TIMEOUT_TCP_INSPECT_MS,
        ),
        client_ca_tls_container_ref: mutable.client_ca_tls_container_ref.into_value(),
        client_authentication: mutable
            .client_authentication
            .resolve(ClientAuthentication::None, ClientAuthentication::None),
        client_crl_container_ref: mutable.client_crl_container_ref.into_value(),
        allowed_cidrs: mutable.allowed_cidrs.into_value().unwrap_or_default(),
        tls_ciphers: ciphers,
        tls_versions: list(mutable.tls_versions, defaults::TLS_VERSIONS),
        alpn_protocols: list(mutable.alpn_protocols, defaults::ALPN_PROTOCOLS),
        hsts_max_age: mutable.hsts_max_age.into_value(),
        hsts_include_subdomains: mutable.hsts_include_subdomains.resolve(false, false),
        hsts_preload: mutable.hsts_preload.resolve(false, false),
        l7policies: Vec::new(),
    }
}

/// A timeout is never null, unlike the connection limit.
fn timeout(given: Given<i64>, default: i64) -> Option<i64> {
    Some(given.resolve(default, default))
}

/// What a PUT changes, with what null resets each field to.
fn apply(listener: &mut Listener, request: ListenerUpdate) {
    request.common.apply(&mut listener.common);
    request.connection_limit.apply_option(
        &mut listener.connection_limit,
        Some(defaults::CONNECTION_LIMIT),
    );
    request
        .default_pool_id
        .apply_option(&mut listener.default_pool_id, None);
    request
        .default_tls_container_ref
        .apply_option(&mut listener.default_tls_container_ref, None);
    request
        .sni_container_refs
        .apply(&mut listener.sni_container_refs, Vec::new());
    request.insert_headers.apply(
        &mut listener.insert_headers,
        std::collections::BTreeMap::new(),
    );
    let timeouts = [
        (
            request.timeout_client_data,
            &mut listener.timeout_client_data,
            defaults::TIMEOUT_DATA_MS,
        ),
        (
            request.timeout_member_connect,
            &mut listener.timeout_member_connect,
            defaults::TIMEOUT_MEMBER_CONNECT_MS,
        ),
        (
            request.timeout_member_data,
            &mut listener.timeout_member_data,
            defaults::TIMEOUT_DATA_MS,
        ),
        (
            request.timeout_tcp_inspect,
            &mut listener.timeout_tcp_inspect,
            defaults::TIMEOUT_TCP_INSPECT_MS,
        ),
    ];
    for (given, slot, default) in timeouts {
        given.apply_option(slot, Some(default));
    }
    request
        .client_ca_tls_container_ref
        .apply_option(&mut listener.client_ca_tls_container_ref, None);
    request.client_authentication.apply(
        &mut listener.client_authentication,
        ClientAuthentication::None,
    );
    request
        .client_crl_container_ref
        .apply_option(&mut listener.client_crl_container_ref, None);
    request
        .allowed_cidrs
        .apply(&mut listener.allowed_cidrs, Vec::new());
    request.tls_ciphers.apply_option(
        &mut listener.tls_ciphers,
        Some(defaults::TLS_CIPHERS.to_owned()),
    );
    request.tls_versions.apply_option(
        &mut listener.tls_versions,
        Some(defaults::owned(defaults::TLS_VERSIONS)),
    );
    request.alpn_protocols.apply_option(
        &mut listener.alpn_protocols,
        Some(defaults::owned(defaults::ALPN_PROTOCOLS)),
    );
    request
        .hsts_max_age
        .apply_option(&mut listener.hsts_max_age, None);
    request
        .hsts_include_subdomains
        .apply(&mut listener.hsts_include_subdomains, false);
    request
        .hsts_preload
        .apply(&mut listener.hsts_preload, false);
}
