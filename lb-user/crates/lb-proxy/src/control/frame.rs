//! One JSON object a line, bounded.

use std::io;

use lb_model::amphora::FRAME_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a frame is longer than {FRAME_BYTES_MAX} bytes or breaks off")]
    Incomplete,
    #[error("a frame is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// The next message; `None` at the end of the stream.
pub(crate) async fn read<T: DeserializeOwned>(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut line = Vec::new();
    let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX);
    let read = reader.take(limit).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(FrameError::Incomplete);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Sends one answer.
pub(crate) async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    answer: &impl Serialize,
) -> Result<(), FrameError> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::amphora::ToAmphora;

    #[tokio::test]
    async fn frames_are_bounded_whole_and_json() {
        let mut good = &b"{\"type\":\"shutdown\"}\n{\"type\":\"drain\",\"draining\":true}\n"[..];
        assert_eq!(
            read(&mut good).await.expect("a frame"),
            Some(ToAmphora::Shutdown)
        );
        assert_eq!(
            read(&mut good).await.expect("a frame"),
            Some(ToAmphora::Drain { draining: true })
        );
        assert_eq!(read::<ToAmphora>(&mut good).await.expect("the end"), None);
        let mut cut = &b"{\"type\":\"shutdown\"}"[..];
        assert!(matches!(
            read::<ToAmphora>(&mut cut).await,
            Err(FrameError::Incomplete)
        ));
        let mut odd = &b"{\"type\":\"reboot\"}\n"[..];
        assert!(matches!(
            read::<ToAmphora>(&mut odd).await,
            Err(FrameError::Json(_))
        ));
        let endless = vec![b' '; FRAME_BYTES_MAX + 1];
        assert!(matches!(
            read::<ToAmphora>(&mut &endless[..]).await,
            Err(FrameError::Incomplete)
        ));
    }
}
