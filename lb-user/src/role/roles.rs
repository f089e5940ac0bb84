//! What one server process does of a server's work: everything, or a part beside other processes on
//! one PostgreSQL (DevStack's o-api, o-cw, o-hm and o-hk).

use clap::{Args, ValueEnum};

/// A part of a server's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The REST API (o-api).
    Api,
    /// Answers agents and takes their reports (o-cw).
    Reconciler,
    /// Notices hosts that fell silent (o-hm).
    HealthManager,
    /// Lets nothing be PENDING for ever (o-hk).
    Housekeeping,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What this process does; all of it when nothing is said. Every part must run somewhere.
    #[arg(
        long,
        env = "LBAAS_ROLES",
        value_name = "ROLE,…",
        value_delimiter = ',',
        default_value = "api,reconciler,health-manager,housekeeping"
    )]
    roles: Vec<Role>,
}

/// Which parts a process does.
#[derive(Clone, Debug)]
pub(crate) struct Roles(Vec<Role>);

impl Roles {
    pub(crate) fn all() -> Self {
        Self(Role::value_variants().to_vec())
    }

    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// For the lock and the logs: `server`, or `server api,housekeeping`.
    pub(crate) fn name(&self) -> String {
        let names: Vec<String> = Role::value_variants()
            .iter()
            .filter(|role| self.has(**role))
            .filter_map(|role| Some(role.to_possible_value()?.get_name().to_owned()))
            .collect();
        if names.len() == Role::value_variants().len() {
            "server".to_owned()
        } else {
            format!("server {}", names.join(","))
        }
    }
}

impl From<&Options> for Roles {
    fn from(options: &Options) -> Self {
        Self(options.roles.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_called_by_what_it_does() {
        assert_eq!(Roles::all().name(), "server");
        let some = Roles(vec![Role::Housekeeping, Role::Api, Role::Api]);
        assert_eq!(some.name(), "server api,housekeeping");
        assert!(!some.has(Role::HealthManager));
    }
}
