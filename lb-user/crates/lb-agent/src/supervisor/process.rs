//! Starting amphora processes and finding them again.

use std::{
    fs::{self, OpenOptions},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use lb_model::id::AmphoraId;
use lb_sys::{
    netns,
    pidfd::{self, Pidfd, Send},
    process::{Argument, Spawn},
};
use serde::{Deserialize, Serialize};

use crate::{
    AgentConfig, Result,
    desired::{read, remove, write_json},
    edge::netns_name,
};

/// Uids of amphorae are this plus their index in the maps: no two share one.
const UID_BASE: u32 = 200_000;
/// A log longer than this is put aside at the next start, in bytes.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// What amphorae inherit of the agent's environment.
const ENVIRONMENT: [&str; 2] = ["LBAAS_LOG", "RUST_BACKTRACE"];
/// How long a stray process may take to end after SIGKILL.
const STRAY_LIMIT: Duration = Duration::from_secs(2);

/// Which process an amphora is; on disk beside its control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    pid: u32,
    start_time: u64,
    boot: String,
}

/// Files of one amphora.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(crate) fn new(config: &AgentConfig, id: AmphoraId) -> Self {
        Self {
            dir: config.amphorae_dir().join(id.to_string()),
        }
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    fn record(&self) -> PathBuf {
        self.dir.join("process.json")
    }

    /// Nothing of the amphora is left.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::debug!(dir = %self.dir.display(), %error, "cannot remove an amphora's files");
        }
    }
}

/// Starts an amphora's process. Blocks for some milliseconds.
pub(crate) fn start(
    binary: &Path,
    files: &Files,
    id: AmphoraId,
    index: u16,
    heartbeat: &OwnedFd,
) -> Result<Pidfd> {
    let netns = netns_name(id);
    // Whoever is in there was started by an agent that died before it could write that down.
    kill_strays(&netns);
    lb_sys::unix::private_dir(&files.dir)?;
    let root_dir = files.dir.join("root");
    lb_sys::unix::private_dir(&root_dir)?;
    remove(&files.record())?;
    let control = lb_sys::unix::listen(&files.control())?;
    let log = open_log(&files.dir.join("log"))?;
    let environment = ENVIRONMENT
        .into_iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let process = lb_sys::process::spawn(Spawn {
        binary,
        arguments: vec![
            Argument::Text("amphora".into()),
            Argument::Text("--control-fd".into()),
            Argument::Descriptor(control.as_fd()),
            Argument::Text("--heartbeat-fd".into()),
            Argument::Descriptor(heartbeat.as_fd()),
            Argument::Socket {
                option: "--sctp-fd",
                open: || lb_sys::raw::open_sctp(false),
            },
            Argument::Socket {
                option: "--sctp-fd",
                open: || lb_sys::raw::open_sctp(true),
            },
        ],
        environment: environment.collect(),
        netns: &netns,
        root_dir: &root_dir,
        uid: UID_BASE + u32::from(index),
        log,
    })?;
    if let Some(start_time) = pidfd::start_time(process.pid()) {
        let record = Record {
            pid: process.pid(),
            start_time,
            boot: boot_id(),
        };
        write_json(&files.record(), &record)?;
    }
    Ok(process)
}

/// The process an earlier agent started, if it still runs.
pub(crate) fn recorded(files: &Files) -> Option<Pidfd> {
    let record: Record = match read(&files.record()) {
        Ok(record) => record?,
        Err(error) => {
            tracing::warn!(%error, "cannot tell which process an amphora is");
            return None;
        }
    };
    if record.boot != boot_id() {
        return None;
    }
    let process = Pidfd::open(record.pid).ok()?;
    // Looked at after the descriptor was opened: it cannot be another process any more.
    let same = pidfd::start_time(record.pid) == Some(record.start_time);
    (same && !process.has_ended()).then_some(process)
}

/// Ends every process in a namespace.
pub(crate) fn kill_strays(netns: &str) {
    let Ok(inode) = fs::metadata(netns::path(netns)).map(|metadata| metadata.ino()) else {
        return;
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    for pid in entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()) {
        let here = fs::metadata(format!("/proc/{pid}/ns/net"));
        if here.is_ok_and(|metadata| metadata.ino() == inode)
            && let Ok(process) = Pidfd::open(pid)
        {
            tracing::info!(pid, netns, "ending a process in an amphora's namespace");
            let ended = process
                .send(Send::Kill)
                .and_then(|()| process.wait_ended(STRAY_LIMIT));
            if !ended.unwrap_or(false) {
                tracing::warn!(pid, netns, "it does not end");
            }
            // Its parent may be an agent that is gone.
            drop(process);
        }
    }
}

fn open_log(path: &Path) -> Result<fs::File> {
    let failed = |source| crate::Error::File {
        doing: "open",
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("old")).map_err(failed)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
