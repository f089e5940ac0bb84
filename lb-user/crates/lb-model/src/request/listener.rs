//! `listener` bodies (contract 2.2).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    CommonFields, Given,
    load_balancer::ignore_project,
    reader::{Reader, required},
};
use crate::{
    defaults::{CIPHERS_MAX, INTEGER_MAX, TIMEOUT_MS_MAX},
    enums::{ClientAuthentication, ListenerProtocol},
    fault::Fault,
    id::{LoadBalancerId, PoolId},
    secret_refs::SecretRefs,
};

/// POST, stand-alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerCreate {
    /// Where it is to be.
    pub loadbalancer_id: LoadBalancerId,
    /// Everything else.
    pub fields: ListenerFields,
}

/// What a new listener is made of, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFields {
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// 1..=65535.
    pub protocol_port: u16,
    /// What can be changed later.
    pub mutable: ListenerUpdate,
}

/// PUT: every field that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// -1 or more.
    pub connection_limit: Given<i64>,
    /// Null detaches.
    pub default_pool_id: Given<PoolId>,
    /// Certificate served when SNI matches none.
    pub default_tls_container_ref: Given<String>,
    /// Certificates chosen by SNI.
    pub sni_container_refs: Given<Vec<String>>,
    /// Name to `"true"` or anything else.
    pub insert_headers: Given<BTreeMap<String, String>>,
    /// Milliseconds.
    pub timeout_client_data: Given<i64>,
    /// Milliseconds.
    pub timeout_member_connect: Given<i64>,
    /// Milliseconds.
    pub timeout_member_data: Given<i64>,
    /// Milliseconds.
    pub timeout_tcp_inspect: Given<i64>,
    /// CA for client certificates.
    pub client_ca_tls_container_ref: Given<String>,
    /// Whether clients must show one.
    pub client_authentication: Given<ClientAuthentication>,
    /// CRL for client certificates.
    pub client_crl_container_ref: Given<String>,
    /// Who may connect.
    pub allowed_cidrs: Given<Vec<IpNet>>,
    /// OpenSSL list.
    pub tls_ciphers: Given<String>,
    /// Versions.
    pub tls_versions: Given<Vec<String>>,
    /// ALPN ids.
    pub alpn_protocols: Given<Vec<String>>,
    /// Seconds.
    pub hsts_max_age: Given<i64>,
    /// Part of the HSTS header.
    pub hsts_include_subdomains: Given<bool>,
    /// Part of the HSTS header.
    pub hsts_preload: Given<bool>,
}

impl ListenerCreate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "listener")?;
        let loadbalancer_id = required("loadbalancer_id", reader.uuid("loadbalancer_id")?)?;
        let fields = ListenerFields::read(&mut reader)?;
        reader.only_in_tree("default_pool")?;
        reader.only_in_tree("l7policies")?;
        reader.finish()?;
        Ok(Self {
            loadbalancer_id,
            fields,
        })
    }

    /// Every reference whose fact the tree will want.
    #[must_use]
    pub fn secret_refs(&self) -> SecretRefs {
        self.fields.mutable.secret_refs()
    }
}

impl ListenerFields {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        ignore_project(reader)?;
        Ok(Self {
            protocol: required("protocol", reader.choice("protocol")?)?,
            protocol_port: required("protocol_port", reader.number("protocol_port", 1..=65_535)?)?,
            mutable: ListenerUpdate::read(reader)?,
        })
    }
}

impl ListenerUpdate {
    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "listener")?;
        let update = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(update)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            common: CommonFields::read(reader)?,
            connection_limit: reader.integer("connection_limit", -1..=INTEGER_MAX)?,
            default_pool_id: reader.uuid("default_pool_id")?,
            default_tls_container_ref: reader.text("default_tls_container_ref")?,
            sni_container_refs: reader.texts("sni_container_refs")?,
            insert_headers: reader.text_map("insert_headers")?,
            timeout_client_data: reader.integer("timeout_client_data", 0..=TIMEOUT_MS_MAX)?,
            timeout_member_connect: reader.integer("timeout_member_connect", 0..=TIMEOUT_MS_MAX)?,
            timeout_member_data: reader.integer("timeout_member_data", 0..=TIMEOUT_MS_MAX)?,
            timeout_tcp_inspect: reader.integer("timeout_tcp_inspect", 0..=TIMEOUT_MS_MAX)?,
            client_ca_tls_container_ref: reader.text("client_ca_tls_container_ref")?,
            client_authentication: reader.choice("client_authentication")?,
            client_crl_container_ref: reader.text("client_crl_container_ref")?,
            allowed_cidrs: reader.cidrs("allowed_cidrs")?,
            tls_ciphers: reader.string("tls_ciphers", CIPHERS_MAX)?,
            tls_versions: reader.texts("tls_versions")?,
            alpn_protocols: reader.texts("alpn_protocols")?,
            hsts_max_age: reader.integer("hsts_max_age", 0..=INTEGER_MAX)?,
            hsts_include_subdomains: reader.boolean("hsts_include_subdomains")?,
            hsts_preload: reader.boolean("hsts_preload")?,
        })
    }
}
