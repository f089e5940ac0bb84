//! Looks again and again whether a key manager still has what load balancers are served from.
//!
//! Served is from copies ([`lb_store`]), so a key manager that is away is an event and nothing else.
//! Only a secret that is gone takes something away: its copies are lost, the listeners that name it are
//! left out of the next specification and shown in ERROR, the load balancer lives. One that is there
//! again is served again.
//!
//! Invariants: one server looks, under a lease. Gone is what was not found twice, a while apart, so that
//! a key manager that is being put back does not take listeners away. A secret that the key manager has
//! and does not show us is not gone.
//!
//! Left out on purpose: the embedded store, which does not give up what is in use.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use lb_model::{
    enums::ProvisioningStatus,
    id::{LoadBalancerId, SecretId},
    resource::Listener,
    time::Timestamp,
    tree::Tree,
};
use lb_store::{
    EventKind, KeyManager, NewEvent, now,
    secret::{self, Asker, KeptSecret, KeyManagerError, Reference},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{controller::Controller, error::ControlError};

/// Held by the one server that looks.
const LEASE: &str = "secrets";
/// Secrets looked for in a round.
const ROUND_MAX: u32 = 100;
/// Longest pause between rounds, and how far apart a secret must be missed twice.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a key manager was found to be like. May be lost: then a secret is missed once more before it is
/// gone, and an event is told again.
#[derive(Debug, Default)]
struct Found {
    /// It did not answer last time.
    away: bool,
    /// Not there when last looked for, since when.
    missed: HashMap<(LoadBalancerId, SecretId), Instant>,
    /// There, but not for us.
    refused: HashSet<(LoadBalancerId, SecretId)>,
}

impl Controller {
    /// Looks for every secret once a `period`, until `shutdown`.
    pub async fn watch_secrets(
        self: Arc<Self>,
        manager: Arc<dyn KeyManager>,
        period: Duration,
        shutdown: CancellationToken,
    ) {
        let pause = (period / 4).min(PAUSE_MAX);
        let mut found = Found::default();
        loop {
            if let Err(error) = self
                .look_for_secrets(manager.as_ref(), period, pause, &mut found)
                .await
            {
                tracing::warn!(%error, "cannot look for secrets, trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => {
                    drop(self.store.release(LEASE).await);
                    return;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look_for_secrets(
        &self,
        manager: &dyn KeyManager,
        period: Duration,
        pause: Duration,
        found: &mut Found,
    ) -> Result<(), ControlError> {
        // A round with a slow key manager may outlast it: then two look, which does no harm.
        if self.store.lease(LEASE, pause * 3).await?.is_none() {
            *found = Found::default();
            return Ok(());
        }
        let micros = i64::try_from(period.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(now().0.saturating_sub(micros));
        for kept in self.store.secrets_to_look_for(before, ROUND_MAX).await? {
            let asker = Asker {
                is_admin: true,
                ..Asker::default()
            };
            let reference = Reference {
                id: kept.id,
                is_container: false,
            };
            let read = manager.read(reference, &asker).await;
            if let Err(KeyManagerError::Away(reason)) = &read {
                // The others would not be found either.
                return self.is_away(reason, found).await;
            }
            self.is_back(found).await?;
            let why_not = match read {
                Ok(material) if material.is_whole() => None,
                Ok(_in_parts) => Some(KeyManagerError::NotFound(kept.id)),
                Err(error) => Some(error),
            };
            self.looked_for(&kept, why_not, pause, found).await?;
        }
        Ok(())
    }

    async fn looked_for(
        &self,
        kept: &KeptSecret,
        why_not: Option<KeyManagerError>,
        pause: Duration,
        found: &mut Found,
    ) -> Result<(), ControlError> {
        let (owner, id) = (kept.owner, kept.id);
        let key = (owner, id);
        match why_not {
            None => {
                found.missed.remove(&key);
                found.refused.remove(&key);
                self.store.secret_looked_for(owner, id, true).await?;
                if kept.lost {
                    tracing::info!(load_balancer = %owner, secret = %id, "secret is there again");
                    self.rebuild(kept, true).await?;
                    let text = format!("Secret {id} is there again.");
                    self.note_secret(&kept.project_id, Some(owner), text)
                        .await?;
                }
            }
            Some(KeyManagerError::NotFound(_)) => {
                let since = *found.missed.entry(key).or_insert_with(Instant::now);
                if kept.lost || since.elapsed() >= pause {
                    found.missed.remove(&key);
                    self.lose(kept).await?;
                    self.store.secret_looked_for(owner, id, false).await?;
                }
            }
            Some(KeyManagerError::Store(error)) => return Err(error.into()),
            Some(other) => {
                self.store.secret_looked_for(owner, id, false).await?;
                if found.refused.insert(key) {
                    tracing::warn!(load_balancer = %owner, secret = %id, error = %other, "secret is not shown");
                    let text = format!(
                        "Secret {id} can no longer be read; the copy kept goes on serving."
                    );
                    self.note_secret(&kept.project_id, Some(owner), text)
                        .await?;
                }
            }
        }
        Ok(())
    }

    async fn lose(&self, kept: &KeptSecret) -> Result<(), ControlError> {
        let (owner, id) = (kept.owner, kept.id);
        if !self.store.lose_copies(owner, id).await? {
            return Ok(());
        }
        tracing::error!(load_balancer = %owner, secret = %id, "secret is gone, what uses it is not served any more");
        self.rebuild(kept, false).await?;
        let text = format!("Secret {id} is gone from the key manager; what uses it is in ERROR.");
        self.note_secret(&kept.project_id, Some(owner), text).await
    }

    /// Has the specification made anew. What was in ERROR for want of a secret that is there again is
    /// ACTIVE until it turns out that it cannot be served for another reason.
    async fn rebuild(&self, kept: &KeptSecret, is_there: bool) -> Result<(), ControlError> {
        self.change(kept.owner, |tree| {
            if tree.load_balancer.common.provisioning_status == ProvisioningStatus::PendingDelete {
                return;
            }
            if is_there {
                heal(tree, kept.id);
            }
            tree.configure_amphorae();
        })
        .await?;
        Ok(())
    }

    async fn is_away(&self, reason: &str, found: &mut Found) -> Result<(), ControlError> {
        if std::mem::replace(&mut found.away, true) {
            return Ok(());
        }
        tracing::warn!(reason, "the key manager is away, copies serve");
        let text = "The key manager does not answer; load balancers go on with the copies kept.";
        self.note_everybody(text).await
    }

    async fn is_back(&self, found: &mut Found) -> Result<(), ControlError> {
        if !std::mem::replace(&mut found.away, false) {
            return Ok(());
        }
        tracing::info!("the key manager answers again");
        self.note_everybody("The key manager answers again.").await
    }

    async fn note_everybody(&self, text: &str) -> Result<(), ControlError> {
        for project in self.store.projects_with_copies().await? {
            self.note_secret(&project, None, text.to_owned()).await?;
        }
        Ok(())
    }

    async fn note_secret(
        &self,
        project: &str,
        load_balancer_id: Option<LoadBalancerId>,
        message: String,
    ) -> Result<(), ControlError> {
        let event = NewEvent {
            project_id: project.to_owned(),
            kind: EventKind::Secret,
            load_balancer_id,
            message,
            data: serde_json::json!({}),
        };
        Ok(self.store.record_event(&event).await?)
    }
}

fn heal(tree: &mut Tree, id: SecretId) {
    for listener in &mut tree.listeners {
        let status = listener.common.provisioning_status;
        if status == ProvisioningStatus::Error && names(listener, id) {
            listener.common.provisioning_status = ProvisioningStatus::Active;
            listener.common.updated_at = Some(now());
        }
    }
}

fn names(listener: &Listener, id: SecretId) -> bool {
    let refs = listener.secret_refs();
    let mut all = refs
        .certificates
        .iter()
        .chain(&refs.authorities)
        .chain(&refs.revocation_lists);
    all.any(|text| secret::reference(text).is_ok_and(|named| named == id))
}
