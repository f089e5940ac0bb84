//! The body of an answer, from the member to the client.

use std::{
    future::poll_fn,
    io::{self, Write as _},
    task::{Poll, ready},
};

use tokio::{io::Interest, net::TcpStream, time::Instant};

use super::{
    Connection, Stream,
    answer::Ends,
    io::{read_into, write},
};
use crate::{gate::chunked::Chunked, view::ListenerView};

/// More than this left of a body goes through a pipe, where both ends are sockets.
const SPLICE_OVER: u64 = 64 << 10;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    ByClient,
    ByMember,
    /// The member fell silent.
    BySilence,
}

impl Ended {
    /// As the log tells it.
    pub(super) const fn state(self) -> [u8; 2] {
        match self {
            Self::Well => *b"--",
            Self::ByClient => *b"CD",
            Self::ByMember => *b"SD",
            Self::BySilence => *b"sD",
        }
    }
}

/// How far a body is.
#[derive(Debug)]
pub(super) struct Progress {
    left: Left,
    /// From the member, the head among it.
    received: u64,
    /// The member sent more than it announced.
    dirty: bool,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Bytes(u64),
    Chunked(Chunked),
    UntilClose,
    Nothing,
}

impl Progress {
    /// Takes the beginning of the body and writes it as the client gets it. `None`: malformed.
    pub(super) fn begin(ends: Ends, bytes: &[u8], received: u64, to: &mut Vec<u8>) -> Option<Self> {
        let mut progress = Self {
            left: match ends {
                Ends::After(0) => Left::Nothing,
                Ends::After(left) => Left::Bytes(left),
                Ends::Chunked => Left::Chunked(Chunked::default()),
                Ends::Close => Left::UntilClose,
            },
            received,
            dirty: false,
        };
        match progress.take(bytes)? {
            Taken::AsIs(length) => to.extend_from_slice(bytes.get(..length).unwrap_or_default()),
            Taken::Chunk => chunk(bytes, to),
        }
        Some(progress)
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    pub(super) const fn is_clean(&self) -> bool {
        !self.dirty
    }

    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Taken> {
        let length = match &mut self.left {
            Left::Nothing => 0,
            Left::Bytes(left) => {
                let here = u64::try_from(bytes.len()).ok()?.min(*left);
                *left -= here;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                usize::try_from(here).ok()?
            }
            Left::Chunked(chunked) => {
                let (length, done) = chunked.advance(bytes).ok()?;
                if done {
                    self.left = Left::Nothing;
                }
                length
            }
            Left::UntilClose => return Some(Taken::Chunk),
        };
        self.dirty |= length < bytes.len();
        Some(Taken::AsIs(length))
    }
}

enum Taken {
    /// So many bytes.
    AsIs(usize),
    /// All, as a chunk.
    Chunk,
}

fn chunk(bytes: &[u8], to: &mut Vec<u8>) {
    if !bytes.is_empty() {
        // Writing to a Vec cannot fail.
        write!(to, "{:x}\r\n", bytes.len()).unwrap_or_default();
        to.extend_from_slice(bytes);
        to.extend_from_slice(b"\r\n");
    }
}

impl<S: Stream> Connection<S> {
    /// Passes the rest of a body on; how it ended and how many bytes the client got.
    pub(super) async fn pass_body(
        &mut self,
        member: &mut TcpStream,
        progress: &mut Progress,
        listener: &ListenerView,
    ) -> (Ended, u64) {
        let mut given = 0;
        if let Left::Bytes(left) = progress.left
            && left > SPLICE_OVER
            && self.stream.socket().is_some()
        {
            let ended = self
                .splice_body(member, progress, listener, &mut given)
                .await;
            return (ended, given);
        }
        let worker = std::rc::Rc::clone(&self.client.worker);
        let mut buffer = worker.pipes.take_buffer();
        let ended = self
            .copy_body(member, progress, listener, &mut buffer, &mut given)
            .await;
        worker.pipes.put_buffer(buffer);
        (ended, given)
    }

