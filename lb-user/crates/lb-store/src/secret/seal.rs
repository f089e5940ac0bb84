//! Secrets at rest: AES-256-GCM under a key of this installation.
//!
//! The key is never in the database, so a copy of the database alone shows nothing: it is a file
//! the operator names, a credential of systemd's, or a file beside the database made at first start
//! (mode 0600). A sealed secret is bound to its label: one row's bytes under another's do not open.
//!
//! Invariant: nothing is ever sealed with a key that does not open what is sealed already. The first
//! use leaves a proof in the database, and every later start begins with it.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    db::{Database, query, query_scalar},
    error::StoreError,
};

/// Name of the key file in the state directory, and of systemd's credential.
const KEY_FILE: &str = "secrets.key";
/// Held while the key is looked for or made.
const LOCK_FILE: &str = "secrets.lock";
/// AES-256.
const KEY_BYTES: usize = 32;
/// More than any way to write the key down takes.
const FILE_BYTES_MAX: u64 = 1 << 10;
/// Setting that holds the proof, and what it says.
const PROOF: &str = "secrets_key_proof";

/// Where the key comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// A file that the operator made; it must be there.
    File(PathBuf),
    /// The file in the state directory, made when nothing is sealed yet.
    #[default]
    StateDir,
}

impl KeySource {
    /// Where no file is configured: the credential that systemd hands over (`secrets.key` in the
    /// directory of credentials), when there is one.
    pub fn or_credential(&mut self, credentials: &Path) {
        let credential = credentials.join(KEY_FILE);
        if *self == Self::StateDir && credential.exists() {
            *self = Self::File(credential);
        }
    }

    fn path(&self, state_dir: &Path) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::StateDir => state_dir.join(KEY_FILE),
        }
    }
}

pub(crate) struct SealKey {
    key: Option<RandomizedNonceKey>,
    path: PathBuf,
    /// The database holds a proof that this key opens.
    proved: AtomicBool,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

impl SealKey {
    /// Reads the key, or makes it where nothing was ever sealed, and has it proved.
    pub(crate) async fn open_for(
        database: &Database,
        source: &KeySource,
        state_dir: &Path,
    ) -> Result<Self, StoreError> {
        let path = source.path(state_dir);
        let proof: Option<String> = query_scalar(SELECT_PROOF)
            .bind(PROOF)
            .fetch_optional(&database.read)
            .await?;
        let sealed: Option<String> = query_scalar(SELECT_ANY)
            .fetch_optional(&database.read)
            .await?;
        let may_create = *source == KeySource::StateDir && proof.is_none() && sealed.is_none();
        let key = Self::load(&path, may_create)?;
        let wrong = |_error| StoreError::WrongKey(path.clone());
        if let Some(proof) = proof {
            key.open(PROOF, &proof).map_err(wrong)?;
            key.proved.store(true, Ordering::Release);
            return Ok(key);
        }
        // Written by a version that left no proof.
        if let Some(id) = sealed {
            let sealed: String = query_scalar(SELECT_SEALED)
                .bind(&id)
                .fetch_one(&database.read)
                .await?;
            key.open(&id, &sealed).map_err(wrong)?;
        }
        Ok(key)
    }

    /// No key: nothing can be sealed or opened.
    pub(crate) fn absent(state_dir: &Path) -> Self {
        Self {
            key: None,
            path: state_dir.join(KEY_FILE),
            proved: AtomicBool::new(false),
        }
    }

    /// Has the key proved before the first thing is sealed with it: of several servers that do so at
    /// once one is first, and its key is the one.
    pub(crate) async fn prove(&self, database: &Database) -> Result<(), StoreError> {
        if self.proved.load(Ordering::Acquire) {
            return Ok(());
        }
        query(INSERT_PROOF)
            .bind(PROOF)
            .bind(self.seal(PROOF, PROOF.as_bytes())?)
            .execute(&database.write)
            .await?;
        let proof: String = query_scalar(SELECT_PROOF)
            .bind(PROOF)
            .fetch_one(&database.write)
            .await?;
        self.open(PROOF, &proof)
            .map_err(|_error| StoreError::WrongKey(self.path.clone()))?;
        self.proved.store(true, Ordering::Release);
        Ok(())
    }

