//! Events: recorded with what they tell of, numbered in order, kept to a limit.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{EventKind, NewEvent, event::KEPT_MAX, store::now};

fn note(project: &str, message: &str) -> NewEvent {
    NewEvent {
        project_id: project.to_owned(),
        kind: EventKind::Operator,
        load_balancer_id: None,
        message: message.to_owned(),
        data: json!({}),
    }
}

#[tokio::test]
async fn a_change_of_statuses_is_recorded_with_it_and_a_refused_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = create(&store, "web", &on_subnet(v4())).await.unwrap();
    let project = tree.project_id().to_owned();
    let page = store.events_after(&project, 0, 10).await.unwrap();
    assert_eq!((page.events.len(), page.last), (1, 1));
    let made = &page.events[0];
    assert_eq!(made.sequence, 1);
    assert_eq!(made.event.load_balancer_id, Some(tree.id()));
    let change = &made.event.data["changes"][0];
    assert_eq!(change["type"], "loadbalancer");
    assert_eq!(change["provisioning_status"], "PENDING_CREATE");

    let refused = store
        .change_tree::<(), _>(tree.id(), |tree| Err(tree.id().immutable()))
        .await;
    refused.unwrap_err();
    store
        .change_tree(tree.id(), |tree| {
            tree.settle_applied(tree.load_balancer.generation, &BTreeSet::new(), now());
            Ok(())
        })
        .await
        .unwrap();
    // Nothing but a name: no status changed.
    store
        .change_tree(tree.id(), |tree| {
            tree.load_balancer.common.name = "other".to_owned();
            Ok(())
        })
        .await
        .unwrap();
    let page = store.events_after(&project, 1, 10).await.unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(
        page.events[0].event.data["changes"][0]["provisioning_status"],
        "ACTIVE"
    );
    assert!(
        store
            .events_after(&project, 2, 10)
            .await
            .unwrap()
            .events
            .is_empty()
    );
}

#[tokio::test]
async fn projects_are_numbered_apart_and_only_the_newest_events_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.record_event(&note("b", "first")).await.unwrap();
    let count = KEPT_MAX + 100;
    for n in 1..=count {
        store
            .record_event(&note("a", &n.to_string()))
            .await
            .unwrap();
    }
    let page = store.events_after("a", 0, 5000).await.unwrap();
    assert_eq!(page.last, count);
    assert!(i64::try_from(page.events.len()).unwrap() < KEPT_MAX + 100);
    assert!(i64::try_from(page.events.len()).unwrap() >= KEPT_MAX);
    assert!(
        page.events
            .windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence + 1)
    );
    let page = store.events_after("b", 0, 10).await.unwrap();
    assert_eq!((page.events.len(), page.last), (1, 1));
}
