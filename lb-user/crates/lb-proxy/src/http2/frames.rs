//! The frames of a connection, counted as they come in: those that cost us work and carry nothing
//! have a rate. Pure: bytes and time in, verdict out.
//!
//! Such are SETTINGS and PING (each wants an answer), RST_STREAM, PRIORITY, and DATA and
//! CONTINUATION without content. WINDOW_UPDATE is not: a client that downloads sends many.

use tokio::time::Instant;

/// What a client sends before its first frame (RFC 9113 3.4).
const PREFACE_BYTES: usize = 24;
/// Length, type, flags, stream.
const HEADER_BYTES: usize = 9;
/// Idle frames at once.
const BURST: u32 = 1000;
/// Idle frames a second, in the long run.
const PER_SECOND: u32 = 100;

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// Where a connection stands.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass before the next header.
    skip: usize,
    header: [u8; HEADER_BYTES],
    filled: usize,
    budget: u32,
    since: Instant,
}

/// Too many idle frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flood;

impl Frames {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            filled: 0,
            budget: BURST,
            since: now,
        }
    }

    /// Takes in what was read.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let taken = (HEADER_BYTES - self.filled).min(bytes.len());
            let (head, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            for (slot, byte) in self.header.iter_mut().skip(self.filled).zip(head) {
                *slot = *byte;
            }
            self.filled += head.len();
            bytes = rest;
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                self.frame(now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: Instant) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        let is_idle = match kind {
            SETTINGS | PING | RST_STREAM | PRIORITY => true,
            DATA => length == 0 && flags & END_STREAM == 0,
            CONTINUATION => length == 0,
            _ => false,
        };
        if !is_idle {
            return Ok(());
        }
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            let refill = u32::try_from(seconds).unwrap_or(u32::MAX);
            let refill = refill.saturating_mul(PER_SECOND);
            self.budget = self.budget.saturating_add(refill).min(BURST);
            self.since = now;
        }
        self.budget = self.budget.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + length, 0xff);
        frame
    }

    fn many(frame: &[u8], times: u32) -> Vec<u8> {
        let mut bytes = vec![0; PREFACE_BYTES];
        (0..times).for_each(|_| bytes.extend(frame));
        bytes
    }

    #[test]
    fn floods_are_told_however_they_are_cut() {
        let now = Instant::now();
        for (kind, flags, length) in [
            (SETTINGS, 0, 6),
            (PING, 0, 8),
            (RST_STREAM, 0, 4),
            (PRIORITY, 0, 5),
            (DATA, 0, 0),
            (CONTINUATION, 0, 0),
        ] {
            let flood = many(&frame(kind, flags, length), BURST + 1);
            for chunk in [1, 7, 1000, usize::MAX] {
                let mut frames = Frames::new(now);
                let mut chunks = flood.chunks(chunk.min(flood.len()));
                assert_eq!(chunks.try_for_each(|it| frames.read(it, now)), Err(Flood));
                let mut frames = Frames::new(now);
                let allowed = &flood[..flood.len() - HEADER_BYTES - length];
                let mut chunks = allowed.chunks(chunk.min(flood.len()));
                assert_eq!(chunks.try_for_each(|it| frames.read(it, now)), Ok(()));
            }
        }
    }

    #[test]
    fn what_carries_something_is_no_flood_and_time_heals() {
        let now = Instant::now();
        for useful in [
            frame(DATA, 0, 1),
            frame(DATA, END_STREAM, 0),
            frame(8, 0, 4),
        ] {
            let mut frames = Frames::new(now);
            assert_eq!(frames.read(&many(&useful, 10 * BURST), now), Ok(()));
        }
        let mut frames = Frames::new(now);
        let ping = frame(PING, 0, 8);
        assert_eq!(frames.read(&many(&ping, BURST), now), Ok(()));
        let later = now + Duration::from_secs(2);
        for _ in 0..2 * PER_SECOND {
            assert_eq!(frames.read(&ping, later), Ok(()));
        }
        assert_eq!(frames.read(&ping, later), Err(Flood));
    }
}
