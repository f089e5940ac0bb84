//! Several servers on one PostgreSQL.

use super::*;
use crate::Changed;

async fn two(dir: &Path) -> (Store, Store) {
    let first = open(dir).await;
    let second = open(dir).await;
    (first, second)
}

async fn told_of(store: &Store, hints: &mut crate::Hints, id: LoadBalancerId) -> Option<u64> {
    let wait = async {
        loop {
            match hints.next().await? {
                Changed::These(ids) if !ids.contains(&id) => {}
                _this_one => {
                    let heads = store.heads_of(&[id]).await.unwrap();
                    return heads.first().map(|head| head.generation);
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap()
}

fn rise(tree: &mut Tree) -> Result<(), lb_model::fault::Fault> {
    tree.load_balancer.generation += 1;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_commits_the_other_is_told_of() {
    let body = async {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = two(dir.path()).await;
        let mut hints = second.hints();
        let id = create(&first, "lb", &on_subnet(v4())).await.unwrap().id();
        assert_eq!(told_of(&second, &mut hints, id).await, Some(1));
        first.change_tree(id, rise).await.unwrap();
        assert_eq!(told_of(&second, &mut hints, id).await, Some(2));
        first.remove_tree(id).await.unwrap();
        assert_eq!(told_of(&second, &mut hints, id).await, None);
    };
    on(Engine::Postgres, body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_commit_in_reverse_order_are_both_told() {
    let body = async {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = two(dir.path()).await;
        let a = create(&first, "a", &on_subnet(v4())).await.unwrap().id();
        let b = create(&first, "b", &on_subnet(v4())).await.unwrap().id();
        let mut hints = second.hints();
        // `a` is changed first and committed last.
        let (changed, wait) = std::sync::mpsc::channel();
        let (go_on, stop) = std::sync::mpsc::channel::<()>();
        let early = {
            let first = first.clone();
            lb_telemetry::task::spawn("early", async move {
                let mut hold = Some((changed, stop));
                first
                    .change_tree(a, |tree| {
                        if let Some((changed, stop)) = hold.take() {
                            changed.send(()).unwrap();
                            tokio::task::block_in_place(|| stop.recv().unwrap());
                        }
                        rise(tree)
                    })
                    .await
                    .unwrap();
            })
        };
        tokio::task::block_in_place(|| wait.recv().unwrap());
        first.change_tree(b, rise).await.unwrap();
        assert_eq!(told_of(&second, &mut hints, b).await, Some(2));
        go_on.send(()).unwrap();
        early.await.unwrap();
        assert_eq!(told_of(&second, &mut hints, a).await, Some(2));
    };
    on(Engine::Postgres, body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_of_two_servers_is_lost_and_no_address_given_twice() {
    let body = async {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = two(dir.path()).await;
        let id = create(&first, "lb", &on_subnet(v4())).await.unwrap().id();
        let work = |store: Store| async move {
            for _time in 0..20 {
                store.change_tree(id, rise).await.unwrap();
                create(&store, "other", &on_subnet(v4())).await.unwrap();
            }
        };
        tokio::join!(work(first.clone()), work(second.clone()));
        assert_eq!(first.heads_of(&[id]).await.unwrap()[0].generation, 41);
        let mut ports = Vec::new();
        for id in second.generations().await.unwrap().into_keys() {
            ports.extend(second.ports(id).await.unwrap());
        }
        let addresses: std::collections::BTreeSet<IpAddr> =
            ports.iter().map(|port| port.address).collect();
        assert_eq!(ports.len(), 41 * 3);
        assert_eq!(addresses.len(), ports.len());
    };
    on(Engine::Postgres, body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_has_one_holder_until_it_ends_or_is_let_go() {
    let body = async {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = two(dir.path()).await;
        let long = Duration::from_secs(60);
        assert_eq!(first.lease("work", long).await.unwrap(), Some(1));
        assert_eq!(second.lease("work", long).await.unwrap(), None);
        assert_eq!(first.lease("work", long).await.unwrap(), Some(1));
        assert_eq!(second.lease("else", long).await.unwrap(), Some(1));
        first.release("work").await.unwrap();
        let none = Duration::ZERO;
        assert_eq!(second.lease("work", none).await.unwrap(), Some(2));
        // It has ended already.
        assert_eq!(first.lease("work", long).await.unwrap(), Some(3));
    };
    on(Engine::Postgres, body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_back_is_used_again_and_hints_were_missed() {
    let body = async {
        let dir = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        std::fs::write(
            dir.path().join("database-url"),
            postgres.new_database().unwrap(),
        )
        .unwrap();
        let (first, second) = two(dir.path()).await;
        let id = create(&first, "lb", &on_subnet(v4())).await.unwrap().id();
        let mut hints = second.hints();
        postgres.crash().unwrap();
        let away = first.read_tree(id).await;
        assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
        postgres.restart().unwrap();
        assert!(first.read_tree(id).await.unwrap().is_some());
        let missed = async { while hints.next().await != Some(Changed::Everything) {} };
        tokio::time::timeout(Duration::from_secs(20), missed)
            .await
            .unwrap();
        first.change_tree(id, rise).await.unwrap();
        assert_eq!(told_of(&second, &mut hints, id).await, Some(2));
    };
    on(Engine::Postgres, body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_not_deleted_while_a_listener_comes_to_use_it() {
    let body = async {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = two(dir.path()).await;
        let id = create(&first, "lb", &on_subnet(v4())).await.unwrap().id();
        let secret = first
            .put_secret(PROJECT, "n", b"private", "text/plain")
            .await
            .unwrap();
        let mut transaction = first.begin_write().await.unwrap();
        let uses = std::iter::once(&secret);
        crate::secret::consumer::save(&mut transaction, id, uses)
            .await
            .unwrap();
        let deleting = lb_telemetry::task::spawn("delete", {
            let second = second.clone();
            async move { second.delete_secret(PROJECT, secret).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!deleting.is_finished(), "it does not wait");
        transaction.commit().await.unwrap();
        let refused = deleting.await.unwrap().unwrap();
        assert!(refused.is_err(), "it is in use: {refused:?}");
    };
    on(Engine::Postgres, body).await;
}
