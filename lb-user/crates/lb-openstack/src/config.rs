//! Where the Identity service is, and who we are to it.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use crate::{error::OpenStackError, text::SecretText};

/// Which of a service's addresses to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// For everyone.
    Public,
    /// For services.
    #[default]
    Internal,
    /// For operators.
    Admin,
}

impl Interface {
    /// As catalogues name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Some configurations write publicURL.
        let name = text.strip_suffix("URL").unwrap_or(text);
        [Self::Public, Self::Internal, Self::Admin]
            .into_iter()
            .find(|it| it.name() == name)
            .ok_or_else(|| format!("{text} is no interface"))
    }
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user with a role in a project.
    Password {
        /// Its name.
        username: String,
        /// Its password.
        password: SecretText,
        /// The user's domain, by name.
        user_domain_name: String,
        /// The project, by name.
        project_name: String,
        /// The project's domain, by name.
        project_domain_name: String,
    },
    /// An application credential of such a user.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Its secret.
        secret: SecretText,
    },
}

/// Settings.
#[derive(Clone, Debug)]
pub struct KeystoneConfig {
    /// `http://keystone.example:5000`, with or without `/v3`.
    pub auth_url: String,
    /// Who we are.
    pub identity: Identity,
    /// Which region's endpoints. `None`: the first.
    pub region: Option<String>,
    /// Which of an endpoint's addresses.
    pub interface: Interface,
    /// Certificates to trust instead of the system's.
    pub cafile: Option<PathBuf>,
    /// How long a valid token is believed without asking again. Zero: never.
    pub token_cache: Duration,
    /// How long a question may take.
    pub timeout: Duration,
}

impl KeystoneConfig {
    /// Defaults for what has any.
    #[must_use]
    pub fn new(auth_url: impl Into<String>, identity: Identity) -> Self {
        Self {
            auth_url: auth_url.into(),
            identity,
            region: None,
            interface: Interface::default(),
            cafile: None,
            token_cache: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
        }
    }

    /// `auth_url` up to and with `/v3`.
    pub(crate) fn base(&self) -> Result<String, OpenStackError> {
        let url = self.auth_url.trim().trim_end_matches('/');
        let url = ["/v3", "/v2.0"]
            .iter()
            .find_map(|end| url.strip_suffix(end))
            .unwrap_or(url);
        let parsed: http::Uri = url.parse().map_err(|error| {
            OpenStackError::Config(format!("auth_url {url:?} is no URL: {error}"))
        })?;
        match (parsed.scheme_str(), parsed.host()) {
            (Some("http" | "https"), Some(_)) => Ok(format!("{url}/v3")),
            _ => Err(OpenStackError::Config(format!(
                "auth_url {url:?} must begin with http:// or https:// and a host"
            ))),
        }
    }
}
