//! Choosing a member for what has no tie to one (contract 10.5).
//!
//! ROUND_ROBIN is exact per worker over the sum of weights. LEAST_CONNECTIONS looks at what this
//! worker has open, over the weight, as HAProxy's `leastconn`. SOURCE_IP and SOURCE_IP_PORT hash the
//! client: every worker and both amphorae of a pair choose alike, and a member that comes or goes
//! moves only its own share of clients.
//!
//! Invariants: a member that is down, drained (weight 0) or was tried already is never chosen;
//! backups only when no primary is usable, and then all of them share.

mod hash;
mod least;
mod round;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use lb_model::enums::LbAlgorithm;

use crate::{
    config::{MemberConfig, PoolConfig},
    counters::MemberCounters,
};

/// How the next member of a pool is found, and what has to be remembered for it.
#[derive(Clone, Debug)]
pub(crate) enum Balance {
    Round(round::Round),
    Least(least::Least),
    Source { port: bool },
}

/// What is going on with a member in one worker, under one listener.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) counters: Arc<MemberCounters>,
}

impl Load {
    pub(crate) fn new(counters: Arc<MemberCounters>) -> Self {
        Self { counters }
    }

    /// Exchanges it has now.
    fn open(&self) -> u64 {
        self.counters.sessions.now.get()
    }
}

/// One exchange or connection a member has; counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Busy(pub(crate) Rc<Load>);

impl Busy {
    pub(crate) fn count(load: &Rc<Load>) -> Self {
        load.counters.sessions.enter();
        Self(Rc::clone(load))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.counters.sessions.leave();
    }
}

impl Balance {
    pub(crate) fn new(pool: &PoolConfig) -> Self {
        let members = pool.members.len();
        match pool.algorithm {
            LbAlgorithm::RoundRobin => Self::Round(round::Round::new(members)),
            LbAlgorithm::LeastConnections => Self::Least(least::Least::new(members)),
            LbAlgorithm::SourceIp => Self::Source { port: false },
            LbAlgorithm::SourceIpPort => Self::Source { port: true },
        }
    }

    /// Index of the member for `client`, none of `tried`. `None`: there is no usable one.
    pub(crate) fn next(
        &mut self,
        pool: &PoolConfig,
        loads: &[Rc<Load>],
        client: SocketAddr,
        tried: &[usize],
    ) -> Option<usize> {
        match self {
            Self::Round(round) => round.next(pool, tried),
            Self::Least(least) => least.next(pool, loads, tried),
            Self::Source { port } => hash::choose(pool, client, *port, tried),
        }
    }
}

/// The members that may be chosen now.
fn eligible<'a>(
    pool: &'a PoolConfig,
    tried: &'a [usize],
) -> impl Iterator<Item = (usize, &'a MemberConfig)> {
    let members = &pool.members;
    let primary_usable = members
        .iter()
        .any(|member| !member.backup && member.takes_new());
    members.iter().enumerate().filter(move |(index, member)| {
        member.backup != primary_usable && member.takes_new() && !tried.contains(index)
    })
}
