//! What direct server return cannot do: a packet that reaches its member as the client sent it has the
//! listener's port, so a member that listens on another one would never be reached.
//!
//! Only of listeners that the data path serves itself: those that an amphora serves have connections of
//! the amphora's own to their members. `lb_plan::spec::path` decides that; here is the part of it that
//! does not depend on IP versions.

use crate::{
    defaults,
    enums::{ForwardingMode, L4Path, ListenerProtocol, PoolProtocol, SessionPersistenceType},
    fault::Fault,
    resource::{Listener, Member, Placement, Pool},
};

/// Refuses a member that the listener's packets would not reach.
pub(super) fn reaches(
    placement: &Placement,
    listener: &Listener,
    pool: &Pool,
    member: &Member,
) -> Result<(), Fault> {
    let is_same = member.protocol_port == listener.protocol_port;
    if placement.forwarding_mode == ForwardingMode::Nat
        || is_same
        || listener.default_pool_id != Some(pool.id)
        || !is_direct(placement, listener, pool)
    {
        return Ok(());
    }
    Err(Fault::not_implemented(
        "protocol_port",
        member.protocol_port,
        format!(
            "the flavor's forwarding_mode is {}, which changes no port: members of listener {} must \
             listen on its port {}",
            placement.forwarding_mode, listener.id, listener.protocol_port
        ),
    ))
}

/// Whether the data path serves the listener, as far as that is known here.
fn is_direct(placement: &Placement, listener: &Listener, pool: &Pool) -> bool {
    match listener.protocol {
        ListenerProtocol::Sctp => return true,
        ListenerProtocol::Udp => return placement.l4_path != L4Path::Proxy,
        ListenerProtocol::Tcp | ListenerProtocol::Https => {}
        ListenerProtocol::Http
        | ListenerProtocol::TerminatedHttps
        | ListenerProtocol::Prometheus => return false,
    }
    let kept = pool.session_persistence.as_ref().map(|kept| kept.kind);
    let has_cookie = kept.is_some_and(|kind| kind != SessionPersistenceType::SourceIp);
    let adds_header = matches!(pool.protocol, PoolProtocol::Proxy | PoolProtocol::ProxyV2);
    let default = defaults::TIMEOUT_MEMBER_CONNECT_MS;
    let has_default = listener.timeout_member_connect.unwrap_or(default) == default;
    placement.l4_path != L4Path::Proxy
        && !adds_header
        && !pool.tls_enabled
        && !has_cookie
        && listener.timeout_tcp_inspect.unwrap_or(0) == 0
        && (has_default || placement.l4_path == L4Path::Xdp)
}
