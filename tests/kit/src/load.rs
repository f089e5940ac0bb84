//! Request loops against a VIP, and what they saw.
//!
//! [`paced`] starts an attempt every few milliseconds, each on a thread and a connection of its
//! own, so that one that hangs never delays the next: the window of a failover is then the span of
//! starting times that did not succeed. [`keep_alive`] sends request after request on one
//! connection, reconnecting when the server says `Connection: close`, as browsers do.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::wait::{now, stolen};

/// Stack of an attempt's thread, bytes: it holds one small buffer.
const STACK_BYTES: usize = 128 << 10;

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began (monotonic).
    pub started: Duration,
    /// When it was over.
    pub ended: Duration,
    /// What the hypervisor had taken when it began ([`stolen`]).
    pub stolen: Duration,
    /// The body of a 200, or why there is none.
    pub outcome: Result<String, String>,
}

/// A loop that runs until it is stopped.
#[derive(Debug)]
pub struct Loop {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Attempt>>,
}

impl Loop {
    /// Ends the loop after its current requests and gives all attempts in order of their start.
    #[must_use]
    pub fn stop(self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        let mut attempts = self.thread.join().unwrap_or_default();
        attempts.sort_by_key(|attempt| attempt.started);
        attempts
    }
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// Path with query.
    pub path: String,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A new connection every `every`, one request each.
#[must_use]
pub fn paced(target: &Target, every: Duration) -> Loop {
    let target = target.clone();
    spawn(move |stop| {
        let mut running: Vec<JoinHandle<Attempt>> = Vec::new();
        let mut attempts = Vec::new();
        let mut next = now();
        while !stop.load(Ordering::Relaxed) {
            // A thread that is over keeps its stack until it is joined.
            let over = running.extract_if(.., |attempt| attempt.is_finished());
            attempts.extend(over.filter_map(|attempt| attempt.join().ok()));
            let target = target.clone();
            let attempt = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(move || once(&target));
            running.extend(attempt);
            next += every;
            thread::sleep(next.saturating_sub(now()));
        }
        attempts.extend(
            running
                .into_iter()
                .filter_map(|attempt| attempt.join().ok()),
        );
        attempts
    })
}

/// Request after request on one connection.
#[must_use]
pub fn keep_alive(target: &Target) -> Loop {
    let target = target.clone();
    spawn(move |stop| {
        let mut attempts = Vec::new();
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            let (started, stolen) = (now(), stolen());
            let outcome = exchange(&target, &mut connection).map_err(|error| error.to_string());
            if outcome.is_err() {
                connection = None;
            }
            attempts.push(Attempt {
                started,
                ended: now(),
                stolen,
                outcome,
            });
        }
        attempts
    })
}

/// One request on a connection of its own.
#[must_use]
pub fn once(target: &Target) -> Attempt {
    let (started, stolen) = (now(), stolen());
    let outcome = exchange(target, &mut None).map_err(|error| error.to_string());
    Attempt {
        started,
        ended: now(),
        stolen,
        outcome,
    }
}

/// The longest span, by starting time, in which attempts failed: from the first that failed to the
/// next that succeeded, less what the hypervisor took of it. Zero when all succeeded.
#[must_use]
pub fn longest_window(attempts: &[Attempt]) -> Duration {
    let mut longest = Duration::ZERO;
    let mut failing_since = None;
    let ours = |first: &Attempt, end: Duration, stolen: Duration| {
        let taken = stolen.saturating_sub(first.stolen);
        end.saturating_sub(first.started).saturating_sub(taken)
    };
    for attempt in attempts {
        match (&attempt.outcome, failing_since) {
            (Err(_), None) => failing_since = Some(attempt),
            (Ok(_), Some(first)) => {
                longest = longest.max(ours(first, attempt.started, attempt.stolen));
                failing_since = None;
            }
            _ => {}
        }
    }
    if let (Some(first), Some(last)) = (failing_since, attempts.last()) {
        longest = longest.max(ours(first, last.ended, last.stolen));
    }
    longest
}

/// Attempts that failed, with their reasons, for a message.
#[must_use]
pub fn failures(attempts: &[Attempt]) -> Vec<&str> {
    attempts
        .iter()
        .filter_map(|attempt| attempt.outcome.as_ref().err().map(String::as_str))
        .collect()
}

fn spawn(body: impl FnOnce(&AtomicBool) -> Vec<Attempt> + Send + 'static) -> Loop {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    Loop {
        stop,
        thread: thread::spawn(move || body(&seen)),
    }
}

/// Sends one request on `connection` (made when there is none) and reads the answer. Leaves the
/// connection open for the next one unless the server closes it.
fn exchange(target: &Target, connection: &mut Option<TcpStream>) -> io::Result<String> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&target.address, target.timeout)?;
            stream.set_read_timeout(Some(target.timeout))?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\n\r\n",
        target.path, target.address
    );
    stream.write_all(request.as_bytes())?;
    let (head, body) = read_answer(&mut stream)?;
    if !head.starts_with("HTTP/1.1 200") {
        let line = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("answered {line}")));
    }
    if !head.to_ascii_lowercase().contains("connection: close") {
        *connection = Some(stream);
    }
    Ok(body)
}

/// Reads one answer with a content-length.
fn read_answer(stream: &mut TcpStream) -> io::Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length: usize = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|value| value.trim().parse().ok())
                .ok_or_else(|| io::Error::other("no content-length in the answer"))?;
            if body.len() >= length {
                return Ok((head.to_owned(), body.to_owned()));
            }
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(started: u64, stolen: u64, is_answered: bool) -> Attempt {
        Attempt {
            started: Duration::from_millis(started),
            ended: Duration::from_millis(started + 1),
            stolen: Duration::from_millis(stolen),
            outcome: is_answered
                .then(String::new)
                .ok_or_else(|| "refused".to_owned()),
        }
    }

    #[test]
    fn a_window_ends_with_an_answer_and_is_less_what_was_stolen() {
        let plain = [
            attempt(0, 0, true),
            attempt(5, 0, false),
            attempt(60, 0, true),
        ];
        assert_eq!(longest_window(&plain), Duration::from_millis(55));
        let stolen = [attempt(5, 100, false), attempt(60, 130, true)];
        assert_eq!(longest_window(&stolen), Duration::from_millis(25));
        let open = [attempt(5, 0, false), attempt(60, 0, false)];
        assert_eq!(longest_window(&open), Duration::from_millis(56));
        assert_eq!(longest_window(&plain[..1]), Duration::ZERO);
    }
}
