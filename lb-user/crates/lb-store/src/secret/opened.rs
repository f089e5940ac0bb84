//! Bundles that were read before: taking a PKCS#12 apart costs tens of milliseconds by design, and
//! every specification of a load balancer asks for its certificates.
//!
//! A bundle counts only for the very payload it was read from, so nothing here can be stale.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lb_model::id::SecretId;

use super::{SecretPayload, bundle};
use crate::error::SecretError;

/// Bundles kept; with one more all are forgotten.
const KEPT_MAX: usize = 4_096;

/// What was read from which payload.
#[derive(Default)]
pub(crate) struct Opened(Mutex<HashMap<SecretId, (SecretPayload, Arc<bundle::Bundle>)>>);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(redacted)")
    }
}

impl Opened {
    pub(super) fn read(
        &self,
        id: SecretId,
        payload: SecretPayload,
    ) -> Result<Arc<bundle::Bundle>, SecretError> {
        if let Some((of, bundle)) = self.lock().get(&id)
            && *of == payload
        {
            return Ok(Arc::clone(bundle));
        }
        let bundle = Arc::new(bundle::read(payload.expose())?);
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(id, (payload, Arc::clone(&bundle)));
        Ok(bundle)
    }

    pub(super) fn forget(&self, id: SecretId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SecretId, (SecretPayload, Arc<bundle::Bundle>)>> {
        // Every change of it is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
