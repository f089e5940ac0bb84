//! BPF maps by byte slices: the few bpf(2) commands that the agent needs beside loading.
//!
//! aya loads programs and makes the maps that they name; it cannot make a bare map for user space
//! to put into an array of maps, and its typed maps want one type a map. Here a map is a descriptor
//! with the sizes the kernel reported for it, and every call checks its slices against them: that
//! is what makes the calls sound.
//!
//! Left out on purpose: programs and links (aya), BTF, batch updates.

#![expect(
    unsafe_code,
    reason = "bpf(2) takes pointers; mmap hands out memory that others write"
)]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_MAP_DELETE_ELEM: u32 = 3;
const BPF_MAP_GET_NEXT_KEY: u32 = 4;
const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_MAP_GET_FD_BY_ID: u32 = 14;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;
const BPF_LINK_DETACH: u32 = 34;

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
    /// `BPF_MAP_TYPE_LRU_HASH`
    pub const LRU_HASH: u32 = 9;
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

/// An open map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    shape: Shape,
    /// Bytes that a lookup writes: `value_size`, or all CPUs' values each rounded up to eight.
    lookup_bytes: usize,
}

#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct DetachAttr {
    link_fd: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The first fields of `struct bpf_map_info`; the kernel fills as much as it is given room for.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// One bpf(2) call.
///
/// # Safety
///
/// `A` must be a prefix of the `union bpf_attr` variant of `command`, and every pointer in it must be
/// good for what the command reads or writes there.
unsafe fn bpf<A>(command: u32, attr: &mut A) -> io::Result<i32> {
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
unsafe fn bpf_fd<A>(command: u32, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: passed on.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn pointer<T>(slice: &[T]) -> u64 {
    slice.as_ptr().addr() as u64
}

fn pointer_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr().expose_provenance() as u64
}

fn wrong_size(what: &str, given: usize, wanted: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what} of {given} bytes for a map with {wanted}"),
    )
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

