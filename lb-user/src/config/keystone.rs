//! Section `[keystone]`: the Identity service, and who we are to it.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use lb_api::AuthStrategy;
use lb_openstack::{Identity, Interface, KeystoneConfig, SecretText};

use super::{ConfigError, reader::Section};

const URL: &str = "a URL such as \"http://keystone.example:5000\"";
const DOMAIN: &str = "Default";
const PROJECT: &str = "service";
const FILE_BYTES_MAX: usize = 64 << 10;

/// The Identity service.
#[derive(Clone, Debug)]
pub(crate) struct Keystone {
    pub(crate) client: KeystoneConfig,
    /// Where clients are sent for a token; `client.auth_url` when not set.
    pub(crate) www_authenticate_uri: String,
}

impl Keystone {
    /// `None` when nothing is said of it; an error when a strategy needs what is not said.
    pub(super) fn read(
        mut section: Section,
        strategy: AuthStrategy,
    ) -> Result<Option<Self>, ConfigError> {
        let auth_url: Option<String> = section.parsed("auth_url", URL)?;
        let username: Option<String> = section.parsed("username", "the service user's name")?;
        let password = password(&mut section)?;
        let mut named = |key, default: &str| -> Result<String, ConfigError> {
            let given = section.parsed(key, "a name")?;
            Ok(given.unwrap_or_else(|| default.to_owned()))
        };
        let project_name = named("project_name", PROJECT)?;
        let user_domain_name = named("user_domain_name", DOMAIN)?;
        let project_domain_name = named("project_domain_name", DOMAIN)?;
        let credential: Option<String> = section.parsed(
            "application_credential_id",
            "an application credential's id",
        )?;
        let secret: Option<SecretText> =
            section.parsed("application_credential_secret", "its secret")?;
        let region = section.parsed("region", "a region's id")?;
        let interface = section.parsed("interface", "\"public\", \"internal\" or \"admin\"")?;
        let cafile: Option<PathBuf> = section.parsed("cafile", "a PEM file's path")?;
        let www: Option<String> = section.parsed("www_authenticate_uri", URL)?;
        let cache = section.integer("token_cache_secs", 0..=3600)?;
        let timeout = section.integer("timeout_secs", 1..=120)?;
        let missing =
            |key: &str, what: &str| section.wrong(key, None, format!("is missing: must be {what}"));
        let auth_url = match auth_url {
            Some(url) => url,
            None if strategy == AuthStrategy::Keystone => return Err(missing("auth_url", URL)),
            None => {
                section.finish()?;
                return Ok(None);
            }
        };
        let identity = match (username, password, credential, secret) {
            (_, _, Some(id), Some(secret)) => Identity::ApplicationCredential { id, secret },
            (_, _, Some(_), None) => {
                return Err(missing("application_credential_secret", "its secret"));
            }
            (Some(username), Some(password), None, _) => Identity::Password {
                username,
                password,
                user_domain_name,
                project_name,
                project_domain_name,
            },
            (None, ..) => return Err(missing("username", "the service user's name")),
            (Some(_), None, ..) => return Err(missing("password", "the service user's password")),
        };
        section.finish()?;
        let mut client = KeystoneConfig::new(auth_url.clone(), identity);
        client.region = region;
        client.interface = interface.unwrap_or_default();
        client.cafile = cafile;
        client.token_cache = cache.map_or(client.token_cache, Duration::from_secs);
        client.timeout = timeout.map_or(client.timeout, Duration::from_secs);
        Ok(Some(Self {
            client,
            www_authenticate_uri: www.unwrap_or(auth_url),
        }))
    }
}

/// `password`, or the first line of `password_file`, so that it need not stand in the settings.
fn password(section: &mut Section) -> Result<Option<SecretText>, ConfigError> {
    let given: Option<SecretText> = section.parsed("password", "the service user's password")?;
    let file: Option<PathBuf> = section.parsed("password_file", "a file's path")?;
    let Some(path) = file.filter(|_| given.is_none()) else {
        return Ok(given);
    };
    let wrong = |why: String| {
        let value = Some(format!("{:?}", path.display().to_string()));
        section.wrong("password_file", value, why)
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) if text.len() <= FILE_BYTES_MAX => Ok(Some(SecretText::new(line))),
        _ => Err(wrong(
            "must begin with a line that is the password".to_owned(),
        )),
    }
}

/// The section as `lbaas config show` prints it, without what is secret.
pub(super) fn write(out: &mut String, keystone: Option<&Keystone>) -> std::fmt::Result {
    let Some(Keystone {
        client,
        www_authenticate_uri,
    }) = keystone
    else {
        return writeln!(
            out,
            "\n# [keystone]\n# auth_url = \"http://…:5000\"  # for auth_strategy = \"keystone\"\n# username = \"…\"\n# password = \"…\"  # or password_file = \"…\""
        );
    };
    writeln!(out, "\n[keystone]\nauth_url = {:?}", client.auth_url)?;
    match &client.identity {
        Identity::Password {
            username,
            user_domain_name,
            project_name,
            project_domain_name,
            ..
        } => {
            writeln!(out, "username = {username:?}")?;
            writeln!(out, "# password = \"…\"  # set, not shown")?;
            writeln!(out, "user_domain_name = {user_domain_name:?}")?;
            writeln!(out, "project_name = {project_name:?}")?;
            writeln!(out, "project_domain_name = {project_domain_name:?}")?;
        }
        Identity::ApplicationCredential { id, .. } => {
            writeln!(out, "application_credential_id = {id:?}")?;
            writeln!(
                out,
                "# application_credential_secret = \"…\"  # set, not shown"
            )?;
        }
    }
    match &client.region {
        Some(region) => writeln!(out, "region = {region:?}")?,
        None => writeln!(out, "# region = \"…\"  # default: the first one")?,
    }
    writeln!(out, "interface = \"{}\"", Interface::name(client.interface))?;
    match &client.cafile {
        Some(path) => writeln!(out, "cafile = {path:?}")?,
        None => writeln!(out, "# cafile = \"…\"  # default: the system's")?,
    }
    writeln!(out, "www_authenticate_uri = {www_authenticate_uri:?}")?;
    writeln!(out, "token_cache_secs = {}", client.token_cache.as_secs())?;
    writeln!(out, "timeout_secs = {}", client.timeout.as_secs())
}
