//! A request of HTTP/2 in the one form that policies and members know.

use http::{
    HeaderValue, Method, Request,
    header::{CONTENT_LENGTH, COOKIE, HOST},
};

use crate::gate::{HEADERS_MAX, Refusal, head::is_host};

/// Brings a request into form: `Host` is its authority, its cookies are one line.
pub(super) fn make<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let path = request.uri().path();
    let is_whole_server = path == "*" && request.method() == Method::OPTIONS;
    let has_form = path.starts_with('/') || is_whole_server;
    if request.method() == Method::CONNECT || !has_form {
        return Err(Refusal::Malformed);
    }
    if request.headers().len() > HEADERS_MAX {
        return Err(Refusal::TooLarge);
    }
    let authority = match request.uri().authority() {
        Some(authority) if !is_host(authority.as_str().as_bytes()) => {
            return Err(Refusal::Malformed);
        }
        Some(authority) => Some(authority.as_str().to_owned()),
        None => None,
    };
    let headers = request.headers_mut();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next().cloned() {
        if lengths.any(|other| other != length) {
            return Err(Refusal::Malformed);
        }
        headers.insert(CONTENT_LENGTH, length);
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::Malformed);
    }
    match (authority, host) {
        (None, None) => return Err(Refusal::Malformed),
        (None, Some(host)) if host.is_empty() || !is_host(host.as_bytes()) => {
            return Err(Refusal::Malformed);
        }
        (None, Some(_)) => {}
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            return Err(Refusal::Malformed);
        }
        (Some(authority), _) => {
            let host = HeaderValue::try_from(authority);
            headers.insert(HOST, host.map_err(|_not_a_value| Refusal::Malformed)?);
        }
    }
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1 {
        let line = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
        headers.insert(COOKIE, line.map_err(|_not_a_value| Refusal::Malformed)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn the_authority_becomes_the_host_and_cookies_one_line() {
        let mut made = request(
            "GET",
            "https://a.example/x?y",
            &[("cookie", "a=1"), ("cookie", "b=2"), ("host", "A.example")],
        );
        make(&mut made).unwrap();
        assert_eq!(made.headers()[HOST], "a.example");
        assert_eq!(made.headers()[COOKIE], "a=1; b=2");
        assert_eq!(made.headers().get_all(COOKIE).iter().count(), 1);
    }

    #[test]
    fn a_length_that_is_repeated_is_one_and_options_may_ask_for_the_whole_server() {
        let lengths = [
            ("host", "a"),
            ("content-length", "1"),
            ("content-length", "1"),
        ];
        let mut made = request("OPTIONS", "*", &lengths);
        make(&mut made).unwrap();
        assert_eq!(made.headers().get_all(CONTENT_LENGTH).iter().count(), 1);
    }

    #[test]
    fn what_members_could_understand_otherwise_is_refused() {
        for (method, uri, headers) in [
            ("CONNECT", "a.example:443", &[][..]),
            ("GET", "*", &[("host", "a")]),
            ("GET", "/", &[]),
            ("GET", "/", &[("host", "a b")]),
            ("GET", "https://u@a.example/", &[]),
            ("GET", "https://a.example/", &[("host", "b.example")]),
            ("GET", "/", &[("host", "a"), ("host", "a")]),
            (
                "POST",
                "https://a/",
                &[("content-length", "1"), ("content-length", "2")],
            ),
        ] {
            let mut made = request(method, uri, headers);
            assert_eq!(make(&mut made), Err(Refusal::Malformed), "{method} {uri}");
        }
    }
}
