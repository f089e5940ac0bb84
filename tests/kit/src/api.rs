//! A plain client of the public API: one request a connection, JSON in and out.
//!
//! Deliberately not the product's own HTTP stack, so that tests see what an outsider sees.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a status.
const POLL_EVERY: Duration = Duration::from_millis(2);

/// A client of one API address.
#[derive(Clone, Copy, Debug)]
pub struct ApiClient {
    address: SocketAddr,
}

/// Status code and body (`null` when empty).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Parsed body; text that is no JSON becomes a JSON string.
    pub body: Value,
}

impl ApiClient {
    /// A client of the API at `address`.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Any request; fails only when no HTTP answer came.
    ///
    /// # Errors
    /// No connection, no answer in time, or one that is not HTTP.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANSWER_TIMEOUT)
            .with_context(|| format!("the API at {} takes no connection", self.address))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let text = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_some() {
            "content-type: application/json\r\n"
        } else {
            ""
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\naccept: application/json\r\n\
             {kind}content-length: {}\r\n\r\n",
            self.address,
            text.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer)
    }

    /// A request that must succeed; gives the body.
    ///
    /// # Errors
    /// As [`Self::request`], or a status other than 2xx.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let answer = self.request(method, path, body)?;
        if !(200..300).contains(&answer.status) {
            bail!(
                "{method} {path} answered {}: {}",
                answer.status,
                answer.body
            );
        }
        Ok(answer.body)
    }

    /// GET of something that must be there.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None)
    }

    /// POST below `/v2/lbaas`; gives the object under its root key.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn create(&self, collection: &str, root: &str, object: Value) -> anyhow::Result<Value> {
        let body = Value::Object([(root.to_owned(), object)].into_iter().collect());
        let answer = self.call("POST", &format!("/v2/lbaas/{collection}"), Some(&body))?;
        answer
            .get(root)
            .cloned()
            .with_context(|| format!("the answer has no `{root}`: {answer}"))
    }

    /// Waits until a load balancer is ACTIVE.
    ///
    /// # Errors
    /// It went ERROR, or `within` passed.
    pub fn wait_active(&self, load_balancer: &str, within: Duration) -> anyhow::Result<Value> {
        let path = format!("/v2/lbaas/loadbalancers/{load_balancer}");
        let mut last = Value::Null;
        let found = crate::wait::until(within, POLL_EVERY, || {
            last = self.get(&path)?;
            Ok(last
                .pointer("/loadbalancer/provisioning_status")
                .and_then(Value::as_str)
                == Some("ACTIVE"))
        })?;
        if !found {
            bail!("{load_balancer} is not ACTIVE after {within:?}: {last}");
        }
        Ok(last)
    }
}

fn parse(answer: &[u8]) -> anyhow::Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("no HTTP head in the answer")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        dechunk(body)
    } else {
        body.to_owned()
    };
    let body = match body.trim() {
        "" => Value::Null,
        text => {
            serde_json::from_str(text).unwrap_or_else(|_no_json| Value::String(text.to_owned()))
        }
    };
    Ok(Answer { status, body })
}

fn dechunk(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            break;
        };
        let Some(chunk) = after.get(..size).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        whole.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or("");
    }
    whole
}
