//! A connection's or a session's tie to a member, where there is no HTTP: by the client's address.

use std::net::SocketAddr;

use lb_model::id::MemberId;

use crate::{
    persistence::{Learned, Persistence},
    view::{ListenerView, PoolView},
    worker::Worker,
};

/// What a pool's persistence says of one client.
#[derive(Debug)]
pub(crate) struct Tie {
    key: Option<[u8; 16]>,
    /// Index of the member the client is tied to.
    pub(crate) member: Option<usize>,
}

impl Tie {
    pub(crate) fn of(pool: &PoolView, client: SocketAddr) -> Self {
        let source = match &pool.config.persistence {
            Persistence::SourceIp(source) => Some(source),
            Persistence::None | Persistence::HttpCookie | Persistence::AppCookie { .. } => None,
        };
        let key = source.map(|source| source.key(client));
        let member = key.zip(source).and_then(|(key, source)| {
            let member = pool.ties().borrow_mut().find(&key, source.timeout)?;
            pool.tied(member)
        });
        Self { key, member }
    }

    /// Ties the client to the member that was found for it.
    pub(crate) fn make(
        &self,
        worker: &Worker,
        listener: &ListenerView,
        pool: &PoolView,
        to: MemberId,
    ) {
        if let Some(key) = self.key
            && pool.ties().borrow_mut().learn(&key, to)
        {
            worker.tell(Learned {
                place: (listener.config.id, pool.config.id),
                key: key.into(),
                member: to,
                worker: Some(worker.index),
            });
        }
    }
}