    async fn copy_body(
        &mut self,
        member: &mut TcpStream,
        progress: &mut Progress,
        listener: &ListenerView,
        buffer: &mut [u8],
        given: &mut u64,
    ) -> Ended {
        let config = &listener.config;
        let mut framed = Vec::new();
        while !progress.is_done() {
            let until = Instant::now() + config.member_timeout;
            let read = match read_into(member, buffer, &mut self.timer, until).await {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ended::BySilence,
                Err(_error) => return Ended::ByMember,
            };
            progress.received += read as u64;
            let bytes = buffer.get(..read).unwrap_or_default();
            let out = match (read, progress.left) {
                (0, Left::UntilClose) => {
                    progress.left = Left::Nothing;
                    &b"0\r\n\r\n"[..]
                }
                (0, _) => return Ended::ByMember,
                _ => match progress.take(bytes) {
                    None => return Ended::ByMember,
                    Some(Taken::AsIs(length)) => bytes.get(..length).unwrap_or_default(),
                    Some(Taken::Chunk) => {
                        framed.clear();
                        chunk(bytes, &mut framed);
                        &framed
                    }
                },
            };
            let patience = config.client_timeout;
            if write(&mut self.stream, out, &mut self.timer, patience)
                .await
                .is_err()
            {
                return Ended::ByClient;
            }
            *given += out.len() as u64;
            listener.counters.sent(out.len());
        }
        Ended::Well
    }

    /// From socket to socket through a pipe.
    async fn splice_body(
        &mut self,
        member: &TcpStream,
        progress: &mut Progress,
        listener: &ListenerView,
        given: &mut u64,
    ) -> Ended {
        let worker = std::rc::Rc::clone(&self.client.worker);
        let config = &listener.config;
        let Some(mut pipe) = worker.pipes.take() else {
            return Ended::ByMember;
        };
        while let Left::Bytes(left) = progress.left {
            let until = Instant::now() + config.member_timeout;
            let timer = &mut self.timer;
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let filled = poll_fn(|cx| {
                let polled = loop {
                    match member.poll_read_ready(cx) {
                        Poll::Pending => break Poll::Pending,
                        Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) => {}
                    }
                    let fill = || pipe.fill_at_most(member, most);
                    match member.try_io(Interest::READABLE, fill) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        filled => break Poll::Ready(filled),
                    }
                };
                timer.within(polled, until, cx)
            })
            .await;
            match filled {
                Ok(0) => return Ended::ByMember,
                Ok(filled) => {
                    progress.received += filled as u64;
                    let left = left.saturating_sub(filled as u64);
                    progress.left = if left == 0 {
                        Left::Nothing
                    } else {
                        Left::Bytes(left)
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ended::BySilence,
                Err(_error) => return Ended::ByMember,
            }
            let mut until = Instant::now() + config.client_timeout;
            while pipe.held() > 0 {
                let Some(to) = self.stream.socket() else {
                    return Ended::ByClient;
                };
                let timer = &mut self.timer;
                let emptied = poll_fn(|cx| {
                    if let Poll::Ready(Err(error)) = to.poll_write_ready(cx) {
                        return Poll::Ready(Err(error));
                    }
                    match to.try_io(Interest::WRITABLE, || pipe.empty(to)) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            if to.poll_write_ready(cx).is_ready() {
                                cx.waker().wake_by_ref();
                            }
                            ready!(timer.poll(until, cx));
                            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                        }
                        emptied => Poll::Ready(emptied),
                    }
                })
                .await;
                match emptied {
                    Ok(emptied) => {
                        until = Instant::now() + config.client_timeout;
                        *given += emptied as u64;
                        listener.counters.sent(emptied);
                    }
                    Err(_error) => return Ended::ByClient,
                }
            }
        }
        worker.pipes.put(pipe);
        Ended::Well
    }
}
