//! Starting amphora processes and finding them again.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::{
            fs::{MetadataExt as _, OpenOptionsExt as _},
            net::UnixStream,
        },
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

use super::cgroup::Group;
use crate::{
    AgentConfig, Result,
    desired::{read, remove, write_json_for_now},
    edge::netns_name,
};

/// Uids of amphorae are this plus their index in the maps: no two share one.
const UID_BASE: u32 = 200_000;
/// Those that were started before it was known which amphora they become have uids of their own.
const SPARE_UID_BASE: u32 = 300_000;
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
    /// Not an amphora yet, whatever directory this is in: XDP does not know its heartbeat page.
    #[serde(default)]
    spare: bool,
}

/// Files and control group of one amphora.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    group: Group,
}

impl Files {
    pub(crate) fn new(config: &AgentConfig, id: AmphoraId) -> Self {
        Self {
            dir: config.amphorae_dir().join(id.to_string()),
            group: Group::new(config.amphora, id),
        }
    }

    /// Of one that is not needed yet.
    pub(crate) fn spare(config: &AgentConfig, id: AmphoraId) -> Self {
        Self {
            dir: config.spares_dir().join(id.to_string()),
            group: Group::new(config.amphora, id),
        }
    }

    /// Makes the directory, which says that there may be something of it.
    pub(crate) fn begin(&self) -> Result<()> {
        Ok(lb_sys::unix::private_dir(&self.dir)?)
    }

    /// Everything of it is another's from now on, in one step.
    pub(crate) fn hand_over(&self, to: &Self) -> Result<()> {
        let failed = |source| crate::Error::File {
            doing: "take over",
            path: self.dir.clone(),
            source,
        };
        match fs::remove_dir_all(&to.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        fs::rename(&self.dir, &to.dir).map_err(failed)?;
        to.group.take(&self.group);
        Ok(())
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
        self.group.remove();
    }
}

/// Starts an amphora's process. Blocks for some milliseconds.
pub(crate) fn start(
    binary: &Path,
    files: &Files,
    id: AmphoraId,
    index: u16,
    heartbeat: BorrowedFd<'_>,
) -> Result<Pidfd> {
    // Whoever is in there was started by an agent that died before it could write that down.
    kill_strays(&netns_name(id));
    let process = launch(binary, files, id, UID_BASE + u32::from(index), heartbeat)?;
    record(files, process.pid())?;
    Ok(process)
}

/// Starts one that is not needed yet.
pub(crate) fn start_spare(
    binary: &Path,
    files: &Files,
    id: AmphoraId,
    heartbeat: BorrowedFd<'_>,
) -> Result<Pidfd> {
    let missing = || crate::Error::Other("no uid is left for an amphora".to_owned());
    let uid = free_uid(id).ok_or_else(missing)?;
    let process = launch(binary, files, id, uid, heartbeat)?;
    note(files, process.pid(), true)?;
    Ok(process)
}

/// One of those for amphorae without an index that no process has.
fn free_uid(id: AmphoraId) -> Option<u32> {
    let taken: BTreeSet<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.uid()))
        .collect();
    // From anywhere on: another agent of this machine looks for one, too.
    let from = u16::try_from(id.0.as_u128() & u128::from(u16::MAX)).unwrap_or_default();
    let uids = (0..=u16::MAX).map(|n| SPARE_UID_BASE + u32::from(from.wrapping_add(n)));
    uids.into_iter().find(|uid| !taken.contains(uid))
}

fn launch(
    binary: &Path,
    files: &Files,
    id: AmphoraId,
    uid: u32,
    heartbeat: BorrowedFd<'_>,
) -> Result<Pidfd> {
    let netns = netns_name(id);
    lb_sys::unix::private_dir(&files.dir)?;
    let root_dir = files.dir.join("root");
    lb_sys::unix::private_dir(&root_dir)?;
    remove(&files.record())?;
    let control = lb_sys::unix::listen(&files.control())?;
    spawn(
        binary,
        files,
        &netns,
        uid,
        vec![
            Argument::Text("amphora".into()),
            Argument::Text("--control-fd".into()),
            Argument::Descriptor(control.as_fd()),
            Argument::Text("--heartbeat-fd".into()),
            Argument::Descriptor(heartbeat),
            Argument::Socket {
                option: "--sctp-fd",
                open: || lb_sys::raw::open_sctp(false),
            },
            Argument::Socket {
                option: "--sctp-fd",
                open: || lb_sys::raw::open_sctp(true),
            },
        ],
    )
}

/// Starts the process that takes the place of `pid`, which goes on until the new one serves: it asks
/// over the control socket, and inherits everything else. Blocks for some milliseconds.
pub(crate) fn succeed(binary: &Path, files: &Files, id: AmphoraId, pid: u32) -> Result<Pidfd> {
    let failed = |source| crate::Error::File {
        doing: "connect to",
        path: files.control(),
        source,
    };
    let stream = UnixStream::connect(files.control()).map_err(failed)?;
    let uid = uid_of(pid).map_err(failed)?;
    let process = spawn(
        binary,
        files,
        &netns_name(id),
        uid,
        vec![
            Argument::Text("amphora".into()),
            Argument::Text("--take-over-fd".into()),
            Argument::Descriptor(stream.as_fd()),
        ],
    )?;
    // Before it serves: an agent that comes after us shall find the one that lives on.
    record(files, process.pid())?;
    Ok(process)
}

fn spawn(
    binary: &Path,
    files: &Files,
    netns: &str,
    uid: u32,
    arguments: Vec<Argument<'_>>,
) -> Result<Pidfd> {
    let environment = ENVIRONMENT
        .into_iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let process = lb_sys::process::spawn(Spawn {
        binary,
        arguments,
        environment: environment.collect(),
        netns,
        root_dir: &files.dir.join("root"),
        uid,
        log: open_log(&files.dir.join("log"))?,
        realtime: files.group.has_realtime(),
    })?;
    files.group.confine(process.pid());
    Ok(process)
}

/// Notes which process an amphora is.
pub(crate) fn record(files: &Files, pid: u32) -> Result<()> {
    note(files, pid, false)
}

fn note(files: &Files, pid: u32, spare: bool) -> Result<()> {
    let Some(start_time) = pidfd::start_time(pid) else {
        return Ok(());
    };
    let record = Record {
        pid,
        start_time,
        boot: boot_id(),
        spare,
    };
    write_json_for_now(&files.record(), &record)
}

/// Whether a process runs another binary than `binary`, as it is now; `false` where that cannot be
/// told.
pub(crate) fn is_outdated(pid: u32, binary: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let runs = file(Path::new(&format!("/proc/{pid}/exe")));
    let wanted = file(binary);
    runs.is_some() && wanted.is_some() && runs != wanted
}

/// Real uid of a process. Its files in /proc are root's: it is not dumpable.
fn uid_of(pid: u32) -> io::Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    uid.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The process an earlier agent started, if it still runs and is an amphora.
pub(crate) fn recorded(files: &Files) -> Option<Pidfd> {
    find(files, false)
}

/// The same of one that is not needed yet.
pub(crate) fn recorded_spare(files: &Files) -> Option<Pidfd> {
    find(files, true)
}

fn find(files: &Files, spare: bool) -> Option<Pidfd> {
    let record: Record = match read(&files.record()) {
        Ok(record) => record?,
        Err(error) => {
            tracing::warn!(%error, "cannot tell which process an amphora is");
            return None;
        }
    };
    if record.boot != boot_id() || record.spare != spare {
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
