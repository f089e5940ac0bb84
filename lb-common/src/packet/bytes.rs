//! How the parser reads: runs of bytes that are known to be there, words out of them.

use crate::maps::{Addr, Be16};

/// A packet that can be asked for a run of bytes.
pub trait Bytes: Copy {
    /// A run that is known to be there.
    type Run: Run;

    /// Bytes from the link header on.
    fn len(self) -> usize;

    /// Whether there is nothing.
    #[inline(always)]
    fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// `LEN` bytes at `offset`, if the packet has them.
    fn run<const LEN: usize>(self, offset: usize) -> Option<Self::Run>;
}

/// Bytes that are known to be there. Words come in the machine's order; offsets are below the `LEN`
/// that was asked for.
pub trait Run: Copy {
    /// One byte.
    fn u8(self, at: usize) -> u8;
    /// Two bytes.
    fn u16(self, at: usize) -> u16;
    /// Four bytes.
    fn u32(self, at: usize) -> u32;
    /// Eight bytes.
    fn u64(self, at: usize) -> u64;

    /// Two bytes in network order.
    #[inline(always)]
    fn be16(self, at: usize) -> u16 {
        u16::from_be(self.u16(at))
    }

    /// A port.
    #[inline(always)]
    fn port(self, at: usize) -> Be16 {
        Be16(self.u16(at).to_ne_bytes())
    }

    /// An IPv4 address.
    #[inline(always)]
    fn addr_v4(self, at: usize) -> Addr {
        let prefix = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        let host = u64::from(self.u32(at));
        let shifted = if cfg!(target_endian = "little") {
            host << 32
        } else {
            host
        };
        Addr::from_words(0, prefix | shifted)
    }

    /// An IPv6 address.
    #[inline(always)]
    fn addr_v6(self, at: usize) -> Addr {
        Addr::from_words(self.u64(at), self.u64(at + 8))
    }
}

/// A slice and where in it the run begins: how tests and user space read.
#[derive(Clone, Copy, Debug)]
pub struct SliceRun<'a>(&'a [u8]);

impl SliceRun<'_> {
    #[inline(always)]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0
            .get(at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .unwrap_or([0; N])
    }
}

impl Run for SliceRun<'_> {
    fn u8(self, at: usize) -> u8 {
        u8::from_ne_bytes(self.array(at))
    }
    fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.array(at))
    }
    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }
    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }
}

impl<'a> Bytes for &'a [u8] {
    type Run = SliceRun<'a>;

    fn len(self) -> usize {
        <[u8]>::len(self)
    }

    fn run<const LEN: usize>(self, offset: usize) -> Option<SliceRun<'a>> {
        let end = offset.checked_add(LEN)?;
        self.get(offset..end).map(SliceRun)
    }
}
