//! What a health monitor's fields demand of each other and of its pool (contract 2.5).

use crate::{
    deployment::Deployment,
    enums::{HealthMonitorType, PoolProtocol},
    fault::Fault,
    request::{Given, HealthMonitorUpdate},
    resource::HealthMonitor,
};

/// Whether the probe is an HTTP request.
pub(crate) const fn is_http(kind: HealthMonitorType) -> bool {
    matches!(kind, HealthMonitorType::Http | HealthMonitorType::Https)
}

/// Which monitors a pool can have.
pub(crate) fn check_pool(
    pool: PoolProtocol,
    kind: HealthMonitorType,
    delay: u32,
    deployment: &Deployment,
) -> Result<(), Fault> {
    use HealthMonitorType as Kind;
    let datagram = matches!(pool, PoolProtocol::Udp | PoolProtocol::Sctp);
    let allowed = match kind {
        Kind::UdpConnect | Kind::Sctp => datagram,
        Kind::Tcp | Kind::Http => true,
        Kind::Https | Kind::Ping | Kind::TlsHello => !datagram,
    };
    if !allowed {
        return Err(Fault::validation(if datagram {
            format!(
                "The associated pool protocol is {pool}, so only a UDP-CONNECT/SCTP/TCP/HTTP \
                 health monitor is supported."
            )
        } else {
            format!("The {kind} type is only supported for pools of type UDP/SCTP.")
        }));
    }
    let delay_min = deployment.udp_connect_delay_min;
    if kind == Kind::UdpConnect && i64::from(delay) < delay_min {
        return Err(Fault::validation(format!(
            "The request delay value {delay} should be larger than {delay_min} for UDP-CONNECT \
             health monitor type."
        )));
    }
    Ok(())
}

/// HTTP fields are for HTTP probes. `null_too`: at PUT null is refused as well, at POST it means
/// nothing.
pub(crate) fn check_http_fields(
    kind: HealthMonitorType,
    given: &HealthMonitorUpdate,
    null_too: bool,
) -> Result<(), Fault> {
    if is_http(kind) {
        return Ok(());
    }
    let fields = [
        ("http_method", &given.http_method),
        ("url_path", &given.url_path),
        ("expected_codes", &given.expected_codes),
    ];
    let offends = |given: &Given<String>| given.value().is_some() || (null_too && given.is_given());
    match fields.iter().find(|(_, given)| offends(given)) {
        None => Ok(()),
        Some((field, _)) => Err(Fault::not_an_option(
            field,
            format!("health monitors of type {kind}"),
        )),
    }
}

/// The monitor as it will be.
pub(crate) fn check_values(monitor: &HealthMonitor) -> Result<(), Fault> {
    if let Some(path) = &monitor.url_path
        && !is_url_path(path)
    {
        return Err(Fault::option(
            "url_path",
            path.escape_default(),
            "Value should be a path that begins with '/'.",
        ));
    }
    if let Some(codes) = &monitor.expected_codes
        && !is_expected_codes(codes)
    {
        return Err(Fault::option(
            "expected_codes",
            codes.escape_default(),
            "Value should be a code, a list of codes, or one range.",
        ));
    }
    Ok(())
}

/// The host name a probe sends needs HTTP/1.1.
pub(crate) fn check_domain(monitor: &HealthMonitor) -> Result<(), Fault> {
    let Some(domain) = &monitor.domain_name else {
        return Ok(());
    };
    if !is_domain_name(domain) {
        return Err(Fault::option(
            "domain_name",
            domain.escape_default(),
            "Value should be a host name.",
        ));
    }
    if monitor.http_version.as_deref() != Some("1.1") {
        return Err(match &monitor.http_version {
            None => Fault::validation(
                "'http_version' must be specified when 'domain_name' is provided.",
            ),
            Some(version) => Fault::not_an_option(
                format!("http_version {version}"),
                "health monitors HTTP 1.1 domain name health check",
            ),
        });
    }
    Ok(())
}

fn is_url_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path
            .chars()
            .all(|character| !character.is_whitespace() && !character.is_control())
}

fn is_expected_codes(codes: &str) -> bool {
    let code = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    match codes.split_once('-') {
        Some((low, high)) => code(low) && code(high),
        None => codes.split(',').all(|item| code(item.trim_matches(' '))),
    }
}

fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        !rest.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_codes_follow_the_grammar() {
        for good in ["200", "200,201", "200, 201 ,302", "200-204", "000", "999"] {
            assert!(is_expected_codes(good), "{good}");
        }
        for bad in [
            "",
            "20",
            "2000",
            "abc",
            "200-",
            "-200",
            "200-204-205",
            "200-204,206",
            "200,,201",
            "200,",
        ] {
            assert!(!is_expected_codes(bad), "{bad}");
        }
    }

    #[test]
    fn paths_are_paths() {
        for good in ["/", "/x?y=1#z", "/a/b"] {
            assert!(is_url_path(good), "{good}");
        }
        for bad in ["", "x", "http://a/", "//host/x", "/a b", "/a\r\nx", "/\t"] {
            assert!(!is_url_path(bad), "{bad}");
        }
    }

    #[test]
    fn domain_names_are_host_names() {
        for good in ["a", "www.example.com", "_x.example.com.", "a-b.c1"] {
            assert!(is_domain_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "_",
            "a b",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(!is_domain_name(bad), "{bad}");
        }
    }

    #[test]
    fn every_pool_and_monitor_pair_is_decided() {
        // Columns: HTTP HTTPS PING TCP TLS-HELLO UDP-CONNECT SCTP.
        for pool in PoolProtocol::ALL {
            let row = match pool {
                PoolProtocol::Udp | PoolProtocol::Sctp => "ynnynyy",
                _ => "yyyyynn",
            };
            for (kind, allowed) in HealthMonitorType::ALL.iter().zip(row.chars()) {
                assert_eq!(
                    check_pool(*pool, *kind, 5, &Deployment::default()).is_ok(),
                    allowed == 'y',
                    "{pool} {kind}"
                );
            }
        }
        let (pool, kind) = (PoolProtocol::Udp, HealthMonitorType::UdpConnect);
        let mut deployment = Deployment::default();
        assert!(check_pool(pool, kind, 2, &deployment).is_err());
        deployment.udp_connect_delay_min = -1;
        assert!(check_pool(pool, kind, 0, &deployment).is_ok());
    }
}
