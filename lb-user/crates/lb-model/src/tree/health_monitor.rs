//! Verbs of health monitors (contract 2.5).

use super::{Tree, begin, new_common};
use crate::{
    capability,
    ctx::Ctx,
    defaults,
    enums::OperatingStatus,
    fault::Fault,
    id::{HealthMonitorId, PoolId},
    monitor_rules,
    quota::QuotaClass,
    request::{HealthMonitorCreate, HealthMonitorUpdate, health_monitor::HealthMonitorFields},
    resource::HealthMonitor,
    status::Event,
};

impl Tree {
    /// POST a monitor.
    pub fn create_health_monitor(
        &mut self,
        request: HealthMonitorCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<HealthMonitorId, Fault> {
        self.atomically(|tree| tree.add_health_monitor(request.pool_id, request.fields, ctx))
    }

    /// PUT a monitor.
    pub fn update_health_monitor(
        &mut self,
        id: HealthMonitorId,
        request: HealthMonitorUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let (pool, monitor) = tree.health_monitor(id)?;
            let (pool_id, protocol) = (pool.id, pool.protocol);
            let mut monitor = monitor.clone();
            monitor_rules::check_http_fields(monitor.kind, &request, true)?;
            // Taking the version back is allowed whatever is stored; naming one is judged with it.
            let judged = request.domain_name.is_given() || request.http_version.value().is_some();
            apply(&mut monitor, request);
            monitor_rules::check_pool(
                protocol,
                monitor.kind,
                monitor.delay,
                &ctx.facts.deployment,
            )?;
            monitor_rules::check_values(&monitor)?;
            if judged {
                monitor_rules::check_domain(&monitor)?;
            }
            tree.lock_pool(pool_id, ctx.now)?;
            begin(&mut monitor.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            capability::health_monitor(&monitor, ctx.facts)?;
            tree.pool_mut(pool_id)?.health_monitor = Some(monitor);
            Ok(())
        })
    }

    /// DELETE a monitor.
    pub fn delete_health_monitor(
        &mut self,
        id: HealthMonitorId,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let pool_id = tree.health_monitor(id)?.0.id;
            tree.lock_pool(pool_id, ctx.now)?;
            let monitor = tree.pool_mut(pool_id)?.health_monitor.as_mut();
            let monitor = monitor.ok_or_else(|| id.not_found())?;
            begin(&mut monitor.common, Event::Delete, ctx.now).map_err(|_state| id.immutable())
        })
    }

    pub(crate) fn add_health_monitor(
        &mut self,
        pool_id: PoolId,
        fields: HealthMonitorFields,
        ctx: &mut Ctx<'_>,
    ) -> Result<HealthMonitorId, Fault> {
        let protocol = self.pool(pool_id)?.protocol;
        let deployment = &ctx.facts.deployment;
        deployment.check_monitor(fields.kind)?;
        monitor_rules::check_pool(protocol, fields.kind, fields.delay, deployment)?;
        ctx.quota.take(QuotaClass::HealthMonitor, 1)?;
        self.lock_pool(pool_id, ctx.now)?;
        monitor_rules::check_http_fields(fields.kind, &fields.mutable, false)?;
        let monitor = new_monitor(ctx.id(), fields, ctx);
        monitor_rules::check_values(&monitor)?;
        monitor_rules::check_domain(&monitor)?;
        let pool = self.pool_mut(pool_id)?;
        if pool.health_monitor.is_some() {
            return Err(Fault::Conflict(
                "This pool already has a health monitor".to_owned(),
            ));
        }
        capability::health_monitor(&monitor, ctx.facts)?;
        let id = monitor.id;
        pool.health_monitor = Some(monitor);
        Ok(id)
    }
}

fn new_monitor(id: HealthMonitorId, fields: HealthMonitorFields, ctx: &Ctx<'_>) -> HealthMonitor {
    let mutable = fields.mutable;
    let http = monitor_rules::is_http(fields.kind);
    let text = |given: Option<String>, default: &str| {
        http.then(|| given.unwrap_or_else(|| default.to_owned()))
    };
    HealthMonitor {
        id,
        common: new_common(mutable.common, OperatingStatus::Offline, ctx.now),
        kind: fields.kind,
        delay: fields.delay,
        timeout: fields.timeout,
        max_retries: fields.max_retries,
        max_retries_down: mutable
            .max_retries_down
            .resolve(defaults::MAX_RETRIES_DOWN, defaults::MAX_RETRIES_DOWN),
        http_method: text(mutable.http_method.into_value(), defaults::HTTP_METHOD),
        url_path: text(mutable.url_path.into_value(), defaults::URL_PATH),
        expected_codes: text(
            mutable.expected_codes.into_value(),
            defaults::EXPECTED_CODES,
        ),
        http_version: mutable.http_version.into_value(),
        domain_name: mutable.domain_name.into_value(),
    }
}

fn apply(monitor: &mut HealthMonitor, request: HealthMonitorUpdate) {
    request.common.apply(&mut monitor.common);
    // Null was refused when the body was read.
    monitor.delay = request.delay.into_value().unwrap_or(monitor.delay);
    monitor.timeout = request.timeout.into_value().unwrap_or(monitor.timeout);
    monitor.max_retries = request
        .max_retries
        .into_value()
        .unwrap_or(monitor.max_retries);
    request
        .max_retries_down
        .apply(&mut monitor.max_retries_down, defaults::MAX_RETRIES_DOWN);
    let text = |default: &str| Some(default.to_owned());
    request
        .http_method
        .apply_option(&mut monitor.http_method, text(defaults::HTTP_METHOD));
    request
        .url_path
        .apply_option(&mut monitor.url_path, text(defaults::URL_PATH));
    request
        .expected_codes
        .apply_option(&mut monitor.expected_codes, text(defaults::EXPECTED_CODES));
    request
        .http_version
        .apply_option(&mut monitor.http_version, None);
    request
        .domain_name
        .apply_option(&mut monitor.domain_name, None);
}
