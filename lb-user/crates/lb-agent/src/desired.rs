//! What the agent was given and what it gave out, on disk: with these alone, and no server, it
//! brings every load balancer up after a reboot.
//!
//! Specs hold private keys: they are encrypted with a key of this host ([`crate::seal`]). All files
//! have mode 0600 in a directory of mode 0700. Written whole to a new file and renamed: a killed
//! agent leaves the old or the new. What must survive a power failure too is synced; what is about
//! maps and processes is not, for these do not survive it either, and whoever waits for a new load
//! balancer would wait for the disk.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use lb_model::{
    id::LoadBalancerId,
    secret::Secret,
    spec::{ListenerReport, LoadBalancerSpec},
};
use lb_plan::datapath::{Allocations, Health};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, seal::HostKey};

/// The agent's files.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    key: HostKey,
}

impl Disk {
    /// In `dir`, which is made, with the key of this host.
    ///
    /// # Errors
    /// When it cannot be made private, or the key is not usable.
    pub fn open(dir: PathBuf) -> Result<Self> {
        lb_sys::unix::private_dir(&dir)?;
        lb_sys::unix::private_dir(&dir.join("specs"))?;
        let key = HostKey::load_or_create(&dir)?;
        Ok(Self { dir, key })
    }

    /// What TLS session tickets of a load balancer are sealed under, at both of its amphorae.
    pub(crate) fn ticket_seed(&self, of: LoadBalancerId) -> Option<Secret> {
        self.key.ticket_seed(of)
    }

    /// All specs, one file each. One that cannot be read, or does not open with the key of this
    /// host, is left out and told: the server sends it again, into the same file.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn specs(&self) -> Result<BTreeMap<LoadBalancerId, LoadBalancerSpec>> {
        let dir = self.dir.join("specs");
        let failed = |source| Error::File {
            doing: "list",
            path: dir.clone(),
            source,
        };
        let mut specs = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match self.spec(&path) {
                Ok(Some(spec)) => drop(specs.insert(spec.id, spec)),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "cannot read a stored load balancer"),
            }
        }
        Ok(specs)
    }

    /// Keeps a spec: from here on an agent that is started again finds it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_spec(&self, spec: &LoadBalancerSpec) -> Result<()> {
        let path = self.spec_path(spec.id);
        let sealed = self.key.seal(&path, to_json(&path, spec)?)?;
        // What replaces nothing is not waited for here: [`Disk::sync_spec`] does.
        write(&path, &sealed, path.exists())
    }

    /// Waits until a spec is kept whatever happens, a power failure too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_spec(&self, id: LoadBalancerId) -> Result<()> {
        let path = self.spec_path(id);
        let synced = File::open(&path).and_then(|file| file.sync_all());
        let synced = synced.and_then(|()| sync_parent(&path));
        synced.map_err(|source| Error::File {
            doing: "keep",
            path,
            source,
        })
    }

    /// Forgets a spec, and what was done for it.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_spec(&self, id: LoadBalancerId) -> Result<()> {
        remove(&self.spec_path(id))?;
        remove(&self.failover_path(id))?;
        remove(&self.health_path(id))
    }

    /// Members' health that the maps were written with last; unknown when it cannot be read.
    #[must_use]
    pub fn health(&self, id: LoadBalancerId) -> Health {
        let kept: Option<Vec<_>> = read(&self.health_path(id)).ok().flatten();
        kept.into_iter().flatten().collect()
    }

    /// Keeps members' health, so that an agent that starts sends nobody to a member that is down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_health(&self, id: LoadBalancerId, health: &Health) -> Result<()> {
        let list: Vec<_> = health.iter().collect();
        write_json_for_now(&self.health_path(id), &list)
    }

    /// How many planned failovers were carried out.
    #[must_use]
    pub fn failovers(&self, id: LoadBalancerId) -> Option<u64> {
        read(&self.failover_path(id)).ok().flatten()
    }

    /// Keeps how many planned failovers were carried out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_failovers(&self, id: LoadBalancerId, count: u64) -> Result<()> {
        // A boot starts every amphora anew, which is what a planned failover is about.
        write_json_for_now(&self.failover_path(id), &count)
    }

    /// Counters of amphora processes that ended.
    #[must_use]
    pub fn counters(&self, id: LoadBalancerId) -> Vec<ListenerReport> {
        read(&self.counters_path(id))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Keeps counters of amphora processes that ended.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_counters(&self, id: LoadBalancerId, counters: &[&ListenerReport]) -> Result<()> {
        write_json(&self.counters_path(id), &counters)
    }

    /// Who has which place in the maps.
    ///
    /// # Errors
    /// When the file is there and cannot be read: to guess would mix up packets.
    pub fn allocations(&self) -> Result<Option<Allocations>> {
        read(&self.dir.join("allocations.json"))
    }

    /// Keeps who has which place in the maps, as long as there are these maps: until the next boot.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_allocations(&self, allocations: &Allocations) -> Result<()> {
        write_json_for_now(&self.dir.join("allocations.json"), allocations)
    }

    /// Where switches are noted as they were found.
    #[must_use]
    pub fn sysctls_path(&self) -> PathBuf {
        self.dir.join("sysctls.json")
    }

    fn spec(&self, path: &Path) -> Result<Option<LoadBalancerSpec>> {
        let Some(sealed) = read_bytes(path)? else {
            return Ok(None);
        };
        from_json(path, &self.key.open(path, &sealed)?).map(Some)
    }

    fn spec_path(&self, id: LoadBalancerId) -> PathBuf {
        self.dir.join("specs").join(format!("{id}.json"))
    }

    fn health_path(&self, id: LoadBalancerId) -> PathBuf {
        self.dir.join("specs").join(format!("{id}.health"))
    }

    fn counters_path(&self, id: LoadBalancerId) -> PathBuf {
        self.dir.join("specs").join(format!("{id}.counters"))
    }

    fn failover_path(&self, id: LoadBalancerId) -> PathBuf {
        self.dir.join("specs").join(format!("{id}.failovers"))
    }
}

