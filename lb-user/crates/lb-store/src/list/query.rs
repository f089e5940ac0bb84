//! A list request as one statement.

use std::net::IpAddr;

use uuid::Uuid;

use crate::{
    db::{Builder, Pool, Row},
    error::StoreError,
    list::{
        Direction, ListError, ListQuery, Resource, TagFilter,
        field::{Field, Kind},
    },
};

/// A value to compare a field with.
#[derive(Clone, Debug)]
enum Operand {
    Text(String),
    Int(i64),
    Bool(bool),
}

#[derive(Clone, Copy, Debug)]
struct SortKey {
    field: Field,
    descending: bool,
}

/// The page's rows in order, and whether there are more.
pub(super) async fn run(pool: &Pool, query: &ListQuery) -> Result<(Vec<Row>, bool), ListError> {
    run_with(pool, query, &query.resource.columns()).await
}

/// The same with other columns.
pub(super) async fn run_with(
    pool: &Pool,
    query: &ListQuery,
    columns: &str,
) -> Result<(Vec<Row>, bool), ListError> {
    let keys = sort_keys(query)?;
    let mut sql = select(query, columns)?;
    if let Some(marker) = &query.marker {
        let place = marker_place(pool, query.resource, marker, &keys).await?;
        sql.push(" AND ");
        push_behind(&mut sql, &keys, &place);
    }
    push_order(&mut sql, &keys);
    if let Some(limit) = query.limit {
        sql.push(" LIMIT ").push_bind(i64::from(limit) + 1);
    }
    let mut rows = sql.build().fetch_all(pool).await?;
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok());
    let more = limit.is_some_and(|limit| rows.len() > limit);
    rows.truncate(limit.unwrap_or(usize::MAX));
    if query.page_reverse {
        rows.reverse();
    }
    Ok((rows, more))
}

/// The row of one object, which must belong to the parent that the resource names.
pub(super) async fn one(
    pool: &Pool,
    resource: Resource,
    id: Uuid,
) -> Result<Option<Row>, StoreError> {
    one_with(pool, resource, id, &resource.columns()).await
}

/// The same with other columns.
pub(super) async fn one_with(
    pool: &Pool,
    resource: Resource,
    id: Uuid,
    columns: &str,
) -> Result<Option<Row>, StoreError> {
    let mut sql = start(resource, columns);
    sql.push(" AND t.id = ").push_bind(id.to_string());
    sql.build().fetch_optional(pool).await
}

/// The statement up to its conditions.
fn select(query: &ListQuery, columns: &str) -> Result<Builder, ListError> {
    let resource = query.resource;
    let mut sql = start(resource, columns);
    if let (Some(project_id), Some(column)) = (&query.project_id, resource.project()) {
        sql.push(format_args!(" AND {column} = "))
            .push_bind(project_id.clone());
    }
    for (name, value) in &query.filters {
        let unknown = || ListError::UnknownFilter(name.clone());
        let field = resource.field(name).ok_or_else(unknown)?;
        push_filter(&mut sql, field, value)?;
    }
    if !query.tags.is_empty() && !resource.is_tagged() {
        return Err(ListError::UnknownFilter("tags".to_owned()));
    }
    for filter in &query.tags {
        push_tags(&mut sql, filter);
    }
    Ok(sql)
}

/// The statement with the one condition that every request has: the parent.
fn start(resource: Resource, columns: &str) -> Builder {
    let mut sql = Builder::new(format!(
        "SELECT {columns} FROM {} WHERE 1 = 1",
        resource.source(),
    ));
    let parent = match resource {
        Resource::Member(pool) => Some(("t.pool_id", pool.to_string())),
        Resource::L7Rule(policy) => Some(("t.l7policy_id", policy.to_string())),
        _top => None,
    };
    if let Some((column, id)) = parent {
        sql.push(format_args!(" AND {column} = ")).push_bind(id);
    }
    sql
}

