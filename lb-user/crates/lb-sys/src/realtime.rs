//! The lowest real-time priority for one thread of a process that may do nothing else.
//!
//! A thread of ordinary priority that wakes on a processor which the kernel does not give up (it checks a
//! BPF program, say) waits there though another is free; one of real-time priority goes to the other, and
//! neither waits behind whatever else has work.
//!
//! An amphora is born with it ([`take`], before it loses its privileges), starts that one thread, which
//! keeps it ([`keep`]), and gives it up for itself and all that come after ([`give_up`]). No limit permits
//! it to be taken again.

#![expect(unsafe_code, reason = "a system call the safe crates do not have")]

use std::io;

/// Lowest of the real-time priorities.
const PRIORITY: libc::c_int = 1;

fn set(policy: libc::c_int, sched_priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority };
    // SAFETY: `parameters` lives across the call.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the calling thread real-time priority, and every thread and process it starts. Allocates nothing.
///
/// # Errors
/// Without CAP_SYS_NICE, or in a control group that has no real-time share.
pub fn take() -> io::Result<()> {
    set(libc::SCHED_RR, PRIORITY)
}

/// Keeps what was inherited, for the calling thread alone.
///
/// # Errors
/// When there is nothing to keep.
pub fn keep() -> io::Result<()> {
    set(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, PRIORITY)
}

/// Makes the calling thread, and those it starts from now on, ordinary again.
///
/// # Errors
/// The kernel's; it permits this to everyone.
pub fn give_up() -> io::Result<()> {
    set(libc::SCHED_OTHER, 0)
}