impl Map {
    /// Makes a map that no program names. `name` is shown by tools; at most 15 bytes of it count.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(shape: Shape, name: &str) -> io::Result<Self> {
        let mut attr = CreateAttr {
            map_type: shape.map_type,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            map_flags: shape.flags,
            ..CreateAttr::default()
        };
        for (to, from) in attr.map_name.iter_mut().zip(name.bytes().take(15)) {
            *to = from;
        }
        // SAFETY: CreateAttr is the beginning of the MAP_CREATE variant and holds no pointer.
        let fd = unsafe { bpf_fd(BPF_MAP_CREATE, &mut attr)? };
        Self::from_fd(fd)
    }

    /// Opens the map pinned at `path`.
    ///
    /// # Errors
    /// The kernel's; `NotFound` when nothing is pinned there.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_fd(open_pin(path)?)
    }

    /// Pins the map at `path`, on a BPF file system.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut attr = ObjectAttr {
            pathname: path.as_ptr().addr() as u64,
            bpf_fd: raw(self.fd.as_fd()),
            file_flags: 0,
        };
        // SAFETY: `path` is NUL-terminated and outlives the call.
        unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
    }

    /// Opens a map by the kernel's id for it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn from_id(id: u32) -> io::Result<Self> {
        let mut attr = IdAttr {
            id,
            next_id: 0,
            open_flags: 0,
        };
        // SAFETY: IdAttr is the GET_FD_BY_ID variant and holds no pointer.
        let fd = unsafe { bpf_fd(BPF_MAP_GET_FD_BY_ID, &mut attr)? };
        Self::from_fd(fd)
    }

    /// Takes a descriptor of a map.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let mut info = RawInfo::default();
        let mut attr = InfoAttr {
            bpf_fd: raw(fd.as_fd()),
            info_len: u32::try_from(size_of::<RawInfo>()).unwrap_or(0),
            info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
        };
        // SAFETY: `info` has room for the `info_len` bytes that the kernel may write.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
        let shape = Shape {
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.map_flags,
        };
        let value = shape.value_size as usize;
        let lookup_bytes = if shape.map_type == map_type::PERCPU_ARRAY {
            value.next_multiple_of(8) * possible_cpus()?
        } else {
            value
        };
        Ok(Self {
            fd,
            shape,
            lookup_bytes,
        })
    }

    /// As the kernel reports it.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes that [`Self::lookup`] wants for a value: all CPUs' for a per-CPU map.
    #[must_use]
    pub const fn lookup_bytes(&self) -> usize {
        self.lookup_bytes
    }

    fn check(&self, key: &[u8], value: Option<(usize, usize)>) -> io::Result<()> {
        let wanted = self.shape.key_size as usize;
        if key.len() != wanted {
            return Err(wrong_size("a key", key.len(), wanted));
        }
        match value {
            Some((given, wanted)) if given != wanted => Err(wrong_size("a value", given, wanted)),
            Some(_) | None => Ok(()),
        }
    }

    fn element(&self, key: &[u8], value_or_next: u64, flags: u64) -> ElementAttr {
        ElementAttr {
            map_fd: raw(self.fd.as_fd()),
            _pad: 0,
            key: pointer(key),
            value_or_next,
            flags,
        }
    }

    /// Reads the value of `key` into `value`; `false` when there is none.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a slice of the wrong size.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.check(key, Some((value.len(), self.lookup_bytes)))?;
        let mut attr = self.element(key, pointer_mut(value), 0);
        // SAFETY: both slices have just been checked against what the kernel reads and writes.
        match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a slice of the wrong size.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, Some((value.len(), self.lookup_bytes)))?;
        let mut attr = self.element(key, pointer(value), 0);
        // SAFETY: both slices have just been checked against what the kernel reads.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// Removes `key`; `false` when it was not there.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a slice of the wrong size.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.check(key, None)?;
        let mut attr = self.element(key, 0, 0);
        // SAFETY: the key has just been checked against what the kernel reads.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the key after `key` (the first one for `None`) into `next`; `false` at the end. A key
    /// that is gone starts again at the first, so a caller bounds its loop.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a slice of the wrong size.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        self.check(next, None)?;
        if let Some(key) = key {
            self.check(key, None)?;
        }
        let mut attr = ElementAttr {
            map_fd: raw(self.fd.as_fd()),
            _pad: 0,
            key: key.map_or(0, pointer),
            value_or_next: pointer_mut(next),
            flags: 0,
        };
        // SAFETY: both slices have just been checked against what the kernel reads and writes.
        match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every entry of an array or hash map in chunks, with few system calls. `visit` gets key and
    /// value.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a per-CPU map.
    pub fn scan(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        /// Entries a call.
        const CHUNK: usize = 1024;
        let (key_size, value_size) = (self.shape.key_size as usize, self.shape.value_size as usize);
        if self.lookup_bytes != value_size || key_size == 0 || value_size == 0 {
            return Err(wrong_size("a value", value_size, self.lookup_bytes));
        }
        // A hash map's chunk ends at a bucket and the kernel asks for room for the whole bucket
        // with ENOSPC; such a bucket is far larger than any real one here.
        let mut keys = vec![0_u8; key_size * CHUNK];
        let mut values = vec![0_u8; value_size * CHUNK];
        // The cursor is at most a key's size, at least the u32 that hash maps use.
        let mut cursor = vec![0_u8; key_size.max(8)];
        let mut next_cursor = cursor.clone();
        let mut first = true;
        loop {
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { pointer(&cursor) },
                out_batch: pointer_mut(&mut next_cursor),
                keys: pointer_mut(&mut keys),
                values: pointer_mut(&mut values),
                count: 1024,
                map_fd: raw(self.fd.as_fd()),
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: keys and values have room for CHUNK entries, the cursors for one key.
            let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
            let ended = match result {
                Ok(_) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            let count = (attr.count as usize).min(CHUNK);
            for (key, value) in keys
                .chunks_exact(key_size)
                .zip(values.chunks_exact(value_size))
                .take(count)
            {
                visit(key, value);
            }
            if ended {
                return Ok(());
            }
            std::mem::swap(&mut cursor, &mut next_cursor);
            first = false;
        }
    }

    /// Puts `inner` into an array of maps; readers see the old or the new map.
    ///
    /// # Errors
    /// The kernel's: `inner` must have the shape of the array's prototype.
    pub fn set_inner(&self, index: u32, inner: &Self) -> io::Result<()> {
        let fd = inner.fd.as_raw_fd().to_ne_bytes();
        self.update(&index.to_ne_bytes(), &fd)
    }

    /// Opens the map at `index` of an array of maps.
    ///
    /// # Errors
    /// The kernel's.
    pub fn inner(&self, index: u32) -> io::Result<Option<Self>> {
        let mut id = [0; 4];
        if self.lookup(&index.to_ne_bytes(), &mut id)? {
            Self::from_id(u32::from_ne_bytes(id)).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Hands out the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// Opens what is pinned at `path`.
fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: `path` is NUL-terminated and outlives the call.
    unsafe { bpf_fd(BPF_OBJ_GET, &mut attr) }
}

/// Takes the program of the link pinned at `path` off its interface, now. Removing the pin alone
/// does so too, but some time later.
///
/// # Errors
/// The kernel's; `NotFound` when nothing is pinned there.
pub fn detach_link(path: &Path) -> io::Result<()> {
    let link = open_pin(path)?;
    let mut attr = DetachAttr {
        link_fd: raw(link.as_fd()),
    };
    // SAFETY: DetachAttr is the LINK_DETACH variant and holds no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
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

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The values of an ARRAY with [`MMAPABLE`] as 64-bit words in memory: a store is one store, which a
/// packet sees wholly or not at all, without a system call.
#[derive(Debug)]
pub struct Words {
    memory: NonNull<libc::c_void>,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone on our side and is only touched by atomic
// operations.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps all of `map`.
    ///
    /// # Errors
    /// `InvalidInput` when the map cannot be mapped as words; mmap's.
    pub fn new(map: &Map) -> io::Result<Self> {
        let shape = map.shape();
        if shape.map_type != map_type::ARRAY
            || shape.flags & MMAPABLE == 0
            || !shape.value_size.is_multiple_of(8)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a mappable array of words",
            ));
        }
        let bytes = shape.value_size as usize * shape.max_entries as usize;
        // SAFETY: a fresh shared mapping of a map whose size has just been asked for; the kernel
        // rounds it up to whole pages and refuses more.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(memory)
            .map(|memory| Self { memory, bytes })
            .ok_or_else(|| io::Error::other("mmap answered with a null pointer"))
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.bytes / 8 {
            return None;
        }
        // SAFETY: in bounds by the line above, aligned because the mapping begins at a page, alive
        // as long as self, and shared only with the kernel's and others' atomic or whole-word
        // accesses.
        Some(unsafe { self.memory.cast::<AtomicU64>().add(index).as_ref() })
    }

    /// Reads a word; `None` out of bounds.
    #[must_use]
    pub fn load(&self, index: usize) -> Option<u64> {
        self.word(index).map(|word| word.load(Ordering::Acquire))
    }

    /// Writes a word; `false` out of bounds.
    #[must_use]
    pub fn store(&self, index: usize, value: u64) -> bool {
        self.word(index)
            .map(|word| word.store(value, Ordering::Release))
            .is_some()
    }

    /// Number of words.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes / 8
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr(), self.bytes) };
    }
}
