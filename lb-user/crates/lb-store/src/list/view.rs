//! Rows of a list into views: everything that is shown of an object comes with its own row, of a load
//! balancer in its summary ([`crate::summary`]). Only for those whose summary a server of the version
//! before has left behind, a second statement asks.
//!
//! Ids of children and tags are put into one text each by the database (`string_agg`, which both
//! engines have). Ids stand between commas. A tag may hold anything, so tags stand between U+001F,
//! and the two characters that would disturb are escaped on the way out of the table.

use std::{collections::HashMap, str::FromStr};

use lb_model::{
    id::LoadBalancerId,
    view::{
        HealthMonitorView, L7PolicyView, L7RuleView, ListenerView, LoadBalancerView, MemberView,
        PoolView,
    },
};
use uuid::Uuid;

use super::{Resource, Views, packed};
use crate::{
    db::{Builder, Pool, Row},
    decode::{Tags, health_monitor, l7policy, l7rule, listener, member, pool, push_ids},
    encode::{HEALTH_MONITORS, L7POLICIES, L7RULES, LISTENERS, LOAD_BALANCERS, MEMBERS, POOLS},
    error::StoreError,
    sql::Reader,
};

/// Load balancers in one statement.
const ASKED_AT_ONCE: usize = 512;

const TAGS: &str = "(SELECT string_agg(replace(replace(g.tag, '\u{1e}', '\u{1e}e'), '\u{1f}', '\u{1e}f'), \
     '\u{1f}' ORDER BY g.ordinal) FROM tags g WHERE g.resource_id = t.id) AS own_tags";
const LOAD_BALANCER: &str = "(SELECT string_agg(x.id, ',' ORDER BY x.ordinal, x.id) FROM listeners x \
     WHERE x.load_balancer_id = t.id) AS own_listeners, \
     (SELECT string_agg(x.id, ',' ORDER BY x.ordinal, x.id) FROM pools x \
     WHERE x.load_balancer_id = t.id) AS own_pools";
const LISTENER: &str = "(SELECT string_agg(x.id, ',' ORDER BY x.ordinal, x.id) FROM l7policies x \
     WHERE x.listener_id = t.id) AS own_l7policies";
/// The listeners are those of `Tree::listeners_using`.
const POOL: &str = "(SELECT string_agg(x.id, ',' ORDER BY x.ordinal, x.id) FROM listeners x \
     WHERE x.load_balancer_id = t.load_balancer_id AND (x.default_pool_id = t.id OR EXISTS (\
     SELECT 1 FROM l7policies y WHERE y.listener_id = x.id AND y.redirect_pool_id = t.id \
     AND y.admin_state_up AND y.action = 'REDIRECT_TO_POOL' \
     AND EXISTS (SELECT 1 FROM l7rules z WHERE z.l7policy_id = y.id)))) AS own_listeners, \
     (SELECT string_agg(x.id, ',' ORDER BY x.ordinal, x.id) FROM members x \
     WHERE x.pool_id = t.id) AS own_members, \
     (SELECT x.id FROM health_monitors x WHERE x.pool_id = t.id) AS own_monitor";
const L7POLICY: &str = "(SELECT string_agg(x.id, ',' ORDER BY x.ordinal, x.id) FROM l7rules x \
     WHERE x.l7policy_id = t.id) AS own_rules";

impl Resource {
    /// What a list reads of each row; `t` is the resource's own table.
    pub(super) fn columns(self) -> String {
        let own = match self {
            Self::LoadBalancer => return packed::columns(),
            Self::Listener => LISTENER,
            Self::Pool => POOL,
            Self::L7Policy => L7POLICY,
            Self::Member(_) | Self::HealthMonitor | Self::L7Rule(_) => {
                return format!("t.*, {TAGS}");
            }
            Self::Amphora => {
                return "COALESCE(t.shown_id, t.id) AS id, t.load_balancer_id AS load_balancer_id"
                    .to_owned();
            }
            Self::Quota
            | Self::Flavor
            | Self::FlavorProfile
            | Self::AvailabilityZone
            | Self::AvailabilityZoneProfile => return "t.*".to_owned(),
        };
        format!("t.*, {TAGS}, {own}")
    }
}

/// The rows as views, in their order. Amphorae have none.
pub(super) async fn views(
    pool: &Pool,
    resource: Resource,
    rows: &[Row],
) -> Result<Views, StoreError> {
    Ok(match resource {
        Resource::LoadBalancer => Views::LoadBalancers(load_balancers(pool, rows).await?),
        Resource::Listener => Views::Listeners(each(LISTENERS, rows, one_listener)?),
        Resource::Pool => Views::Pools(each(POOLS, rows, one_pool)?),
        Resource::Member(_) => Views::Members(each(MEMBERS, rows, one_member)?),
        Resource::HealthMonitor => Views::HealthMonitors(each(HEALTH_MONITORS, rows, one_monitor)?),
        Resource::L7Policy => Views::L7Policies(each(L7POLICIES, rows, one_policy)?),
        Resource::L7Rule(_) => Views::L7Rules(each(L7RULES, rows, one_rule)?),
        Resource::Amphora
        | Resource::Quota
        | Resource::Flavor
        | Resource::FlavorProfile
        | Resource::AvailabilityZone
        | Resource::AvailabilityZoneProfile => Views::None,
    })
}

