//! A key manager that is away, and a secret that is gone.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use lb_model::{
    enums::{ListenerProtocol, OperatingStatus, ProvisioningStatus},
    id::LoadBalancerId,
    secret_refs::SecretRefs,
};
use lb_store::{
    EventKind, KeyManager,
    secret::{Asker, KeyManagerError, Material, Reading, Reference, SecretPayload},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    agent::Mood,
    cases::{NEVER, direct, http},
    world::World,
};

/// How a secret is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    Away,
    Gone,
    /// The container is there, one of its two parts was deleted.
    Keyless,
    Refused,
}

#[derive(Debug)]
struct Manager {
    state: Mutex<State>,
    certificate: String,
    key: String,
}

impl Manager {
    fn new() -> Arc<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        Arc::new(Self {
            state: Mutex::new(State::There),
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }

    fn is(&self, state: State) {
        *self.state.lock().unwrap() = state;
    }
}

impl KeyManager for Manager {
    fn read<'a>(&'a self, reference: Reference, _asker: &'a Asker) -> Reading<'a> {
        let state = *self.state.lock().unwrap();
        Box::pin(async move {
            match state {
                State::There | State::Keyless => {
                    let parts = [
                        ("certificate", &self.certificate),
                        ("private_key", &self.key),
                    ];
                    let shown = if state == State::There { 2 } else { 1 };
                    let parts = parts.into_iter().take(shown).map(|(name, text)| {
                        let payload = SecretPayload::new(text.clone().into_bytes());
                        (name.to_owned(), payload)
                    });
                    Ok(Material::Container(parts.collect()))
                }
                State::Away => Err(KeyManagerError::Away("connection refused".to_owned())),
                State::Gone => Err(KeyManagerError::NotFound(reference.id)),
                State::Refused => Err(KeyManagerError::Refused(reference.id)),
            }
        })
    }
}

/// The next event about secrets behind `after` that says `text`; its number.
async fn told(world: &World, after: i64, text: &str) -> i64 {
    let mut changes = world.store.changes();
    let wait = async {
        loop {
            changes.borrow_and_update();
            let page = world.store.events_after("p", after, 1000).await.unwrap();
            let found = page.events.iter().find(|one| {
                one.event.kind == EventKind::Secret && one.event.message.contains(text)
            });
            if let Some(found) = found {
                return found.sequence;
            }
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    waited.unwrap_or_else(|_elapsed| panic!("nothing says: {text}"))
}

/// Whether the listener is ACTIVE; nothing else is ever touched.
async fn until_listener(world: &World, id: LoadBalancerId, wanted: ProvisioningStatus) {
    world
        .until(id, |tree| {
            tree.is_some_and(|tree| {
                tree.load_balancer.common.provisioning_status == ProvisioningStatus::Active
                    && tree.listeners[0].common.provisioning_status == wanted
            })
        })
        .await;
}

#[tokio::test]
async fn a_key_manager_that_is_away_is_told_and_a_secret_that_is_gone_costs_its_listener() {
    let world = World::new(NEVER).await;
    let _agent = direct(&world, Mood::Willing);
    let id = world.create(http()).await;
    world.until_status(id, ProvisioningStatus::Active).await;

    let manager = Manager::new();
    let reference = format!("http://127.0.0.1/v1/containers/{}", Uuid::from_u128(7));
    let refs = SecretRefs {
        certificates: [reference.clone()].into(),
        ..SecretRefs::default()
    };
    let (asker, none) = (Asker::default(), SecretRefs::default());
    let judged = world
        .store
        .judge_secrets(manager.as_ref(), &asker, id, &refs, &none)
        .await
        .unwrap();
    world.store.keep_copies(id, &judged.copies).await.unwrap();
    world
        .change(id, |tree, _ctx| {
            let listener = &mut tree.listeners[0];
            listener.protocol = ListenerProtocol::TerminatedHttps;
            listener.default_tls_container_ref = Some(reference.clone());
            tree.configure_amphorae();
            Ok(())
        })
        .await;

    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let watching = Arc::clone(&world.controller);
    let period = Duration::from_millis(40);
    manager.is(State::Away);
    let watching = watching.watch_secrets(manager.clone(), period, shutdown);
    lb_telemetry::task::spawn("secrets", watching);

    let away = told(&world, 0, "does not answer").await;
    until_listener(&world, id, ProvisioningStatus::Active).await;
    manager.is(State::Refused);
    let back = told(&world, away, "answers again").await;
    let refused = told(&world, back, "can no longer be read").await;
    until_listener(&world, id, ProvisioningStatus::Active).await;

    manager.is(State::Gone);
    told(&world, refused, "is gone").await;
    until_listener(&world, id, ProvisioningStatus::Error).await;
    let listener = world.tree(id).await.listeners[0].clone();
    assert_eq!(listener.common.operating_status, OperatingStatus::Error);

    manager.is(State::There);
    until_listener(&world, id, ProvisioningStatus::Active).await;
    manager.is(State::Keyless);
    until_listener(&world, id, ProvisioningStatus::Error).await;
    manager.is(State::There);
    until_listener(&world, id, ProvisioningStatus::Active).await;
}
