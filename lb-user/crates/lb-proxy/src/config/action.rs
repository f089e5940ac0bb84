//! What a policy does, ready to be done.

use http::{HeaderValue, StatusCode};
use lb_model::{enums::L7PolicyAction, id::PoolId, resource::L7Policy};

/// See contract 10.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// 403.
    Reject,
    /// To this very URL.
    RedirectToUrl {
        location: HeaderValue,
        code: StatusCode,
    },
    /// To the prefix followed by the request's path and query.
    RedirectPrefix { prefix: String, code: StatusCode },
    /// Members of this pool.
    Pool(PoolId),
}

impl Action {
    /// Of `policy`; `None` when what it needs is missing, so that it cannot take effect.
    pub(crate) fn of(policy: &L7Policy, pool_exists: impl Fn(PoolId) -> bool) -> Option<Self> {
        let code = policy
            .redirect_http_code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .unwrap_or(StatusCode::FOUND);
        match policy.action {
            L7PolicyAction::Reject => Some(Self::Reject),
            L7PolicyAction::RedirectToUrl => {
                let url = policy.redirect_url.as_deref()?;
                let location = HeaderValue::from_str(url).ok()?;
                Some(Self::RedirectToUrl { location, code })
            }
            L7PolicyAction::RedirectPrefix => {
                let prefix = policy.redirect_prefix.clone()?;
                Some(Self::RedirectPrefix { prefix, code })
            }
            // A redirect to a pool that is off is not rendered: the next match decides.
            L7PolicyAction::RedirectToPool => policy
                .redirect_pool_id
                .filter(|id| pool_exists(*id))
                .map(Self::Pool),
        }
    }

    /// Order of effect before position (contract 10.1).
    pub(crate) const fn class(&self) -> u8 {
        match self {
            Self::Reject => 0,
            Self::RedirectToUrl { .. } | Self::RedirectPrefix { .. } => 1,
            Self::Pool(_) => 2,
        }
    }
}
