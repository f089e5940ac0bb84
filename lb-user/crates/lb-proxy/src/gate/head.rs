//! What a request head must look like. Pure: bytes in, framing or refusal out.

use http::StatusCode;

use super::{HEAD_BYTES_MAX, HEADERS_MAX, PLACEHOLDER_METHOD};

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// It has no single meaning.
    Malformed = 1,
    /// Its head is too large.
    TooLarge = 2,
    /// It did not arrive in time.
    Timeout = 3,
}

impl Refusal {
    /// What the client is told.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(super) const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Malformed),
            2 => Some(Self::TooLarge),
            3 => Some(Self::Timeout),
            _ => None,
        }
    }
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`, or 0 without a body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

type Checked<T> = Result<T, Refusal>;

/// Length of the head at the start of `bytes`, or `None` while it is incomplete. The first `scanned`
/// bytes were looked at before.
///
/// What cannot begin a request is told at once: a TLS client that took the wrong port waits for us.
pub(crate) fn end(bytes: &[u8], scanned: usize) -> Checked<Option<usize>> {
    if scanned < 3 && !may_begin(bytes) {
        return Err(Refusal::Malformed);
    }
    let from = scanned.saturating_sub(3);
    let fresh = bytes.get(from..).unwrap_or_default();
    for (offset, _lf) in fresh.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line_end = from + offset + 1;
        let upto = bytes.get(..line_end).unwrap_or_default();
        if !upto.ends_with(b"\r\n") {
            return Err(Refusal::Malformed);
        }
        if upto.ends_with(b"\r\n\r\n") && line_end > 4 {
            return limit(line_end).map(Some);
        }
        if line_end > HEAD_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
    }
    limit(bytes.len()).map(|_length| None)
}

fn may_begin(bytes: &[u8]) -> bool {
    let method = match bytes {
        [b'\r'] => return true,
        [b'\r', b'\n', method @ ..] => method,
        method => method,
    };
    method.first().is_none_or(|&byte| is_token_byte(byte))
}

fn limit(length: usize) -> Checked<usize> {
    if length > HEAD_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(length)
}

/// Inspects one whole head, empty line included.
pub(crate) fn inspect(head: &[u8]) -> Checked<Framing> {
    // One empty line before a request is what old clients leave behind a body (RFC 9112 2.2).
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut lines = head
        .strip_suffix(b"\r\n\r\n")
        .ok_or(Refusal::Malformed)?
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = StartLine::parse(lines.next().unwrap_or_default())?;
    let mut facts = Facts::default();
    for (count, line) in lines.enumerate() {
        if count >= HEADERS_MAX {
            return Err(Refusal::TooLarge);
        }
        facts.header(line)?;
    }
    facts.conclude(&start)
}

struct StartLine<'a> {
    /// HTTP/1.1, not 1.0.
    is_1_1: bool,
    /// Of an absolute-form target.
    authority: Option<&'a [u8]>,
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a [u8]) -> Checked<Self> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        if !is_token(method) || method == PLACEHOLDER_METHOD.as_bytes() {
            return Err(Refusal::Malformed);
        }
        let is_1_1 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Refusal::Malformed),
        };
        let visible = |byte: &u8| (0x21..=0x7e).contains(byte) && *byte != b'#';
        if target.is_empty() || !target.iter().all(visible) {
            return Err(Refusal::Malformed);
        }
        let is_whole_server = target == b"*" && method == b"OPTIONS";
        let authority = if target.starts_with(b"/") || is_whole_server {
            None
        } else {
            Some(authority(target)?)
        };
        Ok(Self { is_1_1, authority })
    }
}

fn authority(target: &[u8]) -> Checked<&[u8]> {
    let at_scheme = |scheme: &[u8]| {
        target
            .split_at_checked(scheme.len())
            .filter(|(start, _)| start.eq_ignore_ascii_case(scheme))
            .map(|(_, rest)| rest)
    };
    let rest = at_scheme(b"http://")
        .or_else(|| at_scheme(b"https://"))
        .ok_or(Refusal::Malformed)?;
    let authority = rest
        .split(|byte| matches!(byte, b'/' | b'?'))
        .next()
        .unwrap_or_default();
    if authority.is_empty() || !is_host(authority) {
        return Err(Refusal::Malformed);
    }
    Ok(authority)
}

#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Facts<'a> {
    fn header(&mut self, line: &'a [u8]) -> Checked<()> {
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .ok_or(Refusal::Malformed)?;
        let (name, value) = line.split_at_checked(colon).ok_or(Refusal::Malformed)?;
        let (_colon, value) = value.split_first().ok_or(Refusal::Malformed)?;
        // A name that begins with white space would be a folded line: no token either.
        if !is_token(name) || !value.iter().all(|&byte| is_value_byte(byte)) {
            return Err(Refusal::Malformed);
        }
        let value = trim(value);
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() || !is_host(value) {
                return Err(Refusal::Malformed);
            }
            self.host = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // Repeated, it says the same or nothing; members get one line (RFC 9110 8.6).
            let length = digits(value)?;
            if self.length.replace(length).is_some_and(|it| it != length) {
                return Err(Refusal::Malformed);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Malformed);
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn conclude(self, start: &StartLine<'_>) -> Checked<Framing> {
        // HTTP/1.0 knows no Host and no transfer coding.
        if start.is_1_1 && self.host.is_none() {
            return Err(Refusal::Malformed);
        }
        if let (Some(host), Some(authority)) = (self.host, start.authority)
            && !host.eq_ignore_ascii_case(authority)
        {
            return Err(Refusal::Malformed);
        }
        match (self.length, self.chunked) {
            (None, true) if start.is_1_1 => Ok(Framing::Chunked),
            (_, true) => Err(Refusal::Malformed),
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn digits(value: &[u8]) -> Checked<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Refusal::Malformed)
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte));
    let end = value.iter().rposition(|byte| !is_space(byte));
    start
        .zip(end)
        .and_then(|(start, end)| value.get(start..=end))
        .unwrap_or_default()
}

/// Bytes of a header's value: no CR, LF, NUL or other control but tab.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// RFC 9110 5.6.2.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte))
}

/// A host with or without port: nothing that could end it for somebody else's parser.
pub(crate) fn is_host(host: &[u8]) -> bool {
    host.iter().all(|&byte| {
        byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\' | b'?' | b'#' | b'@' | b'"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str) -> Checked<Framing> {
        inspect(head.as_bytes())
    }

    #[test]
    fn well_formed_heads_pass_with_their_framing() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            (
                "GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n",
                Framing::Length(0),
            ),
            (
                "GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n",
                Framing::Length(0),
            ),
            (
                "M-SEARCH /%00 HTTP/1.1\r\nhost:\r\n\r\n",
                Framing::Length(0),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  12 \r\n\r\n",
                Framing::Length(12),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Framing::Chunked,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
                Framing::Length(2),
            ),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\ty\r\n\r\n",
                Framing::Length(0),
            ),
        ] {
            assert_eq!(judge(head), Ok(framing), "{head:?}");
        }
    }

    #[test]
    fn heads_with_more_than_one_meaning_are_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ! HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 01x\r\n\r\n",
            "POST * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "REFUSED-BY-GATE / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(judge(head), Err(Refusal::Malformed), "{head:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_at_every_split_and_bare_lf_is_refused_at_once() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let whole = head.len() - 4;
        for split in 0..head.len() {
            let first = end(&head[..split], 0);
            let found = match first {
                Ok(Some(length)) => length,
                Ok(None) => end(head, split).expect("well formed").expect("complete"),
                Err(refusal) => panic!("{refusal:?} at {split}"),
            };
            assert_eq!(found, whole, "split at {split}");
        }
        assert_eq!(end(b"GET / HTTP/1.1\nHost", 0), Err(Refusal::Malformed));
        for never in [&b"\x16\x03\x01"[..], b"\r\x16", b"\r\n\x80", b" GET"] {
            assert_eq!(end(never, 0), Err(Refusal::Malformed), "{never:?}");
        }
        for begins in [&b""[..], b"\r", b"\r\n", b"\r\nG", b"G"] {
            assert_eq!(end(begins, 0), Ok(None), "{begins:?}");
        }
    }

    #[test]
    fn large_heads_are_refused() {
        let many = "X: y\r\n".repeat(HEADERS_MAX);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
        assert_eq!(judge(&head), Err(Refusal::TooLarge));
        assert_eq!(
            end(&vec![b'a'; HEAD_BYTES_MAX + 1], 0),
            Err(Refusal::TooLarge)
        );
    }
}
