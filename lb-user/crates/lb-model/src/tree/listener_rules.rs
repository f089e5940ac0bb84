//! What a listener's fields demand of each other and of its load balancer (contract 2.2).

use std::net::IpAddr;

use super::{Tree, vip_options::check_filtered};
use crate::{
    ctx::Facts,
    enums::{ClientAuthentication, ListenerProtocol},
    fault::Fault,
    limits,
    protocol::{INSERT_HEADERS, INSERT_TLS_HEADERS},
    request::{Given, ListenerUpdate},
    resource::Listener,
    tls,
};

/// Rules at POST, in the order clients observe.
pub(super) fn check_create(
    tree: &Tree,
    listener: &Listener,
    given: &ListenerUpdate,
    facts: &Facts,
) -> Result<(), Fault> {
    insert_headers(listener)?;
    references(listener, given, facts)?;
    let offload = listener.protocol == ListenerProtocol::TerminatedHttps;
    tls_options(listener, given, offload)?;
    port_conflict(tree, listener)?;
    allowed_cidrs(tree, listener)?;
    hsts(listener, given)
}

/// Rules at PUT, on the listener as it will be.
pub(super) fn check_update(
    tree: &Tree,
    listener: &Listener,
    given: &ListenerUpdate,
    facts: &Facts,
) -> Result<(), Fault> {
    if given.insert_headers.is_given() {
        insert_headers(listener)?;
    }
    references(listener, given, facts)?;
    tls_options(listener, given, true)?;
    if given.allowed_cidrs.is_given() {
        allowed_cidrs(tree, listener)?;
    }
    hsts(listener, given)
}

fn insert_headers(listener: &Listener) -> Result<(), Fault> {
    for name in listener.insert_headers.keys() {
        if !listener.protocol.is_http() {
            return Err(Fault::option(
                "insert_headers",
                name,
                format!("Not available on a {} listener.", listener.protocol),
            ));
        }
        let tls = listener.protocol == ListenerProtocol::TerminatedHttps;
        let known = INSERT_HEADERS.contains(&name.as_str())
            || (tls && INSERT_TLS_HEADERS.contains(&name.as_str()));
        if !known {
            return Err(Fault::option(
                "insert_headers",
                name,
                format!(
                    "Not a header that a {} listener inserts.",
                    listener.protocol
                ),
            ));
        }
    }
    Ok(())
}

/// Certificate references: where they may be, which are needed, whether they can be read.
fn references(listener: &Listener, given: &ListenerUpdate, facts: &Facts) -> Result<(), Fault> {
    let tls = listener.protocol == ListenerProtocol::TerminatedHttps;
    let may_tls = tls || listener.protocol == ListenerProtocol::Prometheus;
    let served =
        listener.default_tls_container_ref.is_some() || !listener.sni_container_refs.is_empty();
    let client_ca = listener.client_ca_tls_container_ref.is_some();
    let client_crl = listener.client_crl_container_ref.is_some();
    let authenticates = listener.client_authentication != ClientAuthentication::None;
    if !may_tls && (served || client_ca || client_crl) {
        return Err(Fault::invalid(format!(
            "TLS references cannot be used with the listener protocol '{}'.",
            listener.protocol
        )));
    }
    if tls && !served {
        return Err(Fault::invalid(
            "A TERMINATED_HTTPS listener needs default_tls_container_ref or sni_container_refs.",
        ));
    }
    if client_ca && !served {
        return Err(Fault::invalid(
            "client_ca_tls_container_ref needs default_tls_container_ref or sni_container_refs.",
        ));
    }
    if authenticates && !client_ca {
        return Err(Fault::invalid(format!(
            "client_authentication '{}' needs client_ca_tls_container_ref.",
            listener.client_authentication
        )));
    }
    if client_crl && !client_ca {
        return Err(Fault::invalid(
            "client_crl_container_ref needs client_ca_tls_container_ref.",
        ));
    }
    let named = given.secret_refs();
    tls::check_readable(&named, facts)?;
    if named.touches_revocation() {
        tls::check_revocation_list(
            listener.client_crl_container_ref.as_ref(),
            listener.client_ca_tls_container_ref.as_ref(),
            facts,
        )?;
    }
    Ok(())
}

/// `spoken`: lists are judged whole, as they are where TLS is spoken, and always at PUT.
fn tls_options(listener: &Listener, given: &ListenerUpdate, spoken: bool) -> Result<(), Fault> {
    if let Given::Value(ciphers) = &given.tls_ciphers {
        tls::check_ciphers(ciphers)?;
    }
    if let Given::Value(versions) = &given.tls_versions
        && spoken
    {
        tls::check_versions(versions)?;
    }
    if let Given::Value(protocols) = &given.alpn_protocols {
        tls::check_alpn(protocols, spoken)?;
    }
    let changed = given.tls_ciphers.is_given() || given.tls_versions.is_given();
    if changed && listener.protocol == ListenerProtocol::TerminatedHttps {
        tls::check_offered(
            listener.tls_ciphers.as_deref(),
            listener.tls_versions.as_deref(),
        )?;
    }
    Ok(())
}

fn port_conflict(tree: &Tree, listener: &Listener) -> Result<(), Fault> {
    let taken = tree.listeners.iter().find(|other| {
        other.id != listener.id
            && other.protocol_port == listener.protocol_port
            && other.protocol.l4() == listener.protocol.l4()
    });
    match taken {
        None => Ok(()),
        Some(other) => Err(Fault::Conflict(format!(
            "Another Listener on this Load Balancer is already using protocol {} and \
             protocol_port {}.",
            other.protocol, other.protocol_port
        ))),
    }
}

fn allowed_cidrs(tree: &Tree, listener: &Listener) -> Result<(), Fault> {
    let families: Vec<bool> = tree
        .vip_addresses()
        .map(|vip| IpAddr::is_ipv4(&vip))
        .collect();
    if listener.allowed_cidrs.len() > limits::ALLOWED_CIDRS_MAX {
        return Err(Fault::option(
            "allowed_cidrs",
            listener.allowed_cidrs.len(),
            format!("At most {} CIDRs.", limits::ALLOWED_CIDRS_MAX),
        ));
    }
    if !listener.allowed_cidrs.is_empty() {
        check_filtered(&tree.load_balancer)?;
    }
    for cidr in &listener.allowed_cidrs {
        if !families.contains(&cidr.addr().is_ipv4()) {
            return Err(Fault::option(
                "allowed_cidrs",
                cidr,
                "The IP version of a CIDR must match one of the VIPs.",
            ));
        }
    }
    Ok(())
}

fn hsts(listener: &Listener, given: &ListenerUpdate) -> Result<(), Fault> {
    let asked = [&given.hsts_include_subdomains, &given.hsts_preload]
        .iter()
        .any(|flag| flag.value() == Some(&true));
    let tls = listener.protocol == ListenerProtocol::TerminatedHttps;
    if listener.hsts_max_age.is_some() && !tls {
        return Err(Fault::invalid(
            "HSTS is only available on a TERMINATED_HTTPS listener.",
        ));
    }
    if asked && listener.hsts_max_age.is_none() {
        return Err(Fault::invalid(
            "hsts_include_subdomains and hsts_preload need hsts_max_age.",
        ));
    }
    Ok(())
}

impl Tree {
    /// Every VIP address, the primary first.
    pub fn vip_addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(&self.load_balancer.vip)
            .chain(&self.load_balancer.additional_vips)
            .map(|vip| vip.address)
    }
}
