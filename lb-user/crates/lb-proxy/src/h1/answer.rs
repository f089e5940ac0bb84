//! A member's head, rewritten for the client, and where the answer's body ends.

use std::{io::Write as _, mem::MaybeUninit};

use http::StatusCode;

use super::{Asked, head::header};
use crate::gate::HEADERS_MAX;

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// After so many bytes.
    After(u64),
    /// Chunked, and passed on as it is.
    Chunked,
    /// With the connection; the client gets it chunked.
    Close,
}

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Its length.
    pub(super) length: usize,
    pub(super) status: StatusCode,
    pub(super) ends: Ends,
    /// The member keeps the connection.
    pub(super) stays: bool,
    /// The member authenticates connections, not requests.
    pub(super) authenticates: bool,
}

/// What can be read.
pub(super) enum Read {
    Incomplete,
    /// 100, 102, 103: so many bytes, and the answer is still to come. What the client gets of it is
    /// written.
    Interim(usize),
    Answer(Answer),
    /// No HTTP, or none with one meaning.
    Bad,
}

/// Reads the head at the start of `bytes` and writes what the client gets into `to`.
pub(super) fn rewrite(bytes: &[u8], asked: Asked, close: bool, to: &mut Vec<u8>) -> Read {
    let mut space = [MaybeUninit::uninit(); HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut space,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Read::Incomplete,
        Err(_error) => return Read::Bad,
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = status else {
        return Read::Bad;
    };
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Read::Bad;
    }
    if status.is_informational() {
        interim(&response, status, to);
        return Read::Interim(length);
    }
    let Some(facts) = Facts::of(response.headers) else {
        return Read::Bad;
    };
    let bodiless =
        asked.is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let ends = match (facts.chunked, facts.length) {
        _ if bodiless => Ends::After(0),
        (true, _) => Ends::Chunked,
        (false, Some(length)) => Ends::After(length),
        (false, None) => Ends::Close,
    };
    to.clear();
    let reason = response.reason.unwrap_or_default();
    // Writing to a Vec cannot fail.
    write!(to, "HTTP/1.1 {} {reason}\r\n", status.as_u16()).unwrap_or_default();
    for line in response.headers.iter() {
        let dropped = is_hop_by_hop(line.name)
            || facts.names(line.name)
            || facts.chunked && line.name.eq_ignore_ascii_case("content-length");
        if !dropped {
            header(line.name.as_bytes(), line.value, to);
        }
    }
    if !bodiless && ends != Ends::After(0) && !matches!(ends, Ends::After(_)) {
        to.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if close {
        to.extend_from_slice(b"connection: close\r\n");
    }
    to.extend_from_slice(b"\r\n");
    let keeps = response.version == Some(1);
    Read::Answer(Answer {
        length,
        status,
        ends,
        stays: ends != Ends::Close && !facts.closes && (keeps || facts.keeps),
        authenticates: facts.authenticates,
    })
}

/// 100 answers an expectation, and that is between neighbours; hints are for the client.
fn interim(response: &httparse::Response<'_, '_>, status: StatusCode, to: &mut Vec<u8>) {
    to.clear();
    if status == StatusCode::CONTINUE {
        return;
    }
    let reason = response.reason.unwrap_or_default();
    // Writing to a Vec cannot fail.
    write!(to, "HTTP/1.1 {} {reason}\r\n", status.as_u16()).unwrap_or_default();
    for line in response.headers.iter() {
        if !is_hop_by_hop(line.name) && !line.name.eq_ignore_ascii_case("content-length") {
            header(line.name.as_bytes(), line.value, to);
        }
    }
    to.extend_from_slice(b"\r\n");
}

#[derive(Default)]
struct Facts<'a> {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
    keeps: bool,
    authenticates: bool,
    /// Of the Connection headers.
    named: Vec<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// `None`: it has more than one meaning.
    fn of(headers: &[httparse::Header<'a>]) -> Option<Self> {
        let mut facts = Self::default();
        for line in headers {
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            match line.name.len() {
                10 if is("connection") => facts.connection(line.value),
                14 if is("content-length") => {
                    let text = std::str::from_utf8(line.value).ok()?.trim();
                    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
                    let length = digits.then(|| text.parse().ok()).flatten()?;
                    if facts.length.is_some_and(|before| before != length) {
                        return None;
                    }
                    facts.length = Some(length);
                }
                16 if is("www-authenticate") => {
                    let scheme = line.value.split(|&byte| byte == b' ').next();
                    let scheme = scheme.unwrap_or_default();
                    facts.authenticates |= scheme.eq_ignore_ascii_case(b"negotiate")
                        || scheme.eq_ignore_ascii_case(b"ntlm");
                }
                17 if is("transfer-encoding") => {
                    if facts.chunked || !line.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return None;
                    }
                    facts.chunked = true;
                }
                _ => {}
            }
        }
        Some(facts)
    }

    fn connection(&mut self, value: &'a [u8]) {
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keeps = true;
            } else {
                self.named.push(token);
            }
        }
    }

    /// Whether a header belongs to the member's connection alone.
    fn names(&self, name: &str) -> bool {
        let named = |token: &&[u8]| token.eq_ignore_ascii_case(name.as_bytes());
        self.named.iter().any(named) && !name.eq_ignore_ascii_case("content-length")
    }
}

fn is_hop_by_hop(name: &str) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}
