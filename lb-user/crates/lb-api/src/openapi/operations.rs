//! Every path and verb.

use lb_model::id::{L7PolicyId, PoolId};
use lb_store::Resource;
use serde_json::{Map, Value, json};

use super::{answers::REFUSALS, neighbours, words};

/// One verb of one path.
pub(super) struct Operation {
    pub(super) verb: &'static str,
    pub(super) path: String,
    tag: &'static str,
    summary: String,
    body: Option<(String, bool)>,
    arguments: Vec<(String, String)>,
    /// Codes of success with the schemas of their answers.
    success: Vec<(u16, Option<String>)>,
}

/// A kind of objects with the usual verbs.
struct Collection {
    path: &'static str,
    id: &'static str,
    shape: &'static str,
    tag: &'static str,
    name: &'static str,
    /// For the bodies' schemas; empty: objects are neither made nor changed.
    bodies: &'static str,
    listed: Option<Resource>,
    deletes: bool,
}

const JSON: &str = "application/json";
/// Schema of what is no JSON.
const BYTES: &str = "Bytes";

const LB: &str = "Load balancers";
const LISTENERS: &str = "Listeners";
const POOLS: &str = "Pools and members";
const MONITORS: &str = "Health monitors";
const L7: &str = "L7 policies and rules";
const SERVICE: &str = "Quotas, providers, flavors, availability zones";
const AMPHORAE: &str = "Amphorae";
const EVENTS: &str = "Events";
pub(super) const NETWORKS: &str = "Networks (subset of the Network API)";
pub(super) const SECRETS: &str = "Secrets (subset of the Key Manager API)";
pub(super) const DISCOVERY: &str = "Discovery and health";

const TAGS: &[&str] = &[
    LB, LISTENERS, POOLS, MONITORS, L7, SERVICE, AMPHORAE, EVENTS, NETWORKS, SECRETS, DISCOVERY,
];

pub(super) fn tags() -> Vec<Value> {
    TAGS.iter().map(|tag| json!({"name": tag})).collect()
}

#[expect(clippy::too_many_lines, reason = "a table: one entry an operation")]
fn collections() -> Vec<Collection> {
    let nowhere = uuid::Uuid::nil();
    let of = |path, id, shape, tag, name, bodies, listed| Collection {
        path,
        id,
        shape,
        tag,
        name,
        bodies,
        listed,
        deletes: true,
    };
    vec![
        of(
            "/v2/lbaas/loadbalancers",
            "loadbalancer_id",
            "LoadBalancer",
            LB,
            "load balancer",
            "LoadBalancer",
            Some(Resource::LoadBalancer),
        ),
        of(
            "/v2/lbaas/listeners",
            "listener_id",
            "Listener",
            LISTENERS,
            "listener",
            "Listener",
            Some(Resource::Listener),
        ),
        of(
            "/v2/lbaas/pools",
            "pool_id",
            "Pool",
            POOLS,
            "pool",
            "Pool",
            Some(Resource::Pool),
        ),
        of(
            "/v2/lbaas/pools/{pool_id}/members",
            "member_id",
            "Member",
            POOLS,
            "member",
            "Member",
            Some(Resource::Member(PoolId(nowhere))),
        ),
        of(
            "/v2/lbaas/healthmonitors",
            "healthmonitor_id",
            "HealthMonitor",
            MONITORS,
            "health monitor",
            "HealthMonitor",
            Some(Resource::HealthMonitor),
        ),
        of(
            "/v2/lbaas/l7policies",
            "l7policy_id",
            "L7Policy",
            L7,
            "L7 policy",
            "L7Policy",
            Some(Resource::L7Policy),
        ),
        of(
            "/v2/lbaas/l7policies/{l7policy_id}/rules",
            "rule_id",
            "L7Rule",
            L7,
            "L7 rule",
            "L7Rule",
            Some(Resource::L7Rule(L7PolicyId(nowhere))),
        ),
        of(
            "/v2/lbaas/flavors",
            "flavor_id",
            "Flavor",
            SERVICE,
            "flavor",
            "Flavor",
            None,
        ),
        of(
            "/v2/lbaas/flavorprofiles",
            "flavorprofile_id",
            "FlavorProfile",
            SERVICE,
            "flavor profile",
            "FlavorProfile",
            None,
        ),
        of(
            "/v2/lbaas/availabilityzones",
            "name",
            "AvailabilityZone",
            SERVICE,
            "availability zone",
            "AvailabilityZone",
            None,
        ),
        of(
            "/v2/lbaas/availabilityzoneprofiles",
            "profile_id",
            "AvailabilityZoneProfile",
            SERVICE,
            "availability zone profile",
            "AvailabilityZoneProfile",
            None,
        ),
        of(
            "/v2/octavia/amphorae",
            "amphora_id",
            "Amphora",
            AMPHORAE,
            "amphora",
            "",
            Some(Resource::Amphora),
        ),
    ]
}

