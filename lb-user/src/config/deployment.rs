//! The keys of `[api]` that say which legal requests this deployment takes, with Octavia's names.

use std::fmt;

use lb_model::{defaults, deployment::Deployment};

use super::{ConfigError, reader::Section};

/// Reads them from `[api]`, which others read further.
pub(super) fn read(api: &mut Section) -> Result<Deployment, ConfigError> {
    let mut deployment = Deployment::default();
    let switches = [
        (
            "allow_tls_terminated_listeners",
            &mut deployment.tls_terminated_listeners,
        ),
        (
            "allow_prometheus_listeners",
            &mut deployment.prometheus_listeners,
        ),
        (
            "allow_ping_health_monitors",
            &mut deployment.ping_health_monitors,
        ),
    ];
    for (key, switch) in switches {
        *switch = api.boolean(key)?.unwrap_or(true);
    }
    let delay = api.signed("udp_connect_min_interval_health_monitor", -1..=86_400)?;
    deployment.udp_connect_delay_min = delay.unwrap_or(deployment.udp_connect_delay_min);
    deployment.prohibited_ciphers = api.list("tls_cipher_prohibit_list", "names of ciphers")?;
    let known = defaults::TLS_VERSIONS_KNOWN;
    let expected = format!("one of {}", known.join(", "));
    let minimum: Option<String> = api.parsed("minimum_tls_version", &expected)?;
    let shown = |text: &String| Some(format!("{text:?}"));
    if let Some(minimum) = minimum.as_ref().filter(|it| !known.contains(&it.as_str())) {
        let fix = format!("must be {expected}");
        return Err(api.wrong("minimum_tls_version", shown(minimum), fix));
    }
    deployment.minimum_tls_version = minimum;
    if let Err(fault) = deployment.check_defaults() {
        let fix = format!("conflicts with what a request gets that names nothing: {fault}");
        return Err(api.wrong("tls_cipher_prohibit_list or minimum_tls_version", None, fix));
    }
    Ok(deployment)
}

/// The same keys, as a file would have them.
pub(super) fn write(deployment: &Deployment, out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(
        out,
        "allow_tls_terminated_listeners = {}\nallow_prometheus_listeners = {}\n\
         allow_ping_health_monitors = {}",
        deployment.tls_terminated_listeners,
        deployment.prometheus_listeners,
        deployment.ping_health_monitors
    )?;
    writeln!(
        out,
        "udp_connect_min_interval_health_monitor = {}  # seconds; -1: any",
        deployment.udp_connect_delay_min
    )?;
    writeln!(
        out,
        "tls_cipher_prohibit_list = {:?}",
        deployment.prohibited_ciphers
    )?;
    match &deployment.minimum_tls_version {
        Some(version) => writeln!(out, "minimum_tls_version = {version:?}"),
        None => writeln!(out, "# minimum_tls_version = \"TLSv1.2\"  # default: any"),
    }
}
