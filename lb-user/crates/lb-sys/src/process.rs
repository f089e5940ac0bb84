//! Starting an amphora: its own network, PID and mount namespace, its own uid, nothing it could use
//! against the host.
//!
//! Why a throw-away thread: namespaces belong to threads. The thread enters the amphora's network
//! namespace, unshares PID and mount namespaces, builds a root of its own and forks; the child is
//! PID 1 of the new PID namespace. What needs ordinary code (mounts) is done in the thread before
//! the fork; between fork and exec there are system calls only.
//!
//! The amphora's root is a small tmpfs: the binary, the shared libraries it is linked with
//! (read-only) and three devices. Nothing of the host's file system is reachable, so neither is the
//! agent's state nor another tenant's socket.
//!
//! Its system calls it limits itself, once it has started ([`crate::seccomp`]): the filter allows no
//! exec. Its cgroup is its supervisor's affair.

#![expect(unsafe_code, reason = "system calls between fork and exec")]

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
    thread::UnshareFlags,
};

use crate::{Doing as _, Result, netns, pidfd::Pidfd};

/// Niceness of an amphora: its heartbeat must not wait behind batch work.
const NICE: i32 = -10;
/// Most open files of an amphora.
const FILES_MAX: u64 = 65_536;
/// Most threads and processes of an amphora's uid.
const PROCESSES_MAX: u64 = 256;
/// Where the binary is in the amphora's root.
const BINARY: &str = "/lbaas";
/// Directories a dynamically linked binary takes its libraries from; links are copied as links.
const LIBRARY_DIRS: [&str; 4] = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];
/// Devices a program may expect.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// An argument of the amphora's command line.
#[derive(Debug)]
pub enum Argument<'a> {
    /// As it is.
    Text(OsString),
    /// A descriptor handed down: it stays open across the start, and its number is the argument.
    Descriptor(BorrowedFd<'a>),
    /// A socket opened in its network namespace, while there are privileges for it; handed down
    /// under this option. Left out, with the option, when the kernel refuses.
    Socket {
        /// Its option.
        option: &'static str,
        /// Opens it.
        open: fn() -> io::Result<OwnedFd>,
    },
}

/// What to start, and in which surroundings.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Binary on the host.
    pub binary: &'a Path,
    /// Command line without the program's name.
    pub arguments: Vec<Argument<'a>>,
    /// Environment, nothing else is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Name of its network namespace.
    pub netns: &'a str,
    /// Existing empty directory that its root is mounted on (in its mount namespace only).
    pub root_dir: &'a Path,
    /// Its uid and gid.
    pub uid: u32,
    /// Where its standard output and error go; append-only.
    pub log: File,
    /// It begins with real-time priority, where that can be had ([`crate::realtime`]).
    pub realtime: bool,
}

/// Starts it and returns a handle that does not suffer from reuse of process numbers.
///
/// # Errors
/// When any step of the isolation fails: then nothing runs.
pub fn spawn(spawn: Spawn<'_>) -> Result<Pidfd> {
    let namespace = netns::open(spawn.netns)?;
    netns::on_thread("spawn", move || {
        netns::enter_thread(namespace.as_fd())?;
        #[expect(
            deprecated,
            reason = "the flags passed share no file table, which is what the safe form is deprecated for"
        )]
        rustix::thread::unshare(UnshareFlags::NEWPID | UnshareFlags::NEWNS)
            .doing(|| "make a PID and a mount namespace")?;
        build_root(spawn.root_dir, spawn.binary)?;
        start(spawn)
    })
}

/// Forbids others of the same uid to look into this process, and core files. Starting a program
/// resets it, so an amphora calls this first thing itself.
///
/// # Errors
/// When the kernel refuses.
pub fn refuse_dumps() -> Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .doing(|| "refuse dumps of this process")
}

/// Makes `root` the root of this thread's mount namespace, and nothing else part of it.
fn build_root(root: &Path, binary: &Path) -> Result<()> {
    // Slave, not private: what the host unmounts before we are done must not be kept busy by us.
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .doing(|| "separate mounts")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(
        "lbaas",
        root,
        "tmpfs",
        flags,
        c"mode=0755,size=1m,nr_inodes=256",
    )
    .doing(|| format!("mount a root on {}", root.display()))?;
    bind_file(binary, &inside(root, BINARY), true)?;
    for dir in LIBRARY_DIRS {
        add_libraries(root, dir)?;
    }
    for device in DEVICES {
        bind_file(Path::new(device), &inside(root, device), false)?;
    }
    let old = root.join("old");
    fs::create_dir(&old).doing(|| "make a place for the old root")?;
    rustix::process::pivot_root(root, &old).doing(|| "change the root")?;
    rustix::process::chdir("/").doing(|| "enter the new root")?;
    rustix::mount::unmount("/old", UnmountFlags::DETACH).doing(|| "leave the old root")?;
    fs::remove_dir("/old").doing(|| "remove the old root's place")?;
    rustix::mount::mount_remount("/", flags | MountFlags::RDONLY, c"")
        .doing(|| "make the root read-only")
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn bind_file(source: &Path, target: &Path, read_only: bool) -> Result<()> {
    let doing = || format!("bind {}", source.display());
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).doing(doing)?;
    }
    // Without opening it: a child that another thread forks right now would keep it open for writing,
    // and the root could not be made read-only.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        target,
        rustix::fs::FileType::RegularFile,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .doing(doing)?;
    rustix::mount::mount_bind(source, target).doing(doing)?;
    if read_only {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount_remount(target, flags, c"").doing(doing)?;
    }
    Ok(())
}

