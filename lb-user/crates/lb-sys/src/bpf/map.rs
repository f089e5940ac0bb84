//! A map as a descriptor with the sizes the kernel reported for it.

#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use super::{
    Shape,
    call::{
        self, BPF_MAP_CREATE, BPF_MAP_DELETE_ELEM, BPF_MAP_GET_FD_BY_ID, BPF_MAP_GET_NEXT_KEY,
        BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD,
        BatchAttr, CreateAttr, ElementAttr, IdAttr, InfoAttr, RawInfo, bpf, bpf_fd, pointer,
        pointer_mut, raw,
    },
    map_type, possible_cpus,
};

/// An open map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    shape: Shape,
    /// Bytes that a lookup writes: `value_size`, or all CPUs' values each rounded up to eight.
    lookup_bytes: usize,
}
fn wrong_size(what: &str, given: usize, wanted: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what} of {given} bytes for a map with {wanted}"),
    )
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
        Self::from_fd(call::open_pin(path)?)
    }

    /// Pins the map at `path`, on a BPF file system.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        call::pin(self.fd.as_fd(), path)
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
impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
