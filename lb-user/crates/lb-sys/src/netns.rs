//! Named network namespaces, as `ip netns` keeps them: a bind mount in `/run/netns`.
//!
//! Which namespace a thread is in is a property of the thread, so a worker of a runtime must never
//! change it: everything here that enters a namespace does so on an OS thread made for it, except
//! [`enter_process`], which refuses when other threads exist. A thread's own namespace is
//! `/proc/thread-self/ns/net`; `/proc/self` would always name the first thread's.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags},
    thread::{LinkNameSpaceType, UnshareFlags},
};

use crate::{Doing as _, Error, Result};

/// Where names of network namespaces live.
pub const NETNS_DIR: &str = "/run/netns";

/// Path of a named namespace, whether it exists or not.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Whether a namespace of this name exists.
#[must_use]
pub fn exists(name: &str) -> bool {
    // A name whose mount is gone is an empty file in the directory's own file system.
    match (fs::metadata(path(name)), fs::metadata(NETNS_DIR)) {
        (Ok(file), Ok(dir)) => {
            use std::os::unix::fs::MetadataExt as _;
            file.dev() != dir.dev()
        }
        _ => false,
    }
}

/// Names of all namespaces.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn list() -> Result<Vec<String>> {
    let entries = match fs::read_dir(NETNS_DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(|| format!("list {NETNS_DIR}")),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| exists(name))
        .collect();
    names.sort();
    Ok(names)
}

/// Creates a namespace, with `lo` down and nothing else. `false`: it existed.
///
/// # Errors
/// Without CAP_SYS_ADMIN, or when `/run/netns` cannot be written.
pub fn create(name: &str) -> Result<bool> {
    check_name(name)?;
    if exists(name) {
        return Ok(false);
    }
    prepare_dir()?;
    let target = path(name);
    File::create(&target).doing(|| format!("create {}", target.display()))?;
    let made = on_thread("netns-create", || {
        #[expect(
            deprecated,
            reason = "the flag passed shares no file table, which is what the safe form is deprecated for"
        )]
        rustix::thread::unshare(UnshareFlags::NEWNET)
            .doing(|| format!("make network namespace {name}"))?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", &target)
            .doing(|| format!("keep network namespace {name}"))
    });
    if made.is_err() {
        // The name must not stay without what it names; the first error is the one to tell.
        drop(fs::remove_file(&target));
    }
    made.map(|()| true)
}

/// Removes a namespace's name; with it goes the namespace, once nothing runs in it. Absent is fine.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn delete(name: &str) -> Result<()> {
    check_name(name)?;
    let target = path(name);
    match rustix::mount::unmount(&target, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(errno) => return Err(errno).doing(|| format!("unmount {}", target.display())),
    }
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", target.display()))
        }
        _ => Ok(()),
    }
}

/// Gives a namespace another name. Who is in there stays; killed in between it has both names.
///
/// # Errors
/// When there is none, `to` exists, or without CAP_SYS_ADMIN.
pub fn rename(from: &str, to: &str) -> Result<()> {
    check_name(from)?;
    check_name(to)?;
    let doing = || format!("rename network namespace {from} to {to}");
    if !exists(from) || exists(to) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).doing(doing);
    }
    let target = path(to);
    File::create(&target).doing(doing)?;
    if let Err(errno) = rustix::mount::mount_bind(path(from), &target) {
        // The name must not stay without what it names; the first error is the one to tell.
        drop(fs::remove_file(&target));
        return Err(errno).doing(doing);
    }
    delete(from)
}

/// A descriptor of a named namespace: for moving an interface into it, or for entering it.
///
/// # Errors
/// When there is none.
pub fn open(name: &str) -> Result<OwnedFd> {
    check_name(name)?;
    File::open(path(name))
        .map(OwnedFd::from)
        .doing(|| format!("open network namespace {name}"))
}

/// A descriptor of the calling thread's namespace.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn current() -> Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net")
        .map(OwnedFd::from)
        .doing(|| "open this thread's network namespace")
}

/// Runs `body` inside a named namespace, on a thread made for it, and waits for it. Sockets made
/// there stay in that namespace wherever they are used later.
///
/// # Errors
/// When there is no such namespace or it may not be entered.
pub fn run_in<T: Send>(name: &str, body: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = open(name)?;
    run_in_fd(namespace.as_fd(), body)
}

/// [`run_in`] for a namespace given by descriptor.
///
/// # Errors
/// When it may not be entered.
pub fn run_in_fd<T: Send>(namespace: BorrowedFd<'_>, body: impl FnOnce() -> T + Send) -> Result<T> {
    on_thread("netns", || {
        enter_thread(namespace)?;
        Ok(body())
    })
}

