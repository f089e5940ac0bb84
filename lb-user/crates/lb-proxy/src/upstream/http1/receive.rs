//! A member's answer: its head, and its body as far as it has come.

use std::{
    io,
    mem::MaybeUninit,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use hyper::body::{Frame, SizeHint};

use super::{HEAD_BYTES_MAX, poll_read, send::Sending};
use crate::{gate::HEADERS_MAX, upstream::wire::Wire, worker::Worker};

/// Read of a body at once.
const READ_BYTES: usize = 64 << 10;

/// Longest line that begins a chunk, its extensions among it.
const CHUNK_LINE_MAX: usize = 4 << 10;

/// Hexadecimal digits of a chunk size: what fits 60 bits.
const SIZE_DIGITS_MAX: usize = 15;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it ended too soon")]
    Short,
    #[error("its chunks are malformed")]
    Malformed,
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Bytes(u64),
    Chunked(Chunk),
    UntilClose,
    /// The connection speaks something else now.
    Tunnel,
}

/// Where in a chunked body it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// What of an answer there is.
pub(super) enum Head {
    Incomplete,
    /// 100, 102, 103: the answer is still to come.
    Interim(StatusCode, HeaderMap),
    /// With what is left, and whether the connection stays.
    Answer(Response<()>, Left, bool),
    /// No HTTP, or none with one meaning.
    Bad,
}

/// Takes a head off the start of `received`.
pub(super) fn head(received: &mut BytesMut, is_head: bool) -> Head {
    let mut space = [MaybeUninit::uninit(); HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        received,
        &mut space,
    );
    let length = match status {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Head::Incomplete,
        Err(_error) => return Head::Bad,
    };
    let code = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let Some(code) = code else {
        return Head::Bad;
    };
    let keeps = parsed.version == Some(1);
    // Where in the head each value stands: it is taken from there without a copy.
    let base = received.as_ptr().addr();
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut spans = [(0, 0); HEADERS_MAX];
    for (span, line) in spans.iter_mut().zip(parsed.headers.iter()) {
        let at = line.value.as_ptr().addr().wrapping_sub(base);
        *span = (at, at.wrapping_add(line.value.len()));
    }
    let names: Vec<_> = parsed
        .headers
        .iter()
        .map(|line| HeaderName::from_bytes(line.name.as_bytes()))
        .collect();
    let bytes = received.split_to(length).freeze();
    for (name, (from, to)) in names.into_iter().zip(spans) {
        let value = if from < to && to <= bytes.len() {
            HeaderValue::from_maybe_shared(bytes.slice(from..to))
        } else {
            Ok(HeaderValue::from_static(""))
        };
        let (Ok(name), Ok(value)) = (name, value) else {
            return Head::Bad;
        };
        headers.append(name, value);
    }
    if code.is_informational() && code != StatusCode::SWITCHING_PROTOCOLS {
        return Head::Interim(code, headers);
    }
    let Some((left, stays)) = framing(&headers, code, is_head, keeps) else {
        return Head::Bad;
    };
    let mut response = Response::new(());
    *response.status_mut() = code;
    *response.version_mut() = Version::HTTP_11;
    *response.headers_mut() = headers;
    Head::Answer(response, left, stays)
}

/// `None`: it has more than one meaning.
fn framing(
    headers: &HeaderMap,
    code: StatusCode,
    is_head: bool,
    keeps: bool,
) -> Option<(Left, bool)> {
    if code == StatusCode::SWITCHING_PROTOCOLS {
        return Some((Left::Tunnel, false));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => {
            let coding = coding.as_bytes().trim_ascii();
            coding.eq_ignore_ascii_case(b"chunked").then_some(true)?
        }
        (Some(_), Some(_)) => return None,
    };
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().ok()?.trim();
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let here: u64 = digits.then(|| text.parse().ok()).flatten()?;
        if length.replace(here).is_some_and(|before| before != here) {
            return None;
        }
    }
    let bodiless = is_head || code == StatusCode::NO_CONTENT || code == StatusCode::NOT_MODIFIED;
    let left = match (chunked, length) {
        _ if bodiless => Left::Nothing,
        (true, _) => Left::Chunked(Chunk::Size),
        (false, Some(0)) => Left::Nothing,
        (false, Some(length)) => Left::Bytes(length),
        (false, None) => Left::UntilClose,
    };
    let says = |wanted: &[u8]| {
        let lines = headers.get_all(CONNECTION).iter();
        let mut tokens = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    let stays = left != Left::UntilClose && !says(b"close") && (keeps || says(b"keep-alive"));
    Some((left, stays))
}

/// The rest of an exchange: what is still to be sent, and what is still to come.
#[derive(Debug)]
pub(crate) struct Receiving(Box<Rest>);

#[derive(Debug)]
struct Rest {
    wire: Option<Wire>,
    sending: Sending,
    received: BytesMut,
    left: Left,
    stays: bool,
    worker: Rc<Worker>,
}

