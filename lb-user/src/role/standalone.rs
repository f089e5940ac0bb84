//! `lbaas amphora --standalone FILE`: one amphora without an agent, on plain addresses, as whoever
//! starts it. For benches, debugging and fuzzing.
//!
//! The amphora itself is the very one an agent starts: a thread of this process plays the agent's
//! part, over the same control socket, with the configuration that [`file`] reads. SIGHUP, or a
//! change of any file the configuration was read from, has it read again; a file that cannot be
//! read changes nothing. With `--control PATH` another may take its place later: the same command
//! with `--take-over`, of a newer binary for example, gets its listening sockets and serves, while
//! this one finishes what it has and ends.
//!
//! Left out on purpose: namespaces, heartbeats, restarts.

mod file;

use std::{
    fs,
    io::{self, Read as _},
    num::NonZeroUsize,
    os::unix::{
        fs::DirBuilderExt as _,
        net::{UnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime},
};

use lb_model::{
    amphora::{AmphoraConfig, FromAmphora, ToAmphora},
    spec::LoadBalancerSpec,
};
use lb_proxy::AmphoraArgs;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    signal::unix::{SignalKind, signal},
    time::interval,
};

use self::file::Loaded;
use crate::{cli, failure::Failure};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Where it stands among others.
pub(super) struct Place {
    /// Who takes over connects here; none: nobody can.
    pub(super) control: Option<PathBuf>,
    /// Whoever listens there now is taken over.
    pub(super) take_over: bool,
    pub(super) workers: NonZeroUsize,
    pub(super) drain_within: Duration,
}

/// Serves what `path` says until SIGTERM or SIGINT, or until another has taken over.
pub(super) fn run(path: &Path, place: &Place) -> Result<(), Failure> {
    lb_telemetry::logging::init();
    let first = file::load(path)?;
    let (mut args, agent) = born(place)?;
    args.drain_within = place.drain_within;
    let path = path.to_owned();
    std::thread::Builder::new()
        .name("agent".to_owned())
        .spawn(move || {
            if let Err(failure) = play(agent, &path, first) {
                // The amphora has gone: its own end tells more.
                tracing::debug!(?failure, "the agent's part ends");
            }
        })
        .map_err(Failure::failed)?;
    lb_proxy::run(args).map_err(Failure::failed)
}

/// With its control socket, and a connection to that.
fn born(place: &Place) -> Result<(AmphoraArgs, StdUnixStream), Failure> {
    let Some(path) = &place.control else {
        let (control, agent) = control_socket().map_err(Failure::failed)?;
        return Ok((AmphoraArgs::new(control.into(), place.workers), agent));
    };
    let args = if place.take_over {
        let predecessor = StdUnixStream::connect(path).map_err(Failure::failed)?;
        AmphoraArgs::succeed(predecessor.into(), place.workers).map_err(Failure::failed)?
    } else {
        let control = lb_sys::unix::listen(path).map_err(Failure::failed)?;
        AmphoraArgs::new(control, place.workers)
    };
    // Of one that was taken over, it waits in the socket's queue until we serve.
    let agent = StdUnixStream::connect(path).map_err(Failure::failed)?;
    agent.set_nonblocking(true).map_err(Failure::failed)?;
    Ok((args, agent))
}

/// What `path` says is served.
pub(crate) fn read(path: &Path) -> Result<LoadBalancerSpec, Failure> {
    Ok(file::load(path)?.config.load_balancer)
}

/// A listening socket and a connection to it; its name is gone when this returns.
fn control_socket() -> io::Result<(UnixListener, StdUnixStream)> {
    let mut random = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let name = format!("lbaas-{}-{:x}", process::id(), u64::from_ne_bytes(random));
    let dir = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    let pair = || {
        let listener = UnixListener::bind(dir.join("control.sock"))?;
        let agent = StdUnixStream::connect(dir.join("control.sock"))?;
        agent.set_nonblocking(true)?;
        Ok((listener, agent))
    };
    let made = pair();
    fs::remove_dir_all(&dir)?;
    made
}

/// The agent's part: says what to serve, and says it again when it has changed.
fn play(agent: StdUnixStream, path: &Path, first: Loaded) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    runtime.block_on(async {
        let agent = UnixStream::from_std(agent).map_err(Failure::failed)?;
        let (reader, mut writer) = agent.into_split();
        let mut answers = BufReader::new(reader).lines();
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let mut look = interval(LOOK);
        let mut generation = 1;
        let mut files = first.files;
        let mut seen = stamps(&files);
        say(&mut writer, first.config, generation).await?;
        loop {
            let reload = tokio::select! {
                answer = answers.next_line() => match answer.map_err(Failure::failed)? {
                    Some(line) if !hear(&line)? => return Ok(()),
                    Some(_) => false,
                    None => return Ok(()),
                },
                Some(()) = hangup.recv() => true,
                _ = look.tick() => stamps(&files) != seen,
            };
            if !reload {
                continue;
            }
            seen = stamps(&files);
            match file::load(path) {
                Ok(loaded) => {
                    generation += 1;
                    files = loaded.files;
                    seen = stamps(&files);
                    say(&mut writer, loaded.config, generation).await?;
                }
                Err(Failure::Usage(reason) | Failure::Failed(reason)) => {
                    tracing::error!(reason, "what is served stays as it is");
                }
            }
        }
    })
}

async fn say(
    writer: &mut OwnedWriteHalf,
    mut config: AmphoraConfig,
    generation: u64,
) -> Result<(), Failure> {
    config.load_balancer.generation = generation;
    let config = Box::new(config);
    let message = ToAmphora::Configure { config };
    let mut line = serde_json::to_string(&message).map_err(Failure::failed)?;
    line.push('\n');
    let written = writer.write_all(line.as_bytes()).await;
    written.map_err(Failure::failed)
}

/// Tells whoever started us, on standard output, what is served now. `false`: by another.
fn hear(line: &str) -> Result<bool, Failure> {
    match serde_json::from_str(line).map_err(Failure::failed)? {
        FromAmphora::Applied {
            generation,
            failures,
        } => {
            let failed = failures.len();
            cli::print(&format!(
                "ready role=amphora generation={generation} failed_listeners={failed}\n"
            ))?;
            Ok(true)
        }
        FromAmphora::TakenOver => {
            cli::print("leaving role=amphora\n")?;
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// When each file was changed last.
fn stamps(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let stamp = |path: &PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
    files.iter().map(stamp).collect()
}
