//! Files that must never be half written, nor readable by others.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::error::WireError;

/// Makes `dir` with all its parents; those made here are for the owner alone.
///
/// # Errors
/// As from the operating system.
pub fn private_dir(dir: &Path) -> Result<(), WireError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| file_error(dir, source))
}

/// Writes `path` so that readers see the old or the new content: a temporary file, synced, renamed.
///
/// # Errors
/// As from the operating system.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), WireError> {
    let temporary = path.with_extension("new");
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.map_err(|source| file_error(path, source))
}

/// The content of `path`, `None` when there is no such file.
///
/// # Errors
/// As from the operating system.
pub fn read_optional(path: &Path) -> Result<Option<String>, WireError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error(path, source)),
    }
}

fn file_error(path: &Path, source: std::io::Error) -> WireError {
    WireError::File {
        path: path.to_owned(),
        source,
    }
}

/// Waits for a directory to be this process's alone, until what is returned is dropped.
pub(crate) fn alone(dir: &Path) -> Result<File, WireError> {
    let path = dir.join(".lock");
    let locked = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .and_then(|file| {
            file.lock()?;
            Ok(file)
        });
    locked.map_err(|source| file_error(&path, source))
}