impl Receiving {
    pub(super) fn new(
        wire: Wire,
        sending: Sending,
        received: BytesMut,
        left: Left,
        stays: bool,
        worker: &Rc<Worker>,
    ) -> Self {
        Self(Box::new(Rest {
            wire: Some(wire),
            sending,
            received,
            left,
            stays,
            worker: Rc::clone(worker),
        }))
    }

    /// The connection, once the exchange has ended so that another may follow.
    pub(crate) fn take_connection(&mut self) -> Option<Wire> {
        let rest = &mut *self.0;
        let is_clean = rest.left == Left::Nothing && rest.received.is_empty();
        let may_stay = rest.stays && is_clean && rest.sending.is_done();
        rest.wire.take().filter(|_| may_stay)
    }

    /// The connection after a switch of protocols, with what has come behind the head.
    pub(crate) fn into_tunnel(self) -> Option<(Wire, Bytes)> {
        let rest = *self.0;
        Some((rest.wire?, rest.received.freeze()))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.0.left, Left::Nothing | Left::Tunnel)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.0.left {
            Left::Nothing | Left::Tunnel => SizeHint::with_exact(0),
            Left::Bytes(left) => SizeHint::with_exact(left),
            Left::Chunked(_) | Left::UntilClose => SizeHint::default(),
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let rest = &mut *self.0;
        loop {
            match rest.next() {
                Err(broken) => return Poll::Ready(Some(Err(broken))),
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
            }
            if matches!(rest.left, Left::Nothing | Left::Tunnel) {
                return Poll::Ready(None);
            }
            let Some(wire) = &mut rest.wire else {
                return Poll::Ready(Some(Err(Broken::Short)));
            };
            // Whatever becomes of it: the answer may come all the same.
            let _sent = rest.sending.poll(wire, cx);
            let read = match poll_read(wire, &rest.worker, READ_BYTES, &mut rest.received, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(Ok(read)) => read,
            };
            if read == 0 {
                if rest.left != Left::UntilClose {
                    return Poll::Ready(Some(Err(Broken::Short)));
                }
                rest.left = Left::Nothing;
                return Poll::Ready(None);
            }
        }
    }
}

impl Rest {
    /// The next frame of what has been received.
    fn next(&mut self) -> Result<Option<Frame<Bytes>>, Broken> {
        match self.left {
            Left::Nothing | Left::Tunnel => Ok(None),
            Left::UntilClose => Ok(take(&mut self.received, u64::MAX).map(Frame::data)),
            Left::Bytes(left) => {
                let data = take(&mut self.received, left);
                if let Some(data) = &data {
                    self.left = match left - data.len() as u64 {
                        0 => Left::Nothing,
                        left => Left::Bytes(left),
                    };
                }
                Ok(data.map(Frame::data))
            }
            Left::Chunked(at) => {
                let (left, frame) = chunk(at, &mut self.received)?;
                self.left = left;
                Ok(frame)
            }
        }
    }
}

/// At most so many bytes, if there are any.
fn take(received: &mut BytesMut, most: u64) -> Option<Bytes> {
    let here = usize::try_from(most).unwrap_or(usize::MAX);
    let here = here.min(received.len());
    (here > 0).then(|| received.split_to(here).freeze())
}

/// Goes on in a chunked body until there is a frame or too little.
fn chunk(mut at: Chunk, received: &mut BytesMut) -> Result<(Left, Option<Frame<Bytes>>), Broken> {
    loop {
        at = match at {
            Chunk::Size => {
                let Some(line) = line(received, CHUNK_LINE_MAX)? else {
                    break;
                };
                match size(&line)? {
                    0 => Chunk::Trailers,
                    size => Chunk::Data(size),
                }
            }
            Chunk::Data(left) => {
                let Some(data) = take(received, left) else {
                    break;
                };
                let at = match left - data.len() as u64 {
                    0 => Chunk::DataEnd,
                    left => Chunk::Data(left),
                };
                // The end of the body is looked for with its last bytes.
                if at == Chunk::DataEnd && received.starts_with(b"\r\n0\r\n\r\n") {
                    drop(received.split_to(7));
                    return Ok((Left::Nothing, Some(Frame::data(data))));
                }
                return Ok((Left::Chunked(at), Some(Frame::data(data))));
            }
            Chunk::DataEnd => {
                let Some(line) = line(received, 2)? else {
                    break;
                };
                if !line.is_empty() {
                    return Err(Broken::Malformed);
                }
                Chunk::Size
            }
            Chunk::Trailers => return trailers(received),
        };
    }
    Ok((Left::Chunked(at), None))
}

fn trailers(received: &mut BytesMut) -> Result<(Left, Option<Frame<Bytes>>), Broken> {
    if received.starts_with(b"\r\n") {
        drop(received.split_to(2));
        return Ok((Left::Nothing, None));
    }
    let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let (length, trailers) = match httparse::parse_headers(received, &mut space) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) if received.len() <= HEAD_BYTES_MAX => {
            return Ok((Left::Chunked(Chunk::Trailers), None));
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err(Broken::Malformed),
    };
    let mut map = HeaderMap::with_capacity(trailers.len());
    for line in trailers {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_bytes(line.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Broken::Malformed);
        };
        map.append(name, value);
    }
    drop(received.split_to(length));
    Ok((Left::Nothing, Some(Frame::trailers(map))))
}

