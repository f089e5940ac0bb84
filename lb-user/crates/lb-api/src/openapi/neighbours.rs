//! The operations that are not load balancing: discovery, and what is served of the Network and the
//! Key Manager API.

use serde_json::{Map, Value, json};

use super::operations::{DISCOVERY, NETWORKS, Operation, SECRETS, operation};

pub(super) fn all() -> Vec<Operation> {
    let mut all = discovery();
    all.extend(networks());
    all.extend(secrets());
    all.extend(containers());
    for (kind, id) in [("secrets", "secret_id"), ("containers", "container_id")] {
        all.extend(access(&format!("/v1/{kind}/{{{id}}}"), kind));
    }
    all
}

fn get(path: &str, tag: &'static str, text: impl Into<String>, answer: &str) -> Operation {
    operation("get", path, tag, text).answers(200, answer)
}

fn discovery() -> Vec<Operation> {
    vec![
        get(
            "/",
            DISCOVERY,
            "The versions whose features may be used",
            "Versions",
        ),
        get("/v2", DISCOVERY, "The bare version", "Version"),
        get("/v2/lbaas", DISCOVERY, "The bare version", "Version"),
        get("/v2/octavia", DISCOVERY, "The bare version", "Version"),
        operation(
            "get",
            "/healthcheck",
            DISCOVERY,
            "Whether this server can work; without JSON asked for: 204",
        )
        .answers(200, "Health")
        .ends(204),
        get("/openapi.json", DISCOVERY, "This document", "Object"),
        operation(
            "get",
            "/key-manager",
            DISCOVERY,
            "The versions of the Key Manager API",
        )
        .answers(200, "Object"),
        get(
            "/key-manager/v1",
            DISCOVERY,
            "The Key Manager API's version",
            "Object",
        ),
    ]
}

fn networks() -> Vec<Operation> {
    let mut all = Vec::new();
    for (plural, one) in [
        ("networks", "network"),
        ("subnets", "subnet"),
        ("ports", "port"),
        ("security-groups", "security_group"),
        ("qos/policies", "policy"),
    ] {
        let (list, item) = (
            format!("/v2/{plural}"),
            format!("/v2/{plural}/{{{one}_id}}"),
        );
        all.push(get(&list, NETWORKS, format!("List {plural}"), "Object"));
        all.push(get(&item, NETWORKS, format!("Show one {one}"), "Object"));
    }
    all.push(
        operation("post", "/v2/ports", NETWORKS, "Reserve addresses for a VIP")
            .takes("PortBody")
            .answers(201, "Object"),
    );
    let port = "/v2/ports/{port_id}";
    let text = "Give reserved addresses back";
    all.push(operation("delete", port, NETWORKS, text).ends(204));
    all.push(get(
        "/v2/extensions",
        NETWORKS,
        "List extensions: none",
        "Object",
    ));
    all
}

fn secrets() -> Vec<Operation> {
    let secret = "/v1/secrets/{secret_id}";
    vec![
        get("/v1/secrets", SECRETS, "List secrets", "Object"),
        operation("post", "/v1/secrets", SECRETS, "Store a secret")
            .takes("SecretBody")
            .answers(201, "Object"),
        get(secret, SECRETS, "What is known of a secret", "Object"),
        operation("put", secret, SECRETS, "Store a secret's payload, once")
            .takes("Bytes")
            .ends(204),
        operation(
            "delete",
            secret,
            SECRETS,
            "Delete a secret that nothing uses",
        )
        .ends(204),
        get(
            "/v1/secrets/{secret_id}/payload",
            SECRETS,
            "A secret's payload",
            "Bytes",
        ),
    ]
}

fn containers() -> Vec<Operation> {
    let container = "/v1/containers/{container_id}";
    let items = "/v1/containers/{container_id}/secrets";
    vec![
        get("/v1/containers", SECRETS, "List containers", "Object"),
        operation("post", "/v1/containers", SECRETS, "Make a container")
            .takes("ContainerBody")
            .answers(201, "Object"),
        get(container, SECRETS, "Show a container", "Object"),
        operation(
            "delete",
            container,
            SECRETS,
            "Delete a container that nothing uses; its secrets stay",
        )
        .ends(204),
        operation("post", items, SECRETS, "Put a secret into a container")
            .takes("ContainerItem")
            .answers(201, "Object"),
        operation("delete", items, SECRETS, "Take a secret out of a container")
            .takes("ContainerItem")
            .ends(204),
    ]
}

/// Who may read, and who says it uses: the same for secrets and containers.
fn access(item: &str, kind: &str) -> Vec<Operation> {
    let (acl, consumers) = (format!("{item}/acl"), format!("{item}/consumers"));
    let text = |verb: &str, what: &str| format!("{verb} {what} of {kind}");
    let list = "the access list";
    let (body, taken_back) = if kind == "secrets" {
        ("SecretConsumer", 204)
    } else {
        ("ContainerConsumer", 200)
    };
    let forget = operation("delete", &consumers, SECRETS, text("Forget", "a consumer"));
    let forget = forget.takes(body);
    vec![
        get(&acl, SECRETS, text("Show", list), "Object"),
        operation("put", &acl, SECRETS, text("Replace", list))
            .takes("AclBody")
            .answers(200, "Object"),
        operation("patch", &acl, SECRETS, text("Change", list))
            .takes("AclBody")
            .answers(200, "Object"),
        operation("delete", &acl, SECRETS, text("Take away", list)).ends(200),
        get(&consumers, SECRETS, text("List", "the consumers"), "Object"),
        operation("post", &consumers, SECRETS, text("Note", "a consumer"))
            .takes(body)
            .answers(200, "Object"),
        if taken_back == 204 {
            forget.ends(204)
        } else {
            forget.answers(200, "Object")
        },
    ]
}

/// What they take.
pub(super) fn schemas() -> Map<String, Value> {
    let text = json!({"type": "string", "maxLength": 255});
    let named = |properties: &Value, required: &Value| {
        json!({
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": false,
        })
    };
    let item = named(
        &json!({"name": text, "secret_ref": text}),
        &json!(["secret_ref"]),
    );
    let read = named(
        &json!({
            "users": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
            "project-access": {"type": "boolean"},
        }),
        &json!([]),
    );
    let address = json!({"subnet_id": {"type": "string"}, "ip_address": {"type": "string"}});
    let port = json!({
        "network_id": {"type": "string", "format": "uuid"},
        "name": text,
        "fixed_ips": {"type": "array", "items": {"type": "object", "properties": address}},
    });
    let schemas = json!({
        "Bytes": {"type": "string", "format": "binary"},
        "PortBody": named(&json!({"port": {
            "type": "object", "properties": port, "required": ["network_id"],
        }}), &json!(["port"])),
        "ContainerBody": named(
            &json!({
                "name": text,
                "type": {"enum": ["generic", "rsa", "certificate"]},
                "secret_refs": {"type": "array", "items": item},
            }),
            &json!(["type"]),
        ),
        "ContainerItem": item,
        "AclBody": named(&json!({"read": read}), &json!(["read"])),
        "SecretConsumer": named(
            &json!({"service": text, "resource_type": text, "resource_id": text}),
            &json!(["service", "resource_type", "resource_id"]),
        ),
        "ContainerConsumer": named(&json!({"name": text, "URL": text}), &json!(["name", "URL"])),
    });
    match schemas {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
