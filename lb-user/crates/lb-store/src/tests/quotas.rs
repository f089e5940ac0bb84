//! Quotas on both engines: what is counted, and who gets the last one.

use lb_model::{
    quota::{PerClass, QuotaClass},
    tree::Tree,
};

use super::*;

const OTHER: &str = "fedcba9876543210fedcba9876543210";

async fn create_counted(store: &Store, defaults: &PerClass<i64>) -> Result<Tree, StoreError> {
    let id = LoadBalancerId(Uuid::new_v4());
    let vips = on_subnet(v4());
    let build = |vips, mut left: lb_model::quota::Allowance| {
        left.take(QuotaClass::LoadBalancer, 1)?;
        Ok(bare(id, "lb", Topology::Single, vips))
    };
    store
        .create_tree_within(id, PROJECT, &vips, Topology::Single, Some(defaults), build)
        .await
}

on_both! {
async fn of_parallel_creates_exactly_one_gets_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let defaults = PerClass::unlimited();
    store
        .change_quota(PROJECT, |own| own.loadbalancer = Some(1))
        .await
        .unwrap();
    let done = tokio::join!(
        create_counted(&store, &defaults),
        create_counted(&store, &defaults),
        create_counted(&store, &defaults),
    );
    let made = [done.0.is_ok(), done.1.is_ok(), done.2.is_ok()];
    assert_eq!(made.iter().filter(|it| **it).count(), 1, "{made:?}");
    assert_eq!(store.generations().await.unwrap().len(), 1);
}

async fn limits_are_kept_apart_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.quota(PROJECT).await.unwrap(), None);
    let own = store.change_quota(PROJECT, |own| own.pool = Some(3)).await.unwrap();
    assert_eq!(own, PerClass { pool: Some(3), ..PerClass::default() });
    store.change_quota(OTHER, |own| own.pool = Some(4)).await.unwrap();
    let listed = store.list_quotas(&crate::ListQuery::all(crate::Resource::Quota)).await.unwrap();
    let projects: Vec<&str> = listed.items.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(projects, [PROJECT, OTHER]);
    assert!(store.delete_quota(PROJECT).await.unwrap());
    assert!(!store.delete_quota(PROJECT).await.unwrap());
    assert_eq!(store.quota(OTHER).await.unwrap(), Some(PerClass { pool: Some(4), ..PerClass::default() }));
}

async fn without_a_limit_nothing_is_counted_and_the_first_use_makes_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let defaults = PerClass::unlimited();
    create_counted(&store, &defaults).await.unwrap();
    assert_eq!(store.quota(PROJECT).await.unwrap(), Some(PerClass::default()));
    let two = PerClass { loadbalancer: 2, ..defaults };
    create_counted(&store, &two).await.unwrap();
    let met = create_counted(&store, &two).await;
    assert!(matches!(met, Err(StoreError::Refused(_))), "{met:?}");
}
}
