//! Where the client thinks the API is: scheme and host of the links in answers, and what a proxy in
//! front has taken off the path.
//!
//! Behind a proxy that is believed ([`crate::FrontDoor::trusts_proxy_headers`]) its headers say so, as
//! oslo.middleware reads them: `Forwarded` first, then `X-Forwarded-Proto`, `-Host` and `-Prefix`.
//! Whatever comes out of a header is taken only when it can stand in a URL.

use axum::http::{HeaderMap, header, request::Parts, uri::Authority};

/// Host in links when the client named none (HTTP/1.0).
const HOST_UNKNOWN: &str = "127.0.0.1:9876";

/// Scheme, host and path prefix as the client knows them, such as `https://lb.example/octavia`.
pub(crate) fn base(parts: &Parts, trusts_proxy: bool) -> String {
    let headers = &parts.headers;
    let own = text(headers, header::HOST.as_str())
        .or_else(|| parts.uri.authority().map(Authority::as_str))
        .filter(|host| is_host(host))
        .unwrap_or(HOST_UNKNOWN);
    if !trusts_proxy {
        return format!("http://{own}");
    }
    let told = Forwarded::read(headers);
    let scheme = told.scheme.unwrap_or("http");
    let host = told.host.unwrap_or(own);
    let prefix = told.prefix.unwrap_or("");
    format!("{scheme}://{host}{prefix}")
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded<'h> {
    scheme: Option<&'h str>,
    host: Option<&'h str>,
    prefix: Option<&'h str>,
}

impl<'h> Forwarded<'h> {
    fn read(headers: &'h HeaderMap) -> Self {
        let mut told = Self::default();
        let pairs = text(headers, "forwarded").map(first).unwrap_or_default();
        for pair in pairs.split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("proto") => told.scheme = Some(value),
                name if name.eq_ignore_ascii_case("host") => told.host = Some(value),
                _ => {}
            }
        }
        let x = |name| text(headers, name).map(first);
        told.scheme = told.scheme.or_else(|| x("x-forwarded-proto"));
        told.host = told.host.or_else(|| x("x-forwarded-host"));
        told.prefix = x("x-forwarded-prefix").map(|prefix| prefix.trim_end_matches('/'));
        told.scheme = told.scheme.filter(|it| matches!(*it, "http" | "https"));
        told.host = told.host.filter(|host| is_host(host));
        told.prefix = told.prefix.filter(|prefix| is_prefix(prefix));
        told
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Of several proxies the first is the one the client spoke to.
fn first(list: &str) -> &str {
    list.split(',').next().unwrap_or_default().trim()
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.parse::<Authority>().is_ok() && !text.contains('@')
}

fn is_prefix(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn of(headers: &[(&str, &str)], trusts_proxy: bool) -> String {
        let mut request = Request::builder().uri("/v2").header("host", "own:9876");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        base(&request.body(()).unwrap().into_parts().0, trusts_proxy)
    }

    #[test]
    fn a_proxy_is_believed_only_when_the_operator_says_so() {
        let told = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "lb.example, inner"),
            ("x-forwarded-prefix", "/octavia/"),
        ];
        assert_eq!(of(&told, false), "http://own:9876");
        assert_eq!(of(&told, true), "https://lb.example/octavia");
        assert_eq!(of(&[], true), "http://own:9876");
        let forwarded = [("forwarded", "for=192.0.2.1;proto=https;host=\"a.example\"")];
        assert_eq!(of(&forwarded, true), "https://a.example");
    }

    #[test]
    fn what_cannot_stand_in_a_url_is_not_taken() {
        for bad in [
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-host", "a\"b"),
            ("x-forwarded-host", "user@evil.example"),
            ("x-forwarded-prefix", "//evil.example"),
            ("x-forwarded-prefix", "/a?b"),
        ] {
            assert_eq!(of(&[bad], true), "http://own:9876", "{bad:?}");
        }
    }
}
