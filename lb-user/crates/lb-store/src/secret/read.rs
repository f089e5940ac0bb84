//! The embedded store as a key manager.

use std::collections::BTreeMap;

use lb_model::id::SecretId;

use super::{
    SecretPayload,
    manager::{Asker, KeyManager, KeyManagerError, Material, Reading, Reference},
};
use crate::store::Store;

impl KeyManager for Store {
    fn read<'a>(&'a self, reference: Reference, asker: &'a Asker) -> Reading<'a> {
        Box::pin(async move {
            let id = reference.id;
            let payload = self.payload_for(id, asker).await?;
            if let Some(payload) = payload.filter(|_| !reference.is_container) {
                return Ok(Material::Payload(payload));
            }
            let found = self.container_for(id, asker).await?;
            found.ok_or(KeyManagerError::NotFound(id))
        })
    }
}

impl Store {
    async fn payload_for(
        &self,
        id: SecretId,
        asker: &Asker,
    ) -> Result<Option<SecretPayload>, KeyManagerError> {
        for project in &asker.projects {
            let found = self.secret(project, id).await?;
            let user = asker.user_id.as_deref();
            if found.is_some_and(|it| asker.is_admin || it.may_be_read_by(user)) {
                return Ok(self.secret_payload(id).await?);
            }
        }
        Ok(None)
    }

    async fn container_for(
        &self,
        id: SecretId,
        asker: &Asker,
    ) -> Result<Option<Material>, KeyManagerError> {
        for project in &asker.projects {
            let Some(container) = self.container(project, id).await? else {
                continue;
            };
            if !asker.is_admin && !container.may_be_read_by(asker.user_id.as_deref()) {
                continue;
            }
            let mut parts = BTreeMap::new();
            for (name, secret) in container.items {
                let payload = self.payload_for(secret, asker).await?;
                let payload = payload.ok_or(KeyManagerError::NotFound(secret))?;
                parts.insert(name, payload);
            }
            return Ok(Some(Material::Container(parts)));
        }
        Ok(None)
    }
}
