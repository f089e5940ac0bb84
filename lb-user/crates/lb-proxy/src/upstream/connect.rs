//! Connections to members: TCP from the right address, the PROXY header where the pool wants one,
//! TLS where it wants that, and HTTP/1.1 or what ALPN came to.
//!
//! Left out on purpose: several exchanges at a time on one HTTP/2 connection. One at a time keeps
//! accounts exact and clients apart; idle connections are shared as those of HTTP/1 are.

use std::{io, sync::Arc, time::Duration};

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use lb_model::enums::PoolProtocol;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{
    Upload,
    metered::{Meter, Metered},
    proxy_header,
    wire::Wire,
};
use crate::{
    config::{MemberConfig, PoolConfig},
    headers::Ends,
    http2::Local,
    tls::{H2, MemberTls},
};

/// Longest head of a member's answer in HTTP/2, in bytes.
const HEAD_BYTES_MAX: u32 = 64 << 10;

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

/// A connection to a member that speaks HTTP.
#[derive(Debug)]
pub(crate) enum Connected {
    Http1(Wire),
    Http2(http2::SendRequest<Upload>, Arc<Meter>),
}

impl Connected {
    pub(super) const fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(..))
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        match self {
            Self::Http1(wire) => wire.meter(),
            Self::Http2(_, meter) => meter,
        }
    }

    /// Of one that is idle: nothing more can be sent, or what would come first is no answer.
    pub(super) fn is_closed(&mut self) -> bool {
        match self {
            Self::Http1(wire) => wire.is_spent(),
            Self::Http2(sender, _) => sender.is_closed(),
        }
    }
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    /// The name the client asked us for.
    pub(super) sni: Option<&'a str>,
    /// It may become another protocol, which only HTTP/1 can.
    pub(super) upgrade: bool,
}

pub(super) async fn http(
    pool: &PoolConfig,
    member: &MemberConfig,
    ends: Ends,
    purpose: Purpose<'_>,
    deadline: Duration,
) -> Result<Connected, ConnectError> {
    let stream = tcp(pool, member, ends, deadline).await?;
    let Some(tls) = &pool.tls else {
        return Ok(Connected::Http1(Wire::plain(stream)));
    };
    let meter = Arc::new(Meter::default());
    let stream = Metered::new(stream, Arc::clone(&meter));
    let connector = tls.connector(purpose.upgrade);
    let name = MemberTls::name(purpose.sni, member.address.ip());
    let stream = timeout(deadline, connector.connect(name, stream)).await??;
    if stream.get_ref().1.alpn_protocol() == Some(H2) {
        Ok(Connected::Http2(http2(stream, member).await?, meter))
    } else {
        Ok(Connected::Http1(Wire::Tls(Box::new(stream))))
    }
}

async fn http2<S>(stream: S, member: &MemberConfig) -> hyper::Result<http2::SendRequest<Upload>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(Local)
        .max_header_list_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let address = member.address;
    lb_telemetry::task::spawn_local("member connection", async move {
        if let Err(error) = connection.await {
            tracing::trace!(member.addr = %address, %error, "member connection ended");
        }
    });
    Ok(sender)
}
