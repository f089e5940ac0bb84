//! Changes while clients are served: nothing is lost.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lb_model::{amphora::ToAmphora, enums::ListenerProtocol};
use tokio::task::JoinHandle;

use crate::{
    client::Client,
    member::{Behaviour, Member},
    rig::{PORT, Rig, listener, policy, pool},
};

type Load = JoinHandle<Option<anyhow::Result<usize>>>;

/// Requests without pause, on kept connections and on new ones, until `stop`; all must be 200.
fn load(to: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<Load> {
    let kept = (0..4).map(|_| {
        let stop = Arc::clone(stop);
        lb_telemetry::task::spawn("kept connections", async move {
            let mut count = 0;
            let mut client = Client::connect(to).await?;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get("/").await?;
                anyhow::ensure!(answer.code == 200, "{answer:?}");
                count += 1;
                if answer.header("connection") == Some("close") {
                    client = Client::connect(to).await?;
                }
            }
            Ok(count)
        })
    });
    let fresh = (0..2).map(|_| {
        let stop = Arc::clone(stop);
        lb_telemetry::task::spawn("new connections", async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = Client::connect(to).await?.get("/").await?;
                anyhow::ensure!(answer.code == 200, "{answer:?}");
                count += 1;
            }
            Ok(count)
        })
    });
    kept.chain(fresh).collect()
}

async fn finish(load: Vec<Load>, stop: &AtomicBool) -> anyhow::Result<usize> {
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for task in load {
        total += task
            .await?
            .unwrap_or_else(|| Err(anyhow::anyhow!("panicked")))?;
    }
    Ok(total)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_under_load_cost_no_request() -> anyhow::Result<()> {
    let (one, two) = (Member::named("one").await?, Member::named("two").await?);
    let mut rig = Rig::serving(&[one.address]).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let load = load(rig.at(PORT), &stop);
    for round in 0..100 {
        let members = match round % 3 {
            0 => vec![one.address, two.address],
            1 => vec![two.address],
            _ => vec![one.address],
        };
        rig.spec.pools = vec![pool(1, &members)];
        for listener in &mut rig.spec.listeners {
            let reject = policy(
                lb_model::enums::L7PolicyAction::Reject,
                &format!("/no/{round}"),
            );
            listener.l7policies = vec![reject];
        }
        rig.spec.listeners.truncate(1);
        if round % 2 == 0 {
            rig.spec
                .listeners
                .push(listener(2, ListenerProtocol::Http, PORT + 1, Some(1)));
        }
        rig.apply().await?;
    }
    let requests = finish(load, &stop).await?;
    assert!(requests > 100, "{requests}");
    rig.shut_down().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_after_each_answer_and_costs_no_request() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut kept = rig.client().await?;
    assert_eq!(kept.get("/").await?.header("connection"), None);
    let mut in_flight = rig.client().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let load = load(rig.at(PORT), &stop);
    member.behave(Behaviour::Late(std::time::Duration::from_millis(100)));
    in_flight
        .send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    rig.agent.say(&ToAmphora::Drain { draining: true }).await?;
    assert_eq!(in_flight.answer().await?.code, 200);
    // The idle connection is left until its next request.
    let answer = kept.get("/").await?;
    assert_eq!(
        (answer.code, answer.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(kept.rest().await?, "");
    finish(load, &stop).await?;
    drop(in_flight);
    rig.status(|status| status.connections == 0).await?;
    rig.agent.say(&ToAmphora::Drain { draining: false }).await?;
    member.behave(Behaviour::Says("back".to_owned()));
    let mut client = rig.client().await?;
    loop {
        // Orders are not answered: the drain is over when keep-alive is back.
        let answer = client.get("/").await?;
        assert_eq!(answer.code, 200);
        if answer.header("connection").is_none() {
            break;
        }
        client = rig.client().await?;
    }
    rig.shut_down().await
}

#[tokio::test]
async fn shares_follow_the_weights_and_removed_members_get_nothing() -> anyhow::Result<()> {
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        members.push(Member::named(name).await?);
    }
    let addresses: Vec<_> = members.iter().map(|member| member.address).collect();
    let mut rig = Rig::serving(&addresses).await?;
    for (member, weight) in rig.spec.pools[0].members.iter_mut().zip([3, 1, 0]) {
        member.weight = weight;
    }
    rig.apply().await?;
    let mut client = rig.client().await?;
    let mut counts = HashMap::<String, usize>::new();
    for _ in 0..40 {
        *counts.entry(client.get("/").await?.body).or_default() += 1;
    }
    assert_eq!(
        counts,
        HashMap::from([("a".to_owned(), 30), ("b".to_owned(), 10)])
    );
    // A change elsewhere does not begin the round anew.
    let mut counts = HashMap::<String, usize>::new();
    for _ in 0..20 {
        rig.apply().await?;
        *counts.entry(client.get("/").await?.body).or_default() += 1;
    }
    assert_eq!(
        counts,
        HashMap::from([("a".to_owned(), 15), ("b".to_owned(), 5)])
    );
    rig.spec.pools[0].members.remove(0);
    rig.apply().await?;
    for _ in 0..10 {
        assert_eq!(client.get("/").await?.body, "b");
    }
    Ok(())
}

#[tokio::test]
async fn a_removed_listener_stops_accepting_and_its_connections_finish() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut kept = rig.client().await?;
    assert_eq!(kept.get("/").await?.code, 200);
    rig.spec.listeners.clear();
    rig.apply().await?;
    let answer = kept.get("/").await?;
    assert_eq!(
        (answer.code, answer.header("connection")),
        (200, Some("close"))
    );
    // The socket closes a moment after the order was taken.
    while rig.client().await.is_ok() {
        tokio::task::yield_now().await;
    }
    rig.spec.enabled = false;
    rig.spec.listeners = vec![listener(1, ListenerProtocol::Http, PORT, Some(1))];
    rig.apply().await?;
    assert!(rig.client().await.is_err(), "disabled");
    rig.spec.enabled = true;
    rig.apply().await?;
    assert_eq!(rig.client().await?.get("/").await?.code, 200);
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_is_reported() -> anyhow::Result<()> {
    let mut rig = Rig::start().await?;
    // Without SO_REUSEPORT: nobody shares it.
    let taken = std::net::TcpListener::bind(rig.at(PORT))?;
    rig.spec.listeners = vec![listener(1, ListenerProtocol::Http, PORT, None)];
    let failures = rig.try_apply().await?;
    assert!(
        failures[0].reason.contains("cannot listen on"),
        "{failures:?}"
    );
    drop(taken);
    rig.apply().await?;
    assert_eq!(rig.client().await?.get("/").await?.code, 503);
    Ok(())
}
