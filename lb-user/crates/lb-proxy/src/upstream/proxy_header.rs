//! PROXY protocol headers towards members, version 1 and 2 (haproxy.org, proxy-protocol.txt).
//!
//! A client whose family differs from the listener's cannot occur: both ends are of one socket. IPv4
//! addresses mapped into IPv6 are told as IPv4.

use std::net::{IpAddr, SocketAddr};

use crate::headers::Ends;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
const STREAM_V4: u8 = 0x11;
const STREAM_V6: u8 = 0x21;
const TLV_SSL: u8 = 0x20;
const TLV_SSL_CN: u8 = 0x22;
/// In `pp2_tlv_ssl.client`.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
/// In `pp2_tlv_ssl.verify`: no certificate was presented, or it did not verify.
const NOT_VERIFIED: u32 = 1;

/// Of a common name (X.520 allows 64 characters).
const NAME_BYTES_MAX: usize = 256;

/// What version 2 tells of a client that speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Common name of its certificate, when it showed one that verified.
    pub(crate) common_name: Option<String>,
}

impl Tls {
    pub(super) fn of(ends: Ends) -> Option<Self> {
        ends.tls.then(Self::default)
    }
}

/// `PROXY TCP4 198.51.100.1 192.0.2.1 40000 80\r\n`
pub(crate) fn v1(client: SocketAddr, local: SocketAddr) -> String {
    let (from, to) = (client.ip().to_canonical(), local.ip().to_canonical());
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        client.port(),
        local.port()
    )
}

/// The binary header, with a TLV about TLS where the listener terminates it.
pub(crate) fn v2(client: SocketAddr, local: SocketAddr, tls: Option<Tls>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    let family = match (client.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            payload.extend(from.octets());
            payload.extend(to.octets());
            STREAM_V4
        }
        (from, to) => {
            for address in [from, to] {
                let v6 = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                payload.extend(v6.octets());
            }
            STREAM_V6
        }
    };
    payload.extend(client.port().to_be_bytes());
    payload.extend(local.port().to_be_bytes());
    if let Some(tls) = tls {
        tlv(&mut payload, TLV_SSL, &ssl(&tls));
    }
    let mut header = Vec::with_capacity(SIGNATURE.len() + 4 + payload.len());
    header.extend(SIGNATURE);
    header.extend([VERSION_COMMAND, family]);
    header.extend(length(&payload));
    header.extend(payload);
    header
}

fn ssl(tls: &Tls) -> Vec<u8> {
    let mut value = Vec::new();
    match &tls.common_name {
        Some(name) => {
            let name = told(name);
            value.push(CLIENT_SSL | CLIENT_CERT_CONN);
            value.extend(0_u32.to_be_bytes());
            tlv(&mut value, TLV_SSL_CN, name.as_bytes());
        }
        None => {
            value.push(CLIENT_SSL);
            value.extend(NOT_VERIFIED.to_be_bytes());
        }
    }
    value
}

/// As much of a name as is told: what a certificate may hold need not fit a header.
pub(crate) fn told(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

fn tlv(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    to.push(kind);
    to.extend(length(value));
    to.extend(value);
}

/// What is written is shorter than what two bytes can say.
fn length(of: &[u8]) -> [u8; 2] {
    u16::try_from(of.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn version_1_is_one_line() {
        assert_eq!(
            v1(at("198.51.100.1:40000"), at("192.0.2.1:80")),
            "PROXY TCP4 198.51.100.1 192.0.2.1 40000 80\r\n"
        );
        assert_eq!(
            v1(at("[2001:db8::1]:40000"), at("[2001:db8::2]:80")),
            "PROXY TCP6 2001:db8::1 2001:db8::2 40000 80\r\n"
        );
        assert!(
            v1(at("[::ffff:198.51.100.1]:4"), at("[::ffff:192.0.2.1]:8"))
                .starts_with("PROXY TCP4 198.51.100.1 ")
        );
    }

    #[test]
    fn version_2_holds_both_ends() {
        let header = v2(at("198.51.100.1:256"), at("192.0.2.1:80"), None);
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend([198, 51, 100, 1, 192, 0, 2, 1, 1, 0, 0, 80]);
        assert_eq!(header, expected);
        let header = v2(at("[2001:db8::1]:1"), at("[2001:db8::2]:2"), None);
        assert_eq!((header.len(), header[13], header[15]), (16 + 36, 0x21, 36));
    }

    #[test]
    fn version_2_tells_of_tls() {
        let client = at("198.51.100.1:256");
        let plain = v2(client, at("192.0.2.1:443"), Some(Tls::default()));
        assert_eq!(&plain[28..], [TLV_SSL, 0, 5, 1, 0, 0, 0, 1]);
        assert_eq!(plain[15], 12 + 8);
        let named = Tls {
            common_name: Some("ab".to_owned()),
        };
        let header = v2(client, at("192.0.2.1:443"), Some(named));
        assert_eq!(
            &header[28..],
            [TLV_SSL, 0, 10, 3, 0, 0, 0, 0, TLV_SSL_CN, 0, 2, b'a', b'b']
        );
    }
}
