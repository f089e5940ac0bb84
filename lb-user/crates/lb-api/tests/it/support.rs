//! An API in process on a real store in a directory of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use lb_api::{ApiConfig, ApiState, router};
use lb_model::id::LoadBalancerId;
use lb_store::{Network, NetworkCatalog, NetworkDriver, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) const NETWORK_ID: &str = "00000000-0000-4000-8000-000000000001";
pub(crate) const SUBNET_V4: &str = "00000000-0000-4000-8000-000000000004";
pub(crate) const SUBNET_V6: &str = "00000000-0000-4000-8000-000000000006";

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// Null when the answer is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn fault(&self) -> &str {
        self.body["faultstring"].as_str().unwrap_or("")
    }

    /// The id of the created object.
    pub(crate) fn id(&self, key: &str) -> String {
        assert_eq!(self.status, StatusCode::CREATED, "{}", self.body);
        self.body[key]["id"].as_str().unwrap().to_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) state: ApiState,
    pub(crate) store: Store,
    _dir: TempDir,
}

impl Api {
    pub(crate) const PROJECT: &str = "0123456789abcdef0123456789abcdef";
    /// An id that nothing has.
    pub(crate) const PORT_NOBODY: &str = "00000000-0000-4000-8000-00000000dead";

    /// Answers 409 at once.
    pub(crate) async fn start() -> Self {
        Self::start_waiting(Duration::ZERO).await
    }

    pub(crate) async fn start_waiting(settle_wait: Duration) -> Self {
        Self::start_with(|config| config.settle_wait = settle_wait).await
    }

    /// With another configuration.
    pub(crate) async fn start_with(configure: impl FnOnce(&mut ApiConfig)) -> Self {
        let network: Network = serde_json::from_value(json!({
            "id": NETWORK_ID, "name": "public", "segment": 1,
            "subnets": [
                {"id": SUBNET_V4, "name": "public-v4", "cidr": "192.0.2.0/24", "gateway_ip": "192.0.2.1",
                 "allocation_pools": [{"start": "192.0.2.10", "end": "192.0.2.150"}]},
                {"id": SUBNET_V6, "name": "public-v6", "cidr": "2001:db8::/64", "gateway_ip": "2001:db8::1"},
            ],
        }))
        .unwrap();
        let networks = NetworkCatalog::new(vec![network]).unwrap();
        Self::start_on(Arc::new(networks), configure).await
    }

    /// On other networks.
    pub(crate) async fn start_on(
        networks: Arc<dyn NetworkDriver>,
        configure: impl FnOnce(&mut ApiConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "api test", networks).await.unwrap();
        let mut config = ApiConfig {
            settle_wait: Duration::ZERO,
            deny_cidrs: vec!["198.51.100.0/24".parse().unwrap()],
            own_addresses: vec!["203.0.113.9".parse().unwrap()],
            ..ApiConfig::new(Self::PROJECT)
        };
        configure(&mut config);
        let state = ApiState::new(store.clone(), config);
        Self {
            router: router(state.clone()),
            state,
            store,
            _dir: dir,
        }
    }

    pub(crate) async fn send_with(
        &self,
        verb: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(verb)
            .uri(path)
            .header("host", "test.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-length") {
            request = request.header("content-length", body.len());
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes,
            body,
        }
    }

    pub(crate) async fn send(&self, verb: Method, path: &str, body: Option<Value>) -> Answer {
        let bytes = body
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default();
        self.send_with(verb, path, &[("content-type", "application/json")], bytes)
            .await
    }

    pub(crate) async fn v2(&self, verb: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(verb, &format!("/v2.0/lbaas/{path}"), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn get_v2(&self, path: &str) -> Answer {
        self.v2(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.v2(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let bytes = body.to_string().into_bytes();
        self.send_with(Method::POST, &format!("/v2.0/lbaas/{path}"), headers, bytes)
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.v2(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.v2(Method::DELETE, path, None).await
    }

    /// What a change changes, whatever it is.
    pub(crate) async fn generations(&self) -> BTreeMap<LoadBalancerId, u64> {
        self.store.generations().await.unwrap()
    }

    pub(crate) async fn count(&self, collection: &str) -> usize {
        self.get_v2(collection).await.body[collection]
            .as_array()
            .unwrap()
            .len()
    }

    /// Does what a reconciler does once the data path has the newest generation.
    pub(crate) async fn settle(&self, lb: &str) {
        let id = lb.parse().unwrap();
        let settle = |tree: &mut lb_model::tree::Tree| {
            tree.settle_applied(
                tree.load_balancer.generation,
                &BTreeSet::new(),
                lb_store::now(),
            );
            Ok(())
        };
        self.store.change_tree(id, settle).await.unwrap();
    }

    pub(crate) async fn pending_lb(&self) -> String {
        let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4}});
        self.post("loadbalancers", body).await.id("loadbalancer")
    }

    pub(crate) async fn active_lb(&self) -> String {
        let lb = self.pending_lb().await;
        self.settle(&lb).await;
        lb
    }

    async fn settled(&self, lb: &str, answer: &Answer, key: &str) -> String {
        let id = answer.id(key);
        self.settle(lb).await;
        id
    }

    pub(crate) async fn listener(&self, lb: &str, protocol: &str, port: u16) -> String {
        let body = json!({"listener": {"loadbalancer_id": lb, "protocol": protocol, "protocol_port": port}});
        self.settled(lb, &self.post("listeners", body).await, "listener")
            .await
    }

    pub(crate) async fn pool(&self, lb: &str) -> String {
        let body = json!({"pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}});
        self.settled(lb, &self.post("pools", body).await, "pool")
            .await
    }

    pub(crate) async fn pool_of_listener(&self, lb: &str, listener: &str) -> String {
        let body = json!({"pool": {"listener_id": listener, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}});
        self.settled(lb, &self.post("pools", body).await, "pool")
            .await
    }

    pub(crate) async fn member(&self, lb: &str, pool: &str, address: &str) -> String {
        let body = json!({"member": {"address": address, "protocol_port": 8080}});
        let answer = self.post(&format!("pools/{pool}/members"), body).await;
        self.settled(lb, &answer, "member").await
    }

    pub(crate) async fn monitor(&self, lb: &str, pool: &str) -> String {
        let body = json!({"healthmonitor": {"pool_id": pool, "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 2}});
        self.settled(
            lb,
            &self.post("healthmonitors", body).await,
            "healthmonitor",
        )
        .await
    }

    pub(crate) async fn policy(&self, lb: &str, listener: &str, more: Value) -> String {
        let mut policy = json!({"listener_id": listener, "action": "REJECT"});
        policy
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = self.post("l7policies", json!({"l7policy": policy})).await;
        self.settled(lb, &answer, "l7policy").await
    }
}

/// The keys of an object.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}
