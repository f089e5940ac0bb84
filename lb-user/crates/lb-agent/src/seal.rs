//! Files with private keys in them, encrypted at rest: AES-256-GCM under a key of this host.
//!
//! A sealed file is a version byte, a random nonce, the encrypted content and its tag. It is bound
//! to its name: one file's bytes under another's name do not open.
//!
//! Left out on purpose: a change of the key. Without it nothing opens, and the server sends again.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand,
};
use lb_model::{id::LoadBalancerId, secret::Secret};

use crate::{Error, Result, desired::write_private};

/// Name of the key file in the agent's directory.
const KEY_FILE: &str = "host.key";
/// AES-256.
const KEY_BYTES: usize = 32;
/// First byte of a sealed file; never `{`, so that plain JSON is told apart.
const VERSION: u8 = 1;

/// Its `Debug` names the algorithms only.
#[derive(Debug)]
pub(crate) struct HostKey {
    files: RandomizedNonceKey,
    seeds: Prk,
}

impl HostKey {
    /// Reads the key in `dir`, or makes it.
    pub(crate) fn load_or_create(dir: &Path) -> Result<Self> {
        let path = dir.join(KEY_FILE);
        if !path.exists() {
            create(&path)?;
        }
        let bytes = fs::read(&path).map_err(|source| Error::File {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        let files = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map_err(|_unspecified| refused(&path, "is not a key of 32 bytes"))?;
        let seeds = Salt::new(HKDF_SHA256, b"lbaas ticket seeds").extract(&bytes);
        Ok(Self { files, seeds })
    }

    /// What the amphorae of a load balancer derive the keys of TLS session tickets from: the same
    /// for both of a pair, and after every restart.
    pub(crate) fn ticket_seed(&self, of: LoadBalancerId) -> Option<Secret> {
        let mut seed = [0; KEY_BYTES];
        let name = of.to_string();
        let info = [name.as_bytes()];
        let seeds = self.seeds.expand(&info, HKDF_SHA256).ok()?;
        seeds.fill(&mut seed).ok()?;
        let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Secret::new(hex))
    }

    /// Encrypts in place what is to be stored at `path`.
    pub(crate) fn seal(&self, path: &Path, mut plain: Vec<u8>) -> Result<Vec<u8>> {
        let (nonce, tag) = self
            .files
            .seal_in_place_separate_tag(name(path), &mut plain)
            .map_err(|_unspecified| refused(path, "cannot be encrypted"))?;
        Ok([&[VERSION][..], nonce.as_ref(), &plain, tag.as_ref()].concat())
    }

    /// Decrypts what [`HostKey::seal`] made for the same name.
    pub(crate) fn open(&self, path: &Path, sealed: &[u8]) -> Result<Vec<u8>> {
        let Some((&VERSION, sealed)) = sealed.split_first() else {
            return Err(refused(path, "is not encrypted as this version does it"));
        };
        let closed = || refused(path, "does not open with the key of this host");
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(closed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| closed())?;
        let mut bytes = rest.to_vec();
        let opened = self.files.open_in_place(nonce, name(path), &mut bytes);
        let length = opened.map_err(|_unspecified| closed())?.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// What a file is bound to; not the directory, which may be moved.
fn name(path: &Path) -> Aad<&[u8]> {
    Aad::from(path.file_name().unwrap_or_default().as_encoded_bytes())
}

fn refused(path: &Path, why: &'static str) -> Error {
    Error::Sealed {
        path: path.to_owned(),
        why,
    }
}

/// Makes a key, whole under a name of its own first: one cut short by a crash would be in the way
/// of every start. Like `O_EXCL`, a link never replaces: a key that another process made stays.
fn create(path: &Path) -> Result<()> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_unspecified| refused(path, "lacks randomness"))?;
    let draft = path.with_extension(std::process::id().to_string());
    write_private(&draft, &bytes)?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::remove_file(&draft),
    };
    let synced = linked.and_then(|()| File::open(path.parent().unwrap_or(path))?.sync_all());
    synced.map_err(|source| Error::File {
        doing: "make",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"-----BEGIN PRIVATE KEY-----";

    #[test]
    fn opens_only_with_its_key_under_its_name_and_unchanged() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = HostKey::load_or_create(dir.path()).unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let sealed = key.seal(&a, PLAIN.to_vec()).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"PRIVATE"));
        assert_ne!(sealed, key.seal(&a, PLAIN.to_vec()).unwrap());
        let again = HostKey::load_or_create(dir.path()).unwrap();
        assert_eq!(again.open(&a, &sealed).unwrap(), PLAIN);
        assert!(again.open(&b, &sealed).is_err());
        let other = HostKey::load_or_create(elsewhere.path()).unwrap();
        assert!(other.open(&a, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut tampered = sealed.clone();
            tampered[at] ^= 1;
            assert!(key.open(&a, &tampered).is_err(), "byte {at}");
            assert!(key.open(&a, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_key_file_is_its_owners_and_never_replaced() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        create(&path).unwrap();
        let first = fs::read(&path).unwrap();
        assert_eq!(first.len(), KEY_BYTES);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, &first[1..]).unwrap();
        assert!(HostKey::load_or_create(dir.path()).is_err());
    }
}
