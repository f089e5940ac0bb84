//! The scheduler: one task per (pool, member), restarted only when its plan changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lb_model::{
    id::{MemberId, PoolId},
    spec::MemberReport,
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    check::{self, Attempt, CheckError},
    health::{Health, MemberHealth, Outcome},
    monitor::ProbePlan,
    sctp::SctpSockets,
};

/// First checks are spread over at most this long, so that a new configuration is not a burst.
const JITTER_MS_MAX: u128 = 250;

type Key = (PoolId, MemberId);

/// Runs the probes of one amphora. Dropping it stops them.
#[derive(Debug, Default)]
pub struct Prober {
    probes: HashMap<Key, Probe>,
    changed: Arc<Notify>,
    sctp: Option<Arc<SctpSockets>>,
}

#[derive(Debug)]
struct Probe {
    plan: ProbePlan,
    health: Arc<MemberHealth>,
    task: JoinHandle<Option<()>>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    /// None yet. Must be called, as [`Self::apply`], within a tokio runtime.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Probes SCTP members by these from now on.
    pub fn use_sctp(&mut self, sockets: Arc<SctpSockets>) {
        self.sctp = Some(sockets);
    }

    /// Wakes when a member's reported health has changed.
    #[must_use]
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Probes these from now on, and nothing else. Health is kept across changes of a plan.
    pub fn apply(&mut self, plans: Vec<ProbePlan>) {
        let mut before = std::mem::take(&mut self.probes);
        for plan in plans {
            let key = (plan.pool_id, plan.member_id);
            let kept = before.remove(&key);
            let probe = match kept {
                Some(probe) if probe.plan.runs_like(&plan) => probe,
                Some(probe) => self.start(plan, Arc::clone(&probe.health)),
                None => {
                    let health = MemberHealth::monitored(Health::initial(plan.last_known_up));
                    self.start(plan, Arc::new(health))
                }
            };
            self.probes.insert(key, probe);
        }
    }

    /// Probes nobody any more; what is known of members stays.
    pub fn rest(&self) {
        for probe in self.probes.values() {
            probe.task.abort();
        }
    }

    /// The word of a probed member; `None` when nobody probes it.
    #[must_use]
    pub fn health(&self, pool_id: PoolId, member_id: MemberId) -> Option<Arc<MemberHealth>> {
        let probe = self.probes.get(&(pool_id, member_id))?;
        Some(Arc::clone(&probe.health))
    }

    /// Every probed member, in order of ids.
    #[must_use]
    pub fn reports(&self) -> Vec<MemberReport> {
        let mut reports: Vec<MemberReport> = self
            .probes
            .iter()
            .map(|(&(pool_id, member_id), probe)| MemberReport {
                pool_id,
                member_id,
                up: probe.health.health().and_then(Health::reported),
            })
            .collect();
        reports.sort_unstable_by_key(|report| (report.pool_id, report.member_id));
        reports
    }

    fn start(&self, plan: ProbePlan, health: Arc<MemberHealth>) -> Probe {
        let task = lb_telemetry::task::spawn(
            "probe",
            probe(
                plan.clone(),
                self.sctp.clone(),
                Arc::clone(&health),
                Arc::clone(&self.changed),
            ),
        );
        Probe { plan, health, task }
    }
}

impl ProbePlan {
    /// Whether a running probe need not be restarted for `other`: what was last known matters only
    /// at the start.
    fn runs_like(&self, other: &Self) -> bool {
        let other = Self {
            last_known_up: self.last_known_up,
            ..other.clone()
        };
        *self == other
    }
}

async fn probe(
    plan: ProbePlan,
    sctp: Option<Arc<SctpSockets>>,
    health: Arc<MemberHealth>,
    changed: Arc<Notify>,
) {
    let attempt = Attempt {
        target: plan.target,
        source: plan.source,
        timeout: plan.timeout,
        sctp,
    };
    sleep(jitter(&plan)).await;
    loop {
        let started = Instant::now();
        let result = match timeout(plan.timeout, check::run(&plan.check, &attempt)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(CheckError::Timeout),
        };
        record(&plan, &health, &changed, &result);
        sleep_until(started + plan.delay).await;
    }
}

fn record(
    plan: &ProbePlan,
    health: &MemberHealth,
    changed: &Notify,
    result: &Result<(), CheckError>,
) {
    let outcome = if result.is_ok() {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    let before = health.health().unwrap_or(Health::Fragile);
    let after = before.next(outcome, plan.thresholds);
    health.set(after);
    if before.reported() == after.reported() {
        return;
    }
    let reason = result.as_ref().err().map(ToString::to_string);
    tracing::info!(
        pool.id = %plan.pool_id,
        member.id = %plan.member_id,
        member.addr = %plan.target,
        up = after.reported(),
        reason,
        "member health changed"
    );
    changed.notify_one();
}

/// Spread by the member's id: no randomness is needed to be apart.
fn jitter(plan: &ProbePlan) -> Duration {
    let spread = JITTER_MS_MAX.min(plan.delay.as_millis() / 2).max(1);
    let chosen = plan.member_id.0.as_u128() % spread;
    Duration::from_millis(u64::try_from(chosen).unwrap_or(0))
}
