//! BPF maps by byte slices: the few bpf(2) commands that the agent needs beside loading.
//!
//! aya loads programs and makes the maps that they name; it cannot make a bare map for user space
//! to put into an array of maps, and its typed maps want one type a map. Here a map is a descriptor
//! with the sizes the kernel reported for it, and every call checks its slices against them: that
//! is what makes the calls sound.
//!
//! Left out on purpose: loading and attaching programs (aya), BTF, batch updates.

mod call;
mod map;
mod pins;
mod run;
mod words;

use std::io;

pub use map::Map;
pub use pins::{detach_link, mount_bpffs, pin_object, unmount_bpffs};
pub use run::{Program, Ran, on_one_cpu};
pub use words::Words;

/// `BPF_F_MMAPABLE`: user space may map the values of an ARRAY.
pub const MMAPABLE: u32 = 1 << 10;

/// Kernel numbers of map types.
pub mod map_type {
    /// `BPF_MAP_TYPE_HASH`
    pub const HASH: u32 = 1;
    /// `BPF_MAP_TYPE_ARRAY`
    pub const ARRAY: u32 = 2;
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    pub const PERCPU_ARRAY: u32 = 6;
    /// `BPF_MAP_TYPE_LPM_TRIE`
    pub const LPM_TRIE: u32 = 11;
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
    pub const ARRAY_OF_MAPS: u32 = 12;
    /// `BPF_MAP_TYPE_DEVMAP_HASH`
    pub const DEVMAP_HASH: u32 = 25;
    /// `BPF_MAP_TYPE_RINGBUF`
    pub const RINGBUF: u32 = 27;
}

/// What a map looks like: asked for when it is made, reported by the kernel afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// See [`map_type`].
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU, for a per-CPU map).
    pub value_size: u32,
    /// Entries; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// Number of CPUs that a per-CPU map has values for.
///
/// # Errors
/// When `/sys/devices/system/cpu/possible` cannot be read or says something new.
pub fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text
        .trim()
        .rsplit([',', '-'])
        .next()
        .and_then(|number| number.parse::<usize>().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "list of possible CPUs"))?;
    Ok(last + 1)
}
