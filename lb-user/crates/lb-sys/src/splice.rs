//! Bytes from one socket to another without a copy through user space: splice(2) over a pipe.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::{Doing as _, Result};

/// What a pipe should hold: larger ones mean fewer calls.
const PIPE_BYTES: usize = 1 << 20;

/// A pipe that bytes pass through.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// A new one, as large as the kernel lets it be.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> Result<Self> {
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).doing(|| "make a pipe")?;
        // Beyond a user's share pages are refused: then it is a small one, and as good.
        let _small_one = fcntl_setpipe_size(&write, PIPE_BYTES).is_err();
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }

    /// Bytes in it.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes what the socket has. 0: its end.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing, or the pipe is full.
    pub fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        self.fill_at_most(from, PIPE_BYTES)
    }

    /// As [`Self::fill`], but no more than `most`.
    ///
    /// # Errors
    /// As there.
    pub fn fill_at_most(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let taken = splice(from, None, &self.write, None, most.min(PIPE_BYTES), flags)?;
        self.held += taken;
        Ok(taken)
    }

    /// Hands what is held to the socket.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing.
    pub fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let given = splice(&self.read, None, to, None, self.held, flags)?;
        self.held = self.held.saturating_sub(given);
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn bytes_pass_from_socket_to_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (one, listener.accept().unwrap().0)
        };
        let (mut sender, from) = pair();
        let (to, mut receiver) = pair();
        sender.write_all(b"hello").unwrap();
        let mut pipe = Pipe::new().unwrap();
        let mut taken = 0;
        while taken < 5 {
            match pipe.fill(&from) {
                Ok(bytes) => taken += bytes,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(pipe.held(), 5);
        assert_eq!(pipe.empty(&to).unwrap(), 5);
        assert_eq!(pipe.held(), 0);
        let mut text = [0; 5];
        receiver.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        drop(sender);
        let end = loop {
            match pipe.fill(&from) {
                Ok(bytes) => break bytes,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!(end, 0);
    }
}
