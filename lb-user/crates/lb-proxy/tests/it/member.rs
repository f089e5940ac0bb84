//! A member that records every byte and answers as told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// 200 with this body.
    Says(String),
    /// These bytes.
    Raw(String),
    /// These bytes, then the connection closes.
    RawThenClose(String),
    /// 200 after a while.
    Late(Duration),
    /// Closes without a word.
    Closes,
    /// 200 with the request's body.
    Echoes,
    /// 101, then echoes bytes.
    Switches,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    peers: Mutex<Vec<SocketAddr>>,
}

/// A server on loopback.
pub struct Member {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    behaviour: Arc<Mutex<Behaviour>>,
    task: JoinHandle<Option<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Member {
    pub async fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?, behaviour).await
    }

    /// One that answers with `name`.
    pub async fn named(name: &str) -> anyhow::Result<Self> {
        Self::start(Behaviour::Says(name.to_owned())).await
    }

    pub async fn start_at(at: SocketAddr, behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (their_seen, their_behaviour) = (Arc::clone(&seen), Arc::clone(&behaviour));
        let task = lb_telemetry::task::spawn("test member", async move {
            // Connections end with the member.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                their_seen.connections.fetch_add(1, Ordering::SeqCst);
                push(&their_seen.peers, peer);
                connections.spawn(serve(
                    stream,
                    Arc::clone(&their_seen),
                    Arc::clone(&their_behaviour),
                ));
            }
        });
        Ok(Self {
            address,
            seen,
            behaviour,
            task,
        })
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self
            .behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// Every request so far, head and body as received.
    pub fn requests(&self) -> Vec<String> {
        self.seen
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Where connections came from.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.seen
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(item);
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>, behaviour: Arc<Mutex<Behaviour>>) {
    let mut buffer = Vec::new();
    while let Some((request, body)) = request(&mut stream, &mut buffer).await {
        push(&seen.requests, request);
        let behaviour = behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (answer, goes_on) = match behaviour {
            Behaviour::Says(text) => (ok(&text), true),
            Behaviour::Raw(bytes) => (bytes, true),
            Behaviour::RawThenClose(bytes) => (bytes, false),
            Behaviour::Late(after) => {
                tokio::time::sleep(after).await;
                (ok("late"), true)
            }
            Behaviour::Closes => return,
            Behaviour::Echoes => (ok(&body), true),
            Behaviour::Switches => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                if stream.write_all(head.as_bytes()).await.is_ok() {
                    let (mut reader, mut writer) = stream.split();
                    drop(tokio::io::copy(&mut reader, &mut writer).await);
                }
                return;
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || !goes_on {
            return;
        }
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The next request (all its bytes) and its body; `None` at the end.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(buffer.get(..head_end)?).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let end = if head.contains("transfer-encoding: chunked") {
        loop {
            let body = buffer.get(head_end..)?;
            let last = body.windows(5).position(|five| five == b"\r\n0\r\n");
            let last = last.or_else(|| body.starts_with(b"0\r\n").then_some(0));
            let trailers = body.get(last.unwrap_or(body.len())..)?;
            if let Some(end) = trailers.windows(4).position(|four| four == b"\r\n\r\n") {
                break head_end + last? + end + 4;
            }
            more(stream, buffer).await?;
        }
    } else {
        while buffer.len() < head_end + length {
            more(stream, buffer).await?;
        }
        head_end + length
    };
    let request: Vec<u8> = buffer.drain(..end).collect();
    let body = String::from_utf8_lossy(request.get(head_end..)?).into_owned();
    Some((String::from_utf8_lossy(&request).into_owned(), body))
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(read) if read > 0 => Some(()),
        _ => None,
    }
}
