//! Secrets at rest: AES-256-GCM under a key of this installation.
//!
//! The key is a file of its own beside the database (mode 0600, made at first start), so a copy of
//! the database alone shows nothing. A sealed secret is bound to its id: one row's bytes under
//! another's id do not open.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::error::StoreError;

/// Name of the key file in the state directory.
const KEY_FILE: &str = "secrets.key";
/// Held while the key is looked for or made.
const LOCK_FILE: &str = "secrets.lock";
/// AES-256.
const KEY_BYTES: usize = 32;

pub(crate) struct SealKey(RandomizedNonceKey);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

impl SealKey {
    /// Reads the key, or makes it: once, also when several servers start at the same time.
    pub(crate) fn load_or_create(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(KEY_FILE);
        let _alone = crate::lock::alone(&state_dir.join(LOCK_FILE))?;
        let fail = |source| StoreError::File {
            path: path.clone(),
            source,
        };
        let bytes = match File::open(&path) {
            Ok(mut file) => {
                let mut bytes = [0; KEY_BYTES];
                file.read_exact(&mut bytes).map_err(fail)?;
                bytes
            }
            Err(error) if error.kind() == ErrorKind::NotFound => create(&path).map_err(fail)?,
            Err(error) => return Err(fail(error)),
        };
        RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map(Self)
            .map_err(|_unspecified| StoreError::Internal("the secrets key is of no use"))
    }

    /// Encrypts; text for a TEXT column.
    pub(crate) fn seal(&self, id: &str, plain: &[u8]) -> Result<String, StoreError> {
        let mut bytes = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(id.as_bytes()), &mut bytes)
            .map_err(|_unspecified| StoreError::Internal("a secret could not be encrypted"))?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Ok(BASE64_STANDARD.encode(sealed))
    }

    /// Decrypts what [`SealKey::seal`] made under the same id.
    pub(crate) fn open(&self, id: &str, sealed: &str) -> Result<Vec<u8>, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("secret {id} does not open with this key"));
        let bytes = BASE64_STANDARD
            .decode(sealed)
            .map_err(|_invalid| corrupt())?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or_else(corrupt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| corrupt())?;
        let mut rest = rest.to_vec();
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(id.as_bytes()), &mut rest)
            .map_err(|_unspecified| corrupt())?;
        Ok(plain.to_vec())
    }
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
        let key = SealKey::load_or_create(dir.path()).unwrap();
        let sealed = key.seal("a", b"private").unwrap();
        assert!(!sealed.contains("private"));
        let again = SealKey::load_or_create(dir.path()).unwrap();
        assert_eq!(again.open("a", &sealed).unwrap(), b"private");
        assert!(again.open("b", &sealed).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        let other = SealKey::load_or_create(elsewhere.path()).unwrap();
        assert!(other.open("a", &sealed).is_err());
    }

    #[test]
    fn the_key_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        SealKey::load_or_create(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
