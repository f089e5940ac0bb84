//! Connections to members that wait for their next request: last in, first out, per worker.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::Upload;

/// Idle connections kept per member and worker.
const IDLE_MAX: usize = 256;

/// An idle connection is closed after this long.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Where a connection goes and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) member: SocketAddr,
    pub(crate) source: Option<IpAddr>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// One worker's idle connections.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections(RefCell<HashMap<Key, Vec<Idle>>>);

impl IdleConnections {
    /// The one used last, if it is open and has been idle for less than `younger_than`.
    pub(super) fn take(&self, key: Key, younger_than: Duration) -> Option<SendRequest<Upload>> {
        let mut members = self.0.borrow_mut();
        let idle = members.get_mut(&key)?;
        while let Some(candidate) = idle.pop() {
            if candidate.sender.is_closed() {
                continue;
            }
            if candidate.since.elapsed() < younger_than {
                return Some(candidate.sender);
            }
            idle.push(candidate);
            return None;
        }
        None
    }

    pub(super) fn put(&self, key: Key, sender: SendRequest<Upload>) {
        if sender.is_closed() {
            return;
        }
        let mut members = self.0.borrow_mut();
        let idle = members.entry(key).or_default();
        if idle.len() < IDLE_MAX {
            let since = Instant::now();
            idle.push(Idle { sender, since });
        }
    }

    /// Drops what is closed, too old, or goes to nobody in `wanted`.
    pub(crate) fn sweep(&self, wanted: &HashSet<Key>) {
        self.0.borrow_mut().retain(|key, idle| {
            idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_FOR);
            wanted.contains(key) && !idle.is_empty()
        });
    }
}
