//! Whether the caller may, asked of the policy.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use lb_model::{fault::Fault, id::LoadBalancerId};
use lb_policy::Action;

use crate::{
    auth::{AuthStrategy, Caller},
    call::Call,
    error::ApiError,
    state::ApiState,
};

impl ApiState {
    /// Whether the caller may do `action` to an object of `project`.
    pub(crate) fn authorize(
        &self,
        call: &Call,
        action: Action,
        project: &str,
    ) -> Result<(), ApiError> {
        self.may(call, action, Some(project))
            .then_some(())
            .ok_or_else(refused)
    }

    /// The same for what belongs to the service (amphorae, flavors, providers): judged by the
    /// caller's own project.
    pub(crate) fn authorize_own(&self, call: &Call, action: Action) -> Result<(), ApiError> {
        self.may(call, action, call.caller().project_id.as_deref())
            .then_some(())
            .ok_or_else(refused)
    }

    /// The same for what is part of a load balancer; `missing` when there is none of that id.
    pub(crate) async fn authorize_part(
        &self,
        call: &Call,
        action: Action,
        owner: LoadBalancerId,
        missing: Fault,
    ) -> Result<(), ApiError> {
        // Saves the look-up. The operation itself finds out whether the object exists.
        if self.config().auth_strategy == AuthStrategy::Noauth && call.caller().is_admin {
            return Ok(());
        }
        let project = self.store().project_of(owner).await?;
        self.authorize(call, action, &project.ok_or(missing)?)
    }

    /// Of which project a list may show objects: of all (`None`) for those who pass the `global`
    /// rule and name none, else of the caller's own.
    pub(crate) fn authorize_list(
        &self,
        call: &Call,
        global: Action,
        own: Action,
    ) -> Result<Option<String>, ApiError> {
        let asked = call.argument("project_id");
        if self.may(call, global, asked) {
            return Ok(asked.map(str::to_owned));
        }
        let project = asked.or(call.caller().project_id.as_deref());
        let project = project.ok_or_else(refused)?;
        self.authorize(call, own, project)?;
        Ok(Some(project.to_owned()))
    }

    /// The project of what a request makes: the body's, else the caller's, else without
    /// authentication the configured one.
    pub(crate) fn project_of_new(
        &self,
        call: &Call,
        named: Option<&str>,
    ) -> Result<String, ApiError> {
        let config = self.config();
        let fallback = (config.auth_strategy == AuthStrategy::Noauth)
            .then_some(config.default_project.as_str());
        let project = named.or(call.project()).or(fallback);
        project.map(str::to_owned).ok_or_else(|| {
            ApiError::invalid("Missing project ID in request where one is required.")
        })
    }

    fn may(&self, call: &Call, action: Action, project: Option<&str>) -> bool {
        self.caller_may(call.caller(), action, project)
    }

    fn caller_may(&self, caller: &Caller, action: Action, project: Option<&str>) -> bool {
        // No policy file takes anything from anybody where there is no authentication.
        if self.config().auth_strategy == AuthStrategy::Noauth {
            return caller.is_admin;
        }
        let policy = Arc::clone(&self.config().policy.borrow());
        let allowed = policy.allows(action, &caller.credentials(), project);
        if !allowed {
            tracing::debug!(%action, user = ?caller.user_id, roles = ?caller.roles, "refused by policy");
        }
        allowed
    }
}

/// Layer around the Network API: its objects are everyone's, but nobody's who may see no load
/// balancer either.
pub(crate) async fn network_reader(
    State(api): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    let allowed = caller.is_some_and(|caller| {
        api.caller_may(caller, Action::NetworkGet, caller.project_id.as_deref())
    });
    if allowed {
        next.run(request).await
    } else {
        refused().into_response()
    }
}

/// Which rule it was is for the log: clients compare this sentence.
fn refused() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "Policy does not allow this request to be performed.",
    )
}