/// Takes a line without its end, which is CRLF and nothing less.
fn line(received: &mut BytesMut, most: usize) -> Result<Option<Bytes>, Broken> {
    let end = received.iter().take(most).position(|&byte| byte == b'\n');
    let Some(end) = end else {
        if received.len() >= most {
            return Err(Broken::Malformed);
        }
        return Ok(None);
    };
    let line = received.split_to(end + 1).freeze();
    let text = line.strip_suffix(b"\r\n").ok_or(Broken::Malformed)?.len();
    Ok(Some(line.slice(..text)))
}

fn size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    let is_fine =
        (1..=SIZE_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let size = is_fine.then(|| u64::from_str_radix(text, 16).ok());
    size.flatten().ok_or(Broken::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, trailers, and what is left behind the body.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    fn decode(pieces: &[&[u8]]) -> Result<Decoded, Broken> {
        let (mut left, mut received) = (Left::Chunked(Chunk::Size), BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), None);
        for piece in pieces {
            received.extend_from_slice(piece);
            while let Left::Chunked(at) = left {
                let (next, frame) = chunk(at, &mut received)?;
                left = next;
                let Some(frame) = frame else {
                    break;
                };
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
        }
        if left != Left::Nothing {
            return Err(Broken::Short);
        }
        Ok((data, trailers, received.to_vec()))
    }

    #[test]
    fn chunks_are_the_same_however_they_are_cut() {
        let body = b"3\r\nabc\r\n00a;x=y\r\n0123456789\r\n0\r\nOne: 1\r\ntwo: 2\r\n\r\nrest";
        let whole = decode(&[body]).unwrap();
        assert_eq!(whole.0, b"abc0123456789");
        let trailers = whole.1.as_ref().unwrap();
        assert_eq!(
            (&trailers["one"], trailers.len()),
            (&HeaderValue::from_static("1"), 2)
        );
        assert_eq!(whole.2, b"rest");
        for cut in 0..body.len() {
            let (first, second) = body.split_at(cut);
            assert_eq!(decode(&[first, second]).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn malformed_chunks_are_told() {
        for body in [
            "x\r\n",
            "\r\n",
            "0x1\r\n",
            "-1\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\nx\r\n",
            "1000000000000000\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n x: y\r\n\r\n",
        ] {
            let told = decode(&[body.as_bytes()]);
            assert!(matches!(told, Err(Broken::Malformed)), "{body:?}: {told:?}");
        }
        assert!(matches!(decode(&[b"5\r\nabc"]), Err(Broken::Short)));
    }

    fn read(text: &str, is_head: bool) -> Head {
        head(&mut BytesMut::from(text), is_head)
    }

    #[test]
    fn heads_tell_where_the_body_ends_and_whether_the_connection_stays() {
        for (lines, is_head, wanted) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
                false,
                (Left::Bytes(5), true),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
                true,
                (Left::Nothing, true),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n",
                false,
                (Left::Bytes(5), true),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n",
                false,
                (Left::Nothing, false),
            ),
            (
                "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n",
                false,
                (Left::Nothing, true),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n",
                false,
                (Left::Chunked(Chunk::Size), true),
            ),
            ("HTTP/1.1 200 OK\r\n", false, (Left::UntilClose, false)),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n",
                false,
                (Left::Bytes(5), false),
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
                false,
                (Left::Bytes(5), true),
            ),
            (
                "HTTP/1.1 101 S\r\nUpgrade: x\r\n",
                false,
                (Left::Tunnel, false),
            ),
        ] {
            let Head::Answer(_, left, stays) = read(&format!("{lines}\r\n"), is_head) else {
                panic!("{lines:?}");
            };
            assert_eq!((left, stays), wanted, "{lines:?}");
        }
        for lines in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 99 No\r\n",
            "ICY 200 OK\r\n",
        ] {
            assert!(
                matches!(read(&format!("{lines}\r\n"), false), Head::Bad),
                "{lines:?}"
            );
        }
        assert!(matches!(
            read("HTTP/1.1 200 OK\r\nX", false),
            Head::Incomplete
        ));
        let hint = read("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", false);
        assert!(matches!(hint, Head::Interim(code, map) if code == 103 && map["link"] == "<a>"));
    }

    #[test]
    fn values_are_what_they_were_also_empty_ones() {
        let Head::Answer(answer, ..) =
            read("HTTP/1.1 200 OK\r\nA:\r\nB:  x y \r\na: z\r\n\r\n", false)
        else {
            panic!("an answer");
        };
        let lines: Vec<_> = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(lines, [("a", &b""[..]), ("a", b"z"), ("b", b"x y")]);
    }
}