fn add_libraries(root: &Path, dir: &str) -> Result<()> {
    let doing = || format!("give access to {dir}");
    let Ok(metadata) = fs::symlink_metadata(dir) else {
        return Ok(());
    };
    let target = inside(root, dir);
    if metadata.is_symlink() {
        let link = fs::read_link(dir).doing(doing)?;
        return std::os::unix::fs::symlink(link, &target).doing(doing);
    }
    fs::create_dir_all(&target).doing(doing)?;
    rustix::mount::mount_bind(dir, &target).doing(doing)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount_remount(&target, flags, c"").doing(doing)
}

fn start(spawn: Spawn<'_>) -> Result<Pidfd> {
    let doing = || "start an amphora";
    let errors = spawn.log.try_clone().doing(doing)?;
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .envs(spawn.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(spawn.log))
        .stderr(Stdio::from(errors));
    // Handed down under the numbers they have here: moving them to fixed ones could hit the
    // descriptor by which the child tells us that it failed.
    let mut kept: Vec<OwnedFd> = Vec::new();
    for argument in spawn.arguments {
        match argument {
            Argument::Text(text) => {
                command.arg(text);
            }
            Argument::Descriptor(descriptor) => {
                // A copy, so that the same descriptor can be handed to two children at once.
                let copy = descriptor.try_clone_to_owned().doing(doing)?;
                command.arg(copy.as_raw_fd().to_string());
                kept.push(copy);
            }
            Argument::Socket { option, open } => {
                // This thread is in the namespace already.
                if let Ok(socket) = open() {
                    command.arg(option).arg(socket.as_raw_fd().to_string());
                    kept.push(socket);
                }
            }
        }
    }
    let numbers: Vec<RawFd> = kept.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    let (uid, realtime) = (spawn.uid, spawn.realtime);
    // SAFETY: `enter_child` makes system calls only: no allocation, no locks, nothing that another
    // thread could have held at the fork.
    unsafe { command.pre_exec(move || enter_child(&numbers, uid, realtime)) };
    let child = command.spawn().doing(doing)?;
    // Nobody has waited for it yet, so its number is still its own.
    Pidfd::open(child.id())
}

/// Runs in the child between fork and exec.
fn enter_child(kept: &[RawFd], uid: u32, realtime: bool) -> io::Result<()> {
    // What whoever started the agent left open is not for an amphora either.
    // SAFETY: marks descriptors only; closes none.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    for &number in kept {
        // SAFETY: fcntl on a number; a wrong one is an error, not undefined.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
    }
    if realtime {
        // For the heartbeat's thread. Where the agent may not give it, it does without.
        drop(crate::realtime::take());
    }
    // SAFETY: setpriority, prctl and umask take plain numbers; `limit` has no further conditions.
    unsafe {
        check(libc::setpriority(libc::PRIO_PROCESS, 0, NICE))?;
        limit(libc::RLIMIT_NOFILE, FILES_MAX)?;
        limit(libc::RLIMIT_NPROC, PROCESSES_MAX)?;
        limit(libc::RLIMIT_CORE, 0)?;
        limit(libc::RLIMIT_MEMLOCK, 0)?;
        limit(libc::RLIMIT_RTPRIO, 0)?;
        for capability in 0.. {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 {
                // Past the last one the kernel knows.
                break;
            }
        }
        libc::umask(0o077);
    }
    // SAFETY: raw calls, because libc's wrappers would tell other threads, which a forked child
    // does not have. Leaving uid 0 clears the permitted and effective sets.
    unsafe {
        let none: *const libc::gid_t = std::ptr::null();
        check_long(libc::syscall(libc::SYS_setgroups, 0usize, none))?;
        check_long(libc::syscall(libc::SYS_setresgid, uid, uid, uid))?;
        check_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        drop_capabilities()?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))
    }
}

/// Clears the inheritable set too, which changing the uid leaves alone.
///
/// # Safety
/// None beyond being a system call; unsafe because of it.
unsafe fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// _LINUX_CAPABILITY_VERSION_3: two blocks of three words.
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let sets = [0u32; 6];
    // SAFETY: both point at structures of the length that version 3 asks for.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) })
}

/// Lowers a limit to `value`; one that is lower already stays, for raising it takes a capability that
/// the agent need not have.
///
/// # Safety
/// None beyond being a system call; unsafe because of it.
unsafe fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives across both calls.
    unsafe {
        check(libc::getrlimit(resource, &raw mut limit))?;
        limit.rlim_max = limit.rlim_max.min(value);
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(resource, &raw const limit))
    }
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    check_long(outcome.into())
}

