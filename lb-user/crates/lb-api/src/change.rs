//! Every write: facts, then one transaction around a pure operation of lb-model.
//!
//! A load balancer is PENDING_* for milliseconds here. A change that meets one in that state waits
//! for it ([`crate::ApiConfig::settle_wait`]) instead of sending the client into a retry loop; only
//! what stays PENDING_* is answered with 409. Who waits is served in order ([`crate::turn`]).

use std::time::Duration;

use lb_model::{
    ctx::Ctx,
    fault::Fault,
    id::LoadBalancerId,
    tls::{self, LeftOut},
    tree::Tree,
};
use lb_store::{Boxed, EventKind, NewEvent, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    error::ApiError,
    state::{ApiState, Needs, new_id},
    turn::Patience,
};

/// Without any wake-up the load balancer is looked at again this often: the poll is the truth.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl ApiState {
    /// Changes the tree of `owner` and answers with it as it was stored.
    pub(crate) async fn change<T: Send>(
        &self,
        owner: LoadBalancerId,
        needs: &Needs,
        operation: impl Fn(&mut Tree, &mut Ctx<'_>) -> Result<T, Fault> + Send + Sync,
    ) -> Result<(Tree, T), ApiError> {
        let patience = Patience::new(self.config().settle_wait);
        let turn = self.turns().of(owner);
        // Without a turn it is tried all the same, once: the answer says what is in the way.
        let mine = if patience.is_none() {
            None
        } else {
            turn.take(patience).await
        };
        let mut changes = self.store().changes();
        loop {
            changes.mark_unchanged();
            let facts = self.facts(needs).await?;
            let mut was_pending = false;
            let mut left_out = LeftOut::new();
            let now = self.now();
            let done = self
                .store()
                .change_tree_within(owner, needs.limits(self), |tree, quota| {
                    was_pending = tree.load_balancer.common.provisioning_status.is_pending();
                    let mut ctx = Ctx {
                        now,
                        new_id: &mut new_id,
                        facts: &facts,
                        quota,
                    };
                    left_out = tls::left_out(tree);
                    let done = operation(tree, &mut ctx)?;
                    Ok((tree.clone(), done))
                })
                .await;
            let collided = was_pending
                && matches!(&done, Err(StoreError::Refused(fault))
                    if matches!(**fault, Fault::Immutable { .. }));
            if let Ok((tree, _)) = &done {
                turn.progressed();
                self.tell_left_out(&left_out, tree).await;
            }
            // What is PENDING_* settles by a change of the store; anything else is an answer.
            let waits = collided && mine.is_some();
            if !waits || !changed_before(turn.deadline(patience), &mut changes).await {
                return Ok(done?);
            }
        }
    }
}

impl ApiState {
    /// Tells in an event what of the TLS that was asked for is not offered, when that is news
    /// (contract 8.3). The change itself stands, whatever becomes of the event.
    pub(crate) fn tell_left_out<'f>(
        &'f self,
        before: &'f LeftOut,
        tree: &'f Tree,
    ) -> Boxed<'f, ()> {
        Box::pin(async move {
            let load_balancer = &tree.load_balancer;
            for (id, names) in tls::left_out(tree) {
                if before.get(&id) == Some(&names) {
                    continue;
                }
                let event = NewEvent {
                    project_id: load_balancer.project_id.clone(),
                    kind: EventKind::Failure,
                    load_balancer_id: Some(load_balancer.id),
                    message: format!("{id} offers TLS without {}.", names.join(", ")),
                    data: serde_json::json!({"id": id, "not_offered": names}),
                };
                if let Err(error) = self.store().record_event(&event).await {
                    tracing::warn!(%error, "an event is not recorded");
                }
            }
        })
    }
}

/// Whether it is worth looking again: something changed, or may have where no wake-up came from.
async fn changed_before(deadline: Instant, changes: &mut watch::Receiver<u64>) -> bool {
    let now = Instant::now();
    let look_again = deadline.min(now + LOOK_AGAIN);
    now < deadline && !matches!(timeout_at(look_again, changes.changed()).await, Ok(Err(_)))
}
