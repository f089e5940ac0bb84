//! Flavors, availability zones, their profiles, and the provider's keys (contract 2.9 to 2.11).

use axum::http::StatusCode;
use lb_model::capability::CapabilitySet;
use serde_json::{Value, json};

use crate::support::{Answer, Api, NETWORK_ID, SUBNET_V4};

const NIL: &str = "00000000-0000-0000-0000-000000000000";

async fn profile(api: &Api, data: Value) -> String {
    let body = json!({"flavorprofile": {"name": "p", "provider_name": "amphora",
                      "flavor_data": data.to_string()}});
    api.post("flavorprofiles", body).await.id("flavorprofile")
}

async fn flavor(api: &Api, name: &str, data: Value) -> String {
    let profile = profile(api, data).await;
    let body = json!({"flavor": {"name": name, "flavor_profile_id": profile}});
    api.post("flavors", body).await.id("flavor")
}

async fn zone(api: &Api, name: &str, data: Value) {
    let body = json!({"availability_zone_profile": {"name": "p", "provider_name": "amphora",
                      "availability_zone_data": data.to_string()}});
    let profile = api
        .post("availabilityzoneprofiles", body)
        .await
        .id("availability_zone_profile");
    let body =
        json!({"availability_zone": {"name": name, "availability_zone_profile_id": profile}});
    let made = api.post("availabilityzones", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
}

async fn create(api: &Api, more: Value) -> Answer {
    let mut body = json!({"vip_subnet_id": SUBNET_V4});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    api.post("loadbalancers", json!({ "loadbalancer": body }))
        .await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_flavor_is_made_of_a_profile_and_both_have_their_rules() {
    let api = Api::start().await;
    let profile = profile(&api, json!({"loadbalancer_topology": "SINGLE"})).await;
    let made = api
        .post(
            "flavors",
            json!({"flavor": {"name": "f", "description": "d", "flavor_profile_id": profile}}),
        )
        .await;
    let id = made.id("flavor");
    assert_eq!(
        made.body["flavor"],
        json!({"id": id, "name": "f", "description": "d", "enabled": true, "flavor_profile_id": profile})
    );
    let list = api.get_v2("flavors").await;
    assert_eq!(
        list.body,
        json!({"flavors": [made.body["flavor"]], "flavors_links": []})
    );
    let list = api.get_v2("flavorprofiles?fields=name").await;
    assert_eq!(
        list.body,
        json!({"flavorprofiles": [{"name": "p"}], "flavorprofile_links": []})
    );
    let again = json!({"flavor": {"name": "f", "flavor_profile_id": profile}});
    assert_eq!(
        api.post("flavors", again).await.status,
        StatusCode::CONFLICT
    );
    for (fields, status) in [
        (json!({"name": "g"}), 400),
        (json!({"name": "g", "flavor_profile_id": NIL}), 400),
        (json!({"name": "g", "flavor_profile_id": "x"}), 400),
        (
            json!({"name": "x".repeat(256), "flavor_profile_id": profile}),
            400,
        ),
        (json!({"flavor_profile_id": profile}), 400),
        (
            json!({"name": "g", "flavor_profile_id": profile, "id": NIL}),
            400,
        ),
    ] {
        let answer = api.post("flavors", json!({ "flavor": fields })).await;
        assert_eq!(answer.status.as_u16(), status, "{fields}: {}", answer.body);
    }
    let path = format!("flavors/{id}");
    let put = api
        .put(
            &path,
            json!({"flavor": {"name": "g", "enabled": false, "description": null}}),
        )
        .await;
    assert_eq!(put.status, StatusCode::OK);
    assert_eq!(
        put.body["flavor"],
        json!({"id": id, "name": "g", "description": "", "enabled": false, "flavor_profile_id": profile})
    );
    for fields in [json!({"name": null}), json!({"flavor_profile_id": profile})] {
        let answer = api.put(&path, json!({ "flavor": fields })).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{fields}");
    }
    let in_use = api.delete(&format!("flavorprofiles/{profile}")).await;
    assert_eq!(in_use.status, StatusCode::CONFLICT);
    assert_eq!(api.delete(&path).await.status, StatusCode::NO_CONTENT);
    let free = api.delete(&format!("flavorprofiles/{profile}")).await;
    assert_eq!(free.status, StatusCode::NO_CONTENT);
    for missing in [
        path.as_str(),
        "flavors/x",
        &format!("flavors/{NIL}"),
        &format!("flavorprofiles/{NIL}"),
    ] {
        assert_eq!(
            api.get_v2(missing).await.status,
            StatusCode::NOT_FOUND,
            "{missing}"
        );
        assert_eq!(
            api.delete(missing).await.status,
            StatusCode::NOT_FOUND,
            "{missing}"
        );
    }
    let put = api
        .put(&format!("flavors/{NIL}"), json!({"flavor": {"name": "n"}}))
        .await;
    assert_eq!(put.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_profiles_data_are_judged() {
    let api = Api::start().await;
    for (data, status) in [
        ("{}", 201),
        (
            r#"{"loadbalancer_topology": "ACTIVE_STANDBY", "compute_flavor": "m", "amp_image_tag": "t"}"#,
            201,
        ),
        (r#"{"sriov_vip": true, "allow_member_sriov": false}"#, 201),
        ("", 400),
        ("{", 400),
        ("nonsense", 400),
        ("[]", 501),
        (r#"{"nonsense": 1}"#, 501),
        (r#"{"loadbalancer_topology": "ACTIVE_ACTIVE"}"#, 501),
        (r#"{"loadbalancer_topology": 1}"#, 501),
        (r#"{"sriov_vip": "yes"}"#, 501),
    ] {
        let body = json!({"flavorprofile": {"name": "p", "provider_name": "amphora", "flavor_data": data}});
        let answer = api.post("flavorprofiles", body).await;
        assert_eq!(answer.status.as_u16(), status, "{data}: {}", answer.body);
    }
    for (data, status) in [
        (
            json!({"compute_zone": "c", "volume_zone": "v", "management_network": NETWORK_ID})
                .to_string(),
            201,
        ),
        (json!({"valid_vip_networks": [NETWORK_ID]}).to_string(), 201),
        ("{".to_owned(), 400),
        (json!({"valid_vip_networks": NETWORK_ID}).to_string(), 501),
        (json!({"loadbalancer_topology": "SINGLE"}).to_string(), 501),
    ] {
        let body = json!({"availability_zone_profile": {"name": "p", "provider_name": "amphora",
                          "availability_zone_data": data}});
        let answer = api.post("availabilityzoneprofiles", body).await;
        assert_eq!(answer.status.as_u16(), status, "{data}: {}", answer.body);
    }
    let body = json!({"flavorprofile": {"name": "p", "provider_name": "ovn", "flavor_data": "{}"}});
    assert_eq!(
        api.post("flavorprofiles", body).await.status,
        StatusCode::BAD_REQUEST
    );
    let long = format!("{{\"compute_flavor\": \"{}\"}}", "x".repeat(4096));
    let body =
        json!({"flavorprofile": {"name": "p", "provider_name": "amphora", "flavor_data": long}});
    assert_eq!(
        api.post("flavorprofiles", body).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_profile_in_use_keeps_its_meaning() {
    let api = Api::start().await;
    let profile = profile(&api, json!({})).await;
    let path = format!("flavorprofiles/{profile}");
    let put = |fields: Value| api.put(&path, json!({ "flavorprofile": fields }));
    let changed =
        put(json!({"flavor_data": "{\"sriov_vip\": false}", "provider_name": "octavia"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    assert_eq!(changed.body["flavorprofile"]["provider_name"], "octavia");
    for (fields, status) in [
        (json!({"flavor_data": "{"}), 400),
        (json!({"flavor_data": "{\"x\": 1}"}), 501),
        (json!({"flavor_data": null}), 400),
        (json!({"provider_name": null}), 400),
        (json!({"name": null}), 400),
        (json!({"provider_name": "ovn"}), 400),
    ] {
        let answer = put(fields.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{fields}: {}", answer.body);
    }
    let body = json!({"flavor": {"name": "f", "flavor_profile_id": profile}});
    api.post("flavors", body).await.id("flavor");
    for fields in [
        json!({"flavor_data": "{}"}),
        json!({"provider_name": "amphora"}),
    ] {
        assert_eq!(put(fields).await.status, StatusCode::CONFLICT);
    }
    assert_eq!(put(json!({"name": "renamed"})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_zone_is_known_by_its_name() {
    let api = Api::start().await;
    zone(&api, "nova", json!({})).await;
    zone(&api, "zone two", json!({})).await;
    let list = api.get_v2("availabilityzones?limit=1").await;
    assert_eq!(list.body["availability_zones"][0]["name"], "nova");
    let next = list.body["availability_zones_links"][0]["href"]
        .as_str()
        .unwrap();
    let next = next.strip_prefix("http://test.example").unwrap();
    let rest = api.get(next).await;
    assert_eq!(rest.body["availability_zones"][0]["name"], "zone two");
    let shown = api.get_v2("availabilityzones/zone%20two").await;
    assert_eq!(shown.body["availability_zone"]["enabled"], true);
    let put = api
        .put(
            "availabilityzones/nova",
            json!({"availability_zone": {"enabled": false, "description": "d"}}),
        )
        .await;
    assert_eq!(
        (put.status, &put.body["availability_zone"]["description"]),
        (StatusCode::OK, &json!("d"))
    );
    let renamed = api
        .put(
            "availabilityzones/nova",
            json!({"availability_zone": {"name": "other"}}),
        )
        .await;
    assert_eq!(renamed.status, StatusCode::BAD_REQUEST);
    let profiles = api.get_v2("availabilityzoneprofiles").await;
    assert_eq!(profiles.body["availability_zone_profile_links"], json!([]));
    let profile = &profiles.body["availability_zone_profiles"][0]["id"];
    let again =
        json!({"availability_zone": {"name": "nova", "availability_zone_profile_id": profile}});
    assert_eq!(
        api.post("availabilityzones", again).await.status,
        StatusCode::CONFLICT
    );
    let unknown = json!({"availability_zone": {"name": "x", "availability_zone_profile_id": NIL}});
    assert_eq!(
        api.post("availabilityzones", unknown).await.status,
        StatusCode::BAD_REQUEST
    );
    let path = format!("availabilityzoneprofiles/{}", profile.as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, StatusCode::CONFLICT);
    assert_eq!(
        api.delete("availabilityzones/nova").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        api.delete("availabilityzones/nova").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        api.get_v2("availabilityzones/nova").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn lists_are_filtered_and_sorted() {
    let api = Api::start().await;
    for name in ["a", "b", "c"] {
        flavor(&api, name, json!({})).await;
    }
    let names = async |query: &str| -> Vec<String> {
        let list = api.get_v2(&format!("flavors?{query}")).await;
        let flavors = list.body["flavors"].as_array().unwrap();
        flavors
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("sort=name:desc").await, ["c", "b", "a"]);
    assert_eq!(names("name=b").await, ["b"]);
    assert_eq!(names("enabled=False").await, [""; 0]);
    assert_eq!(
        names("enabled=True&sort_key=name&limit=2").await,
        ["a", "b"]
    );
    for query in [
        "flavors?created_at=1",
        "flavors?sort=project_id",
        "availabilityzones?id=x",
    ] {
        assert_eq!(
            api.get_v2(query).await.status,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_flavor_decides_what_a_load_balancer_is() {
    let api = Api::start().await;
    let pair = flavor(
        &api,
        "pair",
        json!({"loadbalancer_topology": "ACTIVE_STANDBY"}),
    )
    .await;
    let made = create(&api, json!({"flavor_id": pair})).await;
    let lb = made.id("loadbalancer");
    assert_eq!(made.body["loadbalancer"]["flavor_id"], json!(pair));
    assert_eq!(made.body["loadbalancer"]["provider"], "amphora");
    let tree = api
        .store
        .read_tree(lb.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tree.load_balancer.topology.as_str(), "ACTIVE_STANDBY");
    let found = api.get_v2(&format!("loadbalancers?flavor_id={pair}")).await;
    assert_eq!(found.body["loadbalancers"][0]["id"], json!(lb));
    let in_use = api.delete(&format!("flavors/{pair}")).await;
    assert_eq!(in_use.status, StatusCode::CONFLICT);

    let mismatch = create(&api, json!({"flavor_id": pair, "provider": "octavia"})).await;
    assert_eq!(mismatch.status, StatusCode::BAD_REQUEST);
    for id in [NIL, "nonsense"] {
        let unknown = create(&api, json!({"flavor_id": id})).await;
        assert_eq!(unknown.status, StatusCode::BAD_REQUEST, "{id}");
    }
    let path = format!("flavors/{pair}");
    api.put(&path, json!({"flavor": {"enabled": false}})).await;
    let disabled = create(&api, json!({"flavor_id": pair})).await;
    assert_eq!(disabled.status, StatusCode::BAD_REQUEST);
    // Gone with the load balancer.
    api.settle(&lb).await;
    api.delete(&format!("loadbalancers/{lb}")).await;
    api.settle(&lb).await;
    assert_eq!(api.delete(&path).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_zone_says_where_vips_may_be() {
    let api = Api::start().await;
    zone(&api, "here", json!({"valid_vip_networks": [NETWORK_ID]})).await;
    zone(&api, "elsewhere", json!({"valid_vip_networks": [NIL]})).await;
    let made = create(&api, json!({"availability_zone": "here"})).await;
    made.id("loadbalancer");
    assert_eq!(made.body["loadbalancer"]["availability_zone"], "here");
    let found = api.get_v2("loadbalancers?availability_zone=here").await;
    assert_eq!(found.body["loadbalancers"].as_array().unwrap().len(), 1);
    for name in ["elsewhere", "unknown"] {
        let refused = create(&api, json!({"availability_zone": name})).await;
        assert_eq!(
            refused.status,
            StatusCode::BAD_REQUEST,
            "{name}: {}",
            refused.body
        );
    }
    assert_eq!(
        api.delete("availabilityzones/here").await.status,
        StatusCode::CONFLICT
    );
    api.put(
        "availabilityzones/here",
        json!({"availability_zone": {"enabled": false}}),
    )
    .await;
    let disabled = create(&api, json!({"availability_zone": "here"})).await;
    assert_eq!(disabled.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn sr_iov_needs_the_flavor_and_the_data_path() {
    let api = Api::start().await;
    let vip = flavor(&api, "vip", json!({"sriov_vip": true})).await;
    let members = flavor(&api, "members", json!({"allow_member_sriov": true})).await;
    let refused = create(&api, json!({"flavor_id": vip})).await;
    assert_eq!(
        refused.status,
        StatusCode::NOT_IMPLEMENTED,
        "{}",
        refused.body
    );

    let lb = create(&api, json!({"flavor_id": members}))
        .await
        .id("loadbalancer");
    api.settle(&lb).await;
    let pool = api.pool(&lb).await;
    let path = format!("pools/{pool}/members");
    let body =
        json!({"member": {"address": "192.0.2.200", "protocol_port": 80, "request_sriov": true}});
    let refused = api.post(&path, body.clone()).await;
    assert_eq!(
        refused.status,
        StatusCode::NOT_IMPLEMENTED,
        "{}",
        refused.body
    );
    // Where no flavor allows it, it is a mistake, whatever the data path.
    let plain = api.active_lb().await;
    let other = api.pool(&plain).await;
    let refused = api
        .post(&format!("pools/{other}/members"), body.clone())
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);

    let all = CapabilitySet::all();
    api.store
        .report_host("host", &std::collections::BTreeSet::new())
        .await
        .unwrap();
    api.store.declare_capabilities("host", &all).await.unwrap();
    let made = create(&api, json!({"flavor_id": vip})).await;
    assert_eq!(
        made.body["loadbalancer"]["vip_vnic_type"], "direct",
        "{}",
        made.body
    );
    let member = api.post(&path, body).await;
    assert_eq!(
        member.body["member"]["vnic_type"], "direct",
        "{}",
        member.body
    );
}

#[tokio::test]
async fn providers_tell_which_keys_they_know() {
    let api = Api::start().await;
    let providers = api.get_v2("providers").await;
    assert_eq!(
        providers.body,
        json!({"providers": [
            {"name": "amphora", "description": "The Octavia Amphora driver."},
            {"name": "octavia", "description": "Deprecated alias of the Octavia Amphora driver."},
        ]})
    );
    let names = async |path: &str| -> Vec<String> {
        let answer = api.get_v2(&format!("providers/{path}")).await;
        let (_, list) = answer.body.as_object().unwrap().iter().next().unwrap();
        let list = list.as_array().unwrap();
        list.iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names("amphora/flavor_capabilities").await,
        [
            "loadbalancer_topology",
            "compute_flavor",
            "amp_image_tag",
            "sriov_vip",
            "allow_member_sriov",
            "forwarding_mode",
            "l4_path"
        ]
    );
    assert_eq!(
        names("octavia/availability_zone_capabilities").await,
        [
            "compute_zone",
            "volume_zone",
            "management_network",
            "valid_vip_networks"
        ]
    );
    assert_eq!(
        names("amphora/flavor_capabilities?name=sriov_vip").await,
        ["sriov_vip"]
    );
    assert_eq!(
        names("amphora/flavor_capabilities?description=The%20amphora%20image%20tag.").await,
        ["amp_image_tag"]
    );
    for path in ["flavor_capabilities", "availability_zone_capabilities"] {
        let unknown = api.get_v2(&format!("providers/ovn/{path}")).await;
        assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    }
}
