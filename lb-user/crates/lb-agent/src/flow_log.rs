//! The tenant flow log of a host: lines that amphorae tell over their control connections go to one
//! file, syslog or journal.
//!
//! Why through the agent: an amphora has no file system to write to, and lives on when the agent is
//! replaced. The writing has a thread of its own; when it is behind by [`BATCHES_MAX`] batches, more
//! are dropped and the loss is told once it writes again.
//!
//! Invariant: a line gets through only if it begins with the project and load balancer of the
//! amphora that told it: one tenant's amphora cannot write another's lines.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use lb_model::{amphora::FlowLog, spec::LoadBalancerSpec};
use lb_telemetry::sink::Sink;

/// Batches that may wait for the writing thread.
const BATCHES_MAX: usize = 256;

/// Where tenants' requests and connections are logged, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLogConfig {
    /// Where to.
    pub target: FlowLog,
    /// A file beyond this is put aside.
    pub file_bytes_max: u64,
    /// Projects whose load balancers are logged; empty: all of them.
    pub projects: Vec<String>,
}

/// The open log.
#[derive(Clone, Debug)]
pub(crate) struct FlowLogWriter {
    projects: Arc<[String]>,
    batches: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl FlowLogWriter {
    pub(crate) fn open(config: &FlowLogConfig) -> std::io::Result<Self> {
        let mut sink = match &config.target {
            FlowLog::File(path) => Sink::file(&PathBuf::from(path), config.file_bytes_max)?,
            FlowLog::Syslog(path) => Sink::syslog(&PathBuf::from(path))?,
            FlowLog::Journal => Sink::journal()?,
        };
        let (batches, queue) = sync_channel::<Vec<u8>>(BATCHES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let write = move || {
            for batch in queue {
                if let Err(error) = sink.write(&batch) {
                    tracing::warn!(%error, "lines of the flow log are lost");
                }
                let batches = lost.swap(0, Ordering::Relaxed);
                if batches > 0 {
                    tracing::warn!(batches, "the flow log was behind: lines were dropped");
                }
            }
        };
        thread::Builder::new()
            .name("flow-log".to_owned())
            .spawn(write)?;
        Ok(Self {
            projects: config.projects.as_slice().into(),
            batches,
            dropped,
        })
    }

    /// Whether a load balancer's amphorae shall tell their lines.
    pub(crate) fn wants(&self, spec: &LoadBalancerSpec) -> bool {
        self.projects.is_empty() || self.projects.contains(&spec.project_id)
    }

    /// Takes lines of an amphora of `spec`. Never waits.
    pub(crate) fn take(&self, spec: &LoadBalancerSpec, lines: &str) {
        let owner = format!("{} {} ", spec.project_id, spec.id);
        let own = |line: &&str| line.starts_with(&owner);
        let mut batch = Vec::with_capacity(lines.len() + 1);
        for line in lines.lines().filter(own) {
            batch.extend_from_slice(line.as_bytes());
            batch.push(b'\n');
        }
        if !batch.is_empty() && self.batches.try_send(batch).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_model::enums::Topology;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lines_of_chosen_projects_arrive_and_forged_ones_do_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("flow.log");
        let writer = FlowLogWriter::open(&FlowLogConfig {
            target: FlowLog::File(path.to_string_lossy().into_owned()),
            file_bytes_max: 1 << 20,
            projects: vec!["mine".to_owned()],
        });
        let writer = writer.expect("a log");
        let mut spec = LoadBalancerSpec::new(Uuid::from_u128(1).into(), Topology::Single);
        spec.project_id = "other".to_owned();
        assert!(!writer.wants(&spec));
        spec.project_id = "mine".to_owned();
        assert!(writer.wants(&spec));
        let good = format!("mine {} a line\n", spec.id);
        writer.take(&spec, &format!("{good}other {} forged\n{good}", spec.id));
        let deadline = lb_sys::clock::monotonic_ns() + 10_000_000_000;
        let expected = good.repeat(2);
        while std::fs::read_to_string(&path).unwrap_or_default() != expected {
            assert!(
                lb_sys::clock::monotonic_ns() < deadline,
                "lines do not arrive"
            );
            thread::yield_now();
        }
    }
}
