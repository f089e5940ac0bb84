//! The Key Manager service in the place of the embedded store.

use std::sync::Arc;

use lb_openstack::{Barbican, Found, OnBehalf, OpenStackError, SecretText};
use lb_store::{
    KeyManager,
    secret::{Asker, KeyManagerError, Material, Reading, Reference, SecretPayload},
};

/// The service as a source of secrets.
#[derive(Debug)]
pub struct BarbicanKeyManager {
    client: Barbican,
    /// There is no Identity service: projects are believed by name.
    names_projects: bool,
}

impl BarbicanKeyManager {
    /// Takes a client. `names_projects`: the service runs without the Identity service.
    #[must_use]
    pub fn new(client: Barbican, names_projects: bool) -> Arc<Self> {
        Arc::new(Self {
            client,
            names_projects,
        })
    }
}

impl KeyManager for BarbicanKeyManager {
    fn read<'a>(&'a self, reference: Reference, asker: &'a Asker) -> Reading<'a> {
        Box::pin(async move {
            let caller = OnBehalf {
                token: asker
                    .token
                    .as_ref()
                    .map(|token| SecretText::new(token.expose())),
                project_id: asker
                    .projects
                    .first()
                    .filter(|_| self.names_projects)
                    .cloned(),
            };
            let found = self
                .client
                .read(reference.id.0, reference.is_container, &caller)
                .await
                .map_err(|error| match error {
                    OpenStackError::NotShown(_) => KeyManagerError::Refused(reference.id),
                    error => KeyManagerError::Away(error.to_string()),
                })?;
            match found {
                Found::Secret(payload) => {
                    Ok(Material::Payload(SecretPayload::new(payload.to_vec())))
                }
                Found::Container(parts) => {
                    let parts = parts.into_iter();
                    let wrapped = parts.map(|(name, it)| (name, SecretPayload::new(it.to_vec())));
                    Ok(Material::Container(wrapped.collect()))
                }
                Found::Nothing => Err(KeyManagerError::NotFound(reference.id)),
            }
        })
    }
}
