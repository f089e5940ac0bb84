//! What hosts observe: members' health and listeners' counters.
//!
//! Counters come as running totals that start again from nothing with whatever counts them. Stored is
//! the sum of their growth per listener and host, so a restart on either side loses and repeats
//! nothing. Rows that did not change are not written, and nothing here wakes anyone.

use std::collections::HashMap;

use lb_model::{
    id::{ListenerId, LoadBalancerId, MemberId},
    spec::{ListenerReport, LoadBalancerReport, MemberReport},
};

use crate::{
    db::{Connection, query},
    error::StoreError,
    sql::{Reader, counter},
    store::{Store, now},
    whole::MEMBER_HEALTH,
};

/// Counters as the API shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Open now.
    pub active_connections: u64,
    /// Ever opened.
    pub total_connections: u64,
    /// Requests that could not be answered properly.
    pub request_errors: u64,
}

impl Stats {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            active_connections: self
                .active_connections
                .saturating_add(other.active_connections),
            total_connections: self
                .total_connections
                .saturating_add(other.total_connections),
            request_errors: self.request_errors.saturating_add(other.request_errors),
        }
    }
}

impl Store {
    /// Takes over what a host observed. What it says of objects that are gone is dropped.
    ///
    /// # Errors
    /// The database's.
    pub async fn record_reports(
        &self,
        host: &str,
        reports: &[LoadBalancerReport],
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        for report in reports {
            for listener in &report.listeners {
                record_listener(&mut transaction, host, report.id, listener).await?;
            }
            for member in &report.members {
                record_member(&mut transaction, report.id, member).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Sets the connection counts of a host to zero: it is gone, and its connections with it.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_connections(&self, host: &str) -> Result<(), StoreError> {
        query(FORGET)
            .bind(host)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// Counters of a load balancer's listeners; one that was never heard of is not in it.
    ///
    /// # Errors
    /// The database's.
    pub async fn listener_stats(
        &self,
        owner: LoadBalancerId,
    ) -> Result<HashMap<ListenerId, Stats>, StoreError> {
        let rows = query(SELECT_STATS)
            .bind(owner.to_string())
            .fetch_all(&self.inner.database.read)
            .await?;
        let mut stats: HashMap<ListenerId, Stats> = HashMap::new();
        for row in &rows {
            let read = Reader::new("listener_stats", row);
            let one = Stats {
                bytes_in: read.int("bytes_in")?,
                bytes_out: read.int("bytes_out")?,
                active_connections: read.int("active_connections")?,
                total_connections: read.int("total_connections")?,
                request_errors: read.int("request_errors")?,
            };
            let sum = stats.entry(read.parse("listener_id")?).or_default();
            *sum = sum.plus(one);
        }
        Ok(stats)
    }

    /// Last known health of a load balancer's members; one never probed is not in it.
    ///
    /// # Errors
    /// The database's.
    pub async fn member_health(
        &self,
        owner: LoadBalancerId,
    ) -> Result<HashMap<MemberId, bool>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        load_health(&mut connection, owner).await
    }
}

async fn load_health(
    connection: &mut Connection,
    owner: LoadBalancerId,
) -> Result<HashMap<MemberId, bool>, StoreError> {
    let rows = query(SELECT_HEALTH)
        .bind(owner.to_string())
        .fetch_all(connection)
        .await?;
    let health = rows
        .iter()
        .map(|row| health(&Reader::new(MEMBER_HEALTH, row)));
    health.collect()
}

/// A member, and whether it is up.
pub(crate) fn health(read: &Reader<'_>) -> Result<(MemberId, bool), StoreError> {
    Ok((read.parse("member_id")?, read.bool("up")?))
}

const SELECT_STATS: &str = "SELECT * FROM listener_stats WHERE load_balancer_id = $1";
const SELECT_HEALTH: &str = "SELECT member_id, up FROM member_health WHERE load_balancer_id = $1";
const FORGET: &str = "UPDATE listener_stats SET active_connections = 0 \
     WHERE host = $1 AND active_connections <> 0";
const SELECT_LAST: &str = "SELECT last_bytes_in, last_bytes_out, last_total_connections, \
     last_request_errors, active_connections FROM listener_stats \
     WHERE listener_id = $1 AND host = $2";
const FIRST_STATS: &str = "INSERT INTO listener_stats (listener_id, host, load_balancer_id, \
     bytes_in, bytes_out, active_connections, total_connections, request_errors, \
     last_bytes_in, last_bytes_out, last_total_connections, last_request_errors) \
     SELECT l.id, $2, l.load_balancer_id, $4, $5, $6, $7, $8, $4, $5, $7, $8 \
     FROM listeners l WHERE l.id = $1 AND l.load_balancer_id = $3";
const ADD_STATS: &str = "UPDATE listener_stats SET bytes_in = bytes_in + $3, \
     bytes_out = bytes_out + $4, active_connections = $5, \
     total_connections = total_connections + $6, request_errors = request_errors + $7, \
     last_bytes_in = $8, last_bytes_out = $9, last_total_connections = $10, \
     last_request_errors = $11 WHERE listener_id = $1 AND host = $2";
const UPSERT_HEALTH: &str = "INSERT INTO member_health (member_id, load_balancer_id, up, since) \
     SELECT m.id, m.load_balancer_id, $3, $4 FROM members m \
     WHERE m.id = $1 AND m.load_balancer_id = $2 \
     ON CONFLICT (member_id) DO UPDATE SET up = excluded.up, since = excluded.since \
     WHERE member_health.up <> excluded.up";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_STATS,
    SELECT_HEALTH,
    FORGET,
    SELECT_LAST,
    FIRST_STATS,
    ADD_STATS,
    UPSERT_HEALTH,
];

/// How far a counter went since it was last heard: from nothing when it started again.
const fn growth(last: i64, reported: i64) -> i64 {
    if reported < last {
        reported
    } else {
        reported - last
    }
}

async fn record_listener(
    connection: &mut Connection,
    host: &str,
    owner: LoadBalancerId,
    report: &ListenerReport,
) -> Result<(), StoreError> {
    let id = report.id.to_string();
    let row = query(SELECT_LAST)
        .bind(&id)
        .bind(host)
        .fetch_optional(&mut *connection)
        .await?;
    let reported = [
        report.bytes_in,
        report.bytes_out,
        report.total_connections,
        report.request_errors,
    ];
    let [bytes_in, bytes_out, total, errors] = reported.map(counter);
    let active = counter(report.active_connections);
    let Some(row) = row else {
        query(FIRST_STATS)
            .bind(id)
            .bind(host)
            .bind(owner.to_string())
            .bind(bytes_in)
            .bind(bytes_out)
            .bind(active)
            .bind(total)
            .bind(errors)
            .execute(connection)
            .await?;
        return Ok(());
    };
    let last: [i64; 5] = [
        row.try_get(0)?,
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
        row.try_get(4)?,
    ];
    if last == [bytes_in, bytes_out, total, errors, active] {
        return Ok(());
    }
    let [last_in, last_out, last_total, last_errors, _active] = last;
    query(ADD_STATS)
        .bind(id)
        .bind(host)
        .bind(growth(last_in, bytes_in))
        .bind(growth(last_out, bytes_out))
        .bind(active)
        .bind(growth(last_total, total))
        .bind(growth(last_errors, errors))
        .bind(bytes_in)
        .bind(bytes_out)
        .bind(total)
        .bind(errors)
        .execute(connection)
        .await?;
    Ok(())
}

async fn record_member(
    connection: &mut Connection,
    owner: LoadBalancerId,
    report: &MemberReport,
) -> Result<(), StoreError> {
    // Not probed yet says nothing: a rebuilt amphora inherits what is known.
    let Some(up) = report.up else {
        return Ok(());
    };
    query(UPSERT_HEALTH)
        .bind(report.member_id.to_string())
        .bind(owner.to_string())
        .bind(up)
        .bind(now().0)
        .execute(connection)
        .await?;
    Ok(())
}
