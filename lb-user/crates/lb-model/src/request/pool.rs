//! `pool` bodies (contract 2.3).

use std::net::IpAddr;

use serde_json::Value;

use super::{
    CommonFields, Given,
    load_balancer::ignore_project,
    reader::{Reader, not_null, required},
};
use crate::{
    defaults::{CIPHERS_MAX, INTEGER_MAX},
    enums::{LbAlgorithm, PoolProtocol, SessionPersistenceType},
    fault::Fault,
    id::{ListenerId, LoadBalancerId},
    secret_refs::SecretRefs,
};

/// POST, stand-alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCreate {
    /// Decides the load balancer when given.
    pub loadbalancer_id: Option<LoadBalancerId>,
    /// Gets the pool as its default pool; decides the load balancer when that is not given.
    pub listener_id: Option<ListenerId>,
    /// Everything else.
    pub fields: PoolFields,
}

/// What a new pool is made of, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFields {
    /// Protocol towards members.
    pub protocol: PoolProtocol,
    /// How a member is chosen.
    pub lb_algorithm: LbAlgorithm,
    /// What can be changed later. `lb_algorithm` in it is absent.
    pub mutable: PoolUpdate,
}

/// PUT: every field that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// How a member is chosen.
    pub lb_algorithm: Given<LbAlgorithm>,
    /// Null and `{}` remove.
    pub session_persistence: Given<SessionPersistenceFields>,
    /// TLS towards members.
    pub tls_enabled: Given<bool>,
    /// Client certificate.
    pub tls_container_ref: Given<String>,
    /// CA of members.
    pub ca_tls_container_ref: Given<String>,
    /// CRL of members.
    pub crl_container_ref: Given<String>,
    /// OpenSSL list.
    pub tls_ciphers: Given<String>,
    /// Versions.
    pub tls_versions: Given<Vec<String>>,
    /// ALPN ids.
    pub alpn_protocols: Given<Vec<String>>,
}

/// The `session_persistence` object, as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPersistenceFields {
    /// Required at create.
    pub kind: Given<SessionPersistenceType>,
    /// For APP_COOKIE.
    pub cookie_name: Given<String>,
    /// Seconds; UDP and SCTP pools.
    pub persistence_timeout: Given<i64>,
    /// Netmask; UDP and SCTP pools.
    pub persistence_granularity: Given<String>,
}

impl PoolCreate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "pool")?;
        let loadbalancer_id = reader.uuid("loadbalancer_id")?.into_value();
        let listener_id = reader.uuid("listener_id")?.into_value();
        let fields = PoolFields::read(&mut reader)?;
        reader.only_in_tree("members")?;
        reader.only_in_tree("healthmonitor")?;
        reader.finish()?;
        if loadbalancer_id.is_none() && listener_id.is_none() {
            return Err(Fault::invalid(
                "Validation failure: Must provide at least one of: listener_id, loadbalancer_id.",
            ));
        }
        Ok(Self {
            loadbalancer_id,
            listener_id,
            fields,
        })
    }

    /// Every reference whose fact the tree will want.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        self.fields.mutable.secret_refs()
    }
}

impl PoolFields {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        ignore_project(reader)?;
        let mut mutable = PoolUpdate::read(reader)?;
        let lb_algorithm = required("lb_algorithm", std::mem::take(&mut mutable.lb_algorithm))?;
        Ok(Self {
            protocol: required("protocol", reader.choice("protocol")?)?,
            lb_algorithm,
            mutable,
        })
    }
}

impl PoolUpdate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "pool")?;
        let mut update = Self::read(&mut reader)?;
        reader.finish()?;
        // `{}` removes, like null; at create it lacks its type.
        if update.session_persistence.value() == Some(&SessionPersistenceFields::default()) {
            update.session_persistence = Given::Null;
        }
        not_null("lb_algorithm", &update.lb_algorithm)?;
        Ok(update)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            common: CommonFields::read(reader)?,
            lb_algorithm: reader.choice("lb_algorithm")?,
            session_persistence: SessionPersistenceFields::read(reader)?,
            tls_enabled: reader.boolean("tls_enabled")?,
            tls_container_ref: reader.text("tls_container_ref")?,
            ca_tls_container_ref: reader.text("ca_tls_container_ref")?,
            crl_container_ref: reader.text("crl_container_ref")?,
            tls_ciphers: reader.string("tls_ciphers", CIPHERS_MAX)?,
            tls_versions: reader.texts("tls_versions")?,
            alpn_protocols: reader.texts("alpn_protocols")?,
        })
    }
}

impl SessionPersistenceFields {
    fn read(reader: &mut Reader<'_>) -> Result<Given<Self>, Fault> {
        let value = match reader.raw("session_persistence") {
            Given::Absent => return Ok(Given::Absent),
            Given::Null => return Ok(Given::Null),
            Given::Value(value) => value,
        };
        let mut inner = Reader::object(value, "session_persistence")?;
        let granularity = inner.text("persistence_granularity")?;
        if let Given::Value(mask) = &granularity
            && mask.parse::<IpAddr>().is_err()
        {
            return Err(Fault::option(
                "persistence_granularity",
                mask,
                "Value should be a netmask or an address.",
            ));
        }
        let fields = Self {
            kind: inner.choice("type")?,
            cookie_name: inner.text("cookie_name")?,
            persistence_timeout: inner.integer("persistence_timeout", 0..=INTEGER_MAX)?,
            persistence_granularity: granularity,
        };
        inner.finish()?;
        Ok(Given::Value(fields))
    }
}
