//! What hosts observe: members' health and listeners' counters.
//!
//! Counters come as running totals that start again from nothing with whatever counts them. Stored is
//! the sum of their growth per listener and host, so a restart on either side loses and repeats
//! nothing. Rows that did not change are not written, and nothing here wakes anyone.

use std::collections::HashMap;

use lb_model::{
    id::{ListenerId, LoadBalancerId, MemberId},
    spec::{ListenerReport, LoadBalancerReport},
};

use crate::{
    db::{Builder, Connection, Pool, query},
    error::StoreError,
    sql::{Query, Reader, counter},
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
    /// Most of it is known already, so it is read first, and beside whoever writes; only what differs
    /// is written. A host that lost its server tells another while the first may still be at work: what was
    /// written since the reading stays, so that nothing is counted twice, and the next report, whose
    /// counters go on from there, brings the rest.
    ///
    /// # Errors
    /// The database's.
    pub async fn record_reports(
        &self,
        host: &str,
        reports: &[LoadBalancerReport],
    ) -> Result<(), StoreError> {
        let read = &self.inner.database.read;
        let mut changes = Vec::new();
        let all = reports.iter().flat_map(|report| {
            report
                .listeners
                .iter()
                .map(|listener| (report.id, listener))
        });
        let all: Vec<_> = all.collect();
        for some in all.chunks(ASKED_AT_ONCE) {
            changes.extend(changed_listeners(read, host, some).await?);
        }
        // Not probed yet says nothing: a rebuilt amphora inherits what is known.
        let probed = reports.iter().flat_map(|report| &report.members);
        let probed: Vec<_> = probed
            .filter_map(|member| Some((member.member_id, member.up?)))
            .collect();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for some in probed.chunks(ASKED_AT_ONCE) {
            let known = known_health(read, some).await?;
            for (id, is_up) in some.iter().filter(|(id, up)| known.get(id) != Some(up)) {
                let list = if *is_up { &mut up } else { &mut down };
                list.push(*id);
            }
        }
        if changes.is_empty() && up.is_empty() && down.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin_write().await?;
        for change in changes {
            change.execute(&mut transaction).await?;
        }
        let owners: Vec<LoadBalancerId> = reports.iter().map(|report| report.id).collect();
        for (members, is_up) in [(&up, true), (&down, false)] {
            for some in members.chunks(ASKED_AT_ONCE) {
                record_members(&mut transaction, &owners, some, is_up).await?;
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
/// Ends with the host and a list.
const SELECT_LAST: &str = "SELECT last_bytes_in, last_bytes_out, last_total_connections, \
     last_request_errors, active_connections, listener_id FROM listener_stats WHERE host = ";
const FIRST_STATS: &str = "INSERT INTO listener_stats (listener_id, host, load_balancer_id, \
     bytes_in, bytes_out, active_connections, total_connections, request_errors, \
     last_bytes_in, last_bytes_out, last_total_connections, last_request_errors) \
     SELECT l.id, $2, l.load_balancer_id, $4, $5, $6, $7, $8, $4, $5, $7, $8 \
     FROM listeners l WHERE l.id = $1 AND l.load_balancer_id = $3 \
     ON CONFLICT (listener_id, host) DO NOTHING";
const ADD_STATS: &str = "UPDATE listener_stats SET bytes_in = bytes_in + $3, \
     bytes_out = bytes_out + $4, active_connections = $5, \
     total_connections = total_connections + $6, request_errors = request_errors + $7, \
     last_bytes_in = $8, last_bytes_out = $9, last_total_connections = $10, \
     last_request_errors = $11 WHERE listener_id = $1 AND host = $2 \
     AND last_bytes_in = $12 AND last_bytes_out = $13 AND last_total_connections = $14 \
     AND last_request_errors = $15";
/// Ends with a list.
const SELECT_KNOWN: &str = "SELECT member_id, up FROM member_health WHERE member_id IN (";
const MEMBERS_AMONG: &str = " FROM members m WHERE m.id IN (";
const UPSERT: &str = " ON CONFLICT (member_id) DO UPDATE SET up = excluded.up, \
     since = excluded.since WHERE member_health.up <> excluded.up";

/// Ids in one statement.
const ASKED_AT_ONCE: usize = 256;

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] =
    &[SELECT_STATS, SELECT_HEALTH, FORGET, FIRST_STATS, ADD_STATS];

/// How far a counter went since it was last heard: from nothing when it started again.
const fn growth(last: i64, reported: i64) -> i64 {
    if reported < last {
        reported
    } else {
        reported - last
    }
}

/// What must be written of these listeners' counters.
async fn changed_listeners(
    pool: &Pool,
    host: &str,
    reports: &[(LoadBalancerId, &ListenerReport)],
) -> Result<Vec<Query>, StoreError> {
    let mut select = Builder::new(SELECT_LAST);
    select.push_bind(host).push(" AND listener_id IN (");
    select.push_list(reports.iter().map(|(_owner, report)| report.id.to_string()));
    select.push(")");
    let mut known: HashMap<ListenerId, [i64; 5]> = HashMap::new();
    for row in &select.build().fetch_all(pool).await? {
        let last = [
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
            row.try_get(4)?,
        ];
        known.insert(
            Reader::new("listener_stats", row).parse("listener_id")?,
            last,
        );
    }
    let changes = reports.iter().filter_map(|(owner, report)| {
        counted(host, *owner, report, known.get(&report.id).copied())
    });
    Ok(changes.collect())
}

/// The statement that writes a listener's counters; `None`: they are what they were.
fn counted(
    host: &str,
    owner: LoadBalancerId,
    report: &ListenerReport,
    known: Option<[i64; 5]>,
) -> Option<Query> {
    let id = report.id.to_string();
    let reported = [
        report.bytes_in,
        report.bytes_out,
        report.total_connections,
        report.request_errors,
        report.active_connections,
    ];
    let now = reported.map(counter);
    // Nothing was counted yet, which is what the absence of a row says.
    if known.unwrap_or_default() == now {
        return None;
    }
    let [bytes_in, bytes_out, total, errors, active] = now;
    let Some([last_in, last_out, last_total, last_errors, _active]) = known else {
        let first = query(FIRST_STATS)
            .bind(id)
            .bind(host)
            .bind(owner.to_string())
            .bind(bytes_in)
            .bind(bytes_out)
            .bind(active)
            .bind(total)
            .bind(errors);
        return Some(first);
    };
    let more = query(ADD_STATS)
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
        .bind(last_in)
        .bind(last_out)
        .bind(last_total)
        .bind(last_errors);
    Some(more)
}

/// What is known of these members.
async fn known_health(
    pool: &Pool,
    members: &[(MemberId, bool)],
) -> Result<HashMap<MemberId, bool>, StoreError> {
    if members.is_empty() {
        return Ok(HashMap::new());
    }
    let mut select = Builder::new(SELECT_KNOWN);
    select.push_list(members.iter().map(|(id, _up)| id.to_string()));
    select.push(")");
    let rows = select.build().fetch_all(pool).await?;
    let known = rows.iter();
    known
        .map(|row| health(&Reader::new(MEMBER_HEALTH, row)))
        .collect()
}

/// Members that are gone, or are another's, are left out.
async fn record_members(
    connection: &mut Connection,
    owners: &[LoadBalancerId],
    members: &[MemberId],
    up: bool,
) -> Result<(), StoreError> {
    let mut upsert = Builder::new(
        "INSERT INTO member_health (member_id, load_balancer_id, up, since) \
         SELECT m.id, m.load_balancer_id, ",
    );
    upsert.push_bind(up).push(", ").push_bind(now().0);
    upsert.push(MEMBERS_AMONG);
    upsert.push_list(members.iter().map(ToString::to_string));
    upsert.push(") AND m.load_balancer_id IN (");
    upsert.push_list(owners.iter().map(ToString::to_string));
    upsert.push(")").push(UPSERT);
    upsert.build().execute(connection).await?;
    Ok(())
}
