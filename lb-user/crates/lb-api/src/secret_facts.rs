//! The secrets that a request names, read and judged before its operation runs.
//!
//! Whose secrets may be used: the load balancer's project's and the caller's own. Another project's
//! answers exactly like one that does not exist.

use lb_model::{
    ctx::Facts, id::LoadBalancerId, secret::Secret, secret_refs::SecretRefs, tree::Tree,
};
use lb_store::{Boxed, KeyManager, secret::Asker};

use crate::{auth::AuthStrategy, call::Call, error::ApiError, state::ApiState};

impl ApiState {
    /// Judges what a load balancer that is to be made names. What is good is kept for it.
    pub(crate) async fn judge_new(
        &self,
        call: &Call,
        owner: LoadBalancerId,
        project: &str,
        refs: &SecretRefs,
    ) -> Result<Facts, ApiError> {
        self.judge_beside(call, owner, project, refs, &SecretRefs::default())
            .await
    }

    /// Judges what an object of a load balancer names; `stored` finds what the object holds now,
    /// beside which the new is judged.
    pub(crate) async fn judge(
        &self,
        call: &Call,
        owner: LoadBalancerId,
        refs: &SecretRefs,
        stored: impl FnOnce(&Tree) -> Option<SecretRefs>,
    ) -> Result<Facts, ApiError> {
        if refs.is_empty() {
            return Ok(Facts::default());
        }
        // Gone meanwhile: the operation says so.
        let Some(tree) = self.store().read_tree(owner).await? else {
            return Ok(Facts::default());
        };
        let stored = refs.touches_revocation().then(|| stored(&tree)).flatten();
        let stored = stored.unwrap_or_default().revocation();
        self.judge_beside(call, owner, tree.project_id(), refs, &stored)
            .await
    }

    /// Where certificates come from.
    pub(crate) fn key_manager(&self) -> &dyn KeyManager {
        match &self.config().key_manager {
            Some(manager) => manager.as_ref(),
            None => self.store(),
        }
    }

    fn judge_beside<'f>(
        &'f self,
        call: &'f Call,
        owner: LoadBalancerId,
        project: &'f str,
        refs: &'f SecretRefs,
        stored: &'f SecretRefs,
    ) -> Boxed<'f, Result<Facts, ApiError>> {
        Box::pin(async move {
            let mut facts = Facts::default();
            if refs.is_empty() {
                return Ok(facts);
            }
            let asker = self.asker(call, project);
            let judged = self
                .store()
                .judge_secrets(self.key_manager(), &asker, owner, refs, stored)
                .await?;
            if let Some(reason) = &judged.away {
                tracing::warn!(load_balancer = %owner, reason, "secrets could not be read");
            }
            self.store().keep_copies(owner, &judged.copies).await?;
            judged.fill(&mut facts);
            Ok(facts)
        })
    }

    fn asker(&self, call: &Call, project: &str) -> Asker {
        let caller = call.caller();
        let config = self.config();
        // Clients without authentication name no project, also where they store secrets.
        let fallback = (config.auth_strategy == AuthStrategy::Noauth)
            .then_some(config.default_project.as_str());
        let own = caller.project_id.as_deref().or(fallback);
        let mut projects = vec![project.to_owned()];
        projects.extend(own.filter(|own| *own != project).map(str::to_owned));
        Asker {
            projects,
            user_id: caller.user_id.clone(),
            is_admin: caller.is_admin,
            token: call
                .header("x-auth-token")
                .filter(|_| config.auth_strategy == AuthStrategy::Keystone)
                .map(|token| Secret::new(token.to_owned())),
        }
    }
}
