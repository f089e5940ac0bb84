//! A client that sends exactly the bytes it is given.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub struct Client<S> {
    pub stream: S,
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: u16,
    /// Status line and headers, as received.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

impl Client<TcpStream> {
    pub async fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: &str) -> anyhow::Result<()> {
        self.stream.write_all(bytes.as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .await?;
        self.answer().await
    }

    pub async fn answer(&mut self) -> anyhow::Result<Answer> {
        timeout(PATIENCE, self.read_answer())
            .await
            .context("no answer")?
    }

    /// Reads until the other side closes; what came.
    pub async fn rest(&mut self) -> anyhow::Result<String> {
        let mut rest = std::mem::take(&mut self.unread);
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        match read.context("not closed")? {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error.into()),
        }
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let read = self.stream.read(&mut buffer).await?;
        if read == 0 {
            bail!("closed after {:?}", String::from_utf8_lossy(&self.unread));
        }
        self.unread.extend(buffer.into_iter().take(read));
        Ok(())
    }

    async fn read_answer(&mut self) -> anyhow::Result<Answer> {
        let head = loop {
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break self.unread.drain(..end + 4).collect::<Vec<_>>(),
                None => self.more().await?,
            }
        };
        let head = String::from_utf8(head)?;
        let code = head
            .split(' ')
            .nth(1)
            .context("no code")?
            .parse()
            .context("a code")?;
        let mut answer = Answer {
            code,
            head,
            body: String::new(),
        };
        if code == 101 {
            return Ok(answer);
        }
        let body = if let Some(length) = answer.header("content-length") {
            let length = length.parse()?;
            while self.unread.len() < length {
                self.more().await?;
            }
            self.unread.drain(..length).collect()
        } else if answer.header("transfer-encoding").is_some() {
            self.chunks().await?
        } else {
            self.rest().await?.into_bytes()
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    async fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.unread.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None => self.more().await?,
                }
            };
            let line: Vec<u8> = self.unread.drain(..end + 2).collect();
            let size = usize::from_str_radix(String::from_utf8(line)?.trim(), 16)?;
            while self.unread.len() < size + 2 {
                self.more().await?;
            }
            body.extend(self.unread.drain(..size));
            self.unread.drain(..2);
            if size == 0 {
                return Ok(body);
            }
        }
    }
}