/// Reads JSON; `None`: there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = read_bytes(path)?;
    bytes.map(|bytes| from_json(path, &bytes)).transpose()
}

/// Writes JSON as [`write_private`] does.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_private(path, &to_json(path, value)?)
}

/// The same for what is of no use after the next boot: it does not wait for the disk.
pub(crate) fn write_json_for_now<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, &to_json(path, value)?, false)
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn from_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Parse {
        path: path.to_owned(),
        source,
    })
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Parse {
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file as a whole, readable by its owner only; it survives a power failure.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, true)
}

fn write(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let failed = |source| Error::File {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    if durable {
        file.sync_all().map_err(failed)?;
    }
    fs::rename(&new, path).map_err(failed)?;
    if durable {
        sync_parent(path).map_err(failed)?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file; one that is gone is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            doing: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{enums::Topology, spec::CertificateSpec};

    use super::*;

    fn spec() -> LoadBalancerSpec {
        LoadBalancerSpec {
            certificates: vec![CertificateSpec {
                id: "reference".to_owned(),
                chain_pem: String::new(),
                key_pem: Secret::new("PRIVATE".to_owned()),
                hosts: Vec::new(),
                ocsp: None,
            }],
            ..LoadBalancerSpec::new(LoadBalancerId(uuid::Uuid::new_v4()), Topology::Single)
        }
    }

    #[test]
    fn specs_come_back_and_their_private_keys_are_nowhere_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec();
        Disk::open(dir.path().to_owned())
            .unwrap()
            .put_spec(&spec)
            .unwrap();
        let disk = Disk::open(dir.path().to_owned()).unwrap();
        assert_eq!(disk.specs().unwrap().get(&spec.id), Some(&spec));
        for entry in fs::read_dir(dir.path().join("specs")).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(7).any(|part| part == b"PRIVATE"));
        }
    }

    #[test]
    fn a_spec_in_plain_or_of_another_key_is_left_out_until_it_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, spec) = (spec(), spec());
        let disk = Disk::open(dir.path().to_owned()).unwrap();
        write_json(&disk.spec_path(plain.id), &plain).unwrap();
        disk.put_spec(&spec).unwrap();
        assert_eq!(
            disk.specs().unwrap().into_keys().collect::<Vec<_>>(),
            [spec.id]
        );
        fs::remove_file(dir.path().join("host.key")).unwrap();
        let disk = Disk::open(dir.path().to_owned()).unwrap();
        assert!(disk.specs().unwrap().is_empty());
        disk.put_spec(&plain).unwrap();
        disk.put_spec(&spec).unwrap();
        assert_eq!(disk.specs().unwrap().len(), 2);
    }
}