fn each<V>(
    table: &'static str,
    rows: &[Row],
    view: impl Fn(&Reader<'_>, &mut Tags) -> Result<V, StoreError>,
) -> Result<Vec<V>, StoreError> {
    rows.iter()
        .map(|row| {
            let read = Reader::new(table, row);
            let mut tags = tags(&read)?;
            view(&read, &mut tags)
        })
        .collect()
}

fn tags(read: &Reader<'_>) -> Result<Tags, StoreError> {
    let Some(text) = read.opt_text("own_tags")? else {
        return Ok(Tags::new());
    };
    let own = text.split('\u{1f}').map(|tag| {
        tag.replace("\u{1e}f", "\u{1f}")
            .replace("\u{1e}e", "\u{1e}")
    });
    let id: Uuid = read.parse("id")?;
    Ok(HashMap::from([(id, own.collect())]))
}

fn ids<T: FromStr>(read: &Reader<'_>, column: &str) -> Result<Vec<T>, StoreError> {
    let Some(text) = read.opt_text(column)? else {
        return Ok(Vec::new());
    };
    let parse = |id: &str| {
        id.parse()
            .map_err(|_invalid| StoreError::Corrupt(format!("{column}: {id}")))
    };
    text.split(',').map(parse).collect()
}

async fn load_balancers(pool: &Pool, rows: &[Row]) -> Result<Vec<LoadBalancerView>, StoreError> {
    let mut views = Vec::with_capacity(rows.len());
    let mut unknown = Vec::new();
    for row in rows {
        let (load_balancer, summary) = packed::load_balancer(&Reader::new(LOAD_BALANCERS, row))?;
        let mut view = LoadBalancerView {
            load_balancer,
            listeners: Vec::new(),
            pools: Vec::new(),
        };
        match summary.filter(|summary| summary.is_of(&view.load_balancer)) {
            Some(summary) => {
                view.load_balancer.common.tags = summary.tags;
                view.listeners = summary.listeners;
                view.pools = summary.pools;
            }
            None => unknown.push(view.load_balancer.id),
        }
        views.push(view);
    }
    for some in unknown.chunks(ASKED_AT_ONCE) {
        look_up(pool, some, &mut views).await?;
    }
    Ok(views)
}

/// Those with these ids, by id.
pub(super) async fn of_these(
    pool: &Pool,
    ids: &[LoadBalancerId],
) -> Result<HashMap<LoadBalancerId, LoadBalancerView>, StoreError> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(ASKED_AT_ONCE) {
        let mut query = Builder::new(format!(
            "SELECT {} FROM load_balancers t WHERE t.id IN (",
            packed::columns()
        ));
        push_ids(&mut query, some);
        let rows = query.build().fetch_all(pool).await?;
        let views = load_balancers(pool, &rows).await?.into_iter();
        found.extend(views.map(|view| (view.load_balancer.id, view)));
    }
    Ok(found)
}

/// Surroundings that no summary tells.
async fn look_up(
    pool: &Pool,
    ids: &[LoadBalancerId],
    views: &mut [LoadBalancerView],
) -> Result<(), StoreError> {
    let mut query = surroundings();
    push_ids(&mut query, ids);
    let mut found = HashMap::with_capacity(ids.len());
    for row in &query.build().fetch_all(pool).await? {
        let read = Reader::new(LOAD_BALANCERS, row);
        let mut tags = tags(&read)?;
        let id: LoadBalancerId = read.parse("id")?;
        let tags = tags.remove(&id.0).unwrap_or_default();
        let listeners = self::ids(&read, "own_listeners")?;
        found.insert(id, (listeners, self::ids(&read, "own_pools")?, tags));
    }
    for view in views {
        if let Some((listeners, pools, tags)) = found.remove(&view.load_balancer.id) {
            view.listeners = listeners;
            view.pools = pools;
            view.load_balancer.common.tags = tags;
        }
    }
    Ok(())
}

/// Up to the ids that are asked about.
pub(super) fn surroundings() -> Builder {
    Builder::new(format!(
        "SELECT t.id, {TAGS}, {LOAD_BALANCER} FROM load_balancers t WHERE t.id IN ("
    ))
}

fn one_listener(read: &Reader<'_>, tags: &mut Tags) -> Result<ListenerView, StoreError> {
    Ok(ListenerView {
        project_id: read.text("project_id")?,
        load_balancer_id: read.parse("load_balancer_id")?,
        listener: listener(read, tags)?,
        l7policies: ids(read, "own_l7policies")?,
    })
}

fn one_pool(read: &Reader<'_>, tags: &mut Tags) -> Result<PoolView, StoreError> {
    Ok(PoolView {
        project_id: read.text("project_id")?,
        load_balancer_id: read.parse("load_balancer_id")?,
        pool: pool(read, tags)?,
        listeners: ids(read, "own_listeners")?,
        members: ids(read, "own_members")?,
        health_monitor: read.opt_parse("own_monitor")?,
    })
}

fn one_member(read: &Reader<'_>, tags: &mut Tags) -> Result<MemberView, StoreError> {
    Ok(MemberView {
        project_id: read.text("project_id")?,
        pool_id: read.parse("pool_id")?,
        member: member(read, tags)?,
    })
}

fn one_monitor(read: &Reader<'_>, tags: &mut Tags) -> Result<HealthMonitorView, StoreError> {
    Ok(HealthMonitorView {
        project_id: read.text("project_id")?,
        pool_id: read.parse("pool_id")?,
        health_monitor: health_monitor(read, tags)?,
    })
}

fn one_policy(read: &Reader<'_>, tags: &mut Tags) -> Result<L7PolicyView, StoreError> {
    Ok(L7PolicyView {
        project_id: read.text("project_id")?,
        listener_id: read.parse("listener_id")?,
        position: read.int("ordinal")?,
        l7policy: l7policy(read, tags)?,
        rules: ids(read, "own_rules")?,
    })
}

fn one_rule(read: &Reader<'_>, tags: &mut Tags) -> Result<L7RuleView, StoreError> {
    Ok(L7RuleView {
        project_id: read.text("project_id")?,
        l7policy_id: read.parse("l7policy_id")?,
        l7rule: l7rule(read, tags)?,
    })
}
