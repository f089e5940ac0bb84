//! What the Identity service says of a token.

use jiff::Timestamp;
use serde::Deserialize;

use crate::{access_rules::AccessRule, config::Interface, error::OpenStackError};

/// A valid token: who, where, with which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The user.
    pub user_id: String,
    /// The user's domain.
    pub user_domain_id: Option<String>,
    /// The project it is for.
    pub project_id: Option<String>,
    /// That project's domain.
    pub project_domain_id: Option<String>,
    /// The domain it is for.
    pub domain_id: Option<String>,
    /// It is for the whole deployment.
    pub is_system: bool,
    /// Names of roles.
    pub roles: Vec<String>,
    /// The project is the admin project, or there is none.
    pub is_admin_project: bool,
    /// It is for these requests alone.
    pub access_rules: Option<Vec<AccessRule>>,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Envelope {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    expires_at: Timestamp,
    user: Named,
    project: Option<Named>,
    domain: Option<Ref>,
    system: Option<System>,
    #[serde(default)]
    roles: Vec<Role>,
    is_admin_project: Option<bool>,
    application_credential: Option<ApplicationCredential>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Ref {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    domain: Option<Ref>,
}

#[derive(Deserialize)]
struct System {
    #[serde(default)]
    all: bool,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

#[derive(Deserialize)]
struct ApplicationCredential {
    access_rules: Option<Vec<AccessRule>>,
}

/// A service of the catalogue.
#[derive(Clone, Debug, Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    interface: String,
    region_id: Option<String>,
    region: Option<String>,
    url: String,
}

/// Where services are.
#[derive(Clone, Debug)]
pub(crate) struct Catalog(Vec<Service>);

impl Catalog {
    /// The address of a service, without a slash at the end.
    pub(crate) fn endpoint(
        &self,
        service_type: &str,
        interface: Interface,
        region: Option<&str>,
    ) -> Result<String, OpenStackError> {
        let services = self.0.iter().filter(|it| it.kind == service_type);
        let found = services.flat_map(|it| &it.endpoints).find(|it| {
            let here = region.is_none()
                || it.region_id.as_deref() == region
                || it.region.as_deref() == region;
            here && it.interface == interface.name()
        });
        found
            .map(|it| it.url.trim_end_matches('/').to_owned())
            .ok_or_else(|| OpenStackError::NoEndpoint {
                service_type: service_type.to_owned(),
                interface: interface.name(),
            })
    }
}

/// Reads `{"token": …}`.
pub(crate) fn read(body: &[u8]) -> Result<(Token, Catalog), serde_json::Error> {
    let Envelope { token } = serde_json::from_slice(body)?;
    let domain_of = |named: &Named| named.domain.as_ref().and_then(|domain| domain.id.clone());
    let access_rules = token.application_credential.and_then(|it| it.access_rules);
    let project_domain_id = token.project.as_ref().and_then(domain_of);
    let read = Token {
        user_domain_id: domain_of(&token.user),
        user_id: token.user.id,
        project_id: token.project.map(|project| project.id),
        project_domain_id,
        domain_id: token.domain.and_then(|domain| domain.id),
        is_system: token.system.is_some_and(|system| system.all),
        roles: token.roles.into_iter().map(|role| role.name).collect(),
        is_admin_project: token.is_admin_project.unwrap_or(true),
        access_rules,
        expires_at: token.expires_at,
    };
    Ok((read, Catalog(token.catalog)))
}