fn push_filter(sql: &mut Builder, field: Field, value: &str) -> Result<(), ListError> {
    let bad = || ListError::BadValue {
        field: field.name.to_owned(),
        value: value.to_owned(),
    };
    // An unset text is not the empty text to Octavia, so asking for the empty one finds nothing.
    if value.is_empty() && field.kind == Kind::Text {
        sql.push(" AND 1 = 0");
        return Ok(());
    }
    let operand = match field.kind {
        Kind::Text => Operand::Text(value.to_owned()),
        Kind::Id => {
            let id: Result<Uuid, _> = value.parse();
            Operand::Text(id.map_or_else(|_other| value.to_owned(), |id| id.to_string()))
        }
        Kind::Address => {
            let address: Result<IpAddr, _> = value.parse();
            Operand::Text(address.map_or_else(|_other| value.to_owned(), |it| it.to_string()))
        }
        Kind::Int => Operand::Int(value.parse().map_err(|_invalid| bad())?),
        Kind::Bool => Operand::Bool(loose_bool(value).ok_or_else(bad)?),
        Kind::Time => Operand::Int(seconds(value).ok_or_else(bad)?),
    };
    sql.push(" AND ");
    match field.kind {
        Kind::Time => sql.push(format_args!("{} / 1000000 = ", field.sql)),
        _exact => sql.push(format_args!("{} = ", field.sql)),
    };
    push_operand(sql, operand);
    Ok(())
}

fn push_operand(sql: &mut Builder, operand: Operand) {
    match operand {
        Operand::Text(text) => sql.push_bind(text),
        Operand::Int(number) => sql.push_bind(number),
        Operand::Bool(flag) => sql.push_bind(flag),
    };
}

/// Booleans as the API's clients spell them.
fn loose_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "t" | "y" => Some(true),
        "false" | "no" | "off" | "0" | "f" | "n" => Some(false),
        _other => None,
    }
}

fn seconds(text: &str) -> Option<i64> {
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

fn push_tags(sql: &mut Builder, filter: &TagFilter) {
    let (tags, negated, all) = match filter {
        TagFilter::All(tags) => (tags, false, true),
        TagFilter::Any(tags) => (tags, false, false),
        TagFilter::NotAll(tags) => (tags, true, true),
        TagFilter::NotAny(tags) => (tags, true, false),
    };
    let mut tags = tags.clone();
    tags.sort_unstable();
    tags.dedup();
    if tags.is_empty() {
        return;
    }
    // Tags of one object are distinct, so counting the matches says whether all are there.
    let needed = if all { tags.len() } else { 1 };
    sql.push(" AND (SELECT COUNT(*) FROM tags g WHERE g.resource_id = t.id AND g.tag IN (");
    let needed = i64::try_from(needed).unwrap_or(i64::MAX);
    sql.push_list(tags);
    sql.push(if negated { ")) < " } else { ")) >= " });
    sql.push_bind(needed);
}

fn sort_keys(query: &ListQuery) -> Result<Vec<SortKey>, ListError> {
    let mut keys: Vec<SortKey> = Vec::new();
    let asked = query
        .sort
        .iter()
        .map(|(name, direction)| (name.as_str(), *direction));
    let always = query.resource.default_order().iter();
    let always = always.map(|name| (*name, Direction::Asc));
    for (name, direction) in asked.chain(always) {
        let unknown = || ListError::UnknownSortKey(name.to_owned());
        let field = query.resource.field(name).ok_or_else(unknown)?;
        if keys.iter().any(|key| key.field.name == field.name) {
            continue;
        }
        let descending = (direction == Direction::Desc) != query.page_reverse;
        keys.push(SortKey { field, descending });
    }
    Ok(keys)
}

/// A field as it is sorted: NULL comes first in both engines. Where there is none the column stands
/// alone, so that an index serves the default order.
fn sort_sql(field: &Field) -> String {
    if matches!(field.name, "created_at" | "id") {
        return field.sql.to_owned();
    }
    match field.kind {
        Kind::Text | Kind::Id | Kind::Address => format!("COALESCE({}, '')", field.sql),
        Kind::Int | Kind::Time => format!("COALESCE({}, -9223372036854775807)", field.sql),
        Kind::Bool => field.sql.to_owned(),
    }
}

/// What the marker has in the fields that are sorted by.
async fn marker_place(
    pool: &Pool,
    resource: Resource,
    marker: &str,
    keys: &[SortKey],
) -> Result<Vec<Operand>, ListError> {
    let columns: Vec<String> = keys.iter().map(|key| sort_sql(&key.field)).collect();
    let mut sql = Builder::new(format!(
        "SELECT {} FROM {} WHERE t.{} = ",
        columns.join(", "),
        resource.source(),
        resource.key(),
    ));
    sql.push_bind(marker);
    let found = sql.build().fetch_optional(pool).await?;
    let row = found.ok_or(ListError::UnknownMarker(marker.to_owned()))?;
    let mut place = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        let operand = match key.field.kind {
            Kind::Text | Kind::Id | Kind::Address => row.try_get(index).map(Operand::Text),
            Kind::Int | Kind::Time => row.try_get(index).map(Operand::Int),
            Kind::Bool => row.try_get(index).map(Operand::Bool),
        };
        place.push(operand?);
    }
    Ok(place)
}

