//! Bytes both ways between a client's socket and a member's TLS.
//!
//! Each way has a buffer of its own while the connection lives: TLS cannot be spliced. An end of one
//! way is passed on as a half close (close_notify towards the member). Both sides silent for longer
//! than either may be ends it.

use std::{cell::Cell, io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_rustls::client::TlsStream;

use super::relay::{End, Passed, Times};
use crate::counters::{Counter, ListenerCounters, MemberCounters};

/// As much as one TLS record holds.
const BUFFER_BYTES: usize = 16 << 10;

/// Passes bytes until both ways have ended.
pub(super) async fn run(
    down: TcpStream,
    up: TlsStream<TcpStream>,
    times: Times,
    listener: &ListenerCounters,
    member: &MemberCounters,
) -> (End, Passed) {
    let (from_client, to_client) = split(down);
    let (from_member, to_member) = split(up);
    let last = Cell::new(Instant::now());
    let (up_bytes, down_bytes) = (Counter::default(), Counter::default());
    let upward = pass(
        from_client,
        to_member,
        &last,
        [&listener.bytes_in, &member.bytes_in, &up_bytes],
    );
    let downward = pass(
        from_member,
        to_client,
        &last,
        [&listener.bytes_out, &member.bytes_out, &down_bytes],
    );
    let both = async {
        tokio::try_join!(
            async {
                upward
                    .await
                    .map_err(|failed| failed.end(End::Client, End::Member))
            },
            async {
                downward
                    .await
                    .map_err(|failed| failed.end(End::Member, End::Client))
            },
        )
    };
    let end = tokio::select! {
        ended = both => ended.map_or_else(|end| end, |_both| End::Whole),
        () = silence(&last, times.client.min(times.member)) => End::Idle,
    };
    let passed = Passed {
        up: up_bytes.get(),
        down: down_bytes.get(),
    };
    (end, passed)
}

enum Failed {
    Reading,
    Writing,
}

impl Failed {
    const fn end(&self, reading: End, writing: End) -> End {
        match self {
            Self::Reading => reading,
            Self::Writing => writing,
        }
    }
}

async fn pass<R, W>(
    mut from: R,
    mut to: W,
    last: &Cell<Instant>,
    counters: [&Counter; 3],
) -> Result<(), Failed>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = match from.read(&mut buffer).await {
            // A member that closes without close_notify has closed all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(_) => return Err(Failed::Reading),
            Ok(read) => read,
        };
        last.set(Instant::now());
        if read == 0 {
            // Who has gone already needs no goodbye.
            drop(to.shutdown().await);
            return Ok(());
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        let written = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        written.await.map_err(|_broken| Failed::Writing)?;
        last.set(Instant::now());
        counters.iter().for_each(|counter| counter.add(read as u64));
    }
}

async fn silence(last: &Cell<Instant>, limit: Duration) {
    loop {
        let deadline = last.get() + limit;
        if deadline <= Instant::now() {
            return;
        }
        sleep_until(deadline).await;
    }
}
