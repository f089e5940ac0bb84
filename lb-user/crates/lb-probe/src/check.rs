//! The checks themselves. Each runs once and ends; deadlines are the caller's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{
    codes::ExpectedCodes, connect::connect, monitor::Check, ping, sctp::SctpSockets, tls, udp,
};

/// A member's answer is read up to this many bytes; its status line must lie within.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Why a check failed, for the log.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The answer is no HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// An answer, but not the expected one.
    #[error("status {0} is not expected")]
    Status(u16),
    /// The deadline passed.
    #[error("no answer within the timeout")]
    Timeout,
    /// The answer is no TLS.
    #[error("the answer is not TLS")]
    NotTls,
    /// TLS cannot be spoken.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// An SCTP association was refused.
    #[error("the association was aborted")]
    Aborted,
    /// This process was given no raw sockets.
    #[error("SCTP cannot be probed from here")]
    NoSctp,
}

/// Where one check goes, and with what.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The member.
    pub target: SocketAddr,
    /// Where from.
    pub source: Option<IpAddr>,
    /// When its caller gives up: silence within it may be an answer, too.
    pub timeout: Duration,
    /// For SCTP.
    pub sctp: Option<Arc<SctpSockets>>,
}

/// Runs `check` once.
///
/// # Errors
///
/// Why the member did not pass.
pub async fn run(check: &Check, attempt: &Attempt) -> Result<(), CheckError> {
    let Attempt { target, source, .. } = *attempt;
    match check {
        Check::Tcp => {
            connect(target, source).await?;
            Ok(())
        }
        Check::Http { request, expected } => {
            http(connect(target, source).await?, request, expected).await
        }
        Check::Https {
            request,
            expected,
            name,
        } => {
            let stream = tls::connect(target, source, name.as_deref()).await?;
            http(stream, request, expected).await
        }
        Check::TlsHello => tls::hello(target, source).await,
        Check::Ping => ping::ping(target.ip(), source).await,
        Check::UdpConnect => udp::unrefused(target, source, attempt.timeout).await,
        Check::Sctp => match &attempt.sctp {
            Some(sockets) => sockets.init(target, source).await,
            None => Err(CheckError::NoSctp),
        },
    }
}

async fn http(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
    expected: &ExpectedCodes,
) -> Result<(), CheckError> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(512);
    let code = loop {
        if let Some(code) = status(&answer)? {
            break code;
        }
        let room = HEAD_BYTES_MAX.saturating_sub(answer.len());
        let read = (&mut stream)
            .take(u64::try_from(room).unwrap_or(0))
            .read_buf(&mut answer)
            .await?;
        if read == 0 {
            return Err(CheckError::NotHttp);
        }
    };
    if expected.contains(code) {
        Ok(())
    } else {
        Err(CheckError::Status(code))
    }
}

/// The status code, once its line is complete.
fn status(answer: &[u8]) -> Result<Option<u16>, CheckError> {
    let Some(end) = answer.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    // Only the status line counts: headers may be long, and are nobody's business here.
    let line = answer.get(..=end).unwrap_or_default();
    let mut head = line.to_vec();
    head.extend_from_slice(b"\r\n");
    let mut headers = [httparse::EMPTY_HEADER; 1];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(&head) {
        Ok(_) => response.code.map(Some).ok_or(CheckError::NotHttp),
        Err(_) => Err(CheckError::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_alone_decides() {
        assert_eq!(status(b"HTTP/1.1 200 O").ok(), Some(None));
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nx: ").ok(), Some(Some(200)));
        assert_eq!(status(b"HTTP/1.0 503 no\n").ok(), Some(Some(503)));
        assert!(status(b"SSH-2.0-OpenSSH\r\n").is_err());
    }
}
