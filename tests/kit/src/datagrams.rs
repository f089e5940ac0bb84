//! UDP servers that answer each datagram until they are dropped, however long nobody asks.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How soon a server notices that it is over.
const LOOK: Duration = Duration::from_millis(20);

/// One server.
#[derive(Debug)]
pub struct Answering {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    /// Answers on `socket` with what `answer` makes of a datagram of at most 2,048 bytes.
    ///
    /// # Errors
    /// When the socket takes no time limit.
    pub fn start(
        socket: UdpSocket,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> anyhow::Result<Self> {
        socket.set_read_timeout(Some(LOOK))?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !is_over.load(Ordering::Relaxed) {
                match socket.recv_from(&mut bytes) {
                    Ok((length, from)) => {
                        let said = answer(bytes.get(..length).unwrap_or_default());
                        drop(socket.send_to(&said, from));
                    }
                    // Nobody asks, or an earlier answer was refused.
                    Err(error) if is_passing(error.kind()) => {}
                    Err(_) => break,
                }
            }
        });
        Ok(Self {
            over,
            thread: Some(thread),
        })
    }

    /// Answers with the datagram itself.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn echo(socket: UdpSocket) -> anyhow::Result<Self> {
        Self::start(socket, <[u8]>::to_vec)
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
    )
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