/// `(a, b) > (x, y)` where all go one way, which an index answers; else
/// `(a > x OR (a = x AND (b > y OR (b = y AND …))))`.
fn push_behind(sql: &mut Builder, keys: &[SortKey], place: &[Operand]) {
    let descending = keys.first().is_some_and(|key| key.descending);
    if keys.iter().all(|key| key.descending == descending) {
        let columns: Vec<String> = keys.iter().map(|key| sort_sql(&key.field)).collect();
        let behind = if descending { "<" } else { ">" };
        sql.push(format_args!("({}) {behind} (", columns.join(", ")));
        for (index, operand) in place.iter().enumerate() {
            sql.push(if index > 0 { ", " } else { "" });
            push_operand(sql, operand.clone());
        }
        sql.push(")");
        return;
    }
    let mut open = 0;
    let mut pairs = keys.iter().zip(place).peekable();
    while let Some((key, operand)) = pairs.next() {
        let column = sort_sql(&key.field);
        let behind = if key.descending { "<" } else { ">" };
        sql.push(format_args!("({column} {behind} "));
        push_operand(sql, operand.clone());
        open += 1;
        if pairs.peek().is_some() {
            sql.push(format_args!(" OR ({column} = "));
            push_operand(sql, operand.clone());
            sql.push(" AND ");
            open += 1;
        }
    }
    sql.push(")".repeat(open));
}

fn push_order(sql: &mut Builder, keys: &[SortKey]) {
    let order = keys.iter().map(|key| {
        let direction = if key.descending { "DESC" } else { "ASC" };
        format!("{} {direction}", sort_sql(&key.field))
    });
    sql.push(format_args!(
        " ORDER BY {}",
        order.collect::<Vec<_>>().join(", ")
    ));
}

/// A statement for every field of every resource: filtered, sorted and paged by it.
#[cfg(test)]
pub(crate) fn every_statement() -> Vec<String> {
    use lb_model::id::{L7PolicyId, PoolId};

    let resources = [
        Resource::LoadBalancer,
        Resource::Listener,
        Resource::Pool,
        Resource::Member(PoolId(Uuid::nil())),
        Resource::HealthMonitor,
        Resource::L7Policy,
        Resource::L7Rule(L7PolicyId(Uuid::nil())),
        Resource::Amphora,
        Resource::Quota,
        Resource::Flavor,
        Resource::FlavorProfile,
        Resource::AvailabilityZone,
        Resource::AvailabilityZoneProfile,
    ];
    let mut surroundings = super::view::surroundings();
    crate::decode::push_ids(
        &mut surroundings,
        &[lb_model::id::LoadBalancerId(Uuid::nil())],
    );
    let mut statements = vec![surroundings.into_string()];
    let shown = start(Resource::LoadBalancer, crate::summary::SHOWN_COLUMNS);
    statements.push(shown.into_string());
    for resource in resources {
        for field in resource.fields() {
            let mut query = ListQuery::all(resource);
            let value = match field.kind {
                Kind::Int | Kind::Bool => "1",
                Kind::Time => "2026-01-01T00:00:00",
                Kind::Text | Kind::Id | Kind::Address => "x",
            };
            query.project_id = Some("p".into());
            query.filters = vec![(field.name.into(), value.into())];
            query.tags = if !resource.is_tagged() {
                Vec::new()
            } else {
                vec![
                    TagFilter::All(vec!["a".into()]),
                    TagFilter::NotAny(vec!["b".into()]),
                ]
            };
            query.sort = vec![(field.name.into(), Direction::Desc)];
            let keys = sort_keys(&query).unwrap();
            let place: Vec<Operand> = keys.iter().map(|_key| Operand::Int(1)).collect();
            let mut sql = select(&query, &resource.columns()).unwrap();
            sql.push(" AND ");
            push_behind(&mut sql, &keys, &place);
            push_order(&mut sql, &keys);
            statements.push(sql.into_string());
        }
    }
    statements
}
