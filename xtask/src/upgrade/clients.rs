//! Clients that create, change and delete load balancers all the time, and remember what they were
//! promised.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes has no clock but the real one"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use lb_testkit::api::{Answer, ApiClient};
use serde_json::{Value, json};

const CLIENTS: usize = 4;
const PATH: &str = "/v2.0/lbaas/loadbalancers";
const SUBNET: &str = "5a6be2f5-7a02-4d51-9d3c-0f8a5d7b1c22";
/// A server is away while it is replaced; both never are.
const AWAY_MAX: Duration = Duration::from_secs(20);
/// A load balancer that is PENDING_* is asked for again.
const BUSY_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Counts {
    created: AtomicU64,
    changed: AtomicU64,
    deleted: AtomicU64,
    /// Asked of the other server because one did not answer.
    turned: AtomicU64,
    slowest_us: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    servers: [ApiClient; 2],
    stop: AtomicBool,
    counts: Counts,
    /// Names by id, of those that must be there.
    promised: Mutex<BTreeMap<String, String>>,
}

#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Clients {
    pub fn start(servers: [SocketAddr; 2]) -> Self {
        let shared = Arc::new(Shared {
            servers: servers.map(ApiClient::new),
            stop: AtomicBool::new(false),
            counts: Counts::default(),
            promised: Mutex::default(),
        });
        let threads = (0..CLIENTS).map(|client| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let done = shared.work(client);
                shared.stop.store(true, Ordering::Relaxed);
                done
            })
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// Lets them work; ends early when one of them was answered as it must not be.
    pub fn work_for(&self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.shared.stop.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub fn figures(&self) -> String {
        self.shared.counts.to_string()
    }

    pub fn stop(self) -> anyhow::Result<Done> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a client panicked")??;
        }
        let promised = self.shared.promised.lock();
        let promised = promised.unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Done {
            promised,
            figures: self.shared.counts.to_string(),
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} created, {} changed, {} deleted; {} asked of the other server; slowest {} ms",
            read(&self.created),
            read(&self.changed),
            read(&self.deleted),
            read(&self.turned),
            read(&self.slowest_us) / 1000
        )
    }
}

impl Shared {
    fn work(&self, client: usize) -> anyhow::Result<()> {
        let mut number = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            self.one(client, number)?;
        }
        Ok(())
    }

    /// A load balancer with everything below it; every second is renamed, every fourth deleted.
    fn one(&self, client: usize, number: u64) -> anyhow::Result<()> {
        let name = format!("client-{client}-{number}");
        let body = json!({"loadbalancer": {
            "name": name, "vip_subnet_id": SUBNET,
            "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": {
                "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                "members": [{"address": "192.0.2.10", "protocol_port": 8080}],
            }}],
        }});
        let made = self.ask(client, "POST", PATH, Some(&body))?;
        ensure!(made.status == 201, "POST: {made:?}");
        let id = made
            .body
            .pointer("/loadbalancer/id")
            .and_then(Value::as_str);
        let id = id.context("no id")?.to_owned();
        self.promise(&id, Some(&name));
        self.counts.created.fetch_add(1, Ordering::Relaxed);
        let path = format!("{PATH}/{id}");
        if number.is_multiple_of(2) {
            let name = format!("{name}-renamed");
            let body = json!({"loadbalancer": {"name": name}});
            let changed = self.ask_when_free(client, "PUT", &path, Some(&body))?;
            ensure!(changed.status == 200, "PUT: {changed:?}");
            self.promise(&id, Some(&name));
            self.counts.changed.fetch_add(1, Ordering::Relaxed);
        }
        if number.is_multiple_of(4) {
            let path = format!("{path}?cascade=true");
            let deleted = self.ask_when_free(client, "DELETE", &path, None)?;
            // 404: the server that was replaced had done it, but could not say so.
            ensure!(matches!(deleted.status, 204 | 404), "DELETE: {deleted:?}");
            self.promise(&id, None);
            self.counts.deleted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn promise(&self, id: &str, name: Option<&str>) {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        match name {
            Some(name) => drop(promised.insert(id.to_owned(), name.to_owned())),
            None => drop(promised.remove(id)),
        }
    }

    fn ask_when_free(
        &self,
        client: usize,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let end = Instant::now() + BUSY_MAX;
        loop {
            let answer = self.ask(client, method, path, body)?;
            if answer.status != 409 || Instant::now() >= end {
                return Ok(answer);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks one server, and the other when that one is away.
    fn ask(
        &self,
        client: usize,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let [first, second] = self.servers;
        let order = if client.is_multiple_of(2) {
            [first, second]
        } else {
            [second, first]
        };
        loop {
            for server in order {
                // What a server that is being replaced has done is not known; it is asked for again.
                if let Ok(answer) = server.request(method, path, body) {
                    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    self.counts.slowest_us.fetch_max(took, Ordering::Relaxed);
                    ensure!(answer.status < 500, "{method} {path}: {answer:?}");
                    return Ok(answer);
                }
                self.counts.turned.fetch_add(1, Ordering::Relaxed);
            }
            if begun.elapsed() > AWAY_MAX {
                bail!("no server answers");
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// What clients were promised.
#[derive(Debug)]
pub struct Done {
    promised: BTreeMap<String, String>,
    figures: String,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {} are to be there",
            self.figures,
            self.promised.len()
        )
    }
}

impl Done {
    pub fn is_settled(&self, api: SocketAddr) -> anyhow::Result<bool> {
        Ok(list(api)?.iter().all(is_active))
    }

    pub fn unsettled(&self, api: SocketAddr) -> anyhow::Result<String> {
        let mut all = list(api)?;
        all.retain(|one| !is_active(one));
        Ok(format!("{all:?}"))
    }

    /// Whether everything promised is there as promised, and nothing twice.
    pub fn check(&self, api: SocketAddr) -> anyhow::Result<()> {
        let all = list(api)?;
        let names: BTreeMap<&str, &str> = all
            .iter()
            .filter_map(|one| Some((one["id"].as_str()?, one["name"].as_str()?)))
            .collect();
        for (id, name) in &self.promised {
            let found = names.get(id.as_str());
            ensure!(found == Some(&name.as_str()), "{id}: {found:?}, not {name}");
        }
        let vips: BTreeSet<_> = all
            .iter()
            .map(|one| (one["vip_network_id"].as_str(), one["vip_address"].as_str()))
            .collect();
        ensure!(vips.len() == all.len(), "an address was given twice");
        // A create whose answer was lost with its server may be there beside the one asked for again.
        let beyond = all.len().saturating_sub(self.promised.len());
        ensure!(beyond <= CLIENTS * 4, "{beyond} that nobody was promised");
        Ok(())
    }
}

fn is_active(one: &Value) -> bool {
    one["provisioning_status"] == "ACTIVE"
}

fn list(api: SocketAddr) -> anyhow::Result<Vec<Value>> {
    let api = ApiClient::new(api);
    let mut all: Vec<Value> = Vec::new();
    loop {
        let marker = all.last().and_then(|last| last["id"].as_str());
        let marker = marker.map_or_else(String::new, |id| format!("&marker={id}"));
        let page = api.call("GET", &format!("{PATH}?limit=1000{marker}"), None)?;
        let page = page.get("loadbalancers").and_then(Value::as_array);
        let page = page.context("no list")?.clone();
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
