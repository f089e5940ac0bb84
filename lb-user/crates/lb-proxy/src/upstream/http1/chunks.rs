//! A member's chunked body, taken apart: data, then trailers. Pure: bytes in, frames out.
//!
//! As strict as the gate is with clients: CRLF and nothing less, sizes in plain hexadecimal.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;

use super::{
    HEAD_BYTES_MAX,
    receive::{Broken, Left, take},
};
use crate::gate::HEADERS_MAX;

/// Longest line that begins a chunk, its extensions among it.
const CHUNK_LINE_MAX: usize = 4 << 10;

/// Hexadecimal digits of a chunk size: what fits 60 bits.
const SIZE_DIGITS_MAX: usize = 15;

/// Where in a chunked body it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// Goes on in a chunked body until there is a frame or too little.
pub(super) fn chunk(
    mut at: Chunk,
    received: &mut BytesMut,
) -> Result<(Left, Option<Frame<Bytes>>), Broken> {
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
