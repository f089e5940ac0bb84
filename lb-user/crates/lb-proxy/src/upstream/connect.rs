//! Connections to members: TCP from the right address, the PROXY header where the pool wants one,
//! TLS where it wants that, and HTTP/1.1 or what ALPN came to.
//!
//! Left out on purpose: several exchanges at a time on one HTTP/2 connection. One at a time keeps
//! accounts exact and clients apart; idle connections are shared as those of HTTP/1 are.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{
    Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
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

/// Who sends requests on a connection.
#[derive(Debug)]
pub(super) enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>),
}

impl Sender {
    pub(super) const fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }

    pub(super) async fn try_send_request(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

/// A connection to a member that speaks HTTP.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(super) sender: Sender,
    pub(super) meter: Arc<Meter>,
}

impl Connected {
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
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
    let meter = Arc::new(Meter::default());
    let stream = Metered::new(stream, Arc::clone(&meter));
    let sender = match &pool.tls {
        None => http1(stream, member.address).await?,
        Some(tls) => {
            let connector = tls.connector(purpose.upgrade);
            let name = MemberTls::name(purpose.sni, member.address.ip());
            let stream = timeout(deadline, connector.connect(name, stream)).await??;
            if stream.get_ref().1.alpn_protocol() == Some(H2) {
                http2(stream, member).await?
            } else {
                http1(stream, member.address).await?
            }
        }
    };
    Ok(Connected { sender, meter })
}

/// A connection that is open already.
pub(super) async fn adopt(stream: TcpStream, member: SocketAddr) -> hyper::Result<Connected> {
    let meter = Arc::new(Meter::default());
    let sender = http1(Metered::new(stream, Arc::clone(&meter)), member).await?;
    Ok(Connected { sender, meter })
}

async fn http1<S>(stream: S, address: SocketAddr) -> hyper::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    let (sender, connection) = http1::Builder::new().handshake(stream).await?;
    lb_telemetry::task::spawn_local("member connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(member.addr = %address, %error, "member connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

async fn http2<S>(stream: S, member: &MemberConfig) -> hyper::Result<Sender>
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
    Ok(Sender::Http2(sender))
}
