//! Which load balancer names which secret.

use lb_model::id::{LoadBalancerId, SecretId};

use crate::{
    db::{Connection, query},
    error::StoreError,
};

/// Writes what a load balancer names, in the transaction that changes it.
pub(crate) async fn save(
    connection: &mut Connection,
    owner: LoadBalancerId,
    secrets: impl Iterator<Item = &SecretId> + Send,
) -> Result<(), StoreError> {
    query(DELETE_CONSUMER)
        .bind(owner.to_string())
        .execute(&mut *connection)
        .await?;
    for secret in secrets {
        // Whoever deletes it waits, and then counts this one; one that is elsewhere is not here.
        for lock in [LOCK_SECRETS, LOCK_CONTAINER] {
            query(lock)
                .bind(secret.to_string())
                .locking()
                .fetch_all(&mut *connection)
                .await?;
        }
        query(INSERT_CONSUMER)
            .bind(owner.to_string())
            .bind(secret.to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

const LOCK_SECRETS: &str = "SELECT id FROM secrets WHERE id = $1 OR id IN \
     (SELECT secret_id FROM secret_container_items WHERE container_id = $1) ORDER BY id";
const LOCK_CONTAINER: &str = "SELECT id FROM secret_containers WHERE id = $1";
const DELETE_CONSUMER: &str = "DELETE FROM secret_consumers WHERE load_balancer_id = $1";
const INSERT_CONSUMER: &str =
    "INSERT INTO secret_consumers (load_balancer_id, secret_id) VALUES ($1, $2)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    LOCK_SECRETS,
    LOCK_CONTAINER,
    DELETE_CONSUMER,
    INSERT_CONSUMER,
];
