//! Clients: a thread each, paced. Every way to fail is a failed request.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use super::amphora::Ports;
use crate::shell;

/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between requests of a client.
const PACE: Duration = Duration::from_millis(10);

/// What clients saw.
#[derive(Debug, Default)]
pub struct Counts {
    pub stop: AtomicBool,
    kinds: Mutex<BTreeMap<&'static str, (u64, u64, String)>>,
}

impl Counts {
    fn note(&self, kind: &'static str, requests: u64, failure: Option<&anyhow::Error>) {
        let Ok(mut kinds) = self.kinds.lock() else {
            return;
        };
        let entry = kinds.entry(kind).or_default();
        entry.0 += requests;
        if let Some(error) = failure {
            entry.1 += 1;
            entry.2 = format!("(the last: {error:#})");
        }
    }

    /// Requests and failures.
    pub fn sums(&self) -> (u64, u64) {
        let all = self.all();
        let sum = |(requests, failed), (_, more, worse, _): &(_, u64, u64, String)| {
            (requests + more, failed + worse)
        };
        all.iter().fold((0, 0), sum)
    }

    /// By kind.
    pub fn all(&self) -> Vec<(&'static str, u64, u64, String)> {
        let Ok(kinds) = self.kinds.lock() else {
            return Vec::new();
        };
        let row = |(kind, (requests, failed, why)): (&&'static str, &(u64, u64, String))| {
            (*kind, *requests, *failed, why.clone())
        };
        kinds.iter().map(row).collect()
    }
}

/// One connection's worth of a kind of load; tells each request that was answered.
type Work = Box<dyn Fn(&mut dyn FnMut()) -> anyhow::Result<()> + Send>;

pub fn start(
    ports: &Ports,
    roots: &RootCertStore,
    counts: &Arc<Counts>,
) -> Vec<thread::JoinHandle<()>> {
    let Ports { http, https, tcp } = *ports;
    let roots = roots.clone();
    let works: [(&'static str, Work); 7] = [
        (
            "http1",
            Box::new(move |done| keep_alive(connect(http)?, 100, done)),
        ),
        (
            "http1-new",
            Box::new(move |done| keep_alive(connect(http)?, 1, done)),
        ),
        ("large", Box::new(move |done| large(http, done))),
        (
            "tls",
            Box::new(move |done| keep_alive(secure(https, &roots)?, 20, done)),
        ),
        ("h2", Box::new(move |done| h2(https, done))),
        ("websocket", Box::new(move |done| websocket(http, done))),
        ("tcp", Box::new(move |done| echo(connect(tcp)?, 10, done))),
    ];
    works
        .into_iter()
        .map(|(kind, work)| {
            let counts = Arc::clone(counts);
            thread::spawn(move || {
                while !counts.stop.load(Ordering::Relaxed) {
                    let outcome = work(&mut || {
                        counts.note(kind, 1, None);
                        thread::sleep(PACE);
                    });
                    if let Err(error) = outcome {
                        counts.note(kind, 1, Some(&error));
                    }
                }
            })
        })
        .collect()
}

fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn secure(
    port: u16,
    roots: &RootCertStore,
) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("soak.example")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    Ok(StreamOwned::new(connection, connect(port)?))
}

/// Requests on one connection, until as many are answered or the answer says that it closes.
fn keep_alive(
    stream: impl Read + Write,
    requests: usize,
    done: &mut dyn FnMut(),
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    for number in 0..requests {
        let bytes = if number % 4 == 3 { 10 << 10 } else { 64 };
        let head = format!("GET /{bytes} HTTP/1.1\r\nHost: soak.example\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes())?;
        let (length, closes) = answer(&mut stream)?;
        ensure!(length == bytes, "{length} bytes instead of {bytes}");
        done();
        if closes {
            break;
        }
    }
    Ok(())
}

/// Reads an answer: its length, and whether the connection ends with it.
fn answer(stream: &mut BufReader<impl Read>) -> anyhow::Result<(u64, bool)> {
    let (mut first, mut length, mut closes) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line)? > 0, "closed without an answer");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        closes |= line == "connection: close";
    }
    let read = std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
    ensure!(first.starts_with("http/1.1 200"), "{first}");
    ensure!(read == length, "cut after {read} of {length} bytes");
    Ok((length, closes))
}

fn large(port: u16, done: &mut dyn FnMut()) -> anyhow::Result<()> {
    let mut stream = BufReader::new(connect(port)?);
    let body = vec![b'y'; 300 << 10];
    let head = format!(
        "POST /count HTTP/1.1\r\nHost: soak.example\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().write_all(&body)?;
    let (_, closes) = answer(&mut stream)?;
    done();
    if closes {
        return Ok(());
    }
    stream
        .get_mut()
        .write_all(b"GET /1048576 HTTP/1.1\r\nHost: soak.example\r\nConnection: close\r\n\r\n")?;
    answer(&mut stream)?;
    done();
    Ok(())
}

/// An upgraded connection that lives for some twenty seconds.
fn websocket(port: u16, done: &mut dyn FnMut()) -> anyhow::Result<()> {
    let mut stream = connect(port)?;
    stream.write_all(
        b"GET /ws HTTP/1.1\r\nHost: soak.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "not upgraded");
    echo(stream, 400, &mut || {
        done();
        thread::sleep(4 * PACE);
    })
}

/// As much comes back as was sent.
fn echo(mut stream: TcpStream, times: u32, done: &mut dyn FnMut()) -> anyhow::Result<()> {
    let mut back = vec![0; 4 << 10];
    for number in 0..times {
        let sent = vec![number.to_le_bytes()[0]; back.len()];
        stream.write_all(&sent).context("send")?;
        stream.read_exact(&mut back).context("echo")?;
        ensure!(back == sent, "another echo");
        done();
    }
    Ok(())
}

/// A burst of streams over two connections.
fn h2(port: u16, done: &mut dyn FnMut()) -> anyhow::Result<()> {
    let url = format!("https://127.0.0.1:{port}/64");
    let said = shell::output(
        "timeout",
        ["60", "h2load", "-t1", "-c2", "-m4", "-n40", &url],
    )?;
    let counted = said
        .lines()
        .find_map(|line| line.strip_prefix("requests: "));
    let count = |name: &str| -> Option<u32> {
        let part = counted?
            .split(", ")
            .find_map(|part| part.strip_suffix(name))?;
        part.trim().parse().ok()
    };
    // A client that is told to leave (GOAWAY) starts no more on that connection; h2load makes no
    // other, and counts what it never sent as failed.
    let started = count(" started").context("h2load said nothing")?;
    ensure!(
        started > 0
            && count(" succeeded") == Some(started)
            && said.contains(&format!("{started} 2xx")),
        "h2load: {said}"
    );
    for _ in 0..started {
        done();
    }
    Ok(())
}
