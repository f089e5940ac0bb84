//! The lowest real-time priority for one thread of a process that may do nothing else.
//!
//! A thread of ordinary priority that wakes on a processor which the kernel does not give up (it checks a
//! BPF program, say) waits there though another is free; one of real-time priority goes to the other.
//!
//! Invariant: whoever has taken it cannot give it to another thread ([`take`] gives the permission up).

#![expect(unsafe_code, reason = "a system call the safe crates do not have")]

use std::io;

/// Highest priority that a process is permitted.
pub const PRIORITY: u64 = 1;

/// Makes the calling thread one of real-time priority, and gives up the permission for all others.
///
/// # Errors
/// When that is not permitted; the thread stays what it was.
pub fn take() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` lives across the call.
    let outcome = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    let failed = (outcome != 0).then(io::Error::last_os_error);
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` lives across the call. Lowering a limit needs no permission.
    if unsafe { libc::setrlimit(libc::RLIMIT_RTPRIO, &raw const none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    failed.map_or(Ok(()), Err)
}
