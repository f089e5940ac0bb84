//! Whether a link carries anything, asked often and without /sys (an amphora may have none).

#![expect(unsafe_code, reason = "an ioctl with a structure of the kernel's")]

use std::{io, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

use crate::{Doing as _, Result};

/// Watches one interface of the network namespace it was made in.
#[derive(Debug)]
pub struct Carrier {
    socket: Socket,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Carrier {
    /// Gets ready to ask about `interface`, which need not exist.
    ///
    /// # Errors
    /// When the name is too long, or no socket can be made.
    pub fn watch(interface: &str) -> Result<Self> {
        let doing = || format!("watch the carrier of {interface}");
        let mut name = [0; libc::IFNAMSIZ];
        if interface.len() >= name.len() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput)).doing(doing);
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).doing(doing)?;
        Ok(Self { socket, name })
    }

    /// Whether the interface is up and has its peer (IFF_RUNNING); `None` when there is none.
    #[must_use]
    pub fn is_running(&self) -> Option<bool> {
        // SAFETY: ifreq is plain data, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name = self.name;
        // SAFETY: SIOCGIFFLAGS fills ifru_flags of the ifreq it is given; any socket will do.
        let outcome = unsafe {
            libc::ioctl(
                self.socket.as_raw_fd(),
                libc::SIOCGIFFLAGS,
                &raw mut request,
            )
        };
        if outcome < 0 {
            return None;
        }
        // SAFETY: the call above succeeded, so ifru_flags is what is in the union.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        Some(flags & libc::IFF_RUNNING != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_runs_and_what_is_not_there_is_none() {
        assert_eq!(Carrier::watch("lo").unwrap().is_running(), Some(true));
        assert_eq!(Carrier::watch("no-such-if").unwrap().is_running(), None);
        assert!(Carrier::watch("a-name-that-is-too-long-for-linux").is_err());
    }
}
