//! What of a head is passed on, and what is added (contract 10.4).

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE},
};
use lb_model::enums::PoolProtocol;

use crate::{
    config::Insert,
    tls::{ClientCertificate, Session, no_certificate},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_IP: HeaderName = HeaderName::from_static("x-forwarded-ip");
const X_CLIENT_IP: HeaderName = HeaderName::from_static("x-client-ip");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_SSL_CLIENT_VERIFY: HeaderName = HeaderName::from_static("x-ssl-client-verify");
const X_SSL_CLIENT_HAS_CERT: HeaderName = HeaderName::from_static("x-ssl-client-has-cert");
const X_SSL_CLIENT_DN: HeaderName = HeaderName::from_static("x-ssl-client-dn");
const X_SSL_CLIENT_CN: HeaderName = HeaderName::from_static("x-ssl-client-cn");
const X_SSL_ISSUER: HeaderName = HeaderName::from_static("x-ssl-issuer");
const X_SSL_CLIENT_SHA1: HeaderName = HeaderName::from_static("x-ssl-client-sha1");
const X_SSL_CLIENT_NOT_BEFORE: HeaderName = HeaderName::from_static("x-ssl-client-not-before");
const X_SSL_CLIENT_NOT_AFTER: HeaderName = HeaderName::from_static("x-ssl-client-not-after");

/// Room for what is added to a request.
const ADDED: usize = 5;

/// Who talks to whom on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    /// The VIP and the listener's port.
    pub(crate) local: SocketAddr,
    pub(crate) tls: bool,
}

/// Whether the client asks for the one upgrade that is passed through.
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let is = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value: &HeaderValue| value.to_str().ok())
            .flat_map(|line| line.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    is(UPGRADE, "websocket") && is(CONNECTION, "upgrade")
}

/// The headers a member gets.
pub(crate) fn for_member(
    from_client: &HeaderMap,
    ends: Ends,
    insert: (&[Insert], Option<&Session>),
    pool: PoolProtocol,
    websocket: bool,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(from_client.len() + ADDED);
    let named = named_by_connection(from_client);
    for (name, value) in from_client {
        let is_named = named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(name.as_str()));
        let stays_here = is_hop_by_hop(name) || is_named && may_be_named(name);
        if !stays_here {
            headers.append(name.clone(), value.clone());
        }
    }
    if !headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::try_from(ends.local.to_string())
    {
        // HTTP/1.0 clients need not send one, members of 1.1 want one.
        headers.insert(HOST, host);
    }
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    add_forwarded(&mut headers, ends, insert, pool);
    headers
}

fn add_forwarded(
    headers: &mut HeaderMap,
    ends: Ends,
    (inserts, session): (&[Insert], Option<&Session>),
    pool: PoolProtocol,
) {
    let plain = pool == PoolProtocol::Http;
    let client = || HeaderValue::try_from(ends.client.ip().to_canonical().to_string()).ok();
    let certificate = session.and_then(|session| session.certificate.as_ref());
    let told = |text: fn(&ClientCertificate) -> &HeaderValue| {
        Some(certificate.map_or_else(no_certificate, |it| text(it).clone()))
    };
    for insert in inserts {
        let (name, value) = match insert {
            Insert::ForwardedFor => {
                if plain && let Some(client) = client() {
                    // A line of its own behind those that came.
                    headers.append(X_FORWARDED_FOR, client);
                }
                continue;
            }
            Insert::ForwardedPort if !plain => continue,
            Insert::ForwardedPort => (X_FORWARDED_PORT, Some(ends.local.port().into())),
            Insert::ForwardedProto => {
                let proto = if ends.tls { "https" } else { "http" };
                (X_FORWARDED_PROTO, Some(HeaderValue::from_static(proto)))
            }
            Insert::ForwardedIp => (X_FORWARDED_IP, client()),
            Insert::ClientIp => (X_CLIENT_IP, client()),
            Insert::RealIp => (X_REAL_IP, client()),
            // One that does not verify never gets here.
            Insert::ClientVerify => (X_SSL_CLIENT_VERIFY, Some(0.into())),
            Insert::ClientHasCert => {
                let has = u16::from(certificate.is_some());
                (X_SSL_CLIENT_HAS_CERT, Some(has.into()))
            }
            Insert::ClientDn => (X_SSL_CLIENT_DN, told(|it| &it.subject_dn)),
            Insert::ClientCn => (X_SSL_CLIENT_CN, told(|it| &it.common_name)),
            Insert::Issuer => (X_SSL_ISSUER, told(|it| &it.issuer_dn)),
            Insert::ClientSha1 => (X_SSL_CLIENT_SHA1, told(|it| &it.sha1)),
            Insert::ClientNotBefore => (X_SSL_CLIENT_NOT_BEFORE, told(|it| &it.not_before)),
            Insert::ClientNotAfter => (X_SSL_CLIENT_NOT_AFTER, told(|it| &it.not_after)),
        };
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Takes out of a member's answer what belongs to its connection alone.
pub(crate) fn strip_answer(headers: &mut HeaderMap, switching: bool) {
    let named: Vec<HeaderName> = named_by_connection(headers)
        .into_iter()
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| may_be_named(name) && !(switching && *name == UPGRADE))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [TRANSFER_ENCODING, KEEP_ALIVE, PROXY_CONNECTION, TE] {
        headers.remove(name);
    }
    if !switching {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| !name.eq_ignore_ascii_case("close") && !name.is_empty())
        .collect()
}

/// `Connection: host` must not change what a request means.
fn may_be_named(name: &HeaderName) -> bool {
    *name != HOST && *name != CONTENT_LENGTH
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    // By length first: most names stop there.
    match name.as_str().len() {
        2 => *name == TE,
        6 => *name == EXPECT,
        7 => *name == UPGRADE,
        10 => *name == CONNECTION || *name == KEEP_ALIVE,
        14 => *name == HTTP2_SETTINGS,
        16 => *name == PROXY_CONNECTION,
        17 => *name == TRANSFER_ENCODING,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends {
            client: "203.0.113.7:4000".parse().expect("an address"),
            local: "192.0.2.1:80".parse().expect("an address"),
            tls: true,
        }
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort_unstable();
        lines
    }

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    const ALL: &[Insert] = &[
        Insert::ForwardedFor,
        Insert::ForwardedPort,
        Insert::ForwardedProto,
    ];

    #[test]
    fn hop_by_hop_headers_stay_here_and_ours_are_added() {
        let from_client = map(&[
            ("host", "a"),
            ("connection", "close, X-Mine, host"),
            ("x-mine", "1"),
            ("keep-alive", "x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-proto", "ftp"),
        ]);
        let headers = for_member(&from_client, ends(), (ALL, None), PoolProtocol::Http, false);
        assert_eq!(
            lines(&headers),
            [
                "host: a",
                "x-forwarded-for: 198.51.100.1",
                "x-forwarded-for: 203.0.113.7",
                "x-forwarded-port: 80",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn nothing_is_added_unasked_and_proxy_pools_get_the_protocol_only() {
        let from_client = map(&[("host", "a"), ("x-forwarded-for", "198.51.100.1")]);
        let quiet = for_member(&from_client, ends(), (&[], None), PoolProtocol::Http, false);
        assert_eq!(lines(&quiet), ["host: a", "x-forwarded-for: 198.51.100.1"]);
        let proxy = for_member(&map(&[]), ends(), (ALL, None), PoolProtocol::Proxy, false);
        assert_eq!(
            lines(&proxy),
            ["host: 192.0.2.1:80", "x-forwarded-proto: https"]
        );
    }
}
