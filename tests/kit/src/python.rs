//! OpenStack's own services from PyPI, as processes of a test: the virtual environment they share,
//! starting and ending them, and asking them anything.
//!
//! A service is a script of this crate that serves on a free port of loopback, prints a line once it
//! answers, and ends when its standard input does, so with whoever started it, however that ends. The
//! environment is made once under the target directory; it also holds the `openstack` client and
//! oslo.policy.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// Packages and the versions that were tried.
const PACKAGES: &[&str] = &[
    "keystone==30.0.0",
    "barbican==23.0.0",
    "oslo.policy==6.0.1",
    "python-openstackclient==10.5.0",
    "python-octaviaclient==3.15.0",
];
/// Says where the environment is, when it is not under the target directory.
const ENVIRONMENT_VARIABLE: &str = "LBAAS_KEYSTONE";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A running service; ends with this value.
#[derive(Debug)]
pub(crate) struct Service {
    dir: PathBuf,
    child: Mutex<Child>,
}

impl Service {
    /// Runs `script` with a directory of its own and `wanted` as arguments; and the line it printed.
    pub(crate) fn start(
        name: &str,
        script: &str,
        wanted: &Value,
    ) -> anyhow::Result<(Self, String)> {
        let python = environment()?.join("bin/python");
        let dir = std::env::temp_dir().join(crate::unique("lbaas-python"));
        fs::create_dir_all(&dir)?;
        let log = fs::File::create(dir.join("log"))?;
        let child = Command::new(python)
            .arg("-c")
            .arg(script)
            .arg(&dir)
            .arg(wanted.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let service = Self {
            dir,
            child: Mutex::new(child),
        };
        let line = service.line()?;
        if line.is_empty() {
            let log = fs::read_to_string(service.dir.join("log")).unwrap_or_default();
            bail!("{name} does not start: {log}");
        }
        Ok((service, line))
    }

    fn line(&self) -> anyhow::Result<String> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Ends it, as a machine that is gone would.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop());
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// An answer: status, `X-Subject-Token`, body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The token, when the answer is a login.
    pub token: Option<String>,
    /// Parsed body, or null.
    pub body: Value,
}

/// Any request to a service at `url`.
pub(crate) fn ask(
    url: &str,
    verb: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let address = url.strip_prefix("http://").context("no http URL")?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    write!(
        stream,
        "{verb} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP head")?;
    let status = head.split_whitespace().nth(1).context("no status")?;
    let token = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_token = name.eq_ignore_ascii_case("x-subject-token");
        is_token.then(|| value.trim().to_owned())
    });
    Ok(Answer {
        status: status.parse()?,
        token,
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    })
}

/// The virtual environment, made when it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn environment() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os(ENVIRONMENT_VARIABLE) {
        return Ok(PathBuf::from(given));
    }
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().find(|path| path.ends_with("target"));
    let base = target
        .context("not under a target directory")?
        .join("keystone");
    fs::create_dir_all(&base)?;
    // Test binaries may run side by side.
    let lock = fs::File::create(base.join("lock"))?;
    lock.lock()?;
    let (venv, marker) = (base.join("venv"), base.join("installed"));
    let packages = PACKAGES.join("\n");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == packages) {
        return Ok(venv);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let install = || run(pip(&venv).args(PACKAGES));
    // An index that does not answer looks to pip like one that has nothing.
    install().or_else(|_unanswered| install())?;
    fs::write(&marker, packages)?;
    Ok(venv)
}

fn pip(venv: &Path) -> Command {
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", errors.trim());
    Ok(())
}
