//! What the operator allows of legal requests (contract 2.2, 2.5, appendix B).
//!
//! Pure data that comes with the facts. What is refused here is 400, as a value that this deployment
//! does not take; what the data path cannot do is the capabilities' affair.
//!
//! Left out on purpose: other defaults than the contract's for what a request does not name. That is
//! why neither the list of prohibited ciphers nor the lowest version may exclude a default.

use crate::{
    defaults,
    enums::{HealthMonitorType, ListenerProtocol},
    fault::Fault,
    resource::Listener,
};

/// See the module. By default everything is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// TERMINATED_HTTPS listeners, and PROMETHEUS listeners with TLS.
    pub tls_terminated_listeners: bool,
    /// PROMETHEUS listeners.
    pub prometheus_listeners: bool,
    /// PING monitors.
    pub ping_health_monitors: bool,
    /// Seconds; shortest delay of a UDP-CONNECT monitor. Negative: any.
    pub udp_connect_delay_min: i64,
    /// Ciphers that no list may name.
    pub prohibited_ciphers: Vec<String>,
    /// The lowest version that a list may name.
    pub minimum_tls_version: Option<String>,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            tls_terminated_listeners: true,
            prometheus_listeners: true,
            ping_health_monitors: true,
            udp_connect_delay_min: i64::from(defaults::UDP_CONNECT_DELAY_MIN),
            prohibited_ciphers: Vec::new(),
            minimum_tls_version: None,
        }
    }
}

impl Deployment {
    /// What a request that names neither ciphers nor versions gets must be allowed.
    pub fn check_defaults(&self) -> Result<(), Fault> {
        self.check_ciphers(defaults::TLS_CIPHERS)?;
        self.check_versions(&defaults::owned(defaults::TLS_VERSIONS))
    }

    /// Judges the kind of a new listener.
    pub(crate) fn check_listener(&self, listener: &Listener) -> Result<(), Fault> {
        let served =
            listener.default_tls_container_ref.is_some() || !listener.sni_container_refs.is_empty();
        match listener.protocol {
            ListenerProtocol::TerminatedHttps if !self.tls_terminated_listeners => {
                Err(Fault::disabled("protocol", listener.protocol))
            }
            ListenerProtocol::Prometheus if !self.prometheus_listeners => {
                Err(Fault::disabled("protocol", listener.protocol))
            }
            ListenerProtocol::Prometheus if served && !self.tls_terminated_listeners => {
                Err(Fault::disabled("protocol", "PROMETHEUS with TLS"))
            }
            _ => Ok(()),
        }
    }

    /// Judges the kind of a new monitor.
    pub(crate) fn check_monitor(&self, kind: HealthMonitorType) -> Result<(), Fault> {
        if kind == HealthMonitorType::Ping && !self.ping_health_monitors {
            return Err(Fault::disabled("type", kind));
        }
        Ok(())
    }

    /// Refuses a list that names a prohibited cipher.
    pub(crate) fn check_ciphers(&self, ciphers: &str) -> Result<(), Fault> {
        let prohibited = |name: &&str| self.prohibited_ciphers.iter().any(|it| it == name);
        let named: Vec<&str> = ciphers.split(':').filter(prohibited).collect();
        if named.is_empty() {
            return Ok(());
        }
        Err(Fault::validation(format!(
            "The following ciphers have been prohibited by an administrator: {}",
            named.join(", ")
        )))
    }

    /// Refuses a list that names a version below the lowest.
    pub(crate) fn check_versions(&self, versions: &[String]) -> Result<(), Fault> {
        let age = |version: &str| {
            defaults::TLS_VERSIONS_KNOWN
                .iter()
                .position(|known| *known == version)
        };
        let Some(minimum) = &self.minimum_tls_version else {
            return Ok(());
        };
        let lower = |version: &&String| age(version) < age(minimum);
        let lower: Vec<&str> = versions.iter().filter(lower).map(String::as_str).collect();
        if lower.is_empty() {
            return Ok(());
        }
        Err(Fault::validation(format!(
            "Requested TLS versions are less than the minimum: {} < {minimum}",
            lower.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prohibited_is_refused_by_name() {
        let deployment = Deployment {
            prohibited_ciphers: vec!["AES128-SHA".to_owned()],
            minimum_tls_version: Some("TLSv1.1".to_owned()),
            ..Deployment::default()
        };
        assert_eq!(deployment.check_defaults(), Ok(()));
        let refused = deployment
            .check_ciphers("AES256-SHA:AES128-SHA")
            .unwrap_err();
        assert!(refused.public().ends_with(": AES128-SHA"), "{refused}");
        let low = defaults::owned(&["TLSv1", "TLSv1.2"]);
        let refused = deployment.check_versions(&low).unwrap_err();
        assert!(refused.public().ends_with("TLSv1 < TLSv1.1"), "{refused}");
    }

    #[test]
    fn a_default_that_is_prohibited_is_noticed() {
        let deployment = Deployment {
            minimum_tls_version: Some("TLSv1.3".to_owned()),
            ..Deployment::default()
        };
        assert!(deployment.check_defaults().is_err());
    }
}
