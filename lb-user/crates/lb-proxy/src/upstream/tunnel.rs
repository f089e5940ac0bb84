//! After a member has agreed to switch protocols (WebSocket): bytes both ways.

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::Lease;
use crate::connection::Client;

/// Passes bytes until both sides have ended or the client's timeout cuts the tunnel.
pub(super) fn start(
    client: &Rc<Client>,
    lease: Lease,
    from_client: OnUpgrade,
    from_member: OnUpgrade,
) {
    // Both ends count as one open connection until the tunnel is gone.
    let client = Rc::clone(client);
    lb_telemetry::task::spawn_local("tunnel", async move {
        if let (Ok(down), Ok(up)) = (from_client.await, from_member.await) {
            let (mut down, mut up) = (TokioIo::new(down), TokioIo::new(up));
            let ended = tokio::io::copy_bidirectional(&mut down, &mut up).await;
            tracing::trace!(client = %client.ends.client, error = ended.err().map(tracing::field::display), "tunnel ended");
        }
        lease.abandon();
    });
}