fn check_long(outcome: libc::c_long) -> io::Result<()> {
    if outcome < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pidfd::Send;
    use std::{os::unix::fs::MetadataExt as _, time::Duration};

    struct Cleanup(String, Option<Pidfd>);
    impl Drop for Cleanup {
        fn drop(&mut self) {
            if let Some(process) = &self.1 {
                process.send(Send::Kill).unwrap();
                process.wait_ended(Duration::from_secs(5)).unwrap();
                assert!(process.reap());
            }
            netns::delete(&self.0).unwrap();
        }
    }

    fn status(pid: u32, field: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_once(':')
            .unwrap()
            .1
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn amphora_has_nothing_but_what_it_was_given() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("LBAAS_TEST_REQUIRE_ROOT").is_none());
            eprintln!("SKIPPED: needs root");
            return;
        }
        let name = format!("lbsys-{}-spawn", std::process::id());
        netns::create(&name).unwrap();
        let mut cleanup = Cleanup(name.clone(), None);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let handed = tempfile::tempfile().unwrap();
        let process = spawn(Spawn {
            binary: Path::new("/bin/sleep"),
            arguments: vec![
                Argument::Text("1000".into()),
                Argument::Descriptor(handed.as_fd()),
            ],
            environment: Vec::new(),
            netns: &name,
            root_dir: &root,
            uid: 212_345,
            log: tempfile::tempfile().unwrap(),
            realtime: true,
        })
        .unwrap();
        let pid = process.pid();
        cleanup.1 = Some(process);

        assert_eq!(status(pid, "Uid"), "212345 212345 212345 212345");
        assert_eq!(status(pid, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        assert_eq!(status(pid, "NSpid"), format!("{pid} 1"));
        let of = |kind: &str| {
            fs::metadata(format!("/proc/{pid}/ns/{kind}"))
                .unwrap()
                .ino()
        };
        let ours = |kind: &str| fs::metadata(format!("/proc/self/ns/{kind}")).unwrap().ino();
        for kind in ["net", "mnt", "pid"] {
            assert_ne!(of(kind), ours(kind), "{kind}");
        }
        assert_eq!(of("net"), fs::metadata(netns::path(&name)).unwrap().ino());
        let mut seen: Vec<_> = fs::read_dir(format!("/proc/{pid}/root"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        seen.sort();
        assert_eq!(seen, ["dev", "lbaas", "lib", "lib64", "usr"]);
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let number = command.split('\0').nth(2).unwrap().to_owned();
        assert!(fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok());
        // Standard streams, the one handed down, and nothing else of ours.
        assert_eq!(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 4);
    }

    #[test]
    fn an_amphora_can_neither_signal_nor_read_another() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("LBAAS_TEST_REQUIRE_ROOT").is_none());
            eprintln!("SKIPPED: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let page = tempfile::tempfile().unwrap();
        let born = |of: &str, uid: u32, binary: &str, arguments: Vec<Argument<'_>>, log: &File| {
            let name = format!("lbsys-{}-{of}", std::process::id());
            netns::create(&name).unwrap();
            let cleanup = Cleanup(name.clone(), None);
            let root = dir.path().join(of);
            fs::create_dir(&root).unwrap();
            let process = spawn(Spawn {
                binary: Path::new(binary),
                arguments,
                environment: Vec::new(),
                netns: &name,
                root_dir: &root,
                uid,
                log: log.try_clone().unwrap(),
                realtime: false,
            });
            (cleanup, process.unwrap())
        };
        let victim = vec![
            Argument::Text("1000".into()),
            Argument::Descriptor(page.as_fd()),
        ];
        let quiet = tempfile::tempfile().unwrap();
        let (mut first, process) = born("victim", 212_346, "/bin/sleep", victim, &quiet);
        let pid = process.pid();
        first.1 = Some(process);
        // A program that tries, as whoever has taken over an amphora would.
        let script = format!(
            "kill -9 {pid}; echo signalled=$?; kill -9 -1; echo all=$?
             ls=$(echo /proc/*); echo proc=$ls; (: > /written); echo wrote=$?
             (: < /proc/{pid}/mem); echo read=$?
             for n in 3 4 5 6 7 8 9; do (: >&$n) 2>/dev/null && echo has=$n; done; echo end"
        );
        let log_path = dir.path().join("log");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .unwrap();
        let script = vec![Argument::Text("-c".into()), Argument::Text(script.into())];
        let (mut second, attacker) = born("attacker", 212_347, "/bin/dash", script, &log);
        second.1 = Some(attacker);
        let deadline = crate::clock::monotonic_ns() + 20_000_000_000;
        let said = loop {
            let said = fs::read_to_string(&log_path).unwrap();
            if said.contains("end\n") {
                break said;
            }
            assert!(crate::clock::monotonic_ns() < deadline, "{said}");
            std::thread::yield_now();
        };
        for refused in ["signalled=0", "wrote=0", "read=0", "has="] {
            assert!(!said.contains(refused), "{refused}: {said}");
        }
        assert!(said.contains("proc=/proc/*"), "{said}");
        assert!(!first.1.as_ref().unwrap().has_ended(), "{said}");
    }
}
