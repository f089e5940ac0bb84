//! The checks themselves. Each runs once and ends; deadlines are the caller's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{codes::ExpectedCodes, connect::connect, monitor::Check};

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
}

/// Runs `check` against `target`.
///
/// # Errors
///
/// Why the member did not pass.
pub async fn run(
    check: &Check,
    target: SocketAddr,
    source: Option<IpAddr>,
) -> Result<(), CheckError> {
    match check {
        Check::Tcp => tcp(target, source).await,
        Check::Http { request, expected } => http(target, source, request, expected).await,
    }
}

async fn tcp(target: SocketAddr, source: Option<IpAddr>) -> Result<(), CheckError> {
    connect(target, source).await?;
    Ok(())
}

async fn http(
    target: SocketAddr,
    source: Option<IpAddr>,
    request: &[u8],
    expected: &ExpectedCodes,
) -> Result<(), CheckError> {
    let mut stream = connect(target, source).await?;
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
