//! Lists: filters, tags, order and pages.

use super::*;
use crate::{Direction, ListError, ListQuery, Page, Resource, ShownLoadBalancer, TagFilter};

/// Five load balancers, `a` the oldest, with tags and vips that differ.
async fn five(store: &Store) -> Vec<Tree> {
    let mut trees = Vec::new();
    for (number, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let id = create(store, name, &on_subnet(v4()))
            .await
            .unwrap()
            .load_balancer
            .id;
        let changed = store.change_tree(id, |tree| {
            furnish(tree);
            tree.pools[0].members[1].subnet_id = None;
            let common = &mut tree.load_balancer.common;
            common.created_at = Timestamp(FIRST_TIME + i64::try_from(number).unwrap() * 1_000_000);
            common.admin_state_up = number % 2 == 0;
            common.updated_at = (number > 2).then_some(Timestamp(FIRST_TIME));
            common.tags = match number {
                0 => vec!["red".into(), "big".into()],
                1 => vec!["red".into()],
                2 => vec!["big".into()],
                _ => Vec::new(),
            };
            Ok(tree.clone())
        });
        trees.push(changed.await.unwrap());
    }
    trees
}

/// A load balancer as lists show it, and whether it was packed.
async fn document(store: &Store, id: LoadBalancerId) -> (serde_json::Value, bool) {
    let page = store.shown_load_balancer(id).await.unwrap();
    let one = page.load_balancers().next().unwrap();
    match one {
        ShownLoadBalancer::Packed(packed) => {
            let mut text = Vec::new();
            packed.write(&mut text);
            (serde_json::from_slice(&text).unwrap(), true)
        }
        ShownLoadBalancer::View(view) => {
            let document = lb_model::render::LoadBalancerDocument::from(view);
            (serde_json::to_value(document).unwrap(), false)
        }
    }
}

fn names(page: &Page) -> String {
    let names = page
        .load_balancers()
        .map(|view| view.load_balancer.common.name.as_str());
    names.collect()
}

async fn filtered(store: &Store, field: &str, value: &str) -> String {
    let mut query = ListQuery::all(Resource::LoadBalancer);
    query.filters = vec![(field.into(), value.into())];
    names(&store.list(&query).await.unwrap())
}

on_both! {
async fn filters_are_exact_and_all_hold() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let trees = five(&store).await;
    let second = &trees[1].load_balancer;
    assert_eq!(filtered(&store, "name", "b").await, "b");
    assert_eq!(filtered(&store, "name", "").await, "");
    assert_eq!(
        filtered(&store, "id", &second.id.0.simple().to_string()).await,
        "b"
    );
    assert_eq!(
        filtered(&store, "vip_address", &second.vip.address.to_string()).await,
        "b"
    );
    assert_eq!(filtered(&store, "admin_state_up", "no").await, "bd");
    assert_eq!(
        filtered(&store, "created_at", &second.common.created_at.to_string()).await,
        "b"
    );
    assert_eq!(filtered(&store, "flavor_id", "x").await, "");
    assert_eq!(filtered(&store, "project_id", PROJECT).await, "abcde");
    assert_eq!(filtered(&store, "name", "x' OR '1'='1").await, "");
    let mut query = ListQuery::all(Resource::LoadBalancer);
    query.filters = vec![
        ("name".into(), "b".into()),
        ("admin_state_up".into(), "True".into()),
    ];
    assert_eq!(names(&store.list(&query).await.unwrap()), "");
    query = ListQuery::all(Resource::LoadBalancer);
    query.project_id = Some("other".into());
    assert_eq!(names(&store.list(&query).await.unwrap()), "");
    for (field, value) in [
        ("tenant_id", "x"),
        ("id; DROP TABLE tags", "x"),
        ("listener_id", "x"),
    ] {
        query.filters = vec![(field.into(), value.into())];
        let refused = store.list(&query).await;
        assert!(
            matches!(refused, Err(ListError::UnknownFilter(_))),
            "{field}"
        );
    }
    query.filters = vec![("admin_state_up".into(), "perhaps".into())];
    assert!(matches!(
        store.list(&query).await,
        Err(ListError::BadValue { .. })
    ));
}
}

on_both! {
async fn tags_filter_in_all_four_ways() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    five(&store).await;
    let both = || vec!["red".to_owned(), "big".to_owned()];
    let cases = [
        (TagFilter::All(both()), "a"),
        (TagFilter::Any(both()), "abc"),
        (TagFilter::NotAll(both()), "bcde"),
        (TagFilter::NotAny(both()), "de"),
    ];
    for (filter, expected) in cases {
        let mut query = ListQuery::all(Resource::LoadBalancer);
        query.tags = vec![filter.clone()];
        assert_eq!(
            names(&store.list(&query).await.unwrap()),
            expected,
            "{filter:?}"
        );
    }
}
}

