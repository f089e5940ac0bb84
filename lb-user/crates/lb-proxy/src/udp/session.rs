//! One client's session with one member.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lb_model::id::{MemberId, PoolId};
use lb_probe::health::MemberHealth;
use socket2::SockRef;
use tokio::{
    io::{Interest, Ready},
    net::UdpSocket,
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Front, TURN};
use crate::{
    balance::Busy,
    config::MemberConfig,
    counters::OpenConnection,
    log::Line,
    persistence::Learned,
    upstream::Cookie,
    view::{ListenerView, PoolView},
    worker::Worker,
};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody said anything for long enough.
    Idle,
    /// The member refuses, is down or is gone.
    Member,
    /// Another client needed the place.
    Pushed,
    /// The listener is gone.
    Closed,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: SocketAddr,
    /// Connected to the member.
    pub(super) socket: UdpSocket,
    pool: Option<PoolId>,
    member: MemberId,
    at: SocketAddr,
    /// The listener as it last was, and the member's health and index then.
    seen: RefCell<(Rc<ListenerView>, Arc<MemberHealth>, usize)>,
    begun: (Instant, SystemTime),
    last: Cell<Instant>,
    up: Cell<u64>,
    down: Cell<u64>,
    answered: Cell<bool>,
    told: Cell<bool>,
    over: Cell<Option<End>>,
    ended: Notify,
    /// Counted, and its place taken, until it has ended.
    counted: RefCell<Option<(Busy, OpenConnection)>>,
}

