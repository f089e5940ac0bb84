//! Section `[quotas]`: what a project may have that has no limits of its own. The keys are Octavia's.

use std::fmt;

use lb_model::quota::{PerClass, QUOTA_MAX, QuotaClass, UNLIMITED};

use super::{ConfigError, reader::Section};

const fn key(class: QuotaClass) -> &'static str {
    match class {
        QuotaClass::LoadBalancer => "default_load_balancer_quota",
        QuotaClass::Listener => "default_listener_quota",
        QuotaClass::Pool => "default_pool_quota",
        QuotaClass::Member => "default_member_quota",
        QuotaClass::HealthMonitor => "default_health_monitor_quota",
        QuotaClass::L7Policy => "default_l7policy_quota",
        QuotaClass::L7Rule => "default_l7rule_quota",
    }
}

pub(super) fn read(mut section: Section) -> Result<PerClass<i64>, ConfigError> {
    let mut limits = PerClass::unlimited();
    for class in QuotaClass::ALL {
        if let Some(limit) = section.signed(key(class), UNLIMITED..=QUOTA_MAX)? {
            *limits.get_mut(class) = limit;
        }
    }
    section.finish()?;
    Ok(limits)
}

pub(super) fn write(limits: &PerClass<i64>, out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(out, "\n[quotas]  # -1: no limit")?;
    for class in QuotaClass::ALL {
        writeln!(out, "{} = {}", key(class), limits.get(class))?;
    }
    Ok(())
}
