//! schemathesis, from PyPI, makes up requests from the committed OpenAPI document and sends them to a
//! simulated server: no answer may be a fault of the server, none undocumented, none of another type or
//! shape than the document says. Bounded in time, and seeded.

use std::{
    env,
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use lb_testkit::wait;

/// The whole run takes no longer.
const SECONDS_MAX: &str = "100";
/// Requests made up for one operation.
const EXAMPLES: &str = "8";
const SEED: &str = "1";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `lbaas all-in-one --simulate`, killed when dropped.
struct Simulated {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Simulated {
    fn start(binary: &str, base: &std::path::Path) -> anyhow::Result<Self> {
        // Free a moment ago; another process would have to take it in between.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = base.join("log");
        let child = Command::new(binary)
            .args(["all-in-one", "--simulate"])
            .env("LBAAS_STATE_DIR", base.join("state"))
            .env("LBAAS_RUN_DIR", base.join("run"))
            .env("LBAAS_API__LISTEN", address.to_string())
            .env("LBAAS_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {binary}"))?;
        let server = Self {
            child,
            url: format!("http://{address}"),
            log,
        };
        let ready = wait::until(READY_WITHIN, LOOK_EVERY, || {
            Ok(std::net::TcpStream::connect(address).is_ok())
        })?;
        if !ready {
            bail!("the server does not answer:\n{}", server.log());
        }
        Ok(server)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

#[test]
fn made_up_requests_have_documented_answers() -> anyhow::Result<()> {
    let (Ok(programs), Ok(binary)) = (env::var("LBAAS_SCHEMATHESIS"), env::var("LBAAS_BINARY"))
    else {
        if env::var_os("LBAAS_TEST_REQUIRE_ROOT").is_some() {
            bail!("LBAAS_SCHEMATHESIS and LBAAS_BINARY are not set; run `cargo xtask test`");
        }
        println!("SKIPPED: `cargo xtask test` says where schemathesis and the binary are");
        return Ok(());
    };
    let base = env::temp_dir().join(format!("lbaas-schema-{}", std::process::id()));
    std::fs::create_dir_all(&base)?;
    let server = Simulated::start(&binary, &base)?;
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(PathBuf::from(programs).join("schemathesis"))
        .current_dir(&base)
        .arg("--config-file")
        .arg(here.join("schema/schemathesis.toml"))
        .args(["--no-color", "run"])
        .arg(here.join("../docs/api/openapi.json"))
        .args([
            "--url",
            &server.url,
            "--phases",
            "fuzzing",
            "--checks",
            CHECKS,
        ])
        .args(["--max-examples", EXAMPLES, "--seed", SEED, "--workers", "2"])
        .args(["--max-time", SECONDS_MAX, "--generation-database", "none"])
        .args(["--no-shrink", "--warnings", "off"])
        .output()?;
    let (said, log) = (String::from_utf8_lossy(&output.stdout), server.log());
    drop(server);
    std::fs::remove_dir_all(&base)?;
    println!("{said}");
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("schemathesis found something:\n{said}{errors}\nthe server's log:\n{log}");
    }
    Ok(())
}
