//! The system call itself and the parts of `union bpf_attr` that are used.

#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

pub(super) const BPF_MAP_CREATE: u32 = 0;
pub(super) const BPF_MAP_LOOKUP_ELEM: u32 = 1;
pub(super) const BPF_MAP_UPDATE_ELEM: u32 = 2;
pub(super) const BPF_MAP_DELETE_ELEM: u32 = 3;
pub(super) const BPF_MAP_GET_NEXT_KEY: u32 = 4;
pub(super) const BPF_OBJ_PIN: u32 = 6;
pub(super) const BPF_OBJ_GET: u32 = 7;
pub(super) const BPF_PROG_TEST_RUN: u32 = 10;
pub(super) const BPF_PROG_GET_FD_BY_ID: u32 = 13;
pub(super) const BPF_MAP_GET_FD_BY_ID: u32 = 14;
pub(super) const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
pub(super) const BPF_MAP_LOOKUP_BATCH: u32 = 24;
pub(super) const BPF_LINK_DETACH: u32 = 34;
#[repr(C)]
#[derive(Default)]
pub(super) struct CreateAttr {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; 16],
}

#[repr(C)]
pub(super) struct ElementAttr {
    pub(super) map_fd: u32,
    pub(super) _pad: u32,
    pub(super) key: u64,
    pub(super) value_or_next: u64,
    pub(super) flags: u64,
}

#[repr(C)]
pub(super) struct BatchAttr {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

#[repr(C)]
pub(super) struct ObjectAttr {
    pub(super) pathname: u64,
    pub(super) bpf_fd: u32,
    pub(super) file_flags: u32,
}

#[repr(C)]
pub(super) struct IdAttr {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) open_flags: u32,
}

#[repr(C)]
pub(super) struct DetachAttr {
    pub(super) link_fd: u32,
}

#[repr(C)]
pub(super) struct InfoAttr {
    pub(super) bpf_fd: u32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

/// The first fields of `struct bpf_map_info`; the kernel fills as much as it is given room for.
#[repr(C)]
#[derive(Default)]
pub(super) struct RawInfo {
    pub(super) map_type: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
}

/// The first fields of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
pub(super) struct RawLinkInfo {
    pub(super) link_type: u32,
    pub(super) id: u32,
    pub(super) prog_id: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct RunAttr {
    pub(super) prog_fd: u32,
    pub(super) retval: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
    pub(super) ctx_size_in: u32,
    pub(super) ctx_size_out: u32,
    pub(super) ctx_in: u64,
    pub(super) ctx_out: u64,
}

/// One bpf(2) call.
///
/// # Safety
///
/// `A` must be a prefix of the `union bpf_attr` variant of `command`, and every pointer in it must be
/// good for what the command reads or writes there.
pub(super) unsafe fn bpf<A>(command: u32, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is a live, exclusive reference of exactly the size passed; the rest is the
    // caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    match i32::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// As [`bpf`], for commands that answer with a new descriptor.
///
/// # Safety
///
/// As for [`bpf`]; `command` must return a descriptor.
pub(super) unsafe fn bpf_fd<A>(command: u32, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: passed on.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

pub(super) fn pointer<T>(slice: &[T]) -> u64 {
    slice.as_ptr().addr() as u64
}

pub(super) fn pointer_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr().expose_provenance() as u64
}
/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: `path` is NUL-terminated and outlives the call.
    unsafe { bpf_fd(BPF_OBJ_GET, &mut attr) }
}

/// Pins `object` at `path`.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: raw(object),
        file_flags: 0,
    };
    // SAFETY: `path` is NUL-terminated and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Detaches a link.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = DetachAttr { link_fd: raw(link) };
    // SAFETY: DetachAttr is the LINK_DETACH variant and holds no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}
