//! TCP and HTTPS listeners through the amphora: where XDP cannot serve them (PROXY protocol, TLS
//! towards members, `l4_path = proxy`).
//!
//! One connection to one member. The member is the client's tie or the algorithm's choice; when it
//! cannot be reached another is tried, as many times as for HTTP. `timeout_tcp_inspect` delays
//! nothing: Octavia renders HAProxy's `inspect-delay` without a rule that would wait for content.

mod encrypted;
mod relay;

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{
    balance::Busy,
    config::{MemberConfig, PoolConfig},
    counters::OpenConnection,
    headers::Ends,
    log::Line,
    tie::Tie,
    tls::MemberTls,
    upstream::{
        Cookie,
        connect::{self, ConnectError},
    },
    view::{ListenerView, PoolView},
    worker::Worker,
};

pub(crate) use relay::Pipes;

/// Further members that are tried when one cannot be connected to.
const REDISPATCHES: usize = 3;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Rc<ListenerView>,
    down: TcpStream,
    client: SocketAddr,
    local: SocketAddr,
    open: OpenConnection,
) {
    let ends = Ends {
        client,
        local,
        tls: false,
    };
    if let Err(error) = down.set_nodelay(true) {
        tracing::trace!(%client, %error, "connection is gone already");
        return;
    }
    let pool = listener
        .config
        .default_pool
        .and_then(|id| listener.pool(id));
    let reached = match pool {
        Some(pool) => reach(&worker, &listener, pool, ends).await,
        None => None,
    };
    let Some((up, busy)) = reached else {
        listener.counters.request_failed();
        return;
    };
    let begun = Instant::now();
    let wall = SystemTime::now();
    let times = relay::Times {
        client: listener.config.client_timeout,
        member: listener.config.member_timeout,
    };
    let member = &busy.0.counters;
    let (ended, passed) = match up {
        Up::Plain(up) => {
            relay::run(&worker.pipes, down, up, times, &listener.counters, member).await
        }
        // Boxed: what is not encrypted shall not be as large.
        Up::Tls(up) => Box::pin(encrypted::run(down, *up, times, &listener.counters, member)).await,
    };
    match ended {
        relay::End::Whole | relay::End::Idle => {}
        relay::End::Client => member.client_aborts.increment(),
        relay::End::Member => member.server_aborts.increment(),
    }
    let total = begun.elapsed();
    member.total_time.note(total);
    let index = pool.and_then(|pool| pool.loads.iter().position(|load| Rc::ptr_eq(load, &busy.0)));
    worker.log.write(&Line {
        listener: listener.config.id,
        client,
        time: wall,
        request: None,
        status: 0,
        read: passed.down,
        uploaded: passed.up,
        session: None,
        pool: pool.map(|pool| pool.config.id),
        member: pool
            .zip(index)
            .and_then(|(pool, index)| pool.config.members.get(index))
            .map(|member| member.id),
        total,
        state: match ended {
            relay::End::Whole => *b"--",
            relay::End::Idle => *b"cD",
            relay::End::Client => *b"CD",
            relay::End::Member => *b"SD",
        },
        cookie: Cookie::Unused,
    });
    tracing::trace!(%client, ?ended, "connection ended");
    drop(open);
}

/// A connection to a member.
enum Up {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects, and speaks TLS where the pool wants it; no protocol of a client's is known, so that of
/// HTTP/1 is offered.
async fn connect(
    pool: &PoolConfig,
    member: &MemberConfig,
    ends: Ends,
    deadline: Duration,
) -> Result<Up, ConnectError> {
    let stream = connect::tcp(pool, member, ends, deadline).await?;
    let Some(tls) = &pool.tls else {
        return Ok(Up::Plain(stream));
    };
    let name = MemberTls::name(None, member.address.ip());
    let handshake = Box::pin(tls.connector(true).connect(name, stream));
    Ok(Up::Tls(Box::new(timeout(deadline, handshake).await??)))
}

/// A connection to a member of the pool.
async fn reach(
    worker: &Worker,
    listener: &ListenerView,
    pool: &PoolView,
    ends: Ends,
) -> Option<(Up, Busy)> {
    let tied = Tie::of(pool, ends.client);
    let mut tried = Vec::new();
    while tried.len() <= REDISPATCHES {
        let tie = tied.member.filter(|_| tried.is_empty());
        let Some(index) = tie.or_else(|| pool.next(ends.client, &tried)) else {
            break;
        };
        let (member, load) = (pool.config.members.get(index)?, pool.loads.get(index)?);
        let counters = &load.counters;
        if tie.is_none() {
            counters.balanced.increment();
        }
        counters.connects.increment();
        // It counts from now on: what is being connected is load as well.
        let busy = Busy::count(load);
        let begun = Instant::now();
        match connect(&pool.config, member, ends, listener.config.connect_timeout).await {
            Ok(stream) => {
                counters.connect_time.note(begun.elapsed());
                if tie.is_none() {
                    tied.make(worker, listener, pool, member.id);
                }
                return Some((stream, busy));
            }
            Err(error) => {
                counters.connect_errors.increment();
                counters.redispatches.increment();
                tracing::trace!(pool.id = %pool.config.id, member.addr = %member.address, %error, "no connection to the member");
            }
        }
        tried.push(index);
    }
    pool.counters.without_member.increment();
    None
}
