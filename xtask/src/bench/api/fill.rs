//! What is created, and how a store is filled with it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::{
    CONNECTIONS,
    client::{Client, Request},
    server::Servers,
};

const LOAD_BALANCERS: &str = "/v2/lbaas/loadbalancers";
/// With the noop driver every subnet exists.
const SUBNET: &str = "c2f0a4a5-79f0-4e0d-8f1b-7a1c02c2f0a4";
/// Between two looks at what is pending.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// A load balancer with one of everything.
pub fn tree(n: usize) -> Request {
    let body = json!({"loadbalancer": {
        "name": format!("lb-{n}"),
        "vip_subnet_id": SUBNET,
        "listeners": [{
            "name": "http", "protocol": "HTTP", "protocol_port": 80,
            "default_pool": {"name": "pool"},
            "l7policies": [{
                "action": "REJECT",
                "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/admin"}],
            }],
        }],
        "pools": [{
            "name": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": [
                {"address": "203.0.113.11", "protocol_port": 8080},
                {"address": "203.0.113.12", "protocol_port": 8080},
            ],
            "healthmonitor": {
                "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3,
            },
        }],
    }});
    Request::with_body("POST", LOAD_BALANCERS, &body)
}

/// A hundred members, every second time other ones.
pub fn batch(path: &str, n: usize) -> Request {
    let members: Vec<Value> = (0..100)
        .map(|place| json!({"address": format!("203.0.113.{}", place + 1), "protocol_port": 8080 + n % 2}))
        .collect();
    Request::with_body("PUT", path, &json!({"members": members}))
}

/// Creates trees until there are so many, and waits until all are ACTIVE; gives the first one's id.
pub fn grow_to(servers: &Servers, count: usize) -> anyhow::Result<String> {
    let missing = count.saturating_sub(servers.filled());
    let next = AtomicUsize::new(0);
    let addresses = servers.addresses();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = (0..CONNECTIONS)
            .zip(addresses.iter().cycle())
            .map(|(_, address)| {
                let next = &next;
                scope.spawn(move || create_some(*address, next, missing))
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|_panic| bail!("a client panicked"))?;
        }
        Ok(())
    })?;
    servers.add_filled(missing);
    await_settled(servers)?;
    let mut client = client(servers)?;
    let (_, body) = client.send(&Request::get("/v2/lbaas/loadbalancers?limit=1"))?;
    let list: Value = serde_json::from_slice(body)?;
    let id = list.pointer("/loadbalancers/0/id").and_then(Value::as_str);
    Ok(id.context("the store is empty")?.to_owned())
}

fn create_some(address: SocketAddr, next: &AtomicUsize, count: usize) -> anyhow::Result<()> {
    let mut client = Client::connect(address)?;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return Ok(());
        }
        let (status, body) = client.send(&tree(n))?;
        ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(body));
    }
}

/// Creates one; its id.
pub fn create(client: &mut Client, request: &Request) -> anyhow::Result<String> {
    let (status, body) = client.send(request)?;
    ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(body));
    let made: Value = serde_json::from_slice(body)?;
    let id = made.pointer("/loadbalancer/id").and_then(Value::as_str);
    Ok(id.context("no id")?.to_owned())
}

/// Asks until nothing is pending.
pub fn await_settled(servers: &Servers) -> anyhow::Result<()> {
    let mut client = client(servers)?;
    let deadline = Instant::now() + SETTLED_WITHIN;
    let path = format!("{LOAD_BALANCERS}?limit=1&provisioning_status");
    while Instant::now() < deadline {
        let mut pending = 0;
        for status in ["PENDING_CREATE", "PENDING_UPDATE"] {
            let (_, body) = client.send(&Request::get(&format!("{path}={status}")))?;
            let list: Value = serde_json::from_slice(body)?;
            let found = list.pointer("/loadbalancers").and_then(Value::as_array);
            pending += found.context("no list")?.len();
        }
        if pending == 0 {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    bail!("load balancers stay pending")
}

/// A pool of its own load balancer.
pub fn pool(servers: &Servers) -> anyhow::Result<String> {
    let mut client = client(servers)?;
    let id = create(&mut client, &tree(0))?;
    await_active(&mut client, &id)?;
    let path = format!("/v2/lbaas/pools?loadbalancer_id={id}");
    let (_, body) = client.send(&Request::get(&path))?;
    let list: Value = serde_json::from_slice(body)?;
    let id = list.pointer("/pools/0/id").and_then(Value::as_str);
    Ok(id.context("no pool")?.to_owned())
}

/// Asks until it is ACTIVE.
pub fn await_active(client: &mut Client, id: &str) -> anyhow::Result<()> {
    let request = Request::get(&format!("{LOAD_BALANCERS}/{id}"));
    let deadline = Instant::now() + SETTLED_WITHIN;
    while Instant::now() < deadline {
        let (_, body) = client.send(&request)?;
        let shown: Value = serde_json::from_slice(body)?;
        let status = shown.pointer("/loadbalancer/provisioning_status");
        if status.and_then(Value::as_str) == Some("ACTIVE") {
            return Ok(());
        }
    }
    bail!("load balancer {id} does not become ACTIVE")
}

/// A connection to the first server.
pub fn client(servers: &Servers) -> anyhow::Result<Client> {
    let address = servers.addresses().first().context("no server")?;
    Client::connect(*address)
}
