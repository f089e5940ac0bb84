//! The gate as a stream: however the bytes are cut, the same ones pass.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::{GateState, Gated, Refusal};
use crate::counters::ListenerCounters;

/// A stream that yields the given pieces, one a read.
struct Pieces(Vec<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.first_mut() {
            let length = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..length]);
            piece.drain(..length);
            if piece.is_empty() {
                self.0.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What passes, read `room` bytes at a time; why it stopped; whether it failed.
fn pass(pieces: Vec<Vec<u8>>, room: usize) -> (Vec<u8>, Option<Refusal>, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let state = Arc::new(GateState::new());
        let counters = Arc::new(ListenerCounters::default());
        let pieces = Pieces(
            pieces
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .collect(),
        );
        let patience = Duration::from_secs(60);
        let mut gated = Gated::new(
            crate::h1::Rest::fresh(pieces),
            Arc::clone(&state),
            counters,
            patience,
        );
        let mut passed = Vec::new();
        let mut buffer = vec![0; room];
        loop {
            match gated.read(&mut buffer).await {
                Ok(0) => return (passed, state.refusal(), false),
                Ok(read) => passed.extend_from_slice(&buffer[..read]),
                Err(_broken_body) => return (passed, state.refusal(), true),
            }
        }
    })
}

const MESSAGES: [&str; 9] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET /x?y HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nG\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: v\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let messages = prop::collection::vec(prop::sample::select(&MESSAGES[..]), 0..6);
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (messages, flips, prop::bool::ANY).prop_map(|(messages, flips, flip)| {
        let mut bytes = messages.concat().into_bytes();
        if flip && !bytes.is_empty() {
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_bytes_pass_however_they_are_cut(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        room in 1_usize..200,
    ) {
        let whole = pass(vec![bytes.clone()], 64 << 10);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect();
        prop_assert_eq!(&pass(pieces, room), &whole);
        // Nothing is invented: what passes is what came, up to the placeholder.
        let (passed, refusal, _) = whole;
        if refusal.is_none() {
            prop_assert!(bytes.starts_with(&passed));
        }
    }
}
