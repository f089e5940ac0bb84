//! The processes: origin and proxies.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    Dir,
    render::{self, Certificate},
    scenario::Scenario,
};
use crate::shell;

/// A process has this long to listen.
const START: Duration = Duration::from_secs(10);

/// Installs what is missing, from the distribution.
pub fn install(vs: &[String]) -> anyhow::Result<()> {
    let mut needed = vec![
        ("nginx", "nginx-light"),
        ("wrk", "wrk"),
        ("h2load", "nghttp2-client"),
    ];
    if vs.iter().any(|name| name == "haproxy") {
        needed.push(("haproxy", "haproxy"));
    }
    let sbin = |program: &str| Path::new("/usr/sbin").join(program).is_file();
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|(program, _)| !shell::has(program) && !sbin(program))
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("apt-get");
    command
        .args(["install", "-y", "--no-install-recommends"])
        .args(missing)
        .stdout(Stdio::null());
    shell::run_command(&mut command)
}

/// What is measured.
#[derive(Debug)]
pub enum Peer {
    Lbaas(PathBuf),
    Haproxy,
    Nginx,
}

/// A running proxy; ends with its value.
#[derive(Debug)]
pub struct Running {
    pub name: &'static str,
    pub port: u16,
    child: Child,
    _log: Option<Sink>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
}

impl Peer {
    pub fn start(
        &self,
        scenario: &Scenario,
        origin: &Origin,
        dir: &Dir,
        certificate: &Certificate,
    ) -> anyhow::Result<Running> {
        let port = free_port()?;
        let dir = dir.0.join(format!("{}-{port}", scenario.name));
        fs::create_dir_all(&dir)?;
        let log = scenario.log.then(|| Sink::bind(&dir)).transpose()?;
        let to_render = render::Proxy {
            scenario,
            port,
            origin: origin.port,
            certificate,
            log: log.as_ref().map(|sink| sink.path.as_path()),
        };
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        let name = match self {
            Self::Lbaas(binary) => {
                let file = dir.join("amphora.json");
                fs::write(&file, to_render.lbaas()?)?;
                command
                    .arg(binary)
                    .args(["amphora", "--standalone"])
                    .arg(file);
                super::OURS
            }
            Self::Haproxy => {
                let file = dir.join("haproxy.cfg");
                fs::write(&file, to_render.haproxy())?;
                command.args(["haproxy", "-db", "-f"]).arg(file);
                "haproxy"
            }
            Self::Nginx => {
                let file = dir.join("nginx.conf");
                fs::write(&file, to_render.nginx(&dir))?;
                command.args(["nginx", "-e", "stderr", "-c"]).arg(file);
                "nginx"
            }
        };
        let child =
            launch(&mut command, &dir, port).with_context(|| format!("{name} does not start"))?;
        Ok(Running {
            name,
            port,
            child,
            _log: log,
        })
    }
}

/// What the proxies forward to: nginx with three answers.
#[derive(Debug)]
pub struct Origin {
    pub port: u16,
    child: Child,
}

impl Drop for Origin {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Origin {
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let dir = dir.join("origin");
        fs::create_dir_all(dir.join("www"))?;
        for (name, bytes) in [("small", 64), ("10k", 10 << 10), ("1m", 1 << 20)] {
            fs::write(dir.join("www").join(name), vec![b'x'; bytes])?;
        }
        let file = dir.join("nginx.conf");
        fs::write(&file, render::origin(&dir, port))?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]).arg(file);
        let child = launch(&mut command, &dir, port).context("the origin does not start")?;
        Ok(Self { port, child })
    }
}

/// Starts a process and waits until it listens.
fn launch(command: &mut Command, dir: &Path, port: u16) -> anyhow::Result<Child> {
    let errors = dir.join("stderr");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors)?)
        .spawn()?;
    let end_at = Instant::now() + START;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("{status}: {}", fs::read_to_string(&errors)?);
        }
        if Instant::now() > end_at {
            end(&mut child);
            bail!("it does not listen: {}", fs::read_to_string(&errors)?);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A syslog socket that reads and forgets.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
}

impl Sink {
    fn bind(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("log.sock");
        ensure!(
            path.as_os_str().len() < 100,
            "the path of a socket is short"
        );
        let socket = UnixDatagram::bind(&path)?;
        // Ends with the process: nothing waits for it.
        std::thread::spawn(move || {
            let mut line = vec![0; 64 << 10];
            while socket.recv(&mut line).is_ok() {}
        });
        Ok(Self { path })
    }
}
