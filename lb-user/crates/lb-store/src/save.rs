//! Writes what differs between two states of a tree: what is gone is deleted, children first; what is new
//! or has changed is written, parents first; what is the same is left alone.

use std::collections::{HashMap, HashSet};

use lb_model::id::LoadBalancerId;
use uuid::Uuid;

use crate::{
    boxed::Boxed,
    db::{Builder, Connection, query},
    encode::{
        Encoded, HEALTH_MONITORS, L7POLICIES, L7RULES, LISTENERS, LOAD_BALANCERS, MEMBERS, POOLS,
    },
    error::StoreError,
    secret::consumer,
    sql::{Column, NewRow},
};

const DELETE_TAGS_OF: &str = "DELETE FROM tags WHERE resource_id IN (";
/// Objects removed by one statement.
const DELETED_AT_ONCE: usize = 128;
/// Objects changed alike by one statement, and how many different changes of one table's rows are
/// written apart from each other.
const CHANGED_AT_ONCE: usize = 128;
const GROUPS_MAX: usize = 2;
const DELETE_TAGS: &str = "DELETE FROM tags WHERE resource_id = $1";
const INSERT_TAG: &str =
    "INSERT INTO tags (resource_id, tag, ordinal, load_balancer_id) VALUES ($1, $2, $3, $4)";
const FORGET_HEALTH: &str = "DELETE FROM member_health WHERE member_id IN (SELECT m.id \
     FROM members m JOIN health_monitors h ON h.pool_id = m.pool_id WHERE h.id IN (";

/// Children first, so that nothing is removed twice.
const DELETES: &[(&str, &str)] = &[
    (L7RULES, "DELETE FROM l7rules WHERE id IN ("),
    (L7POLICIES, "DELETE FROM l7policies WHERE id IN ("),
    (LISTENERS, "DELETE FROM listeners WHERE id IN ("),
    (MEMBERS, "DELETE FROM members WHERE id IN ("),
    (HEALTH_MONITORS, "DELETE FROM health_monitors WHERE id IN ("),
    (POOLS, "DELETE FROM pools WHERE id IN ("),
];

/// The order in which rows are written: each refers to earlier ones alone.
const PARENTS_FIRST: [&str; 7] = [
    LOAD_BALANCERS,
    LISTENERS,
    POOLS,
    MEMBERS,
    HEALTH_MONITORS,
    L7POLICIES,
    L7RULES,
];

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[DELETE_TAGS, INSERT_TAG];

/// Those that end with a list.
#[cfg(test)]
pub(crate) fn list_statements() -> Vec<String> {
    let of_tables = DELETES.iter().map(|(_table, sql)| format!("{sql}$1)"));
    let others = [
        format!("{FORGET_HEALTH}$1))"),
        format!("{DELETE_TAGS_OF}$1)"),
    ];
    of_tables.chain(others).collect()
}