impl Session {
    pub(super) fn new(
        client: SocketAddr,
        socket: UdpSocket,
        member: &MemberConfig,
        listener: &Rc<ListenerView>,
        counted: (Busy, OpenConnection),
    ) -> Self {
        let now = Instant::now();
        let index = position(listener, member.id, member.address).map_or(0, |(index, _)| index);
        Self {
            client,
            socket,
            pool: listener.config.default_pool,
            member: member.id,
            at: member.address,
            seen: RefCell::new((Rc::clone(listener), Arc::clone(&member.health), index)),
            begun: (now, SystemTime::now()),
            last: Cell::new(now),
            up: Cell::new(0),
            down: Cell::new(0),
            answered: Cell::new(false),
            told: Cell::new(false),
            over: Cell::new(None),
            ended: Notify::new(),
            counted: RefCell::new(Some(counted)),
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// Whether the client stays: the index of the member, as `listener` knows it, while that is there
    /// and up.
    pub(super) fn holds(&self, listener: &Rc<ListenerView>) -> Option<usize> {
        let mut seen = self.seen.borrow_mut();
        if !Rc::ptr_eq(&seen.0, listener) {
            if self.pool != listener.config.default_pool {
                return None;
            }
            let (index, health) = position(listener, self.member, self.at)?;
            *seen = (Rc::clone(listener), health, index);
        }
        (!self.is_over() && seen.1.is_usable()).then_some(seen.2)
    }

    /// Lets others know where the client is served. Not of the first datagram of somebody who may
    /// never have been there.
    fn tell(&self, worker: &Worker) {
        if self.told.replace(true) {
            return;
        }
        let listener = self.seen.borrow().0.config.id;
        if let Some(pool) = self.pool {
            worker.tell(Learned {
                place: (listener, pool),
                key: Box::new(key(self.client)),
                member: self.member,
                worker: Some(worker.index),
            });
        }
    }

    /// Bytes have gone to the member.
    pub(super) fn sent(&self, bytes: usize, worker: &Worker) {
        self.last.set(Instant::now());
        if self.up.get() > 0 {
            self.tell(worker);
        }
        self.up.set(self.up.get() + bytes as u64);
        if let Some((busy, _)) = &*self.counted.borrow() {
            busy.0.counters.bytes_in.add(bytes as u64);
        }
    }

    /// Gives its place back, and has its task end.
    pub(super) fn end(&self, how: End) {
        if self.is_over() {
            return;
        }
        self.over.set(Some(how));
        if let Some((busy, _)) = self.counted.borrow_mut().take() {
            if how == End::Member {
                busy.0.counters.server_aborts.increment();
            }
            busy.0.counters.total_time.note(self.begun.0.elapsed());
        }
        self.ended.notify_one();
    }

    /// Passes on what the member has said; an error is its refusal.
    fn heard(&self, front: &Front, ready: Ready) -> io::Result<()> {
        if ready.is_error()
            && let Some(refused) = self.socket.take_error()?
        {
            return Err(refused);
        }
        self.answer(front)
    }

    fn answer(&self, front: &Front) -> io::Result<()> {
        let mut buffer = front.worker.pipes.buffer.borrow_mut();
        let down = SockRef::from(&front.socket);
        let to = self.client.into();
        for _ in 0..TURN {
            let length = match self.socket.try_recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.answered.set(true);
            self.tell(&front.worker);
            self.last.set(Instant::now());
            let datagram = buffer.get(..length).unwrap_or_default();
            if let Err(error) = down.send_to(datagram, &to) {
                tracing::trace!(client = %self.client, %error, "an answer is dropped");
                continue;
            }
            self.down.set(self.down.get() + length as u64);
            self.seen.borrow().0.counters.sent(length);
            if let Some((busy, _)) = &*self.counted.borrow() {
                busy.0.counters.bytes_out.add(length as u64);
            }
        }
        Ok(())
    }

    fn log(&self, front: &Front, how: End) {
        let (begun, time) = self.begun;
        let listener = Rc::clone(&self.seen.borrow().0);
        front.worker.log.write(&Line {
            listener: listener.config.id,
            client: self.client,
            time,
            request: None,
            status: 0,
            read: self.down.get(),
            uploaded: self.up.get(),
            session: None,
            pool: self.pool,
            member: Some(self.member),
            total: begun.elapsed(),
            state: match how {
                End::Idle => *b"--",
                End::Member => *b"SD",
                End::Pushed => *b"RD",
                End::Closed => *b"KD",
            },
            cookie: Cookie::Unused,
        });
    }
}

/// A client, whatever it speaks; of another length than the keys of persistence.
fn key(client: SocketAddr) -> [u8; 18] {
    let address = match client.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut key = [0; 18];
    let bytes = address
        .octets()
        .into_iter()
        .chain(client.port().to_be_bytes());
    key.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    key
}

/// The index of the member that another process has served this client with, not long ago. Said once:
/// the session that begins with it is its memory from then on.
pub(super) fn begun_elsewhere(
    pool: &PoolView,
    client: SocketAddr,
    timeout: Duration,
) -> Option<usize> {
    let member = pool.ties().borrow_mut().take(&key(client), timeout)?;
    pool.tied(member)
}

/// The member as a listener has it.
fn position(
    listener: &ListenerView,
    id: MemberId,
    at: SocketAddr,
) -> Option<(usize, Arc<MemberHealth>)> {
    let pool = listener.pool(listener.config.default_pool?)?;
    let members = &pool.config.members;
    let index = members
        .iter()
        .position(|member| member.id == id && member.address == at)?;
    let member = members.get(index)?;
    Some((index, Arc::clone(&member.health)))
}

/// Passes on what the member says until the session ends.
pub(super) async fn serve(front: Rc<Front>, session: Rc<Session>) {
    let mut closing = pin!(front.closing.cancelled());
    let mut ended = pin!(session.ended.notified());
    let limit = || session.seen.borrow().0.config.client_timeout;
    let mut timer = pin!(sleep_until(session.last.get() + limit()));
    let how = loop {
        let ready = tokio::select! {
            () = &mut closing => break End::Closed,
            () = &mut ended => break session.over.get().unwrap_or(End::Idle),
            () = &mut timer => {
                // What has passed since the timer was set has not touched it.
                let deadline = session.last.get() + limit();
                if deadline <= Instant::now() {
                    break End::Idle;
                }
                timer.as_mut().reset(deadline);
                continue;
            }
            ready = session.socket.ready(Interest::READABLE | Interest::ERROR) => ready,
        };
        if let Err(error) = ready.and_then(|ready| session.heard(&front, ready)) {
            tracing::trace!(client = %session.client, %error, "the member refuses");
            break End::Member;
        }
    };
    front.end(&session, how);
    session.log(&front, session.over.get().unwrap_or(how));
}
