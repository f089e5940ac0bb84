//! A request on its way to a member.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::{
    HeaderMap, HeaderName, Request,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use hyper::body::Body as _;
use tokio::io::AsyncWrite as _;

use super::super::{Upload, wire::Wire};

/// Less of a body than this is written together with what is around it.
const SMALL_BYTES: usize = 4 << 10;

/// How the body is delimited.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked,
}

/// Why it cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The client broke its body off, or sent another length than it said.
    Client,
    /// The member takes nothing more.
    Member,
}

/// What is to be written, in this order: `out`, `content`, `tail`.
#[derive(Debug)]
pub(super) struct Sending {
    body: Upload,
    framing: Framing,
    /// The whole body was taken.
    ended: bool,
    out: Vec<u8>,
    /// Of `out`.
    written: usize,
    content: Bytes,
    tail: &'static [u8],
    /// Some byte was written.
    begun: bool,
    /// Of the body, taken before anything was written.
    first: Option<Bytes>,
    failed: Option<Failed>,
    flushed: bool,
}

impl Sending {
    /// `out` is an empty buffer.
    pub(super) fn new(request: Request<Upload>, mut out: Vec<u8>) -> Self {
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        // Writing to a Vec cannot fail.
        write!(out, "{} {target} HTTP/1.1\r\n", parts.method).unwrap_or_default();
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = length
            .and_then(|it| it.to_str().ok())
            .and_then(|it| it.parse().ok());
        lines(&parts.headers, &mut out);
        let framing = match length {
            Some(length) => Framing::Length(length),
            None if ended => Framing::Length(0),
            None => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Framing::Chunked
            }
        };
        out.extend_from_slice(b"\r\n");
        Self {
            body,
            framing,
            ended,
            out,
            written: 0,
            content: Bytes::new(),
            tail: b"",
            begun: false,
            first: None,
            failed: None,
            flushed: false,
        }
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// All was written.
    pub(super) const fn is_done(&self) -> bool {
        self.flushed
    }

    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.written = 0;
        std::mem::take(&mut self.out)
    }

    /// The body of a request of which nothing was written.
    pub(super) fn into_body(self) -> Upload {
        self.body.put_back(self.first)
    }

    /// Writes what there is. Ready when all is written; a failure stays.
    pub(super) fn poll(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        if let Some(failed) = self.failed {
            return Poll::Ready(Err(failed));
        }
        let polled = self.poll_all(wire, cx);
        if let Poll::Ready(Err(failed)) = polled {
            self.failed = Some(failed);
        }
        polled
    }

    fn poll_all(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        while !self.flushed {
            let body = self.poll_take(cx)?;
            ready!(self.poll_write(wire, cx))?;
            if self.ended {
                let flushed = ready!(Pin::new(&mut *wire).poll_flush(cx));
                flushed.map_err(|_error| Failed::Member)?;
                self.flushed = true;
            } else if body.is_pending() {
                // TLS holds back what nobody asks it to send.
                let flushed = ready!(Pin::new(&mut *wire).poll_flush(cx));
                flushed.map_err(|_error| Failed::Member)?;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next of the body, unless there is some already. Pending: the client has to send.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.ended || !self.content.is_empty() || !self.tail.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(self.end(None)),
            Some(frame) => frame.map_err(|_error| Failed::Client)?,
        };
        let taken = match frame.into_data() {
            Ok(data) => self.data(data),
            Err(frame) => self.end(frame.trailers_ref()),
        };
        taken?;
        if !self.ended && self.body.is_end_stream() {
            self.end(None)?;
        }
        Poll::Ready(Ok(()))
    }

    fn data(&mut self, data: Bytes) -> Result<(), Failed> {
        if data.is_empty() {
            return Ok(());
        }
        if !self.begun && self.first.is_none() {
            self.first = Some(data.clone());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Failed::Client)?;
            }
            Framing::Chunked => {
                // Writing to a Vec cannot fail.
                write!(self.out, "{:x}\r\n", data.len()).unwrap_or_default();
                self.tail = b"\r\n";
            }
        }
        if data.len() < SMALL_BYTES {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.content = data;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Failed> {
        self.ended = true;
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(Failed::Client),
            Framing::Chunked => {
                let mut last = Vec::new();
                last.extend_from_slice(b"0\r\n");
                let trailers = trailers.into_iter().flatten();
                for (name, value) in trailers.filter(|(name, _)| may_trail(name)) {
                    line(name, value.as_bytes(), &mut last);
                }
                last.extend_from_slice(b"\r\n");
                if self.content.is_empty() {
                    self.out.append(&mut last);
                } else {
                    // Behind the content: its own end, then the body's.
                    let mut whole = std::mem::take(&mut self.content).to_vec();
                    whole.extend_from_slice(std::mem::take(&mut self.tail));
                    whole.append(&mut last);
                    self.content = whole.into();
                }
            }
        }
        Ok(())
    }

    fn poll_write(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        loop {
            let out = self.out.get(self.written..).unwrap_or_default();
            let bytes = match (out.is_empty(), self.content.is_empty()) {
                (false, _) => out,
                (true, false) => &self.content,
                (true, true) => self.tail,
            };
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = match ready!(Pin::new(&mut *wire).poll_write(cx, bytes)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Failed::Member)),
                Ok(written) => written,
            };
            self.begun = true;
            self.first = None;
            if !out.is_empty() {
                self.written += written;
                if self.written >= self.out.len() {
                    self.written = 0;
                    self.out.clear();
                }
            } else if !self.content.is_empty() {
                self.content.advance(written);
            } else {
                self.tail = self.tail.get(written..).unwrap_or_default();
            }
        }
    }
}

fn lines(headers: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in headers {
        line(name, value.as_bytes(), to);
    }
}

fn line(name: &HeaderName, value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(name.as_str().as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

/// Not what says where a message goes, who sent it, or where it ends (RFC 9110 6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    ![
        AUTHORIZATION,
        CONNECTION,
        CONTENT_LENGTH,
        COOKIE,
        EXPECT,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
}
