//! Every statement against the schema.

use super::*;
use crate::{
    amphora, availability_zone, capability, encode, epoch, event, flavor, host, ipam, lease, list,
    observed, orphan, quota, save, secret, settings, sql, tree, user_port,
};

on_both! {
async fn every_statement_prepares() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = LoadBalancerId(Uuid::nil());
    let mut furnished = create(&store, "lb", &on_subnet(v4())).await.unwrap();
    furnish(&mut furnished);
    let rows = encode::encode(&furnished, &encode::Ordinals::new())
        .unwrap()
        .rows;
    let fixed = [
        amphora::STATEMENTS,
        epoch::STATEMENTS,
        event::STATEMENTS,
        event::number::STATEMENTS,
        availability_zone::STATEMENTS,
        capability::STATEMENTS,
        flavor::STATEMENTS,
        quota::STATEMENTS,
        host::STATEMENTS,
        ipam::STATEMENTS,
        lease::STATEMENTS,
        observed::STATEMENTS,
        orphan::STATEMENTS,
        &secret::statements(),
        secret::seal::STATEMENTS,
        settings::STATEMENTS,
        save::STATEMENTS,
        tree::STATEMENTS,
        user_port::STATEMENTS,
    ];
    let fixed = fixed.concat().into_iter().map(str::to_owned);
    let upserts = rows
        .iter()
        .flat_map(|row| [row.upsert_sql(1), row.upsert_sql(4)]);
    let whole = [crate::whole::Extent::Tree, crate::whole::Extent::Everything];
    let whole = whole.map(|extent| extent.statement(&["x".to_owned()]).into_string());
    let fixed = fixed.chain(save::list_statements()).chain(whole);
    let statements = fixed.chain(upserts).chain(list::every_statement());
    let mut connection = store.inner.database.write.acquire().await.unwrap();
    let mut count = 0;
    for text in statements {
        let prepared = sql::prepare(&mut connection, text.clone()).await;
        assert!(prepared.is_ok(), "{text}: {prepared:?}");
        count += 1;
    }
    assert!(count > 100, "only {count} statements");
    drop(connection);
    assert!(store.read_trees(&[id]).await.unwrap().is_empty());
}
}
