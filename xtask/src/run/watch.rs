//! Showing state changes as they happen, until Ctrl-C.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lb_testkit::api::ApiClient;
use serde_json::Value;

use crate::{sandbox::Sandbox, shell};

/// How often the API is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Ctrl-C and SIGTERM as a flag, so that what was made is taken down.
#[derive(Debug)]
pub struct Interrupt {
    set: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over both signals for this process.
    pub fn install() -> anyhow::Result<Self> {
        let set = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&set))?;
        }
        Ok(Self { set })
    }

    /// Whether one has come.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }
}

/// Prints every change of a status or of an amphora's role until interrupted.
pub fn until_interrupted(sandbox: &mut Sandbox, interrupted: &Interrupt) -> anyhow::Result<()> {
    let api = sandbox.system.api();
    let mut known = BTreeMap::new();
    while !interrupted.is_set() {
        sandbox.system.must_run()?;
        // An answer that does not come is the restart of somebody's experiment: look again.
        if let Ok(seen) = look(&api) {
            tell(&known, &seen);
            known = seen;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    shell::say("\ntaking everything down");
    Ok(())
}

/// Object to its states.
fn look(api: &ApiClient) -> anyhow::Result<BTreeMap<String, String>> {
    let mut seen = BTreeMap::new();
    for (path, root) in [
        ("/v2/lbaas/loadbalancers", "loadbalancers"),
        ("/v2/lbaas/listeners", "listeners"),
        ("/v2/lbaas/pools", "pools"),
    ] {
        for object in list(&api.get(path)?, root) {
            seen.insert(
                title(root, &object),
                states(&object, &["provisioning_status", "operating_status"]),
            );
        }
    }
    for pool in list(&api.get("/v2/lbaas/pools")?, "pools") {
        let members = api.get(&format!("/v2/lbaas/pools/{}/members", text(&pool, "id")))?;
        for member in list(&members, "members") {
            let name = format!("{} of {}", title("members", &member), text(&pool, "name"));
            seen.insert(
                name,
                states(&member, &["provisioning_status", "operating_status"]),
            );
        }
    }
    for amphora in list(&api.get("/v2/octavia/amphorae")?, "amphorae") {
        seen.insert(
            title("amphorae", &amphora),
            states(&amphora, &["status", "role"]),
        );
    }
    Ok(seen)
}

fn tell(known: &BTreeMap<String, String>, seen: &BTreeMap<String, String>) {
    for (object, state) in seen {
        match known.get(object) {
            Some(before) if before == state => {}
            Some(before) => shell::say(&format!("{object}: {before} -> {state}")),
            None => shell::say(&format!("{object}: {state}")),
        }
    }
    for object in known.keys().filter(|object| !seen.contains_key(*object)) {
        shell::say(&format!("{object}: gone"));
    }
}

fn list(answer: &Value, root: &str) -> Vec<Value> {
    answer
        .get(root)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn title(root: &str, object: &Value) -> String {
    let kind = root
        .strip_suffix('s')
        .or(root.strip_suffix('e'))
        .unwrap_or(root);
    let name = match text(object, "name") {
        "" => text(object, "id"),
        name => name,
    };
    format!("{kind} {name}")
}

fn states(object: &Value, fields: &[&str]) -> String {
    fields
        .iter()
        .map(|field| text(object, field))
        .collect::<Vec<_>>()
        .join("/")
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
