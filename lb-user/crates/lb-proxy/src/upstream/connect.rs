//! Connections to members: TCP from the right address, the PROXY header where the pool wants one.

use std::{io, sync::Arc, time::Duration};

use hyper::client::conn::{http1, http1::SendRequest};
use hyper_util::rt::TokioIo;
use lb_model::enums::PoolProtocol;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{
    Upload,
    metered::{Meter, Metered},
    proxy_header,
};
use crate::{
    config::{MemberConfig, PoolConfig},
    headers::Ends,
};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it took too long")]
    Late(#[from] Elapsed),
    #[error("HTTP cannot be spoken: {0}")]
    Http(#[from] hyper::Error),
}

/// A TCP connection to a member, PROXY header sent where the pool wants one.
pub(crate) async fn tcp(
    pool: &PoolConfig,
    member: &MemberConfig,
    ends: Ends,
    deadline: Duration,
) -> Result<TcpStream, ConnectError> {
    let connecting = lb_probe::connect::connect(member.address, member.source);
    let mut stream = timeout(deadline, connecting).await??;
    match pool.protocol {
        PoolProtocol::Proxy => {
            let header = proxy_header::v1(ends.client, ends.local);
            stream.write_all(header.as_bytes()).await?;
        }
        PoolProtocol::ProxyV2 => {
            let header = proxy_header::v2(ends.client, ends.local, proxy_header::Tls::of(ends));
            stream.write_all(&header).await?;
        }
        PoolProtocol::Http
        | PoolProtocol::Https
        | PoolProtocol::Tcp
        | PoolProtocol::Udp
        | PoolProtocol::Sctp => {}
    }
    Ok(stream)
}

/// A connection to a member that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(super) sender: SendRequest<Upload>,
    pub(super) meter: Arc<Meter>,
}

impl Connected {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

pub(super) async fn http(
    pool: &PoolConfig,
    member: &MemberConfig,
    ends: Ends,
    deadline: Duration,
) -> Result<Connected, ConnectError> {
    let stream = tcp(pool, member, ends, deadline).await?;
    let meter = Arc::new(Meter::default());
    let stream = Metered::new(stream, Arc::clone(&meter));
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await?;
    let address = member.address;
    lb_telemetry::task::spawn_local("member connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(member.addr = %address, %error, "member connection ended");
        }
    });
    Ok(Connected { sender, meter })
}
