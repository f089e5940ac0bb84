//! A client that costs little: blocking sockets, one request at a time on each, answers read by
//! their length. What it measures is the server.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    pub fn get(path: &str) -> Self {
        Self(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes())
    }

    pub fn with_body(method: &str, path: &str, body: &serde_json::Value) -> Self {
        let body = body.to_string();
        let length = body.len();
        Self(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }
}

/// A connection kept alive.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    chunk: Vec<u8>,
}

/// Status and body.
pub type Answer<'c> = (u16, &'c [u8]);

/// Bytes read at once: an answer of a thousand load balancers is about a megabyte.
const CHUNK: usize = 256 << 10;

impl Client {
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            chunk: vec![0; CHUNK],
        })
    }

    pub fn send(&mut self, request: &Request) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(&request.0)?;
        self.buffer.clear();
        let (status, begin, length) = loop {
            self.read()?;
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < begin + length {
            self.read()?;
        }
        let body = self.buffer.get(begin..begin + length).unwrap_or_default();
        Ok((status, body))
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read(&mut self.chunk)?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        let chunk = self.chunk.get(..read).unwrap_or_default();
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }
}

/// Status, where the body begins and how long it is; `None` while the head is not whole.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("an answer without a status")?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    Ok(Some((status, end + 4, length)))
}

/// What a load did.
#[derive(Debug, Default)]
pub struct Load {
    pub latencies: Vec<Duration>,
    pub failed: usize,
    /// One of the failed answers.
    pub example: String,
    pub elapsed: Duration,
}

impl Load {
    /// Sends requests on so many connections, spread over the servers, until the time is up.
    pub fn run(
        addresses: &[SocketAddr],
        connections: usize,
        time: Duration,
        request: &(impl Fn(usize) -> Request + Sync),
    ) -> anyhow::Result<Self> {
        let counter = AtomicUsize::new(0);
        let started = Instant::now();
        let parts: Vec<anyhow::Result<Self>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .zip(addresses.iter().cycle())
                .map(|(_, address)| {
                    let counter = &counter;
                    scope.spawn(move || one(*address, started, time, counter, request))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_panic| bail!("a client panicked"))
                })
                .collect()
        });
        let mut whole = Self {
            elapsed: started.elapsed(),
            ..Self::default()
        };
        for part in parts {
            let part = part?;
            whole.latencies.extend(part.latencies);
            whole.failed += part.failed;
            if whole.example.is_empty() {
                whole.example = part.example;
            }
        }
        whole.latencies.sort_unstable();
        Ok(whole)
    }

    /// In milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list, of a share between 0 and 1"
        )]
        let place = (self.latencies.len().saturating_sub(1) as f64 * share) as usize;
        self.latencies
            .get(place)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

fn one(
    address: SocketAddr,
    started: Instant,
    time: Duration,
    counter: &AtomicUsize,
    request: &(impl Fn(usize) -> Request + Sync),
) -> anyhow::Result<Load> {
    let mut client = Client::connect(address)?;
    let mut load = Load::default();
    while started.elapsed() < time {
        let request = request(counter.fetch_add(1, Ordering::Relaxed));
        let sent = Instant::now();
        let (status, body) = client.send(&request)?;
        load.latencies.push(sent.elapsed());
        if !(200..300).contains(&status) {
            load.failed += 1;
            load.example = format!("{status} {}", String::from_utf8_lossy(body));
        }
    }
    Ok(load)
}
