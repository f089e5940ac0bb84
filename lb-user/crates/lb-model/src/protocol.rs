//! Which pool protocol a listener can use (contract 2.3), and which headers it can insert (2.2).

use crate::{
    enums::{ListenerProtocol, PoolProtocol},
    fault::Fault,
};

/// Headers every HTTP listener may insert, in exact case.
pub const INSERT_HEADERS: &[&str] = &[
    "X-Forwarded-For",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-IP",
    "X-Client-IP",
    "X-Real-IP",
];

/// Headers only a TERMINATED_HTTPS listener may insert.
pub const INSERT_TLS_HEADERS: &[&str] = &[
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
];

/// The pool protocols a listener can send to.
#[must_use]
pub const fn pools_of(listener: ListenerProtocol) -> &'static [PoolProtocol] {
    use PoolProtocol as Pool;
    match listener {
        ListenerProtocol::Tcp => &[
            Pool::Http,
            Pool::Https,
            Pool::Proxy,
            Pool::ProxyV2,
            Pool::Tcp,
        ],
        ListenerProtocol::Http | ListenerProtocol::TerminatedHttps => {
            &[Pool::Http, Pool::Proxy, Pool::ProxyV2]
        }
        ListenerProtocol::Https => &[Pool::Https, Pool::Proxy, Pool::ProxyV2, Pool::Tcp],
        ListenerProtocol::Udp => &[Pool::Udp],
        ListenerProtocol::Sctp => &[Pool::Sctp],
        ListenerProtocol::Prometheus => &[],
    }
}

/// Refuses a pair that cannot work.
pub fn check_pair(listener: ListenerProtocol, pool: PoolProtocol) -> Result<(), Fault> {
    if listener == ListenerProtocol::Prometheus {
        return Err(Fault::validation(
            "A PROMETHEUS listener cannot have a pool.",
        ));
    }
    if pools_of(listener).contains(&pool) {
        return Ok(());
    }
    Err(Fault::validation(format!(
        "The pool protocol '{pool}' is invalid while the listener protocol is '{listener}'."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_the_contract_s() {
        // Columns: HTTP HTTPS PROXY PROXYV2 TCP UDP SCTP.
        let table: &[(ListenerProtocol, &str)] = &[
            (ListenerProtocol::Tcp, "yyyyynn"),
            (ListenerProtocol::Http, "ynyynnn"),
            (ListenerProtocol::Https, "nyyyynn"),
            (ListenerProtocol::TerminatedHttps, "ynyynnn"),
            (ListenerProtocol::Udp, "nnnnnyn"),
            (ListenerProtocol::Sctp, "nnnnnny"),
            (ListenerProtocol::Prometheus, "nnnnnnn"),
        ];
        assert_eq!(table.len(), ListenerProtocol::ALL.len());
        for (listener, row) in table {
            for (pool, allowed) in PoolProtocol::ALL.iter().zip(row.chars()) {
                let got = check_pair(*listener, *pool).is_ok();
                assert_eq!(got, allowed == 'y', "{listener} {pool}");
            }
        }
    }
}