on_both! {
async fn pages_follow_each_other_both_ways_in_every_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    five(&store).await;
    let orders: &[(&[(&str, Direction)], &str)] = &[
        (&[], "abcde"),
        (&[("name", Direction::Desc)], "edcba"),
        (&[("admin_state_up", Direction::Asc)], "bdace"),
        (
            &[
                ("admin_state_up", Direction::Desc),
                ("name", Direction::Desc),
            ],
            "ecadb",
        ),
        (&[("updated_at", Direction::Asc)], "abcde"),
        (
            &[
                ("updated_at", Direction::Desc),
                ("created_at", Direction::Desc),
            ],
            "edcba",
        ),
    ];
    for (sort, expected) in orders {
        let mut query = ListQuery::all(Resource::LoadBalancer);
        query.sort = sort
            .iter()
            .map(|(name, way)| ((*name).into(), *way))
            .collect();
        query.limit = Some(2);
        let mut seen = String::new();
        loop {
            let page = store.list(&query).await.unwrap();
            seen.push_str(&names(&page));
            if !page.more {
                break;
            }
            query.marker = page.ids.last().map(ToString::to_string);
        }
        assert_eq!(seen, *expected, "{sort:?}");
        let all = store
            .list(&ListQuery {
                limit: None,
                marker: None,
                ..query.clone()
            })
            .await
            .unwrap();
        query.marker = all.ids.last().map(ToString::to_string);
        query.page_reverse = true;
        let page = store.list(&query).await.unwrap();
        assert_eq!(names(&page), expected[2..4], "{sort:?} backwards");
        assert!(page.more);
    }
    let mut query = ListQuery::all(Resource::LoadBalancer);
    query.marker = Some(Uuid::nil().to_string());
    assert!(matches!(
        store.list(&query).await,
        Err(ListError::UnknownMarker(_))
    ));
    query = ListQuery::all(Resource::LoadBalancer);
    query.sort = vec![("listeners".into(), Direction::Asc)];
    assert!(matches!(
        store.list(&query).await,
        Err(ListError::UnknownSortKey(_))
    ));
}
}

on_both! {
async fn every_resource_lists_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let trees = five(&store).await;
    let tree = &trees[2];
    let pool = &tree.pools[0];
    let list = async |resource, filters: &[(&str, String)]| {
        let mut query = ListQuery::all(resource);
        query.filters = filters
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect();
        store.list(&query).await.unwrap()
    };
    let owner = tree.load_balancer.id;

    let page = list(
        Resource::Listener,
        &[("load_balancer_id", owner.to_string())],
    )
    .await;
    assert_eq!(page.listeners().count(), 2);
    assert!(page.listeners().all(|it| it.load_balancer_id == owner));
    let page = list(Resource::Listener, &[("protocol_port", "9000".into())]).await;
    assert_eq!(page.listeners().count(), 5);

    let monitor = pool.health_monitor.as_ref().unwrap();
    let page = list(
        Resource::Pool,
        &[("healthmonitor_id", monitor.id.to_string())],
    )
    .await;
    assert_eq!(
        page.pools().map(|it| it.pool.id).collect::<Vec<_>>(),
        [pool.id]
    );
    let page = list(Resource::Member(pool.id), &[]).await;
    assert_eq!(page.members().count(), 2);
    assert!(page.members().all(|it| it.pool_id == pool.id));
    let page = list(Resource::Member(pool.id), &[("backup", "true".into())]).await;
    assert_eq!(page.members().next().unwrap().member.common.name, "m2");
    let page = list(Resource::HealthMonitor, &[("pool_id", pool.id.to_string())]).await;
    assert_eq!(page.health_monitors().next().unwrap().health_monitor.id, monitor.id);

    let listener = &tree.listeners[0];
    let of_listener = ("listener_id", listener.id.to_string());
    let page = list(Resource::L7Policy, &[of_listener, ("position", "2".into())]).await;
    let second: Vec<_> = page
        .l7policies()
        .map(|it| it.l7policy.id)
        .collect();
    assert_eq!(second, [listener.l7policies[1].id]);
    let page = list(
        Resource::L7Rule(listener.l7policies[0].id),
        &[("value", "b".into())],
    )
    .await;
    assert_eq!(
        page.l7rules().next().unwrap().l7rule.id,
        listener.l7policies[0].rules[1].id
    );

    let page = list(Resource::Amphora, &[("loadbalancer_id", owner.to_string())]).await;
    assert_eq!(page.amphorae.len(), 2);
    let backup = list(Resource::Amphora, &[("role", "BACKUP".into())]).await;
    assert_eq!(backup.amphorae.len(), 5);
    let vrrp_ip = backup.amphorae[0].amphora.vrrp_ip.unwrap().to_string();
    assert_eq!(
        list(Resource::Amphora, &[("vrrp_ip", vrrp_ip)])
            .await
            .amphorae
            .len(),
        1
    );
}
}

