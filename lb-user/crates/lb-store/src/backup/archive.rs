//! The file a backup is: records one after the other, checked as a whole.
//!
//! ```text
//! "LBAASBAK"  format: u32
//! record*     head length: u32, body length: u64, head (JSON), body
//! end         as a record; its body is the SHA-256 of everything before it
//! ```
//!
//! Numbers are big-endian. The first record is the manifest. Rows come as JSON lists of JSON lists,
//! some thousand of one table in a record, so that neither side ever holds more than that.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{BackupError, Manifest};

const MAGIC: &[u8; 8] = b"LBAASBAK";
/// The only format there is.
const FORMAT: u32 = 1;
/// More than any head takes.
const HEAD_BYTES_MAX: u32 = 1 << 20;
/// More than any body takes.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// Ends the name of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// What a record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Head {
    /// The first.
    Manifest(Manifest),
    /// Some rows of a table; those whose rows they refer to came before.
    Rows {
        /// Which table.
        table: String,
        /// Names and kinds (`text`, `int`, `bool`) of the columns.
        columns: Vec<(String, String)>,
    },
    /// A file.
    File {
        /// As it is called here.
        name: String,
    },
    /// The last.
    End,
}

/// Writes an archive. It is there under its name once [`Writer::finish`] has returned, and not before.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    unfinished: PathBuf,
    out: Option<BufWriter<File>>,
    digest: Digest,
    overwrite: bool,
}

impl Writer {
    pub(super) fn create(path: &Path, overwrite: bool) -> Result<Self, BackupError> {
        if !overwrite && path.exists() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.{UNFINISHED}", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(|source| failed(&unfinished, source))?;
        let mut writer = Self {
            path: path.to_owned(),
            unfinished,
            out: Some(BufWriter::new(file)),
            digest: Digest::new(),
            overwrite,
        };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_be_bytes())?;
        Ok(writer)
    }

    pub(super) fn record(&mut self, head: &Head, body: &[u8]) -> Result<(), BackupError> {
        let head = serde_json::to_vec(head)
            .map_err(|error| failed(&self.unfinished, io::Error::other(error)))?;
        let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
        if length > HEAD_BYTES_MAX || body.len() as u64 > BODY_BYTES_MAX {
            return Err(failed(
                &self.unfinished,
                io::Error::other("a record is too large"),
            ));
        }
        self.put(&length.to_be_bytes())?;
        self.put(&(body.len() as u64).to_be_bytes())?;
        self.put(&head)?;
        self.put(body)
    }

    /// Ends the file, sees it to the disk and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), BackupError> {
        let digest = self.digest.clone().finish();
        self.record(&Head::End, &digest)?;
        let done = self.out.take().map_or(Ok(()), |out| {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            if self.overwrite {
                std::fs::rename(&self.unfinished, &self.path)?;
            } else {
                // Unlike a rename it fails where somebody else was faster.
                std::fs::hard_link(&self.unfinished, &self.path)?;
                std::fs::remove_file(&self.unfinished)?;
            }
            let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
        done.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(self.path.clone()),
            _other => failed(&self.path, source),
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.digest.update(bytes);
        let written = self.out.as_mut().map_or(Ok(()), |out| out.write_all(bytes));
        written.map_err(|source| failed(&self.unfinished, source))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whatever came of it, an unfinished one is of no use.
        drop(std::fs::remove_file(&self.unfinished));
    }
}

/// Reads an archive that was found whole.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    digest: Digest,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl Reader {
    /// Opens an archive and checks all of it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let mut whole = Self::begin(path)?;
        while whole.record()?.is_some() {}
        Self::begin(path)
    }

    fn begin(path: &Path) -> Result<Self, BackupError> {
        let broken = |reason: &str| BackupError::Broken {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let file = File::open(path).map_err(|source| failed(path, source))?;
        let mode = file.metadata().map_err(|source| failed(path, source))?;
        if mode.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others may read this file, which holds keys");
        }
        let mut reader = Self {
            path: path.to_owned(),
            input: BufReader::new(file),
            digest: Digest::new(),
            manifest: Manifest::unread(),
        };
        let (mut magic, mut format) = ([0; 8], [0; 4]);
        reader
            .take(&mut magic)
            .map_err(|_short| broken("not a backup of lbaas"))?;
        if magic != *MAGIC {
            return Err(broken("not a backup of lbaas"));
        }
        reader.take(&mut format)?;
        let format = u32::from_be_bytes(format);
        if format != FORMAT {
            return Err(broken(&format!(
                "its format is {format}, this version reads format {FORMAT}"
            )));
        }
        match reader.record()? {
            Some((Head::Manifest(manifest), _)) => reader.manifest = manifest,
            _other => return Err(broken("it does not begin with what it is")),
        }
        Ok(reader)
    }

    /// The next record; `None`: that was all, and all of it is as it was written.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn record(&mut self) -> Result<Option<(Head, Vec<u8>)>, BackupError> {
        let so_far = self.digest.clone();
        let (mut head_length, mut body_length) = ([0; 4], [0; 8]);
        self.take(&mut head_length)?;
        self.take(&mut body_length)?;
        let (head_length, body_length) = (
            u32::from_be_bytes(head_length),
            u64::from_be_bytes(body_length),
        );
        if head_length > HEAD_BYTES_MAX || body_length > BODY_BYTES_MAX {
            return Err(self.broken("it is damaged"));
        }
        let head = self.take_vec(u64::from(head_length))?;
        let body = self.take_vec(body_length)?;
        let head: Head =
            serde_json::from_slice(&head).map_err(|_error| self.broken("it is damaged"))?;
        if head != Head::End {
            return Ok(Some((head, body)));
        }
        if body != so_far.finish() {
            return Err(self.broken("it is damaged: its checksum is another"));
        }
        let rest = self.input.read(&mut [0]);
        if rest.map_err(|source| failed(&self.path, source))? > 0 {
            return Err(self.broken("something follows its end"));
        }
        Ok(None)
    }

    fn take_vec(&mut self, length: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length).read_to_end(&mut bytes);
        read.map_err(|source| failed(&self.path, source))?;
        if bytes.len() as u64 != length {
            return Err(self.broken("it is cut short"));
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.input.read_exact(bytes).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.broken("it is cut short")
            } else {
                failed(&self.path, source)
            }
        })?;
        self.digest.update(bytes);
        Ok(())
    }

    pub(super) fn broken(&self, reason: &str) -> BackupError {
        BackupError::Broken {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

#[derive(Clone)]
struct Digest(Context);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

impl Digest {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, overwrite: bool) -> Result<(), BackupError> {
        let mut writer = Writer::create(path, overwrite)?;
        writer.record(&Head::Manifest(Manifest::unread()), b"")?;
        let name = "ca/ca.key".to_owned();
        writer.record(&Head::File { name }, b"private")?;
        writer.finish()
    }

    #[test]
    fn an_archive_is_for_its_owner_and_is_not_overwritten_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        write(&path, false).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(write(&path, false), Err(BackupError::Exists(_))));
        write(&path, true).unwrap();
        // Nothing else is left.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut reader = Reader::open(&path).unwrap();
        let (_, body) = reader.record().unwrap().unwrap();
        assert_eq!(body, b"private");
        assert!(reader.record().unwrap().is_none());
    }

    #[test]
    fn every_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        write(&path, false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Reader::open(&path).is_err(), "cut at {cut}");
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Reader::open(&path).is_err(), "damaged at {place}");
        }
        let mut longer = whole;
        longer.push(0);
        std::fs::write(&path, &longer).unwrap();
        assert!(Reader::open(&path).is_err());
    }
}
