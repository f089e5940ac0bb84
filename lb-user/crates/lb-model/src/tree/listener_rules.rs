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
    facts.deployment.check_listener(listener)?;
    insert_headers(listener)?;
    references(listener, given, facts, true)?;
    let offload = listener.protocol == ListenerProtocol::TerminatedHttps;
    tls_options(listener, given, offload, facts)?;
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
    references(listener, given, facts, false)?;
    tls_options(listener, given, true, facts)?;
    if given.allowed_cidrs.is_given() {
        allowed_cidrs(tree, listener)?;
    }
    hsts(listener, given)
}

fn insert_headers(listener: &Listener) -> Result<(), Fault> {
    for name in listener.insert_headers.keys() {
        if !listener.protocol.is_http() {
            return Err(Fault::not_an_option(
                "insert-headers",
                format!("a {} protocol listener.", listener.protocol),
            ));
        }
        let tls = listener.protocol == ListenerProtocol::TerminatedHttps;
        let known = INSERT_HEADERS.contains(&name.as_str())
            || (tls && INSERT_TLS_HEADERS.contains(&name.as_str()));
        if !known {
            let elsewhere = INSERT_TLS_HEADERS.contains(&name.as_str());
            let option = if elsewhere {
                format!("{} protocol listener.", listener.protocol)
            } else {
                "insert_headers".to_owned()
            };
            return Err(Fault::not_an_option(format!("['{name}']"), option));
        }
    }
    Ok(())
}

/// Certificate references: where they may be, which are needed, whether they can be read.
///
/// A listener that is there may give its certificates up: it is in ERROR until it gets others.
fn references(
    listener: &Listener,
    given: &ListenerUpdate,
    facts: &Facts,
    new: bool,
) -> Result<(), Fault> {
    let tls = listener.protocol == ListenerProtocol::TerminatedHttps;
    let may_tls = tls || listener.protocol == ListenerProtocol::Prometheus;
    let served =
        listener.default_tls_container_ref.is_some() || !listener.sni_container_refs.is_empty();
    let client_ca = listener.client_ca_tls_container_ref.is_some();
    let client_crl = listener.client_crl_container_ref.is_some();
    let authenticates = listener.client_authentication != ClientAuthentication::None;
    if !may_tls && (served || client_ca || client_crl) {
        let datagram = matches!(
            listener.protocol,
            ListenerProtocol::Udp | ListenerProtocol::Sctp
        );
        if datagram {
            let more = if new { "" } else { " or header insertion" };
            return Err(Fault::validation(format!(
                "{} protocol listener does not support TLS{more}.",
                listener.protocol
            )));
        }
        return Err(Fault::validation(format!(
            "Certificate container references are not allowed on {} protocol listeners.",
            listener.protocol
        )));
    }
    if tls && !served && new {
        return Err(Fault::validation(
            "An SNI or default certificate container reference must be provided for \
             TERMINATED_HTTPS protocol listeners.",
        ));
    }
    if client_ca && !served && new {
        return Err(Fault::validation(
            "An SNI or default certificate container reference must be provided with a client CA \
             container reference.",
        ));
    }
    if authenticates && !client_ca {
        return Err(Fault::validation(format!(
            "Client authentication setting {} requires a client CA container reference.",
            listener.client_authentication
        )));
    }
    if client_crl && !client_ca {
        return Err(Fault::validation(
            "A client authentication CA reference is required to specify a client authentication \
             revocation list.",
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
fn tls_options(
    listener: &Listener,
    given: &ListenerUpdate,
    spoken: bool,
    facts: &Facts,
) -> Result<(), Fault> {
    if let Given::Value(ciphers) = &given.tls_ciphers {
        tls::check_ciphers(ciphers)?;
        facts.deployment.check_ciphers(ciphers)?;
    }
    if let Given::Value(versions) = &given.tls_versions
        && spoken
    {
        tls::check_versions(versions)?;
        facts.deployment.check_versions(versions)?;
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
             protocol_port {}",
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
            let vips: Vec<String> = tree.vip_addresses().map(|vip| format!("'{vip}'")).collect();
            let vips = vips.join(", ");
            return Err(Fault::validation(format!(
                "CIDR {cidr} IP version incompatible with all VIPs [{vips}] IP version."
            )));
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
        return Err(Fault::validation(
            "The HSTS feature can only be used for listeners using the TERMINATED_HTTPS protocol.",
        ));
    }
    if asked && listener.hsts_max_age.is_none() {
        return Err(Fault::validation(
            "HSTS configuration options hsts_include_subdomains and hsts_preload only make sense \
             if hsts_max_age is set as well.",
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