/// Starts a thread inside a named namespace and returns once it is there.
///
/// # Errors
/// When there is no such namespace or it may not be entered.
pub fn spawn_in<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<Option<T>>> {
    let namespace = open(name)?;
    let (told, entered) = std::sync::mpsc::sync_channel(1);
    let handle = thread::Builder::new()
        .name("in-netns".to_owned())
        .spawn(move || {
            let outcome = enter_thread(namespace.as_fd());
            let inside = outcome.is_ok();
            if told.send(outcome).is_err() || !inside {
                return None;
            }
            Some(body())
        })
        .doing(|| "start a thread")?;
    entered.recv().unwrap_or_else(|_ended| {
        Err(Error {
            doing: format!("enter network namespace {name}"),
            source: io::Error::other("the thread ended"),
        })
    })?;
    Ok(handle)
}

/// Moves the whole process into a named namespace. To be called before any other thread exists.
///
/// # Errors
/// With more than one thread, without such a namespace, or without CAP_SYS_ADMIN.
pub fn enter_process(name: &str) -> Result<()> {
    let doing = || format!("enter network namespace {name}");
    let threads = fs::read_dir("/proc/self/task").doing(doing)?.count();
    if threads != 1 {
        return Err(io::Error::other(format!(
            "{threads} threads are running, only the calling one would move"
        )))
        .doing(doing);
    }
    enter_thread(open(name)?.as_fd())
}

/// Moves the calling thread. Private: only threads made for it may move.
pub(crate) fn enter_thread(namespace: BorrowedFd<'_>) -> Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .doing(|| "enter a network namespace")
}

/// Runs `body` on a thread that ends with it.
pub(crate) fn on_thread<T: Send>(name: &str, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, body)
            .doing(|| "start a thread")?
            .join()
            .unwrap_or_else(|_panicked| {
                Err(io::Error::other("the thread panicked")).doing(|| name.to_owned())
            })
    })
}

/// A name is one path component that cannot leave the directory.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." || name.len() > 255 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput))
            .doing(|| format!("network namespace name {name:?}"));
    }
    Ok(())
}

/// Makes `/run/netns` a shared mount point of its own, as `ip netns` does, so that a name removed
/// here goes in other mount namespaces too.
fn prepare_dir() -> Result<()> {
    fs::create_dir_all(NETNS_DIR).doing(|| format!("create {NETNS_DIR}"))?;
    let share = || {
        rustix::mount::mount_change(
            NETNS_DIR,
            MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        )
    };
    match share() {
        Ok(()) => Ok(()),
        Err(Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(NETNS_DIR, NETNS_DIR)
                .doing(|| format!("make {NETNS_DIR} a mount point"))?;
            share().doing(|| format!("share {NETNS_DIR}"))
        }
        Err(errno) => Err(errno).doing(|| format!("share {NETNS_DIR}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    struct Removed(String);
    impl Drop for Removed {
        fn drop(&mut self) {
            delete(&self.0).unwrap();
        }
    }

    fn root() -> bool {
        let root = rustix::process::geteuid().is_root();
        assert!(
            root || std::env::var_os("LBAAS_TEST_REQUIRE_ROOT").is_none(),
            "needs root"
        );
        if !root {
            eprintln!("SKIPPED: needs root");
        }
        root
    }

    fn inode() -> u64 {
        fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
    }

    #[test]
    fn namespace_is_made_entered_on_other_threads_only_and_removed() {
        if !root() {
            return;
        }
        let name = format!("lbsys-{}-a", std::process::id());
        let guard = Removed(name.clone());
        assert!(create(&name).unwrap());
        assert!(!create(&name).unwrap(), "a second time finds it");
        assert!(list().unwrap().contains(&name));
        let here = inode();
        let there = run_in(&name, inode).unwrap();
        assert_ne!(here, there);
        assert_eq!(here, inode());
        let handle = spawn_in(&name, inode).unwrap();
        assert_eq!(handle.join().unwrap(), Some(there));
        let other = format!("lbsys-{}-b", std::process::id());
        rename(&name, &other).unwrap();
        let guard = (guard, Removed(other.clone()));
        assert!(!exists(&name));
        assert_eq!(
            run_in(&other, inode).unwrap(),
            there,
            "the same under another name"
        );
        drop(guard);
        assert!(!exists(&name) && !exists(&other));
        assert!(open(&name).is_err());
    }

    #[test]
    fn process_is_not_moved_while_threads_run() {
        // The test harness has several threads.
        let error = enter_process("lbsys-nothing").unwrap_err().to_string();
        assert!(error.contains("threads are running"), "{error}");
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        for name in ["", "..", ".", "a/b"] {
            assert!(create(name).is_err(), "{name}");
            assert!(delete(name).is_err(), "{name}");
        }
    }
}
