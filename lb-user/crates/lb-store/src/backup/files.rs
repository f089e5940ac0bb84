//! Files beside the database: read as they are, put back under their names.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{BackupError, Belonging};

/// Ends the name of what was there before a restore.
const ASIDE: &str = "before-restore";
/// Ends the name of what is about to be put back.
const READY: &str = "restored";

/// Those that are there, with what they hold.
pub(super) fn read(belongings: &[Belonging]) -> Result<Vec<(String, Vec<u8>)>, BackupError> {
    let mut found = Vec::new();
    for Belonging { name, path } in belongings {
        match fs::read(path) {
            Ok(content) => found.push((name.clone(), content)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(failed(path, source)),
        }
    }
    Ok(found)
}

/// A file to be put back, already written beside its place.
#[derive(Debug)]
pub(super) struct Ready {
    place: PathBuf,
    draft: PathBuf,
}

/// Writes a file beside its place; `None`: what is there is the same.
pub(super) fn prepare(
    place: &Path,
    content: &[u8],
    overwrite: bool,
) -> Result<Option<Ready>, BackupError> {
    match fs::read(place) {
        Ok(there) if there == content => return Ok(None),
        Ok(_other) if !overwrite => {
            return Err(BackupError::NotEmpty(format!("{}", place.display())));
        }
        Ok(_other) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(failed(place, source)),
    }
    let draft = with_end(place, READY);
    let written = (|| {
        if let Some(parent) = place.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(content)?;
        file.sync_all()
    })();
    written.map_err(|source| failed(&draft, source))?;
    Ok(Some(Ready {
        place: place.to_owned(),
        draft,
    }))
}

impl Ready {
    /// Puts the file in its place; says where what was there is now.
    pub(super) fn put(self) -> Result<Option<PathBuf>, BackupError> {
        let aside = with_end(&self.place, ASIDE);
        let put = (|| {
            let moved = match fs::rename(&self.place, &aside) {
                Ok(()) => Some(aside.clone()),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            fs::rename(&self.draft, &self.place)?;
            if let Some(parent) = self.place.parent() {
                File::open(parent)?.sync_all()?;
            }
            Ok(moved)
        })();
        put.map_err(|source| failed(&self.place, source))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // Nothing is there any more once it was put in its place.
        drop(fs::remove_file(&self.draft));
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{end}"));
    PathBuf::from(name)
}

fn failed(path: &Path, source: std::io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}
