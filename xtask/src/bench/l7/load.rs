//! Load generators: wrk for HTTP/1, h2load for HTTP/2, our own for handshakes and idle connections.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    answered,
    handshake::{self, Secure},
    peers::Running,
    render::Certificate,
    scenario::{Kind, Mode, Scenario},
};
use crate::shell;

/// Connections with requests under way.
const CONNECTIONS: &str = "32";

/// How long h2load may take beyond its time.
const H2LOAD_ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What a round gave.
#[derive(Debug)]
pub struct Measured {
    pub requests: u64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
}

/// Loads the proxy for `lasts`.
pub fn run(
    scenario: &Scenario,
    proxy: &Running,
    certificate: &Certificate,
    lasts: Duration,
) -> anyhow::Result<Measured> {
    let scheme = if scenario.mode == Mode::Tls {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://127.0.0.1:{}{}", proxy.port, scenario.path);
    match scenario.kind {
        Kind::KeepAlive => wrk(&url, lasts),
        Kind::Http2 => h2load(&url, lasts),
        Kind::Handshakes { resume } => {
            handshake::run(proxy.port, scenario.path, certificate, resume, lasts)
        }
        Kind::Idle => anyhow::bail!("idle connections are held, not loaded"),
    }
}

fn wrk(url: &str, lasts: Duration) -> anyhow::Result<Measured> {
    let seconds = format!("{}s", lasts.as_secs());
    let said = shell::output(
        "wrk",
        ["-t1", "-c", CONNECTIONS, "-d", &seconds, "--latency", url],
    )?;
    let requests = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok())
        .unwrap_or(0);
    anyhow::ensure!(
        !said.contains("Non-2xx") && !said.contains("Socket errors"),
        "wrk saw failures:\n{said}"
    );
    let at = |percent: &str| {
        let mut lines = said.lines().map(str::trim);
        lines.find_map(|line| micros(line.strip_prefix(percent)?.trim()))
    };
    Ok(Measured {
        requests: answered(requests, &said)?,
        p50_us: at("50%"),
        p99_us: at("99%"),
    })
}

/// A time as wrk writes it.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (unit, factor) = units.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor)
}

fn h2load(url: &str, lasts: Duration) -> anyhow::Result<Measured> {
    let seconds = lasts.as_secs().to_string();
    // It now and then waits for ever for connections that have ended: then it is ended.
    let patience = (lasts + H2LOAD_ENDS_WITHIN).as_secs().to_string();
    let arguments = [
        "-s", "KILL", &patience, "h2load", "-t1", "-c10", "-m10", "-D", &seconds, url,
    ];
    let said = shell::output("timeout", arguments)?;
    let succeeded = |line: &str| {
        let (_, counts) = line.split_once("requests: ")?;
        let part = counts
            .split(", ")
            .find(|part| part.ends_with(" succeeded"))?;
        part.split(' ').next()?.parse().ok()
    };
    let requests = said.lines().find_map(succeeded).unwrap_or(0);
    Ok(Measured {
        requests: answered(requests, &said)?,
        p50_us: None,
        p99_us: None,
    })
}

/// Connections that are open and silent after one request each.
#[derive(Debug)]
pub enum Held {
    Plain(#[expect(dead_code, reason = "held open")] Vec<TcpStream>),
    Secure(#[expect(dead_code, reason = "held open")] Vec<Secure>),
}

/// Opens `count` connections and sends one request on each.
pub fn hold(
    scenario: &Scenario,
    proxy: &Running,
    certificate: &Certificate,
    count: usize,
) -> anyhow::Result<Held> {
    if scenario.mode == Mode::Tls {
        let config = handshake::config(certificate, true)?;
        let one = || handshake::request(&config, proxy.port, scenario.path, true);
        let all: anyhow::Result<_> = (0..count).map(|_| one()).collect();
        return Ok(Held::Secure(all?));
    }
    let one = || {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port))?;
        stream.write_all(
            format!("GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", scenario.path).as_bytes(),
        )?;
        let read = stream.read(&mut [0; 4096])?;
        (read > 0).then_some(stream).context("closed")
    };
    let all: anyhow::Result<_> = (0..count).map(|_| one()).collect();
    Ok(Held::Plain(all?))
}
