//! Which load balancer an object is part of.

use lb_model::id::{
    HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, MemberId, PoolId,
};
use uuid::Uuid;

use crate::{db::query_scalar, error::StoreError, store::Store};

impl Store {
    async fn owner(
        &self,
        sql: &'static str,
        id: Uuid,
    ) -> Result<Option<LoadBalancerId>, StoreError> {
        let owner: Option<String> = query_scalar(sql)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        let parse = |text: String| text.parse().map_err(|_invalid| StoreError::Corrupt(text));
        owner.map(parse).transpose()
    }
}

macro_rules! owners {
    ($($(#[$doc:meta])* $name:ident($id:ty) = $table:literal),+ $(,)?) => {
        impl Store {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// The database's.
            pub async fn $name(&self, id: $id) -> Result<Option<LoadBalancerId>, StoreError> {
                const SQL: &str = concat!("SELECT load_balancer_id FROM ", $table, " WHERE id = $1");
                self.owner(SQL, id.0).await
            }
        )+}
    };
}

owners!(
    /// The load balancer a listener belongs to.
    owner_of_listener(ListenerId) = "listeners",
    /// The load balancer a pool belongs to.
    owner_of_pool(PoolId) = "pools",
    /// The load balancer a member belongs to.
    owner_of_member(MemberId) = "members",
    /// The load balancer a health monitor belongs to.
    owner_of_monitor(HealthMonitorId) = "health_monitors",
    /// The load balancer an L7 policy belongs to.
    owner_of_policy(L7PolicyId) = "l7policies",
    /// The load balancer an L7 rule belongs to.
    owner_of_rule(L7RuleId) = "l7rules",
);
