//! The amphora under load, and its configuration.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::json;

use super::origin::Origin;
use crate::shell;

/// It starts, and takes over, within this.
const START: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub http: u16,
    pub https: u16,
    pub tcp: u16,
}

/// What the process has.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub rss_kib: u64,
    pub descriptors: u64,
}

#[derive(Debug)]
pub struct Amphora {
    pub ports: Ports,
    pub roots: RootCertStore,
    binary: PathBuf,
    dir: PathBuf,
    process: Child,
    departing: Vec<Child>,
}

impl Drop for Amphora {
    fn drop(&mut self) {
        for child in self.departing.iter_mut().chain([&mut self.process]) {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Amphora {
    pub fn start(binary: PathBuf, dir: &Path, origins: &[Origin]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for name in ["one", "two"] {
            certificate(dir, name)?;
            let pem = fs::read(dir.join(format!("{name}.pem")))?;
            for der in CertificateDer::pem_slice_iter(&pem) {
                roots.add(der?)?;
            }
        }
        // Held together, so that they differ.
        let free: Vec<_> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<_, _>>()?;
        let port = |at: usize| -> anyhow::Result<u16> {
            Ok(free.get(at).context("three")?.local_addr()?.port())
        };
        let ports = Ports {
            http: port(0)?,
            https: port(1)?,
            tcp: port(2)?,
        };
        drop(free);
        configuration(dir, &ports, origins, 0)?;
        let process = launch(&binary, dir, false)?;
        let amphora = Self {
            ports,
            roots,
            binary,
            dir: dir.to_owned(),
            process,
            departing: Vec::new(),
        };
        let until = Instant::now() + START;
        for port in [ports.http, ports.https, ports.tcp] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                ensure!(Instant::now() < until, "it does not listen");
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(amphora)
    }

    /// Another configuration each time; never one without a member.
    pub fn configure(&self, origins: &[Origin], change: u64) -> anyhow::Result<()> {
        configuration(&self.dir, &self.ports, origins, change)
    }

    /// A new process takes its place.
    pub fn take_over(&mut self) -> anyhow::Result<()> {
        let new = launch(&self.binary, &self.dir, true)?;
        self.departing
            .push(std::mem::replace(&mut self.process, new));
        let until = Instant::now() + START;
        // The one before has said that it leaves.
        while !fs::read_to_string(self.dir.join("said"))?.contains("leaving") {
            if let Some(status) = self.process.try_wait()? {
                bail!("the new one ended: {status}");
            }
            ensure!(Instant::now() < until, "the new one does not take over");
            thread::sleep(Duration::from_millis(10));
        }
        fs::write(self.dir.join("said"), "")?;
        self.departing
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        Ok(())
    }

    pub fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the amphora ended: {status}");
        }
        let pid = self.process.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.split_whitespace().next());
        Ok(Usage {
            rss_kib: rss.context("no VmRSS")?.parse()?,
            descriptors: u64::try_from(fs::read_dir(format!("/proc/{pid}/fd"))?.count())?,
        })
    }
}

fn launch(binary: &Path, dir: &Path, take_over: bool) -> anyhow::Result<Child> {
    let append = |name: &str| {
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true).open(dir.join(name))
    };
    let mut command = Command::new(binary);
    command
        .args(["amphora", "--workers", "2", "--standalone"])
        .arg(dir.join("amphora.json"))
        .arg("--control")
        .arg(dir.join("control.sock"))
        .args(take_over.then_some("--take-over"))
        .stdin(Stdio::null())
        .stdout(append("said")?)
        .stderr(append("log")?);
    command.spawn().context("the amphora cannot be started")
}

fn certificate(dir: &Path, name: &str) -> anyhow::Result<()> {
    let path = |kind: &str| {
        dir.join(format!("{name}.{kind}"))
            .to_string_lossy()
            .into_owned()
    };
    let (key, chain) = (path("key"), path("pem"));
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -addext subjectAltName=DNS:soak.example -addext basicConstraints=critical,CA:FALSE";
    let subject = format!("/CN=soak {name}");
    let mut all: Vec<&str> = arguments.split_whitespace().collect();
    all.extend(["-subj", &subject, "-keyout", &key, "-out", &chain]);
    shell::output("openssl", all)?;
    Ok(())
}

fn configuration(dir: &Path, ports: &Ports, origins: &[Origin], change: u64) -> anyhow::Result<()> {
    // Every third change leaves out one origin, the one after the other.
    let left_out = (change % 3 == 2).then_some(change / 3 % 2);
    let members = |port: fn(&Origin) -> u16| {
        let all = origins.iter().zip(0..);
        all.filter(|(_, number)| Some(*number) != left_out)
            .map(|(origin, number)| {
                json!({
                    "id": format!("member {number}"), "address": "127.0.0.1",
                    "port": port(origin), "weight": 1 + (change + number) % 4,
                })
            })
            .collect::<Vec<_>>()
    };
    let policies: Vec<_> = (0..change % 5)
        .map(|number| {
            json!({
                "id": format!("policy {number}"), "action": "REJECT",
                "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": format!("/no{number}")}],
            })
        })
        .collect();
    let certificate = if (change / 4).is_multiple_of(2) {
        "one"
    } else {
        "two"
    };
    let config = json!({"load_balancer": {
        "listeners": [
            {"id": "http", "protocol": "HTTP", "port": ports.http, "default_pool_id": "web", "l7policies": policies},
            {"id": "https", "protocol": "TERMINATED_HTTPS", "port": ports.https, "default_pool_id": "web",
             "default_certificate": certificate, "tls": {"alpn_protocols": ["h2", "http/1.1"]}},
            {"id": "tcp", "protocol": "TCP", "port": ports.tcp, "default_pool_id": "tcp"},
        ],
        "pools": [
            {"id": "web", "members": members(|origin| origin.http),
             "lb_algorithm": if change.is_multiple_of(2) { "ROUND_ROBIN" } else { "LEAST_CONNECTIONS" }},
            {"id": "tcp", "protocol": "TCP", "members": members(|origin| origin.tcp)},
        ],
        "certificates": [{
            "id": certificate,
            "chain_file": dir.join(format!("{certificate}.pem")),
            "key_file": dir.join(format!("{certificate}.key")),
        }],
    }});
    // As a whole: whoever reads sees the one or the other.
    let new = dir.join("amphora.new");
    fs::write(&new, serde_json::to_vec(&config)?)?;
    fs::rename(new, dir.join("amphora.json"))?;
    Ok(())
}
