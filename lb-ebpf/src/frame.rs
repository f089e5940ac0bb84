//! Packet memory: the only place that turns offsets into pointers. [`Frame`] owns the bounds check
//! and is what `lb_common::packet` parses; [`Ptr`] reads and writes what a check has covered.
//!
//! A frame is void after a helper that moves the packet (`bpf_xdp_adjust_head`,
//! `bpf_skb_pull_data`): make a new one.

use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::{
    maps::{Addr, Be16},
    packet::{Bytes, Run},
};

/// The same number, of which the compiler knows nothing. (`black_box` would go through the stack.)
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn opaque(value: usize) -> usize {
    let same;
    // One instruction, since the kernel refuses line information of none.
    // SAFETY: copies a register.
    unsafe {
        core::arch::asm!(
            "{same} = {value}",
            same = lateout(reg) same,
            value = in(reg) value,
            options(pure, nomem, nostack)
        );
    }
    same
}

/// For `cargo clippy` on the host alone.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn opaque(value: usize) -> usize {
    value
}

/// From the link header to the end of what is in linear memory.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    data: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn of_xdp(ctx: &XdpContext) -> Self {
        // Volatile: else the compiler loads both in the caller of a function that uses them and hands
        // them over as 32-bit numbers, which for the verifier are no pointers.
        // SAFETY: the verifier checks context accesses.
        unsafe {
            Self {
                data: core::ptr::read_volatile(&raw const (*ctx.ctx).data) as usize,
                end: core::ptr::read_volatile(&raw const (*ctx.ctx).data_end) as usize,
            }
        }
    }

    #[inline(always)]
    pub(crate) fn of_tc(ctx: &TcContext) -> Self {
        Self {
            data: ctx.data(),
            end: ctx.data_end(),
        }
    }

    /// The same number, of which the verifier knows nothing but that it is below `mask + 1` (a power
    /// of two). Without it every value of an offset is a path of its own through all that follows.
    #[inline(always)]
    pub(crate) fn forget(self, value: usize, mask: usize) -> usize {
        let unknown = self.end - self.data;
        (opaque(value ^ unknown) ^ unknown) & mask
    }
}

impl Bytes for Frame {
    type Run = Ptr;

    #[inline(always)]
    fn len(self) -> usize {
        self.end - self.data
    }

    #[inline(always)]
    fn run<const LEN: usize>(self, offset: usize) -> Option<Ptr> {
        let start = self.data + offset;
        if start + LEN > self.end {
            None
        } else {
            Some(Ptr(start))
        }
    }
}

/// Where a run of checked bytes begins.
#[derive(Clone, Copy)]
pub(crate) struct Ptr(usize);

macro_rules! read {
    ($read:ident, $word:ty) => {
        #[inline(always)]
        fn $read(self, at: usize) -> $word {
            // SAFETY: `Frame::run` checked the bytes, the verifier proves it again, and the data
            // path's machines load words at any address (the verifier refuses to where not).
            unsafe { *((self.0 + at) as *const $word) }
        }
    };
}

impl Run for Ptr {
    read!(u8, u8);
    read!(u16, u16);
    read!(u32, u32);
    read!(u64, u64);
}

macro_rules! write {
    ($name:ident, $word:ty) => {
        #[inline(always)]
        pub(crate) fn $name(self, at: usize, value: $word) {
            // SAFETY: as for reading; packet memory is ours while the program runs.
            unsafe { *((self.0 + at) as *mut $word) = value };
        }
    };
}

impl Ptr {
    /// What begins `at` bytes further on.
    #[inline(always)]
    pub(crate) fn after(self, at: usize) -> Self {
        Self(self.0 + at)
    }

    /// For helpers.
    #[inline(always)]
    pub(crate) fn pointer(self, at: usize) -> *mut u32 {
        (self.0 + at) as *mut u32
    }

    write!(set_u8, u8);
    write!(set_u16, u16);
    write!(set_u32, u32);
    write!(set_u64, u64);

    #[inline(always)]
    pub(crate) fn set_port(self, at: usize, port: Be16) {
        self.set_u16(at, u16::from_ne_bytes(port.0));
    }

    /// The last four bytes of a mapped address.
    #[inline(always)]
    pub(crate) fn set_addr_v4(self, at: usize, addr: &Addr) {
        self.set_u32(at, addr.tail());
    }

    #[inline(always)]
    pub(crate) fn set_addr_v6(self, at: usize, addr: &Addr) {
        let (first, second) = addr.words();
        self.set_u64(at, first);
        self.set_u64(at + 8, second);
    }

    #[inline(always)]
    pub(crate) fn set_mac(self, at: usize, mac: Mac) {
        self.set_u32(at, mac.head);
        self.set_u16(at + 4, mac.tail);
    }

    #[inline(always)]
    pub(crate) fn mac(self, at: usize) -> Mac {
        Mac {
            head: self.u32(at),
            tail: self.u16(at + 4),
        }
    }
}

/// A link address as two words in the machine's order: six bytes would be six loads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac {
    head: u32,
    tail: u16,
}

impl Mac {
    /// From a record in a map.
    #[inline(always)]
    pub(crate) fn load(mac: &[u8; 6]) -> Self {
        Ptr(mac.as_ptr() as usize).mac(0)
    }

    /// Into a record in a map.
    #[inline(always)]
    pub(crate) fn store(self, mac: *mut [u8; 6]) {
        Ptr(mac as usize).set_mac(0, self);
    }

    /// From the low 48 bits of a `NEIGHBOURS` word, first byte lowest.
    #[inline(always)]
    pub(crate) fn from_le_word(word: u64) -> Self {
        Self {
            head: u32::from_le(word as u32),
            tail: u16::from_le((word >> 32) as u16),
        }
    }

    /// The low 48 bits of such a word.
    #[inline(always)]
    pub(crate) fn to_le_word(self) -> u64 {
        self.head.to_le() as u64 | (self.tail.to_le() as u64) << 32
    }
}