on_both! {
async fn a_view_shows_what_the_whole_tree_shows() {
    use lb_model::render;

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = &five(&store).await[0];
    let tree = store
        .change_tree(tree.id(), |tree| {
            let odd = vec!["a,b".into(), "\u{1e}e\u{1f}f".into(), String::new()];
            tree.listeners[0].common.tags.clone_from(&odd);
            tree.load_balancer.common.tags = odd;
            tree.load_balancer.common.name = "\u{1f}%s".into();
            Ok(tree.clone())
        })
        .await
        .unwrap();
    let shown = store.load_balancer(tree.id()).await.unwrap().unwrap();
    let document = render::LoadBalancerDocument::from(&shown);
    assert_eq!(serde_json::to_value(document).unwrap(), render::load_balancer(&tree));
    assert_eq!(self::document(&store, tree.id()).await, (render::load_balancer(&tree), true));
    let page = store.shown_load_balancers(&ListQuery::all(Resource::LoadBalancer)).await;
    let page = page.unwrap();
    let ids: Vec<String> = page.load_balancers().map(|one| one.id()).collect();
    let all = store.list(&ListQuery::all(Resource::LoadBalancer)).await.unwrap();
    let expected: Vec<String> = all.ids.iter().map(ToString::to_string).collect();
    assert_eq!(ids, expected);
    assert!(page.load_balancers().all(|one| one.project_id() == PROJECT));
    for listener in &tree.listeners {
        let shown = store.listener(listener.id).await.unwrap().unwrap();
        assert_eq!(render::listener_view(&shown), render::listener(&tree, listener));
        for policy in &listener.l7policies {
            let shown = store.l7policy(policy.id).await.unwrap().unwrap();
            let whole = render::l7policy(&tree, listener, policy);
            assert_eq!(render::l7policy_view(&shown), whole);
            for rule in &policy.rules {
                let shown = store.l7rule(policy.id, rule.id).await.unwrap().unwrap();
                assert_eq!(render::l7rule_view(&shown), render::l7rule(&tree, rule));
            }
        }
    }
    for pool in &tree.pools {
        let shown = store.pool(pool.id).await.unwrap().unwrap();
        assert_eq!(render::pool_view(&shown), render::pool(&tree, pool));
        for member in &pool.members {
            let shown = store.member(pool.id, member.id).await.unwrap().unwrap();
            assert_eq!(render::member_view(&shown), render::member(&tree, member));
        }
        if let Some(monitor) = &pool.health_monitor {
            let shown = store.health_monitor(monitor.id).await.unwrap().unwrap();
            let whole = render::health_monitor(&tree, pool, monitor);
            assert_eq!(render::health_monitor_view(&shown), whole);
        }
    }
    let elsewhere = tree.pools[1].id;
    let member = tree.pools[0].members[0].id;
    assert_eq!(store.member(elsewhere, member).await.unwrap(), None);
}
}

on_both! {
async fn what_a_server_of_the_version_before_changed_is_shown_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = five(&store).await.remove(0);
    let (id, gone) = (tree.id(), tree.listeners[0].id);
    let shown = store.load_balancer(id).await.unwrap().unwrap();
    assert!(shown.listeners.contains(&gone));
    // It does not know the summary: it writes the rows, and a new generation.
    for sql in [
        "DELETE FROM listeners WHERE id = $1",
        "DELETE FROM tags WHERE resource_id = $1",
    ] {
        let of = if sql.contains("tags") { id.0 } else { gone.0 };
        let change = crate::db::query(sql).bind(of.to_string());
        change.execute(&store.inner.database.write).await.unwrap();
    }
    crate::db::query("UPDATE load_balancers SET generation = generation + 1 WHERE id = $1")
        .bind(id.to_string())
        .execute(&store.inner.database.write)
        .await
        .unwrap();
    let shown = store.load_balancer(id).await.unwrap().unwrap();
    assert!(!shown.listeners.contains(&gone));
    let (columns, packed) = document(&store, id).await;
    assert!(!packed);
    assert!(!columns.to_string().contains(&gone.to_string()), "{columns}");
    assert_eq!(shown.listeners.len(), tree.listeners.len() - 1);
    assert_eq!(shown.pools.len(), tree.pools.len());
    assert_eq!(shown.load_balancer.common.tags, Vec::<String>::new());
    // The next change by this server keeps it in the row again.
    let tags = store.change_tree(id, |tree| {
        tree.load_balancer.common.tags = vec!["new".into()];
        Ok(tree.load_balancer.common.tags.clone())
    });
    let tags = tags.await.unwrap();
    let shown = store.load_balancer(id).await.unwrap().unwrap();
    assert_eq!(shown.load_balancer.common.tags, tags);
    let (shown, packed) = document(&store, id).await;
    assert!(packed);
    assert_eq!(shown["tags"], serde_json::json!(tags));
}
}
