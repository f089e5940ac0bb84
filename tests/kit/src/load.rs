//! A request loop against a VIP that keeps what became of every request, for measuring failover
//! windows and proving that nothing was lost.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::anyhow;
use lb_sys::{clock::monotonic_ns, netns};

use crate::client::{Answer, Http};

/// What one loop does.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// Namespace of the client; `None`: the caller's.
    pub netns: Option<String>,
    /// Where to.
    pub to: SocketAddr,
    /// What to ask for.
    pub path: String,
    /// Keep the connection between requests (a new one after `Connection: close`).
    pub keep_alive: bool,
    /// Between requests.
    pub pause: Duration,
    /// Longest wait for anything.
    pub limit: Duration,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When it was begun (CLOCK_MONOTONIC).
    pub begun_ns: u64,
    /// When it was over.
    pub ended_ns: u64,
    /// The answer's body without its newline, or what went wrong.
    pub result: Result<String, String>,
    /// The connection was refused or reset, as opposed to nothing coming back.
    pub reset: bool,
}

/// A running loop; stops with the value.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Outcome>>>,
}

/// What a loop found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Every request in order.
    pub outcomes: Vec<Outcome>,
}

impl Load {
    /// Starts asking.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(spec: LoadSpec) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let body = || run(&spec, &seen);
                match &spec.netns {
                    Some(name) => netns::run_in(name, body).unwrap_or_default(),
                    None => body(),
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it and says what it found.
    ///
    /// # Errors
    /// When the loop panicked.
    pub fn stop(mut self) -> anyhow::Result<Summary> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .take()
            .ok_or_else(|| anyhow!("stopped before"))?;
        let outcomes = thread
            .join()
            .map_err(|_panic| anyhow!("the loop panicked"))?;
        Ok(Summary { outcomes })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Summary {
    /// Requests answered with 200.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.result.is_ok())
            .count()
    }

    /// Requests that failed in any way.
    #[must_use]
    pub fn failures(&self) -> Vec<&Outcome> {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.result.is_err())
            .collect()
    }

    /// Longest time without service: from the end of a good answer before a failure to the end of
    /// the next good one. Zero when nothing failed and no answer was late.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let mut last_good: Option<u64> = None;
        let mut longest = 0;
        for outcome in self
            .outcomes
            .iter()
            .filter(|outcome| outcome.result.is_ok())
        {
            if let Some(last) = last_good {
                longest = longest.max(outcome.ended_ns.saturating_sub(last));
            }
            last_good = Some(outcome.ended_ns);
        }
        Duration::from_nanos(longest)
    }
}

fn run(spec: &LoadSpec, stop: &AtomicBool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let begun_ns = monotonic_ns();
        let result = ask(spec, &mut connection);
        let ended_ns = monotonic_ns();
        let reset = result.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        });
        let result = match result {
            Ok(answer) if answer.status == 200 => Ok(answer.body.trim_end().to_owned()),
            Ok(answer) => Err(format!("status {}", answer.status)),
            Err(error) => {
                connection = None;
                Err(error.to_string())
            }
        };
        outcomes.push(Outcome {
            begun_ns,
            ended_ns,
            result,
            reset,
        });
        std::thread::sleep(spec.pause);
    }
    outcomes
}

fn ask(spec: &LoadSpec, connection: &mut Option<Http>) -> io::Result<Answer> {
    let mut http = match connection.take() {
        Some(http) => http,
        None => Http::connect(spec.to, spec.limit)?,
    };
    let headers: &[(&str, &str)] = if spec.keep_alive {
        &[]
    } else {
        &[("Connection", "close")]
    };
    let answer = http.get(&spec.path, headers)?;
    if spec.keep_alive && !answer.closes() {
        *connection = Some(http);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;

    #[test]
    fn every_request_is_accounted_for() {
        let backend = Backend::start(None, "one", &["127.0.0.1".parse().unwrap()], 0, 0).unwrap();
        let load = Load::start(LoadSpec {
            netns: None,
            to: backend.http()[0],
            path: "/slow?ms=1".to_owned(),
            keep_alive: true,
            pause: Duration::ZERO,
            limit: Duration::from_secs(2),
        })
        .unwrap();
        while backend.requests() < 20 {
            std::thread::yield_now();
        }
        let summary = load.stop().unwrap();
        assert!(summary.answered() >= 20);
        assert!(summary.failures().is_empty(), "{:?}", summary.failures());
        assert_eq!(backend.connections(), 1, "kept alive");
        assert!(summary.longest_gap() < Duration::from_secs(1));
    }
}