/// All of them, in the order in which people read.
pub(super) fn all() -> Vec<Operation> {
    let mut all = Vec::new();
    for collection in collections() {
        all.extend(collection.operations());
        all.extend(besides(collection.path));
    }
    all.extend(service());
    all.extend(neighbours::all());
    all
}

impl Collection {
    fn operations(&self) -> Vec<Operation> {
        let item = format!("{}/{{{}}}", self.path, self.id);
        let (name, tag) = (self.name, self.tag);
        let mut list = operation("get", self.path, tag, format!("List every {name}"));
        list.arguments = arguments(words::LIST_ARGUMENTS);
        if self.listed.is_some() && self.shape != "Amphora" {
            list.arguments.extend(arguments(words::TAG_ARGUMENTS));
        }
        let filters = self.listed.map(Resource::attributes).into_iter().flatten();
        let filters = filters.filter(|name| *name != "tags");
        list.arguments.extend(
            filters.map(|name| (name.to_owned(), "Exact; all filters must hold.".to_owned())),
        );
        let mut operations = vec![
            list.fields().answers(200, format!("{}List", self.shape)),
            operation("get", &item, tag, format!("Show one {name}"))
                .fields()
                .answers(200, format!("{}Answer", self.shape)),
        ];
        if !self.bodies.is_empty() {
            operations.push(
                operation("post", self.path, tag, format!("Create one {name}"))
                    .takes(format!("{}CreateBody", self.bodies))
                    .answers(201, format!("{}Answer", self.shape)),
            );
            operations.push(
                operation("put", &item, tag, format!("Change one {name}"))
                    .takes(format!("{}UpdateBody", self.bodies))
                    .answers(200, format!("{}Answer", self.shape)),
            );
        }
        if self.deletes {
            let text = format!("Delete one {name}");
            operations.push(operation("delete", &item, tag, text).ends(204));
        }
        for operation in &mut operations {
            if self.path == "/v2/lbaas/loadbalancers" {
                operation.load_balancers_own();
            }
        }
        operations
    }
}

/// What some collections have beside the usual.
#[expect(clippy::too_many_lines, reason = "a table: one entry an operation")]
fn besides(path: &str) -> Vec<Operation> {
    let lb = "/v2/lbaas/loadbalancers/{loadbalancer_id}";
    let amphora = "/v2/octavia/amphorae/{amphora_id}";
    match path {
        "/v2/lbaas/loadbalancers" => vec![
            operation(
                "get",
                &format!("{lb}/status"),
                LB,
                "The statuses of the whole tree",
            )
            .answers(200, "StatusesAnswer"),
            operation("get", &format!("{lb}/statuses"), LB, "The same")
                .answers(200, "StatusesAnswer"),
            operation(
                "put",
                &format!("{lb}/status"),
                LB,
                "Reset a status that is stuck (operators)",
            )
            .takes("StatusResetBody")
            .answers(200, "LoadBalancerAnswer"),
            operation(
                "get",
                &format!("{lb}/stats"),
                LB,
                "The sum of its listeners' counters",
            )
            .answers(200, "StatsAnswer"),
            operation(
                "put",
                &format!("{lb}/failover"),
                LB,
                "Replace its amphorae (operators)",
            )
            .ends(202),
            operation(
                "put",
                &format!("{lb}/resize"),
                LB,
                "Another flavor, by a failover onto it",
            )
            .takes("ResizeBody")
            .ends(202),
        ],
        "/v2/lbaas/listeners" => vec![
            operation(
                "get",
                "/v2/lbaas/listeners/{listener_id}/stats",
                LISTENERS,
                "Its counters",
            )
            .answers(200, "StatsAnswer"),
        ],
        "/v2/lbaas/pools/{pool_id}/members" => {
            let text = "Replace the whole set of members, or with additive_only a part of it";
            let mut batch = operation("put", path, POOLS, text)
                .takes("MemberBatchBody")
                .ends(202);
            let meaning = "True: members that are not named stay.";
            batch.arguments = arguments(&[("additive_only", meaning)]);
            vec![batch]
        }
        "/v2/octavia/amphorae" => vec![
            operation(
                "put",
                &format!("{amphora}/failover"),
                AMPHORAE,
                "Replace it; its load balancer must be ACTIVE",
            )
            .ends(202),
            operation(
                "put",
                &format!("{amphora}/config"),
                AMPHORAE,
                "Configure it anew",
            )
            .ends(202),
            operation(
                "get",
                &format!("{amphora}/stats"),
                AMPHORAE,
                "Counters per listener",
            )
            .answers(200, "AmphoraStatsAnswer"),
        ],
        _ => Vec::new(),
    }
}