    fn load(path: &Path, may_create: bool) -> Result<Self, StoreError> {
        let fail = |source| StoreError::File {
            path: path.to_owned(),
            source,
        };
        // Once, also when several servers start at the same time.
        let _alone = match path.parent() {
            Some(directory) if may_create => Some(crate::lock::alone(&directory.join(LOCK_FILE))?),
            _ => None,
        };
        let bytes = match File::open(path) {
            Ok(file) => {
                let mut content = Vec::new();
                file.take(FILE_BYTES_MAX)
                    .read_to_end(&mut content)
                    .map_err(fail)?;
                parse(&content).ok_or_else(|| StoreError::BadKey(path.to_owned()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound && may_create => {
                create(path).map_err(fail)?
            }
            Err(error) => return Err(fail(error)),
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map_err(|_unspecified| StoreError::Internal("the secrets key is of no use"))?;
        Ok(Self {
            key: Some(key),
            path: path.to_owned(),
            proved: AtomicBool::new(false),
        })
    }

    fn key(&self) -> Result<&RandomizedNonceKey, StoreError> {
        self.key
            .as_ref()
            .ok_or_else(|| StoreError::WrongKey(self.path.clone()))
    }

    /// Encrypts; text for a TEXT column.
    pub(crate) fn seal(&self, label: &str, plain: &[u8]) -> Result<String, StoreError> {
        let mut bytes = plain.to_vec();
        let nonce = self
            .key()?
            .seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut bytes)
            .map_err(|_unspecified| StoreError::Internal("a secret could not be encrypted"))?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Ok(BASE64_STANDARD.encode(sealed))
    }

    /// Decrypts what [`SealKey::seal`] made under the same label.
    pub(crate) fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("secret {label} does not open with this key"));
        let bytes = BASE64_STANDARD
            .decode(sealed)
            .map_err(|_invalid| corrupt())?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or_else(corrupt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| corrupt())?;
        let mut rest = rest.to_vec();
        let plain = self
            .key()?
            .open_in_place(nonce, Aad::from(label.as_bytes()), &mut rest)
            .map_err(|_unspecified| corrupt())?;
        Ok(plain.to_vec())
    }
}

const SELECT_PROOF: &str = "SELECT value FROM settings WHERE name = $1";
const INSERT_PROOF: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
     ON CONFLICT (name) DO NOTHING";
const SELECT_ANY: &str = "SELECT id FROM secrets WHERE sealed <> '' LIMIT 1";
const SELECT_SEALED: &str = "SELECT sealed FROM secrets WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT_PROOF, INSERT_PROOF, SELECT_ANY, SELECT_SEALED];

/// 32 bytes as they are, or written down as base64 or hexadecimal digits.
fn parse(content: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if let Ok(bytes) = content.try_into() {
        return Some(bytes);
    }
    let text = std::str::from_utf8(content).ok()?.trim();
    if let Ok(decoded) = BASE64_STANDARD.decode(text)
        && let Ok(bytes) = decoded.try_into()
    {
        return Some(bytes);
    }
    if text.len() != KEY_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A fresh key, written in full under another name first: a key that is cut short would lock every
/// secret made with it.
fn create(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_unspecified| std::io::Error::other("no randomness"))?;
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_under_its_own_id_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        let key = SealKey::load(&path, true).unwrap();
        let sealed = key.seal("a", b"private").unwrap();
        assert!(!sealed.contains("private"));
        let again = SealKey::load(&path, false).unwrap();
        assert_eq!(again.open("a", &sealed).unwrap(), b"private");
        assert!(again.open("b", &sealed).is_err());
        let other = SealKey::load(&dir.path().join("other"), true).unwrap();
        assert!(other.open("a", &sealed).is_err());
    }

    #[test]
    fn the_key_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        SealKey::load(&path, true).unwrap();
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_may_be_written_as_bytes_base64_or_digits() {
        let bytes = [7; KEY_BYTES];
        let digits = "07".repeat(KEY_BYTES);
        assert_eq!(parse(&bytes), Some(bytes));
        assert_eq!(parse(format!("{digits}\n").as_bytes()), Some(bytes));
        assert_eq!(parse(BASE64_STANDARD.encode(bytes).as_bytes()), Some(bytes));
        for wrong in [&b""[..], b"short", &[1; 31], &[0xff; 64]] {
            assert_eq!(parse(wrong), None);
        }
    }
}
