//! The file system of pins, and links that are pinned.

use std::{
    io,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::Path,
};

use super::call;

/// Takes the program of the link pinned at `path` off its interface, now. Removing the pin alone
/// does so too, but some time later.
///
/// # Errors
/// The kernel's; `NotFound` when nothing is pinned there.
pub fn detach_link(path: &Path) -> io::Result<()> {
    let link = call::open_pin(path)?;
    call::detach(link.as_fd())
}

/// `BPF_FS_MAGIC`
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Mounts a BPF file system on `dir` unless one is there, for root alone. Whether it did.
///
/// # Errors
/// The kernel's.
pub fn mount_bpffs(dir: &Path) -> io::Result<bool> {
    if is_bpffs(dir)? {
        return Ok(false);
    }
    rustix::mount::mount(
        "bpffs",
        dir,
        "bpf",
        rustix::mount::MountFlags::NODEV
            | rustix::mount::MountFlags::NOEXEC
            | rustix::mount::MountFlags::NOSUID,
        Some(c"mode=0700"),
    )?;
    Ok(true)
}

/// Unmounts the BPF file system on `dir` when it is one and nothing is in it. It is left in the
/// tree when somebody still uses it.
///
/// # Errors
/// The kernel's.
pub fn unmount_bpffs(dir: &Path) -> io::Result<()> {
    if !is_bpffs(dir)? {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        // The kernel puts maps.debug and progs.debug there; what is pinned has no dot.
        if !entry?.file_name().as_bytes().contains(&b'.') {
            return Ok(());
        }
    }
    match rustix::mount::unmount(dir, rustix::mount::UnmountFlags::empty()) {
        // Not a mount point: `dir` is inside a BPF file system of somebody else.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::BUSY) => Ok(()),
        result => Ok(result?),
    }
}

fn is_bpffs(dir: &Path) -> io::Result<bool> {
    let kind = rustix::fs::statfs(dir)?.f_type;
    Ok(u64::try_from(kind).is_ok_and(|kind| kind & 0xffff_ffff == BPF_FS_MAGIC))
}

/// Pins a program at `path`, on a BPF file system.
///
/// # Errors
/// The kernel's.
pub fn pin_object(object: std::os::fd::BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    call::pin(object, path)
}
