//! Descriptors that pass from one process to another over a Unix stream socket (SCM_RIGHTS).
//!
//! A batch travels with one byte, so that none is lost between reads. What was received is
//! close-on-exec and owned: who drops it closes it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors in one batch; the kernel takes 253.
pub const BATCH_MAX: usize = 128;

/// Bytes of control data that a batch may take.
const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(BATCH_MAX));

/// Sends `descriptors`, at most [`BATCH_MAX`], with one `byte`.
///
/// # Errors
/// `WouldBlock` on a non-blocking socket that is full; whatever else the kernel says.
pub fn send(socket: impl AsFd, byte: u8, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(
        socket,
        &[IoSlice::new(&[byte])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives bytes into `buffer`, and descriptors that came with them into `descriptors`. 0: the end.
///
/// # Errors
/// What the kernel says.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Seek as _, Write as _},
        os::unix::net::UnixStream,
    };

    #[test]
    fn a_descriptor_that_is_received_is_the_very_same_file() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let batch: Vec<_> = (0..BATCH_MAX).map(|_| file.as_fd()).collect();
        send(&ours, b' ', &batch).unwrap();
        (&ours).write_all(b"and text").unwrap();
        drop(ours);
        file.write_all(b"written before").unwrap();
        file.rewind().unwrap();
        let (mut descriptors, mut text) = (Vec::new(), Vec::new());
        let mut buffer = [0; 64];
        loop {
            match receive(&theirs, &mut buffer, &mut descriptors).unwrap() {
                0 => break,
                read => text.extend_from_slice(&buffer[..read]),
            }
        }
        assert_eq!(text, b" and text");
        assert_eq!(descriptors.len(), BATCH_MAX);
        let mut read = String::new();
        std::fs::File::from(descriptors.pop().unwrap())
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, "written before");
    }
}