fn service() -> Vec<Operation> {
    let quota = "/v2/lbaas/quotas/{project_id}";
    let provider = "/v2/lbaas/providers/{provider}";
    let mut events = operation(
        "get",
        "/v2/lbaas/events",
        EVENTS,
        "What happens to a project's objects",
    )
    .answers(200, "EventList");
    events.arguments = arguments(&[
        (
            "marker",
            "Only what came after this number; Last-Event-ID does the same.",
        ),
        ("project_id", "Another project, for those who may see it."),
    ]);
    vec![
        operation(
            "get",
            "/v2/lbaas/quotas",
            SERVICE,
            "List projects with limits of their own",
        )
        .answers(200, "QuotaList"),
        operation(
            "get",
            quota,
            SERVICE,
            "A project's limits; `defaults` are the defaults",
        )
        .fields()
        .answers(200, "QuotaAnswer"),
        operation(
            "put",
            quota,
            SERVICE,
            "Change a project's limits; null takes one back to its default",
        )
        .takes("QuotaUpdateBody")
        .answers(202, "QuotaAnswer"),
        operation(
            "delete",
            quota,
            SERVICE,
            "Take a project back to the defaults",
        )
        .ends(202),
        operation("get", &format!("{quota}/default"), SERVICE, "The defaults")
            .answers(200, "QuotaAnswer"),
        operation("get", "/v2/lbaas/providers", SERVICE, "List providers")
            .fields()
            .answers(200, "ProviderList"),
        operation(
            "get",
            &format!("{provider}/flavor_capabilities"),
            SERVICE,
            "What flavors can say",
        )
        .answers(200, "FlavorCapabilityList"),
        operation(
            "get",
            &format!("{provider}/availability_zone_capabilities"),
            SERVICE,
            "What availability zones can say",
        )
        .answers(200, "AvailabilityZoneCapabilityList"),
        events,
    ]
}

pub(super) fn operation(
    verb: &'static str,
    path: &str,
    tag: &'static str,
    summary: impl Into<String>,
) -> Operation {
    Operation {
        verb,
        path: path.to_owned(),
        tag,
        summary: summary.into(),
        body: None,
        arguments: Vec::new(),
        success: Vec::new(),
    }
}

fn arguments(known: &[(&str, &str)]) -> Vec<(String, String)> {
    known
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

impl Operation {
    pub(super) fn answers(mut self, code: u16, schema: impl Into<String>) -> Self {
        self.success.push((code, Some(schema.into())));
        self
    }

    pub(super) fn ends(mut self, code: u16) -> Self {
        self.success.push((code, None));
        self
    }

    pub(super) fn takes(mut self, schema: impl Into<String>) -> Self {
        self.body = Some((schema.into(), true));
        self
    }

    fn fields(mut self) -> Self {
        let (name, text) = words::FIELDS_ARGUMENT;
        self.arguments.push((name.to_owned(), text.to_owned()));
        self
    }

    fn load_balancers_own(&mut self) {
        let (argument, text) = match self.verb {
            "post" => {
                self.success
                    .push((200, Some("LoadBalancerAnswer".to_owned())));
                (
                    "dry_run",
                    "True: everything is judged, nothing is made; 200 with what would be.",
                )
            }
            "delete" => (
                "cascade",
                "True: with everything below it, which is 400 otherwise.",
            ),
            _ => return,
        };
        self.arguments.extend(arguments(&[(argument, text)]));
    }

    pub(super) fn described(&self) -> Value {
        let mut parameters: Vec<Value> = path_parameters(&self.path)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(self.arguments.iter().map(|(name, text)| {
            json!({"name": name, "in": "query", "description": text, "schema": {"type": "string"}})
        }));
        let mut responses = Map::new();
        for (code, schema) in &self.success {
            let mut answer = json!({
                "description": "Done.",
                "headers": {"x-openstack-request-id": {"schema": {"type": "string"}}},
            });
            if let (Some(schema), Value::Object(answer)) = (schema, &mut answer) {
                let reference = json!({"$ref": format!("#/components/schemas/{schema}")});
                // A payload comes as whatever it was stored as.
                let kind = if schema == BYTES { "*/*" } else { JSON };
                let content = json!({ kind: {"schema": reference} });
                answer.insert("content".to_owned(), content);
            }
            responses.insert(code.to_string(), answer);
        }
        let writes = self.verb != "get";
        for (code, _) in REFUSALS {
            // Collisions and bodies are of writes.
            if writes || !matches!(code, 408 | 409 | 413 | 415) {
                let reference = format!("#/components/responses/Refused{code}");
                responses.insert(code.to_string(), json!({ "$ref": reference }));
            }
        }
        let mut described = json!({
            "operationId": self.id(),
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let (Some((body, required)), Value::Object(map)) = (&self.body, &mut described) {
            let reference = json!({"$ref": format!("#/components/schemas/{body}")});
            let kind = if body == BYTES {
                "application/octet-stream"
            } else {
                JSON
            };
            map.insert(
                "requestBody".to_owned(),
                json!({"required": required, "content": { kind: {"schema": reference} }}),
            );
        }
        described
    }

    fn id(&self) -> String {
        let words = self
            .path
            .split(['/', '{', '}', '.', '-'])
            .filter(|word| !word.is_empty());
        let words: Vec<&str> = std::iter::once(self.verb).chain(words).collect();
        words.join("_")
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}
