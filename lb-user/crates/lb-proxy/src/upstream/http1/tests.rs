//! Answers' heads and chunked bodies, without a connection.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

use super::{
    chunks::{Chunk, chunk},
    receive::{Broken, Head, Left, head},
};

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
    let Head::Answer(answer, ..) = read("HTTP/1.1 200 OK\r\nA:\r\nB:  x y \r\na: z\r\n\r\n", false)
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
