//! The system calls an amphora may make: a list, and nothing beside it.
//!
//! What: [`confine`] puts two seccomp filters on the calling thread, which every thread it starts
//! later inherits and none can take off. A call that is not listed fails with EPERM; `clone3` fails
//! with ENOSYS, so that the C library starts threads by `clone`, whose flags a filter can read.
//!
//! Invariants: no new process, no program started, no signal to another process, no socket but
//! INET, INET6 and UNIX, nothing executable mapped or made so, no namespaces, mounts, keys, BPF or
//! tracing.
//!
//! Left out on purpose: killing the process. A library's harmless question must not cost a tenant
//! every connection; it gets an error.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::{Doing as _, Result};

/// Whatever their arguments.
const PLAIN: &[libc::c_long] = &[
    // Bytes.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_splice,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    // Sockets and descriptors.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    // Files: its root is read-only and holds the binary and libraries.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    // Memory; mmap and mprotect are below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads. The flags of clone are below.
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // To itself only: its PID namespace has nobody else.
    libc::SYS_tgkill,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Questions, and limits, which without capabilities only go down.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// The same by names that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLD: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_access,
    libc::SYS_getrlimit,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[libc::c_long] = &[];

/// `prctl`s: names of threads and of mappings, and giving up dumps.
const PRCTLS: [u64; 3] = [
    libc::PR_SET_NAME as u64,
    libc::PR_SET_VMA as u64,
    libc::PR_SET_DUMPABLE as u64,
];
/// `ioctl`s of sockets, pipes and standard streams, and the question for a link's carrier.
const IOCTLS: [u64; 5] = [
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONREAD,
    libc::TCGETS,
    libc::SIOCGIFFLAGS,
];
/// Address families of sockets.
const FAMILIES: [u64; 3] = [
    libc::AF_UNIX as u64,
    libc::AF_INET as u64,
    libc::AF_INET6 as u64,
];

/// Confines this thread, and every thread it starts from now on, for good.
///
/// # Errors
/// When the kernel has no seccomp, or the thread may still gain privileges.
pub fn confine() -> Result<()> {
    let doing = || "limit the system calls of this process";
    let programs = [no_clone3(), listed()];
    for program in programs {
        let program = program.map_err(io::Error::other).doing(doing)?;
        apply_filter(&program)
            .map_err(io::Error::other)
            .doing(doing)?;
    }
    Ok(())
}

type Built = std::result::Result<BpfProgram, seccompiler::BackendError>;

fn arch() -> std::result::Result<TargetArch, seccompiler::BackendError> {
    std::env::consts::ARCH.try_into()
}

fn no_clone3() -> Built {
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    SeccompFilter::new(rules, SeccompAction::Allow, enosys, arch()?)?.try_into()
}

fn listed() -> Built {
    let plain = PLAIN.iter().chain(OLD).map(|&call| (call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = plain.collect();
    rules.insert(libc::SYS_socket, any(0, &FAMILIES)?);
    rules.insert(
        libc::SYS_socketpair,
        any(0, FAMILIES.get(..1).unwrap_or_default())?,
    );
    rules.insert(libc::SYS_prctl, any(0, &PRCTLS)?);
    rules.insert(libc::SYS_ioctl, any(1, &IOCTLS)?);
    let executable = libc::PROT_EXEC as u64;
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_mmap, vec![masked(2, executable, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![masked(2, executable, 0)?]);
    rules.insert(libc::SYS_clone, vec![masked(0, thread, thread)?]);
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, eperm, SeccompAction::Allow, arch()?)?.try_into()
}

/// One rule a value: any of them will do.
fn any(
    argument: u8,
    values: &[u64],
) -> std::result::Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |&value| {
        let condition =
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![condition])
    };
    values.iter().map(rule).collect()
}

fn masked(
    argument: u8,
    mask: u64,
    value: u64,
) -> std::result::Result<SeccompRule, seccompiler::BackendError> {
    let compare = SeccompCmpOp::MaskedEq(mask);
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?;
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "tries system calls that must fail")]

    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
    };

    /// What a system call says, on a confined thread.
    fn confined<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(|| {
            // The filter asks for it; an amphora has it from its birth.
            rustix::thread::set_no_new_privs(true).unwrap();
            confine().unwrap();
            test()
        });
        thread.join().unwrap()
    }

    fn error(outcome: libc::c_long) -> Option<i32> {
        (outcome < 0).then(|| {
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or_default()
        })
    }

    #[test]
    fn forbidden_system_calls_fail() {
        let refused = confined(|| {
            let parent = i64::from(std::os::unix::process::parent_id());
            // SAFETY: plain numbers; each is refused before it would do anything.
            unsafe {
                [
                    ("kill", error(libc::syscall(libc::SYS_kill, parent, 0))),
                    ("unshare", error(libc::syscall(libc::SYS_unshare, 0))),
                    (
                        "ptrace",
                        error(libc::syscall(libc::SYS_ptrace, 16, parent, 0, 0)),
                    ),
                    (
                        "mount",
                        error(libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0)),
                    ),
                    ("bpf", error(libc::syscall(libc::SYS_bpf, 0, 0, 0))),
                    ("execve", error(libc::syscall(libc::SYS_execve, 0, 0, 0))),
                    (
                        "fork",
                        error(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)),
                    ),
                    ("setns", error(libc::syscall(libc::SYS_setns, 0, 0))),
                    ("keyctl", error(libc::syscall(libc::SYS_keyctl, 0, 0))),
                    (
                        "io_uring",
                        error(libc::syscall(libc::SYS_io_uring_setup, 1, 0)),
                    ),
                    (
                        "packet",
                        error(libc::syscall(
                            libc::SYS_socket,
                            libc::AF_PACKET,
                            libc::SOCK_RAW,
                            0,
                        )),
                    ),
                    (
                        "netlink",
                        error(libc::syscall(
                            libc::SYS_socket,
                            libc::AF_NETLINK,
                            libc::SOCK_RAW,
                            0,
                        )),
                    ),
                    (
                        "pidfd",
                        error(libc::syscall(libc::SYS_pidfd_open, parent, 0)),
                    ),
                    (
                        "read of another",
                        error(libc::syscall(
                            libc::SYS_process_vm_readv,
                            parent,
                            0,
                            0,
                            0,
                            0,
                            0,
                        )),
                    ),
                    (
                        "executable",
                        error(libc::syscall(libc::SYS_mmap, 0, 4096, 7, 34, -1, 0)),
                    ),
                ]
            }
        });
        for (call, outcome) in refused {
            assert_eq!(outcome, Some(libc::EPERM), "{call}");
        }
    }

    #[test]
    fn what_an_amphora_does_goes_on() {
        let echoed = confined(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            // A thread, started by clone because clone3 is not there.
            let client = thread::Builder::new()
                .name("client".to_owned())
                .spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(b"through").unwrap();
                })
                .unwrap();
            let mut text = String::new();
            listener
                .accept()
                .unwrap()
                .0
                .read_to_string(&mut text)
                .unwrap();
            client.join().unwrap();
            // A panic, caught: what unwinding asks of the kernel is listed.
            let caught = thread::spawn(|| std::hint::black_box([0u8; 0].as_slice())[0]).join();
            let link = crate::carrier::Carrier::watch("lo").unwrap().is_running();
            (text, caught.is_err(), link)
        });
        assert_eq!(echoed, ("through".to_owned(), true, Some(true)));
    }
}