/// Writes what differs between two states of a tree.
pub(crate) fn save<'f>(
    connection: &'f mut Connection,
    owner: LoadBalancerId,
    old: &'f Encoded,
    new: Encoded,
) -> Boxed<'f, Result<(), StoreError>> {
    Box::pin(async move {
        let kept: HashSet<Uuid> = new.rows.iter().map(|row| row.id).collect();
        // What moved away from a parent that goes has gone with it, and must be made again as a whole.
        let mut all_are_there = true;
        for (table, sql) in DELETES {
            let gone = old
                .rows
                .iter()
                .filter(|row| row.table == *table && !kept.contains(&row.id));
            let gone: Vec<Uuid> = gone.map(|row| row.id).collect();
            all_are_there &= gone.is_empty();
            for some in gone.chunks(DELETED_AT_ONCE) {
                if *table == HEALTH_MONITORS {
                    delete(connection, FORGET_HEALTH, some).await?;
                }
                delete(connection, DELETE_TAGS_OF, some).await?;
                delete(connection, sql, some).await?;
            }
        }
        let before: HashMap<Uuid, _> = old.rows.iter().map(|row| (row.id, row)).collect();
        let differs = |row: &NewRow| before.get(&row.id) != Some(&row);
        let (changed, _same): (Vec<NewRow>, Vec<NewRow>) = new.rows.into_iter().partition(differs);
        let mut by_table: HashMap<&str, Vec<NewRow>> = HashMap::new();
        for row in changed {
            by_table.entry(row.table).or_default().push(row);
        }
        for table in PARENTS_FIRST {
            let rows = by_table.remove(table).unwrap_or_default();
            if old.rows.is_empty() {
                NewRow::insert_all(rows, connection).await?;
            } else if all_are_there {
                write(connection, rows, &before).await?;
            } else {
                NewRow::upsert_all(rows, connection).await?;
            }
        }
        let no_tags = Vec::new();
        for (id, tags) in &new.tags {
            let known = old.tags.get(id).unwrap_or(&no_tags);
            if known != tags {
                save_tags(connection, owner, *id, tags).await?;
            }
        }
        if old.secrets != new.secrets {
            consumer::save(connection, owner, new.secrets.iter()).await?;
        }
        Ok(())
    })
}

/// Writes rows of one table. Where most of what changed is the same in all of them, as statuses are,
/// only that is written; else they are written whole.
async fn write(
    connection: &mut Connection,
    rows: Vec<NewRow>,
    before: &HashMap<Uuid, &NewRow>,
) -> Result<(), StoreError> {
    let mut groups: Vec<(Vec<Column>, Vec<Uuid>)> = Vec::new();
    let few = rows.iter().all(|row| {
        let Some(old) = before.get(&row.id) else {
            return false;
        };
        let differing = row.differing(old);
        match groups.iter_mut().find(|(columns, _)| *columns == differing) {
            Some((_, ids)) => ids.push(row.id),
            None => groups.push((differing, vec![row.id])),
        }
        groups.len() <= GROUPS_MAX
    });
    if !few {
        return NewRow::upsert_all(rows, connection).await;
    }
    let Some(table) = rows.first().map(|row| row.table) else {
        return Ok(());
    };
    for (columns, ids) in groups {
        for some in ids.chunks(CHANGED_AT_ONCE) {
            update(connection, table, &columns, some).await?;
        }
    }
    Ok(())
}

/// Sets the same columns of several rows to the same values.
async fn update(
    connection: &mut Connection,
    table: &'static str,
    columns: &[Column],
    ids: &[Uuid],
) -> Result<(), StoreError> {
    let mut update = Builder::new(format!("UPDATE {table} SET "));
    for (number, (name, value)) in columns.iter().enumerate() {
        update.push(if number > 0 { ", " } else { "" }).push(name);
        update.push(" = ").push_bind(value.clone());
    }
    update.push(" WHERE id IN (");
    update.push_list(ids.iter().map(Uuid::to_string)).push(")");
    update.build().execute(connection).await?;
    Ok(())
}

/// `sql` up to the list of ids.
async fn delete(
    connection: &mut Connection,
    sql: &'static str,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    let mut delete = Builder::new(sql);
    delete.push_list(ids.iter().map(Uuid::to_string)).push(")");
    // One of them closes a subquery.
    if sql == FORGET_HEALTH {
        delete.push(")");
    }
    delete.build().execute(connection).await?;
    Ok(())
}

async fn save_tags(
    connection: &mut Connection,
    owner: LoadBalancerId,
    id: Uuid,
    tags: &[String],
) -> Result<(), StoreError> {
    query(DELETE_TAGS)
        .bind(id.to_string())
        .execute(&mut *connection)
        .await?;
    for (tag, ordinal) in tags.iter().zip(0_i64..) {
        query(INSERT_TAG)
            .bind(id.to_string())
            .bind(tag)
            .bind(ordinal)
            .bind(owner.to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
