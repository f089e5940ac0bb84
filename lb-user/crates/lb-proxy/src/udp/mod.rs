//! UDP listeners through the amphora: where XDP cannot serve them (`l4_path = proxy`).
//!
//! A client's address and port have one session at a time: a member and a socket towards it, which
//! ends when neither side has said anything for `timeout_client_data`. Workers have a socket each on
//! the listener's address; the kernel sends a client always to the same one.
//!
//! Invariants: sessions are never more than `connection_limit`. What comes beyond takes the place of
//! the oldest session whose member never answered, and is dropped when there is none: who invents
//! addresses pushes out his own kind, not those who are being served. A session goes on with its
//! member while that is drained, and ends when the member goes down, goes away or refuses; the
//! datagram that finds that out goes to another one. Datagrams are passed one by one and whole, or
//! dropped; nothing waits.
//!
//! A session that has come about (an answer, or a second datagram) is told to the process that takes
//! this one's place, and to the other amphora: there its client begins with the same member.
//!
//! Left out on purpose: waiting for sessions when the listener or the process ends. There is no end
//! that could be told to a client.

mod session;
mod table;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket},
    rc::Rc,
    sync::Arc,
};

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use self::{session::Session, table::Table};
use crate::{
    balance::Busy,
    config::MemberConfig,
    counters::{Connections, OpenConnection},
    listen::Endpoint,
    tie::Tie,
    view::ListenerView,
    worker::Worker,
};

/// Further members that are tried when one refuses.
const REDISPATCHES: usize = 3;

/// Datagrams in a row before others get their turn.
const TURN: usize = 64;

/// One listening socket and its clients.
#[derive(Debug)]
struct Front {
    worker: Rc<Worker>,
    endpoint: Endpoint,
    socket: UdpSocket,
    table: Table,
    /// Sessions hold up neither a drain nor a shutdown: they are not counted with connections.
    uncounted: Arc<Connections>,
    closing: CancellationToken,
}

/// Serves datagrams on `socket`, which stands for `address`, until `closing`.
pub(crate) async fn run(
    worker: Rc<Worker>,
    address: SocketAddr,
    socket: StdSocket,
    closing: CancellationToken,
) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%address, %error, "UDP socket cannot be used");
            return;
        }
    };
    let front = Rc::new(Front {
        worker,
        endpoint: Endpoint {
            address,
            datagrams: true,
        },
        socket,
        table: Table::default(),
        uncounted: Arc::default(),
        closing: closing.clone(),
    });
    loop {
        let readable = tokio::select! {
            readable = front.socket.readable() => readable,
            () = closing.cancelled() => break,
        };
        if let Err(error) = readable {
            tracing::error!(%address, %error, "UDP socket has failed");
            break;
        }
        if front.receive() {
            tokio::task::yield_now().await;
        }
    }
}

impl Front {
    /// Passes on what has come. Whether there may be more.
    fn receive(self: &Rc<Self>) -> bool {
        self.worker.pulse.quicken();
        let listener = self.worker.view().at(self.endpoint);
        let mut buffer = self.worker.pipes.buffer.borrow_mut();
        for _ in 0..TURN {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((length, client)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    if let Some(listener) = &listener {
                        self.pass(listener, client, datagram);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An error of a datagram sent before; the socket is as it was.
                Err(error) => tracing::trace!(%error, "an answer was not taken"),
            }
        }
        true
    }

    /// One datagram of a client, to its member.
    fn pass(self: &Rc<Self>, listener: &Rc<ListenerView>, client: SocketAddr, datagram: &[u8]) {
        listener.counters.received(datagram.len());
        let mut tried = Vec::new();
        if let Some(session) = self.table.find(client) {
            if let Some(index) = session.holds(listener) {
                if self.send(&session, datagram) {
                    return;
                }
                tried.push(index);
            }
            self.end(&session, session::End::Member);
        }
        while tried.len() <= REDISPATCHES {
            let Some((session, index)) = self.begin(listener, client, &tried) else {
                break;
            };
            if self.send(&session, datagram) {
                return;
            }
            self.end(&session, session::End::Member);
            tried.push(index);
        }
        listener.counters.request_failed();
    }

    /// False: the member has refused an earlier datagram, and this one was not sent.
    fn send(&self, session: &Session, datagram: &[u8]) -> bool {
        match SockRef::from(&session.socket).send(datagram) {
            Ok(_) => {
                session.sent(datagram.len(), &self.worker);
                true
            }
            // Dropped, as by any queue on its way that is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => {
                tracing::trace!(client = %session.client, %error, "the member takes no datagrams");
                false
            }
        }
    }

    /// A new session with a member that is none of `tried`.
    fn begin(
        self: &Rc<Self>,
        listener: &Rc<ListenerView>,
        client: SocketAddr,
        tried: &[usize],
    ) -> Option<(Rc<Session>, usize)> {
        let pool = listener.pool(listener.config.default_pool?)?;
        let tied = Tie::of(pool, client);
        let before = session::begun_elsewhere(pool, client, listener.config.client_timeout);
        let tie = before.or(tied.member).filter(|_| tried.is_empty());
        let Some(index) = tie.or_else(|| pool.next(client, tried)) else {
            pool.counters.without_member.increment();
            return None;
        };
        let (member, load) = (pool.config.members.get(index)?, pool.loads.get(index)?);
        let limit = listener.config.connection_limit;
        if !listener.room.take(limit) {
            let oldest = self.table.oldest_unanswered()?;
            self.end(&oldest, session::End::Pushed);
            if !listener.room.take(limit) {
                return None;
            }
        }
        let open = OpenConnection::count(&listener.counters, &listener.room, &self.uncounted);
        let busy = Busy::count(load);
        load.counters.connects.increment();
        let socket = match towards(member) {
            Ok(socket) => socket,
            Err(error) => {
                load.counters.connect_errors.increment();
                tracing::debug!(member.addr = %member.address, %error, "no socket towards the member");
                return None;
            }
        };
        if tie.is_none() {
            load.counters.balanced.increment();
            tied.make(&self.worker, listener, pool, member.id);
        }
        let session = Rc::new(Session::new(client, socket, member, listener, (busy, open)));
        self.table.insert(&session);
        let serving = session::serve(Rc::clone(self), Rc::clone(&session));
        lb_telemetry::task::spawn_local("UDP session", serving);
        Some((session, index))
    }

    /// Ends a session; its task ends when it next runs.
    fn end(&self, session: &Rc<Session>, how: session::End) {
        self.table.remove(session);
        session.end(how);
    }
}

/// A socket that hears the member and nobody else.
fn towards(member: &MemberConfig) -> io::Result<UdpSocket> {
    let any: IpAddr = match member.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = StdSocket::bind(SocketAddr::new(member.source.unwrap_or(any), 0))?;
    socket.connect(member.address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
