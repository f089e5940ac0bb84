//! Connections to members that wait for their next request: last in, first out, per worker.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Waker},
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use super::{connect::Connected, wire::Wire};
use crate::config::MemberConfig;

/// Idle connections kept per member and worker.
const IDLE_MAX: usize = 256;

/// An idle connection is closed after this long.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Where a connection goes, where it comes from, and who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) member: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    /// The one client connection it stays with: it began with that client's PROXY header, or the
    /// member has authenticated the connection. `None`: anyone's.
    pub(crate) owner: Option<u64>,
    /// Of those in TLS: stands for how, under which certificate of ours and which name.
    pub(crate) tls: Option<u64>,
}

impl Key {
    /// Of connections that anyone may use.
    pub(crate) fn shared(member: &MemberConfig) -> Self {
        Self {
            member: member.address,
            source: member.source,
            owner: None,
            tls: None,
        }
    }

    pub(crate) fn of(self, owner: u64) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }
}

#[derive(Debug)]
struct Idle {
    connection: Connected,
    since: Instant,
}

/// One in clear that speaks HTTP/1.
#[derive(Debug)]
struct Raw {
    stream: TcpStream,
    since: Instant,
}

impl Raw {
    /// The member has closed it, or said something nobody asked for: there is something to read.
    fn is_spent(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        if self.stream.poll_read_ready(&mut nobody).is_pending() {
            return false;
        }
        // Readiness outlives what was read when exactly as much was asked for as there was, as for a
        // body that goes through a pipe: the socket knows.
        let read = self.stream.try_read(&mut [0]);
        !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// One worker's idle connections.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections(
    RefCell<HashMap<Key, Vec<Idle>>>,
    RefCell<HashMap<Key, Vec<Raw>>>,
);

impl IdleConnections {
    /// The one used last, if it is open and has been idle for less than `younger_than`.
    pub(super) fn take(&self, key: Key, younger_than: Duration) -> Option<Connected> {
        if let Some(stream) = self.take_raw_younger(key, younger_than) {
            return Some(Connected::Http1(Wire::plain(stream)));
        }
        let mut members = self.0.borrow_mut();
        let idle = members.get_mut(&key)?;
        while let Some(mut candidate) = idle.pop() {
            if candidate.connection.is_closed() {
                continue;
            }
            if candidate.since.elapsed() < younger_than {
                return Some(candidate.connection);
            }
            idle.push(candidate);
            return None;
        }
        None
    }

    pub(super) fn put(&self, key: Key, connection: Connected) {
        let connection = match connection {
            Connected::Http1(Wire::Plain(stream)) => {
                return self.put_raw(key, stream.into_inner());
            }
            other => other,
        };
        let mut members = self.0.borrow_mut();
        let idle = members.entry(key).or_default();
        if idle.len() < IDLE_MAX {
            let since = Instant::now();
            idle.push(Idle { connection, since });
        }
    }

    /// The one used last that is not spent.
    pub(crate) fn take_raw(&self, key: Key) -> Option<TcpStream> {
        self.take_raw_younger(key, Duration::MAX)
    }

    /// As [`Self::take`].
    pub(crate) fn take_raw_younger(&self, key: Key, younger_than: Duration) -> Option<TcpStream> {
        let mut members = self.1.borrow_mut();
        let idle = members.get_mut(&key)?;
        while let Some(candidate) = idle.pop() {
            if candidate.is_spent() {
                continue;
            }
            if younger_than == Duration::MAX || candidate.since.elapsed() < younger_than {
                return Some(candidate.stream);
            }
            idle.push(candidate);
            return None;
        }
        None
    }

    pub(crate) fn put_raw(&self, key: Key, stream: TcpStream) {
        let mut members = self.1.borrow_mut();
        let idle = members.entry(key).or_default();
        if idle.len() < IDLE_MAX {
            let since = Instant::now();
            idle.push(Raw { stream, since });
        }
    }

    /// A client has gone, and with it what was its own.
    pub(crate) fn forget(&self, owner: u64) {
        let stays = |key: &Key| key.owner != Some(owner);
        self.0.borrow_mut().retain(|key, _| stays(key));
        self.1.borrow_mut().retain(|key, _| stays(key));
    }

    /// Drops what is closed, too old, or goes to nobody in `wanted`.
    pub(crate) fn sweep(&self, wanted: &HashSet<Key>) {
        let is_wanted = |key: &Key| {
            wanted.contains(&Key {
                owner: None,
                tls: None,
                ..*key
            })
        };
        self.0.borrow_mut().retain(|key, idle| {
            idle.retain_mut(|idle| !idle.connection.is_closed() && idle.since.elapsed() < IDLE_FOR);
            is_wanted(key) && !idle.is_empty()
        });
        self.1.borrow_mut().retain(|key, idle| {
            idle.retain(|idle| !idle.is_spent() && idle.since.elapsed() < IDLE_FOR);
            is_wanted(key) && !idle.is_empty()
        });
    }
}
