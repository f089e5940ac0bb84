//! Switches below `/proc/sys/net`, with a memory of how they were.
//!
//! Which namespace they belong to is that of the opening thread; these are the edge's, the
//! process's own. What was there before the first change is kept on disk until a teardown.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use lb_sys::netns;

use crate::{Error, Result, desired::write_private};

/// Switches of the edge that were changed.
#[derive(Debug)]
pub struct Sysctls {
    file: PathBuf,
    found: BTreeMap<String, String>,
}

impl Sysctls {
    /// With the memory in `file`.
    ///
    /// # Errors
    /// When it exists and is not what we wrote.
    pub fn open(file: PathBuf) -> Result<Self> {
        let found = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Parse {
                path: file.clone(),
                source,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => {
                return Err(Error::File {
                    doing: "read",
                    path: file,
                    source,
                });
            }
        };
        Ok(Self { file, found })
    }

    /// What a switch is set to; `None`: this kernel does not have it.
    #[must_use]
    pub fn value(key: &str) -> Option<String> {
        let text = fs::read_to_string(path(key)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Sets a switch, after noting how it was.
    ///
    /// # Errors
    /// When there is no such switch, it refuses the value, or the note cannot be written.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let failed = |source| Error::File {
            doing: "set",
            path: path(key),
            source,
        };
        let before = fs::read_to_string(path(key)).map_err(failed)?;
        let before = before.trim();
        if before == value {
            return Ok(());
        }
        if !self.found.contains_key(key) {
            self.found.insert(key.to_owned(), before.to_owned());
            let text = serde_json::to_vec(&self.found).map_err(|source| Error::Parse {
                path: self.file.clone(),
                source,
            })?;
            write_private(&self.file, &text)?;
        }
        fs::write(path(key), value).map_err(failed)
    }

    /// [`Sysctls::set`] where the kernel has the switch.
    ///
    /// # Errors
    /// As [`Sysctls::set`].
    pub fn set_if_present(&mut self, key: &str, value: &str) -> Result<()> {
        match Self::value(key) {
            Some(_) => self.set(key, value),
            None => Ok(()),
        }
    }

    /// Puts everything back as it was found. Interfaces that are gone are fine.
    ///
    /// # Errors
    /// When the note cannot be removed.
    pub fn restore(self) -> Result<()> {
        for (key, value) in &self.found {
            if let Err(error) = fs::write(path(key), value) {
                tracing::warn!(key, value, %error, "cannot put a switch back");
            }
        }
        match fs::remove_file(&self.file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
                doing: "remove",
                path: self.file,
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// Sets switches of a named namespace that is ours alone: nothing to put back.
///
/// # Errors
/// When the namespace or a switch is missing, or a value is refused.
pub(super) fn set_inside(netns: &str, switches: &[(String, &str)]) -> Result<()> {
    netns::run_in(netns, || {
        for (key, value) in switches {
            let path = path(key);
            if fs::read_to_string(&path).is_ok_and(|now| now.trim() == *value) {
                continue;
            }
            fs::write(&path, value).map_err(|source| Error::File {
                doing: "set",
                path,
                source,
            })?;
        }
        Ok(())
    })?
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

/// Sets a switch of an interface of ours in the edge. Best effort: a kernel without IPv6 lacks some.
pub(super) fn set_here(key: &str, value: &str) {
    if let Err(error) = fs::write(path(key), value) {
        tracing::debug!(key, value, %error, "cannot set a switch");
    }
}
