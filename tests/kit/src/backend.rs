//! Application servers: small, threaded, and they say who they are.
//!
//! HTTP/1.1 with keep-alive. Every answer's body is one line with the server's name; request
//! headers come back as `X-Echo-…`, the path as `X-Path`, the peer as `X-Peer`. Paths:
//!
//! - `/slow?ms=N` answers after N milliseconds (at most 60,000),
//! - `/status/NNN` answers with that status,
//! - `/health` answers 200, or 503 after [`Backend::set_healthy`]`(false)`,
//! - anything else 200. A body sent is read and its length told in `X-Body-Length`.
//!
//! TCP: says its name and a newline, then echoes.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use lb_sys::netns;

/// Longest head read, in bytes.
const HEAD_BYTES_MAX: u64 = 256 << 10;
/// Longest delay, in milliseconds.
const SLOW_MS_MAX: u64 = 60_000;

#[derive(Debug)]
struct State {
    name: String,
    stopping: AtomicBool,
    healthy: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
}

/// Servers under one name; they stop with the value.
#[derive(Debug)]
pub struct Backend {
    state: Arc<State>,
    netns: Option<String>,
    http: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
}

impl Backend {
    /// Starts servers on each address: HTTP on `http_port`, TCP on `tcp_port` (0: any).
    ///
    /// # Errors
    /// When a port is taken, or the namespace does not exist.
    pub fn start(
        netns: Option<&str>,
        name: &str,
        addresses: &[IpAddr],
        http_port: u16,
        tcp_port: u16,
    ) -> anyhow::Result<Self> {
        let state = Arc::new(State {
            name: name.to_owned(),
            stopping: AtomicBool::new(false),
            healthy: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let mut backend = Self {
            state,
            netns: netns.map(str::to_owned),
            http: Vec::new(),
            tcp: Vec::new(),
        };
        for &address in addresses {
            let at = backend.serve((address, http_port).into(), serve_http)?;
            backend.http.push(at);
            let at = backend.serve((address, tcp_port).into(), serve_tcp)?;
            backend.tcp.push(at);
        }
        Ok(backend)
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Where TCP is served.
    #[must_use]
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// What `/health` answers from now on.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.healthy.store(healthy, Ordering::Relaxed);
    }

    /// HTTP requests answered, those to `/health` not counted.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    fn serve(
        &self,
        at: SocketAddr,
        handle: fn(TcpStream, &State) -> io::Result<()>,
    ) -> anyhow::Result<SocketAddr> {
        // The socket stays in the namespace it was made in; the threads need not.
        let bind = || TcpListener::bind(at);
        let listener = match &self.netns {
            Some(name) => netns::run_in(name, bind)?,
            None => bind(),
        }
        .with_context(|| format!("{} on {at}", self.state.name))?;
        let bound = listener.local_addr()?;
        let state = Arc::clone(&self.state);
        thread::Builder::new()
            .name("backend".to_owned())
            .spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if state.stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    state.connections.fetch_add(1, Ordering::Relaxed);
                    let state = Arc::clone(&state);
                    let started = thread::Builder::new()
                        .name("backend".to_owned())
                        .spawn(move || handle(stream, &state));
                    drop(started);
                }
            })?;
        Ok(bound)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::Relaxed);
        for &at in self.http.iter().chain(&self.tcp) {
            // Wakes the thread in accept, which then sees the flag.
            let knock = || drop(TcpStream::connect_timeout(&at, Duration::from_millis(200)));
            match &self.netns {
                Some(name) => drop(netns::run_in(name, knock)),
                None => knock(),
            }
        }
    }
}

fn serve_tcp(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(format!("{}\n", state.name).as_bytes())?;
    let mut reader = stream.try_clone()?;
    io::copy(&mut reader, &mut stream).map(drop)
}

/// The parts of a request that matter here.
struct Request {
    path: String,
    headers: Vec<(String, String)>,
    close: bool,
    body_length: u64,
}

fn serve_http(stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader)? {
        if let Some(ms) = request.path.strip_prefix("/slow?ms=") {
            let ms = ms.parse().unwrap_or(0).min(SLOW_MS_MAX);
            thread::sleep(Duration::from_millis(ms));
        }
        stream.write_all(&answer(&request, peer, state))?;
        if request.close {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Request, peer: SocketAddr, state: &State) -> Vec<u8> {
    let health = request.path.starts_with("/health");
    let status = if let Some(code) = request.path.strip_prefix("/status/") {
        code.parse().unwrap_or(200)
    } else if health && !state.healthy.load(Ordering::Relaxed) {
        503
    } else {
        200
    };
    if !health {
        state.requests.fetch_add(1, Ordering::Relaxed);
    }
    let body = format!("{}\n", state.name);
    let mut head = format!(
        "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\
         X-Path: {}\r\nX-Peer: {peer}\r\nX-Body-Length: {}\r\n",
        body.len(),
        request.path,
        request.body_length,
    );
    for (name, value) in &request.headers {
        head += &format!("X-Echo-{name}: {value}\r\n");
    }
    if request.close {
        head += "Connection: close\r\n";
    }
    head += "\r\n";
    head += &body;
    head.into_bytes()
}

fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut request = Request {
        close: line.trim_end().ends_with("HTTP/1.0"),
        path,
        headers: Vec::new(),
        body_length: 0,
    };
    let mut chunked = false;
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => request.body_length = value.parse().unwrap_or(0),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => request.close |= value.eq_ignore_ascii_case("close"),
            _ => {}
        }
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    if chunked {
        request.body_length = skip_chunks(reader)?;
    } else {
        io::copy(
            &mut reader.by_ref().take(request.body_length),
            &mut io::sink(),
        )?;
    }
    Ok(Some(request))
}

fn skip_chunks(reader: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end().split(';').next().unwrap_or("0"), 16)
            .map_err(io::Error::other)?;
        io::copy(&mut reader.by_ref().take(size), &mut io::sink())?;
        let mut end = String::new();
        reader.read_line(&mut end)?;
        total += size;
        if size == 0 {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Http, tcp_name};

    #[test]
    fn servers_say_who_they_are() {
        let backend =
            Backend::start(None, "server1", &["127.0.0.1".parse().unwrap()], 0, 0).unwrap();
        let mut http = Http::connect(backend.http()[0], Duration::from_secs(2)).unwrap();
        let answer = http.get("/api/x", &[("X-Own", "1")]).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "server1\n"));
        assert_eq!(answer.header("x-path"), Some("/api/x"));
        assert_eq!(answer.header("x-echo-x-own"), Some("1"));
        backend.set_healthy(false);
        assert_eq!(http.get("/health", &[]).unwrap().status, 503);
        assert_eq!(
            http.post("/x", "hello").unwrap().header("x-body-length"),
            Some("5")
        );
        assert_eq!(backend.requests(), 2);
        assert_eq!(
            tcp_name(backend.tcp()[0], Duration::from_secs(2)).unwrap(),
            "server1"
        );
    }
}
