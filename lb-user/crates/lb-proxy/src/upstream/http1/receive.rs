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

use super::{
    chunks::{Chunk, chunk},
    poll_read,
    send::Sending,
};
use crate::{gate::HEADERS_MAX, upstream::wire::Wire, worker::Worker};

/// Read of a body at once.
const READ_BYTES: usize = 64 << 10;

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
pub(super) fn take(received: &mut BytesMut, most: u64) -> Option<Bytes> {
    let here = usize::try_from(most).unwrap_or(usize::MAX);
    let here = here.min(received.len());
    (here > 0).then(|| received.split_to(here).freeze())
}
