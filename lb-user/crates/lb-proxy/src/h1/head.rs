//! A client's head, rewritten for a member; or why hyper has to serve it.

use std::io::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    config::{Insert, ListenerConfig},
    gate::head::{self, Framing},
    headers::Ends,
    l7::Headers,
};

/// What a head asks for, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// HEAD: the answer has no body.
    pub(super) is_head: bool,
    /// The client closes after the answer.
    pub(super) closes: bool,
}

/// Reads `bytes`, one whole head that the gate lets pass, and writes what a member gets into `to`.
/// `None`: not for this path.
pub(super) fn rewrite(
    bytes: &[u8],
    config: &ListenerConfig,
    ends: Ends,
    to: &mut Vec<u8>,
) -> Option<Asked> {
    if !matches!(head::inspect(bytes), Ok(Framing::Length(0))) {
        return None;
    }
    let mut lines = lines(bytes)?;
    let start = lines.next()?;
    let is_head = start.starts_with(b"HEAD /");
    if !(is_head || start.starts_with(b"GET /")) || !start.ends_with(b" HTTP/1.1") {
        return None;
    }
    let mut asked = Asked {
        is_head,
        closes: false,
    };
    to.clear();
    to.extend_from_slice(start);
    to.extend_from_slice(b"\r\n");
    for line in lines {
        let (name, value) = split(line)?;
        match of(name) {
            Name::Plain => {}
            Name::Connection => {
                asked.closes |= closes(value)?;
                continue;
            }
            Name::HopByHop => continue,
            Name::Foreign => return None,
            Name::Forwarded(insert) => {
                if config.insert.contains(&insert) {
                    continue;
                }
            }
        }
        header(name, value, to);
    }
    for insert in &config.insert {
        let (client, port) = (ends.client.ip().to_canonical(), ends.local.port());
        // Writing to a Vec cannot fail.
        match insert {
            Insert::ForwardedFor => write!(to, "x-forwarded-for: {client}\r\n"),
            Insert::ForwardedPort => write!(to, "x-forwarded-port: {port}\r\n"),
            Insert::ForwardedProto => {
                let proto = if ends.tls { "https" } else { "http" };
                write!(to, "x-forwarded-proto: {proto}\r\n")
            }
            _ => return None,
        }
        .unwrap_or_default();
    }
    to.extend_from_slice(b"\r\n");
    Some(asked)
}

/// The headers of a head, for rules that look at them.
pub(super) fn map(bytes: &[u8]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for line in lines(bytes)?.skip(1) {
        let (name, value) = split(line)?;
        map.append(
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(map)
}

/// The lines of a head that the gate lets pass, looked through for each name: without a map where
/// few names are asked for.
#[derive(Debug)]
pub(super) struct Lines<'a>(pub(super) &'a [u8]);

impl Headers for Lines<'_> {
    fn for_each(&self, name: &HeaderName, each: &mut dyn FnMut(&[u8])) {
        let name = name.as_str().as_bytes();
        for line in lines(self.0).into_iter().flatten().skip(1) {
            if let Some((found, value)) = split(line)
                && found.eq_ignore_ascii_case(name)
            {
                each(value);
            }
        }
    }
}

/// The path of a head: without the query.
pub(super) fn path(bytes: &[u8]) -> Option<&str> {
    let target = lines(bytes)?.next()?.split(|&byte| byte == b' ').nth(1)?;
    let path = target.split(|&byte| byte == b'?').next()?;
    std::str::from_utf8(path).ok()
}

fn lines(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let lines = bytes.strip_suffix(b"\r\n\r\n")?;
    let lines = lines.split(|&byte| byte == b'\n');
    Some(lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name, value.get(1..)?.trim_ascii()))
}

/// One line; names are in lower case towards members, as hyper writes them.
pub(super) fn header(name: &[u8], value: &[u8], to: &mut Vec<u8>) {
    let at = to.len();
    to.extend_from_slice(name);
    if let Some(written) = to.get_mut(at..) {
        written.make_ascii_lowercase();
    }
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

enum Name {
    Plain,
    Connection,
    /// It ends here.
    HopByHop,
    /// It asks for something this path does not do.
    Foreign,
    Forwarded(Insert),
}

fn of(name: &[u8]) -> Name {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    // By length first: most names stop there.
    match name.len() {
        2 if is("te") => Name::HopByHop,
        6 if is("expect") => Name::Foreign,
        7 if is("upgrade") => Name::Foreign,
        10 if is("connection") => Name::Connection,
        10 if is("keep-alive") => Name::HopByHop,
        // It may be there twice.
        14 if is("content-length") || is("http2-settings") => Name::Foreign,
        16 if is("proxy-connection") => Name::HopByHop,
        16 if is("x-forwarded-port") => Name::Forwarded(Insert::ForwardedPort),
        17 if is("x-forwarded-proto") => Name::Forwarded(Insert::ForwardedProto),
        _ => Name::Plain,
    }
}

/// Whether a Connection header closes; `None` when it says more than that.
fn closes(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"close") {
        return Some(true);
    }
    value.eq_ignore_ascii_case(b"keep-alive").then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_see_the_same_in_lines_as_in_a_map() {
        let head = b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nX-One:  1, 2 \r\nx-two:\r\n\
            X-ONE: 3\r\nCookie: a=1; b=2\r\n\r\n";
        let map = map(head).unwrap();
        for name in ["host", "x-one", "x-two", "cookie", "x-three", "x-on"] {
            let name = HeaderName::from_static(name);
            let seen = |headers: &dyn Headers| {
                let mut seen = Vec::new();
                headers.for_each(&name, &mut |value| seen.push(value.to_vec()));
                seen
            };
            assert_eq!(seen(&Lines(head)), seen(&map), "{name}");
        }
        let one = HeaderName::from_static("x-one");
        let mut values = 0;
        Lines(head).for_each(&one, &mut |_value| values += 1);
        assert_eq!(values, 2);
    }
}
