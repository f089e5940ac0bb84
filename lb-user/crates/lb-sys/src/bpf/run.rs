//! Running an attached XDP program on a packet that nobody sent.

#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    thread,
};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::call::{
    BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_GET_FD_BY_ID, BPF_PROG_TEST_RUN, IdAttr, InfoAttr,
    RawLinkInfo, RunAttr, bpf, bpf_fd, open_pin, pointer, pointer_mut, raw,
};

/// Room for what a program may put around a packet.
const GROWTH: usize = 256;

/// `struct xdp_md` (linux/bpf.h).
#[repr(C)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What the program returned.
    pub verdict: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
}

impl Program {
    /// The program that the link pinned at `path` runs now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_link(path: &Path) -> io::Result<Self> {
        let link = open_pin(path)?;
        let mut info = RawLinkInfo::default();
        let mut attr = InfoAttr {
            bpf_fd: raw(link.as_fd()),
            info_len: u32::try_from(size_of::<RawLinkInfo>()).unwrap_or_default(),
            info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
        };
        // SAFETY: the kernel writes at most `info_len` bytes to `info`, which outlives the call.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
        let mut attr = IdAttr {
            id: info.prog_id,
            next_id: 0,
            open_flags: 0,
        };
        // SAFETY: PROG_GET_FD_BY_ID takes no pointer and answers with a descriptor.
        unsafe { bpf_fd(BPF_PROG_GET_FD_BY_ID, &mut attr) }.map(Self)
    }

    /// Runs an XDP program once, as if `packet` had come in by interface `ifindex` of the calling
    /// thread's network namespace. Nothing is sent; what the program writes to maps is written.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run_xdp(&self, ifindex: u32, packet: &[u8]) -> io::Result<Ran> {
        let bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let context = [XdpContext {
            data: 0,
            data_end: bytes,
            data_meta: 0,
            ingress_ifindex: ifindex,
            rx_queue_index: 0,
            egress_ifindex: 0,
        }];
        let mut out = vec![0; packet.len() + GROWTH];
        let mut attr = RunAttr {
            prog_fd: raw(self.0.as_fd()),
            data_size_in: bytes,
            data_size_out: u32::try_from(out.len()).unwrap_or(u32::MAX),
            data_in: pointer(packet),
            data_out: pointer_mut(&mut out),
            repeat: 1,
            ctx_size_in: u32::try_from(size_of::<XdpContext>()).unwrap_or_default(),
            ctx_in: pointer(&context),
            ..RunAttr::default()
        };
        // SAFETY: sizes are those of the buffers, all of which outlive the call.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }?;
        out.truncate(attr.data_size_out as usize);
        Ok(Ran {
            verdict: attr.retval,
            packet: out,
        })
    }
}

/// Runs `body` on a thread that stays on one CPU and is told which: what it counts per CPU is its
/// own. The thread is in the namespace of the caller.
///
/// # Errors
/// When the thread cannot be made or bound.
pub fn on_one_cpu<T: Send>(body: impl FnOnce(usize) -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let bound = thread::Builder::new()
            .name("one-cpu".to_owned())
            .spawn_scoped(scope, || -> io::Result<T> {
                let cpu = sched_getcpu();
                let mut set = CpuSet::new();
                set.set(cpu);
                sched_setaffinity(None, &set)?;
                Ok(body(cpu))
            })?;
        bound
            .join()
            .map_err(|_panicked| io::Error::other("the thread panicked"))?
    })
}
