//! The control connection to an amphora: one JSON value a line, each way.
//!
//! Writing is a task of its own: an amphora that hangs must not keep its supervisor from seeing
//! that it ended.

use std::{io, path::Path};

use futures_util::StreamExt as _;
use lb_model::amphora::{FRAME_BYTES_MAX, FromAmphora, ToAmphora};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
    task::AbortHandle,
};
use tokio_util::codec::{FramedRead, LinesCodec};

/// Frames an amphora may be behind; beyond that the connection is given up.
const QUEUE_MAX: usize = 16;

/// A connection.
#[derive(Debug)]
pub(super) struct Control {
    read: FramedRead<OwnedReadHalf, LinesCodec>,
    queue: mpsc::Sender<Vec<u8>>,
    writer: AbortHandle,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl Control {
    pub(super) async fn connect(path: &Path) -> io::Result<Self> {
        let (read, mut write) = UnixStream::connect(path).await?.into_split();
        let (queue, mut frames) = mpsc::channel::<Vec<u8>>(QUEUE_MAX);
        let writer = lb_telemetry::task::spawn("control-writer", async move {
            while let Some(frame) = frames.recv().await {
                if write.write_all(&frame).await.is_err() {
                    // The reading side sees the end too.
                    break;
                }
            }
        });
        let lines = LinesCodec::new_with_max_length(FRAME_BYTES_MAX);
        Ok(Self {
            read: FramedRead::new(read, lines),
            queue,
            writer: writer.abort_handle(),
        })
    }

    /// Queues a message.
    pub(super) fn send(&self, message: &ToAmphora) -> io::Result<()> {
        let mut frame = serde_json::to_vec(message)?;
        if frame.len() >= FRAME_BYTES_MAX {
            return Err(io::Error::other(
                "the configuration is too large for a frame",
            ));
        }
        frame.push(b'\n');
        self.queue.try_send(frame).map_err(io::Error::other)
    }

    /// The next frame; `None`: the amphora closed the connection. May be dropped while waiting.
    pub(super) async fn receive(&mut self) -> io::Result<Option<FromAmphora>> {
        match self.read.next().await {
            None => Ok(None),
            Some(line) => {
                let line = line.map_err(io::Error::other)?;
                Ok(Some(serde_json::from_str(&line)?))
            }
        }
    }
}
