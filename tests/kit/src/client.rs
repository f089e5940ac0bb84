//! A plain HTTP/1.1 client and a TCP one, blocking, with a limit on every wait. What it is told is
//! what is on the wire: no retries, no redirects.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest answer body kept, in bytes.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// In the order received.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

impl Answer {
    /// First header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the server closes the connection after this answer.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Http {
    /// Connects from the calling thread's namespace; `limit` holds for connecting and for each read
    /// and write after it.
    ///
    /// # Errors
    /// When the other side refuses, resets or stays silent.
    pub fn connect(to: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: to.to_string(),
        })
    }

    /// Our own end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// GET with further headers.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP.
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
        self.request("GET", path, headers, "")
    }

    /// POST.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Answer> {
        self.request("POST", path, &[], body)
    }

    /// Any method.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        head += body;
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.read_answer(method == "HEAD")
    }

    fn read_answer(&mut self, no_body: bool) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, status_line.clone()))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        let mut answer = Answer {
            status,
            headers,
            body: String::new(),
        };
        if !no_body && status != 204 && status != 304 {
            answer.body = self.read_body(&answer)?;
        }
        Ok(answer)
    }

    fn read_body(&mut self, answer: &Answer) -> io::Result<String> {
        let mut body = Vec::new();
        if answer.header("transfer-encoding").is_some() {
            loop {
                let line = self.line()?;
                let size = u64::from_str_radix(&line, 16).map_err(io::Error::other)?;
                self.take_exactly(size, &mut body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            self.take_exactly(length, &mut body)?;
        } else {
            self.stream
                .by_ref()
                .take(BODY_BYTES_MAX)
                .read_to_end(&mut body)?;
        }
        String::from_utf8(body).map_err(io::Error::other)
    }

    fn take_exactly(&mut self, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let length = length.min(BODY_BYTES_MAX);
        let read = self.stream.by_ref().take(length).read_to_end(into)?;
        if u64::try_from(read).unwrap_or(u64::MAX) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// As [`Http::get`].
pub fn get(to: SocketAddr, path: &str, limit: Duration) -> io::Result<Answer> {
    Http::connect(to, limit)?.get(path, &[("Connection", "close")])
}

/// Connects to a TCP [`crate::backend::Backend`], checks that it echoes, returns its name.
///
/// # Errors
/// When it cannot be reached or does not echo.
pub fn tcp_name(to: SocketAddr, limit: Duration) -> io::Result<String> {
    let mut http = Http::connect(to, limit)?;
    let name = http.line()?;
    http.stream.get_mut().write_all(b"ping\n")?;
    let echoed = http.line()?;
    if echoed == "ping" {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, echoed))
    }
}
