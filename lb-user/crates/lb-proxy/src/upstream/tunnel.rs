//! After a member has agreed to switch protocols (WebSocket): bytes both ways.

use std::rc::Rc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::{body::Lease, wire::Wire};
use crate::connection::Client;

/// Passes bytes, `first` from the member, until both sides have ended or the client's timeout cuts the tunnel.
pub(super) fn start(
    client: &Rc<Client>,
    lease: Lease,
    from_client: OnUpgrade,
    (mut up, first): (Wire, Bytes),
) {
    // Both ends count as one open connection until the tunnel is gone.
    let client = Rc::clone(client);
    lb_telemetry::task::spawn_local("tunnel", async move {
        if let Ok(down) = from_client.await {
            let mut down = TokioIo::new(down);
            let ended = match down.write_all(&first).await {
                Ok(()) => tokio::io::copy_bidirectional(&mut down, &mut up).await,
                Err(error) => Err(error),
            };
            tracing::trace!(client = %client.ends.client, error = ended.err().map(tracing::field::display), "tunnel ended");
        }
        lease.abandon();
    });
}
