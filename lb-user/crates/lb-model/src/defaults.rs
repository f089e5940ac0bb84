//! The contract's defaults and limits, in one place.

/// Milliseconds; `timeout_client_data` and `timeout_member_data`.
pub const TIMEOUT_DATA_MS: i64 = 50_000;
/// Milliseconds; `timeout_member_connect`.
pub const TIMEOUT_MEMBER_CONNECT_MS: i64 = 5_000;
/// Milliseconds; `timeout_tcp_inspect`.
pub const TIMEOUT_TCP_INSPECT_MS: i64 = 0;
/// Milliseconds: 24 days, the longest timeout.
pub const TIMEOUT_MS_MAX: i64 = 2_073_600_000;
/// "The default limit".
pub const CONNECTION_LIMIT: i64 = -1;
/// Weight of a member that names none.
pub const MEMBER_WEIGHT: u16 = 1;
/// `max_retries_down` of a monitor that names none.
pub const MAX_RETRIES_DOWN: u8 = 3;
/// Method of HTTP probes.
pub const HTTP_METHOD: &str = "GET";
/// Path of HTTP probes.
pub const URL_PATH: &str = "/";
/// Codes that count as healthy.
pub const EXPECTED_CODES: &str = "200";
/// Code of the two redirects.
pub const REDIRECT_HTTP_CODE: u16 = 302;
/// "At the end", also the largest position.
pub const POSITION_LAST: i64 = 2_147_483_647;
/// Rules in one L7 policy.
pub const L7RULES_MAX: usize = 50;
/// Seconds; shortest delay of a UDP-CONNECT monitor.
pub const UDP_CONNECT_DELAY_MIN: u32 = 3;
/// Characters in names, descriptions, references, tags and values.
pub const TEXT_MAX: usize = 255;
/// Characters in a cipher list.
pub const CIPHERS_MAX: usize = 2048;
/// Largest integer a field without a limit of its own takes (a database INTEGER).
pub const INTEGER_MAX: i64 = 2_147_483_647;
/// Cipher list given to TLS listeners and pools that name none (contract 8.3).
pub const TLS_CIPHERS: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:\
TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:\
ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:\
DHE-RSA-CHACHA20-POLY1305";
/// Versions given to TLS listeners and pools that name none.
pub const TLS_VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];
/// Versions a request may name.
pub const TLS_VERSIONS_KNOWN: &[&str] = &["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
/// ALPN given to TLS listeners and pools that name none.
pub const ALPN_PROTOCOLS: &[&str] = &["h2", "http/1.1", "http/1.0"];

/// An owned copy of one of the lists above.
#[must_use]
pub fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}
