//! Where things are pinned: a BPF file system of our own, one directory a map layout.
//!
//! It is not below `/sys/fs/bpf`: `ip netns exec` mounts a fresh `/sys` over it. A mount made in
//! another mount namespace than the host's is gone with that namespace, so that is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lb_common::maps::MAP_ABI;

use super::{Doing as _, Error};

/// Directory of this layout's pins, on a BPF file system that is mounted if it is not yet.
pub(super) fn prepare(bpf_dir: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(bpf_dir).doing(|| format!("cannot make {}", bpf_dir.display()))?;
    let mounted = lb_sys::bpf::mount_bpffs(bpf_dir)
        .doing(|| format!("cannot mount a BPF file system on {}", bpf_dir.display()))?;
    if mounted {
        tracing::info!(dir = %bpf_dir.display(), "mounted a BPF file system");
        if !in_init_mount_namespace() {
            tracing::warn!(
                dir = %bpf_dir.display(),
                "mounted in a mount namespace of our own: the data path ends with it"
            );
        }
    }
    let dir = bpf_dir.join(format!("v{MAP_ABI}"));
    if let Some(other) = other_layout(bpf_dir, &dir)? {
        return Err(Error::OtherLayout {
            path: other,
            ours: MAP_ABI,
        });
    }
    match fs::create_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result.doing(|| format!("cannot make {}", dir.display()))?,
    }
    Ok(dir)
}

fn in_init_mount_namespace() -> bool {
    let ours = fs::read_link("/proc/self/ns/mnt");
    let first = fs::read_link("/proc/1/ns/mnt");
    matches!((ours, first), (Ok(ours), Ok(first)) if ours == first)
}

/// A directory of another layout that has something in it.
fn other_layout(bpf_dir: &Path, ours: &Path) -> Result<Option<PathBuf>, Error> {
    let doing = || format!("cannot list {}", bpf_dir.display());
    for entry in fs::read_dir(bpf_dir).doing(doing)? {
        let path = entry.doing(doing)?.path();
        let is_layout = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix('v'))
            .is_some_and(|number| number.parse::<u32>().is_ok());
        if is_layout && path != ours && fs::read_dir(&path).doing(doing)?.next().is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Takes a program off its interface and removes the link's pin.
pub(super) fn remove_link(path: &Path) -> io::Result<()> {
    if let Err(error) = lb_sys::bpf::detach_link(path) {
        // Removing the pin ends the link all the same, only later.
        tracing::debug!(path = %path.display(), %error, "link not detached at once");
    }
    fs::remove_file(path)
}

/// Removes every pin of this layout, and with the links the programs from their interfaces; then
/// the mount, when nothing else is on it. For teardown, not for a restart.
///
/// # Errors
/// The kernel's. Nothing there is no error.
pub(super) fn remove(bpf_dir: &Path) -> Result<(), Error> {
    let dir = bpf_dir.join(format!("v{MAP_ABI}"));
    let doing = || format!("cannot remove the pins in {}", dir.display());
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.doing(doing)?,
    };
    for entry in entries {
        let path = entry.doing(doing)?.path();
        let is_link = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().contains(&b'-'));
        if is_link {
            remove_link(&path).doing(doing)?;
        } else {
            fs::remove_file(path).doing(doing)?;
        }
    }
    fs::remove_dir(&dir).doing(doing)?;
    lb_sys::bpf::unmount_bpffs(bpf_dir).doing(|| format!("cannot unmount {}", bpf_dir.display()))
}
