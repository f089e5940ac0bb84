//! Backup and restore, between engines, while changes run; what hosts carry beyond it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{
    OrphanFacts,
    backup::{self, BackupError, Belonging, Installation, KeyIn},
    db::{Database, query, schema},
};

const EPOCH: u64 = 1 << 31;

fn installation<'a>(dir: &'a Path, settings: &'a DatabaseSettings) -> Installation<'a> {
    Installation {
        settings,
        state_dir: dir,
        credentials: None,
        belongings: vec![Belonging {
            name: "ca/ca.key".to_owned(),
            path: dir.join("ca/ca.key"),
        }],
    }
}

async fn write(dir: &Path, file: &Path) -> Result<backup::Summary, BackupError> {
    backup::write(&installation(dir, &settings(dir)), file, false).await
}

async fn restore(dir: &Path, file: &Path, force: bool) -> Result<backup::Summary, BackupError> {
    backup::restore(&installation(dir, &settings(dir)), file, force).await
}

fn numbered(trees: &BTreeMap<LoadBalancerId, Tree>) -> Vec<usize> {
    let names = trees.values();
    let mut numbers: Vec<usize> = names
        .filter_map(|tree| {
            tree.load_balancer
                .common
                .name
                .strip_prefix("lb-")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Fills an installation, and backs it up while load balancers are created in it.
async fn busy_backup(dir: &Path, file: &Path) -> Tree {
    std::fs::create_dir(dir.join("ca")).unwrap();
    std::fs::write(dir.join("ca/ca.key"), "the CA's key").unwrap();
    let store = open(dir).await;
    let id = create(&store, "all", &on_subnet(v4())).await.unwrap().id();
    store
        .change_tree(id, |tree| {
            furnish(tree);
            tree.load_balancer.generation += 1;
            Ok(())
        })
        .await
        .unwrap();
    store
        .put_secret(PROJECT, "n", b"very-private", "text/plain")
        .await
        .unwrap();
    create(&store, "lb-0", &on_subnet(v4())).await.unwrap();
    let stop = AtomicBool::new(false);
    let changes = async {
        let mut number = 1;
        while !stop.load(Ordering::Relaxed) {
            let name = format!("lb-{number}");
            create(&store, &name, &on_subnet(v4())).await.unwrap();
            number += 1;
        }
        number
    };
    let copy = async {
        let summary = write(dir, file).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        summary
    };
    let (made, summary) = tokio::join!(changes, copy);
    assert!(made > 1, "nothing was changed meanwhile");
    assert_eq!(summary.manifest.key, KeyIn::Archive);
    assert_eq!(summary.files, ["ca/ca.key", "secrets.key"]);
    let tree = store.read_tree(id).await.unwrap().unwrap();
    store.close().await;
    tree
}

async fn from_to(from: Engine, to: Engine) {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = old.path().join("backup");
    let mut tree = None;
    on(from, async {
        tree = Some(busy_backup(old.path(), &file).await);
    })
    .await;
    let mut tree = tree.unwrap();
    on(to, async {
        let summary = restore(new.path(), &file, false).await.unwrap();
        let key = std::fs::read(new.path().join("ca/ca.key")).unwrap();
        assert_eq!(key, b"the CA's key");
        let store = open(new.path()).await;
        let ids: Vec<_> = store.generations().await.unwrap().into_keys().collect();
        assert_eq!(summary.load_balancers, ids.len() as u64);
        let trees = store.read_trees(&ids).await.unwrap();
        // As of one moment: they were made one after the other.
        let numbers = numbered(&trees);
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
        for id in &ids {
            let ports = store.ports(*id).await.unwrap();
            assert!(ports.len() >= 3, "{ports:?}");
        }
        let restored = &trees[&tree.id()];
        assert_eq!(restored.load_balancer.generation % EPOCH, 2);
        assert!(restored.load_balancer.generation > EPOCH);
        tree.load_balancer.generation = restored.load_balancer.generation;
        tree.load_balancer.common.updated_at = restored.load_balancer.common.updated_at;
        assert_eq!(*restored, tree);
        let secret = store.list_secrets(PROJECT).await.unwrap()[0].id;
        let payload = store.secret_payload(secret).await.unwrap().unwrap();
        assert_eq!(payload.expose(), b"very-private");
        create(&store, "more", &on_subnet(v4())).await.unwrap();
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_backed_up_from_sqlite_under_load_is_restored_into_either() {
    from_to(Engine::Sqlite, Engine::Sqlite).await;
    from_to(Engine::Sqlite, Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_backed_up_from_postgresql_under_load_is_restored_into_either() {
    from_to(Engine::Postgres, Engine::Postgres).await;
    from_to(Engine::Postgres, Engine::Sqlite).await;
}

on_both! {
async fn what_is_there_is_overwritten_only_when_told_and_an_epoch_is_above_all_before() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4())).await.unwrap().id();
    write(dir.path(), &file).await.unwrap();
    store.remove_tree(id).await.unwrap();
    let after = create(&store, "after", &on_subnet(v4())).await.unwrap().id();
    // A server has it open.
    assert!(restore(dir.path(), &file, true).await.is_err());
    store.close().await;
    drop(store);
    let refused = restore(dir.path(), &file, false).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty(_))), "{refused:?}");
    let store = open(dir.path()).await;
    assert!(store.read_tree(after).await.unwrap().is_some());
    store.close().await;
    drop(store);

    let mut last = 0;
    for _time in 0..2 {
        let summary = restore(dir.path(), &file, true).await.unwrap();
        assert!(summary.epoch > Some(last), "{summary:?}");
        last = summary.epoch.unwrap();
        let store = open(dir.path()).await;
        let generations = store.generations().await.unwrap();
        assert_eq!(generations.keys().collect::<Vec<_>>(), [&id]);
        assert_eq!(generations[&id], u64::try_from(last).unwrap() * EPOCH + 1);
        store.close().await;
    }
}

async fn a_backup_of_an_older_schema_is_brought_up_to_date_and_of_a_newer_one_refused() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = old.path().join("backup");
    let pool = Database::attach(&settings(old.path()), old.path(), true).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    schema::take_steps(&mut transaction, Some(&[1, 2])).await.unwrap();
    query("INSERT INTO settings (name, value) VALUES ('a', 'b')")
        .execute(&mut transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let summary = write(old.path(), &file).await.unwrap();
    assert_eq!(summary.manifest.steps, [1, 2]);
    restore(new.path(), &file, false).await.unwrap();
    let store = open(new.path()).await;
    assert_eq!(store.setting("a").await.unwrap().as_deref(), Some("b"));
    create(&store, "lb", &on_subnet(v4())).await.unwrap();
    store.close().await;
    drop(store);

    let mut transaction = pool.begin().await.unwrap();
    query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 999999, description, success, checksum, execution_time FROM _sqlx_migrations \
         WHERE version = 1",
    )
    .execute(&mut transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    pool.close().await;
    let file = old.path().join("newer");
    write(old.path(), &file).await.unwrap();
    let refused = restore(new.path(), &file, true).await;
    assert!(matches!(refused, Err(BackupError::Newer { step: 999_999, .. })), "{refused:?}");
    let store = open(new.path()).await;
    assert_eq!(store.generations().await.unwrap().len(), 1);
}

async fn an_orphan_is_listed_and_its_addresses_are_kept_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (id, other) = (LoadBalancerId(Uuid::new_v4()), LoadBalancerId(Uuid::new_v4()));
    store
        .note_orphans("a", &BTreeMap::from([(id, 7), (other, 8)]))
        .await
        .unwrap();
    store.note_orphans("b", &BTreeMap::from([(id, 7)])).await.unwrap();
    let vip = address("192.0.2.77");
    let facts = OrphanFacts {
        id,
        project_id: PROJECT.to_owned(),
        addresses: vec![(network_id(), v4(), vip)],
    };
    store.describe_orphan(&facts).await.unwrap();
    store.describe_orphan(&facts).await.unwrap();
    let mut wanted = on_subnet(v4());
    wanted.address = Some(vip);
    assert!(create(&store, "lb", &wanted).await.is_err());

    let orphans = store.orphans().await.unwrap();
    let mine: Vec<_> = orphans.iter().filter(|orphan| orphan.id == id).collect();
    assert_eq!(mine.len(), 2);
    assert!(mine.iter().all(|orphan| orphan.addresses == [vip]), "{mine:?}");
    assert!(store.confirmed_orphans("a").await.unwrap().is_empty());
    assert!(store.confirm_orphan(id).await.unwrap());
    assert!(!store.confirm_orphan(LoadBalancerId(Uuid::new_v4())).await.unwrap());
    assert_eq!(store.confirmed_orphans("a").await.unwrap(), [id]);

    // One host is done with it; the other is not.
    store.note_orphans("a", &BTreeMap::from([(other, 8)])).await.unwrap();
    assert!(create(&store, "lb", &wanted).await.is_err());
    store.note_orphans("b", &BTreeMap::new()).await.unwrap();
    assert_eq!(store.orphans().await.unwrap().len(), 1);
    create(&store, "lb", &wanted).await.unwrap();
}

async fn a_load_balancer_is_lifted_above_a_host_that_is_ahead_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4())).await.unwrap().id();
    assert!(store.outlive(id, 41).await.unwrap());
    assert_eq!(store.generations().await.unwrap()[&id], 42);
    assert!(!store.outlive(id, 41).await.unwrap());
    assert!(!store.outlive(id, u64::MAX).await.unwrap());
    assert_eq!(store.generations().await.unwrap()[&id], 42);
}
}
