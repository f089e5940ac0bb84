//! What the amphora forwards to: a thread a connection, keep-alive always, echoes of all kinds.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

/// HTTP on one port (`/N` answers N bytes, a POST its body's length, an upgrade echoes), TCP echo on
/// another. Both end with the process.
#[derive(Debug)]
pub struct Origin {
    pub http: u16,
    pub tcp: u16,
}

impl Origin {
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            http: listen(serve)?,
            tcp: listen(|stream| echo(&mut stream.try_clone()?, stream))?,
        })
    }
}

fn listen(serve: fn(TcpStream) -> io::Result<()>) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // What a connection's end is, the client judges.
            thread::spawn(move || stream.set_nodelay(true).and_then(|()| serve(stream)));
        }
    });
    Ok(port)
}

fn echo(from: &mut impl io::Read, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut path, mut length, mut upgrades) = (String::new(), 0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            upgrades |= line.starts_with("upgrade:");
        }
        if upgrades {
            stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            )?;
            return echo(&mut reader, stream);
        }
        let got = io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let body = match path.trim_start_matches('/').parse::<usize>() {
            Ok(bytes) => vec![b'x'; bytes],
            Err(_) => got.to_string().into_bytes(),
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(&body)?;
    }
}
