//! The table of routes, once, in canonical spelling ([`crate::path`] undoes the others).

use axum::{
    Router,
    handler::Handler,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state, map_response},
    routing::{MethodRouter, any, get, post, put},
};
use tower::ServiceBuilder;

use crate::{
    auth::{authenticate, network_reader},
    discovery, edge,
    error::{ApiError, with_title},
    front::{cors, healthcheck, unread},
    handler::{
        amphorae, availability_zones, events, flavors, health_monitors, l7policies, l7rules,
        listeners, load_balancers, members, operator, pools, providers, quotas, resize,
        secret_acls, secret_consumers, secret_containers, secrets,
    },
    key_manager_discovery,
    network::{self, ports},
    neutron_lbaas, openapi,
    state::ApiState,
};

/// The whole API as a service.
pub fn router(state: ApiState) -> Router {
    let table = Router::new()
        .merge(discovery_routes())
        .merge(health_routes(&state))
        .nest(
            "/v2/lbaas",
            load_balancer_routes()
                .merge(layer_7_routes())
                .merge(service_routes()),
        )
        .nest("/v2/octavia", amphora_routes())
        .nest(
            "/v2",
            network_routes().route_layer(from_fn_with_state(state.clone(), network_reader)),
        )
        .merge(secret_routes())
        .fallback(async || ApiError::router(StatusCode::NOT_FOUND, ""))
        .method_not_allowed_fallback(async || ApiError::router(StatusCode::METHOD_NOT_ALLOWED, ""))
        .with_state(state.clone());
    // Routes are looked for after the path has been rewritten, so the rewriting is around a router
    // and cannot be one of its layers.
    let admitted = ServiceBuilder::new()
        .layer(from_fn_with_state(state.clone(), edge::admit))
        .service(table);
    let cors = cors::layer(&state.config().front.allowed_origins);
    let routes = Router::new()
        .fallback_service(admitted)
        .layer(from_fn_with_state(state.clone(), authenticate));
    let routes = match cors {
        Some(layer) => routes.layer(layer),
        None => routes,
    };
    let routes = neutron_lbaas::with_door(state, routes);
    routes
        .layer(from_fn(unread::read_to_the_end))
        .layer(from_fn(edge::request_id))
}

fn discovery_routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(discovery::root))
        .route("/v2", get(discovery::v2))
        .route("/v2/lbaas", get(discovery::v2))
        .route("/v2/octavia", get(discovery::v2))
        .route("/openapi", get(openapi::show))
        .route("/docs", get(openapi::page))
        .route("/docs/page.js", get(openapi::script))
        .route("/docs/page.css", get(openapi::style))
}

fn health_routes(state: &ApiState) -> Router<ApiState> {
    if state.config().front.healthcheck {
        Router::new().route(edge::HEALTHCHECK, any(healthcheck::answer))
    } else {
        Router::new()
    }
}

fn load_balancer_routes() -> Router<ApiState> {
    use load_balancers as lb;
    Router::new()
        .route("/loadbalancers", get(lb::list).post(lb::create))
        .route(
            "/loadbalancers/{id}",
            get(lb::show).put(lb::update).delete(lb::delete),
        )
        .route(
            "/loadbalancers/{id}/status",
            get(lb::statuses).put(operator::reset_status),
        )
        .route("/loadbalancers/{id}/statuses", get(lb::statuses))
        .route("/loadbalancers/{id}/stats", get(lb::stats))
        .route("/loadbalancers/{id}/failover", put(lb::failover))
        .route("/loadbalancers/{id}/resize", put(resize::resize))
        .route("/events", get(events::watch))
        .route("/listeners", get(listeners::list).post(listeners::create))
        .route(
            "/listeners/{id}",
            get(listeners::show)
                .put(listeners::update)
                .delete(listeners::delete),
        )
        .route("/listeners/{id}/stats", get(listeners::stats))
        .route("/pools", get(pools::list).post(pools::create))
        .route(
            "/pools/{id}",
            get(pools::show).put(pools::update).delete(pools::delete),
        )
        .route(
            "/pools/{pool_id}/members",
            get(members::list).post(members::create).put(members::batch),
        )
        .route(
            "/pools/{pool_id}/members/{id}",
            get(members::show)
                .put(members::update)
                .delete(members::delete),
        )
        .route(
            "/healthmonitors",
            get(health_monitors::list).post(health_monitors::create),
        )
        .route(
            "/healthmonitors/{id}",
            get(health_monitors::show)
                .put(health_monitors::update)
                .delete(health_monitors::delete),
        )
}

fn layer_7_routes() -> Router<ApiState> {
    Router::new()
        .route(
            "/l7policies",
            get(l7policies::list).post(l7policies::create),
        )
        .route(
            "/l7policies/{id}",
            get(l7policies::show)
                .put(l7policies::update)
                .delete(l7policies::delete),
        )
        .route(
            "/l7policies/{l7policy_id}/rules",
            get(l7rules::list).post(l7rules::create),
        )
        .route(
            "/l7policies/{l7policy_id}/rules/{id}",
            get(l7rules::show)
                .put(l7rules::update)
                .delete(l7rules::delete),
        )
}

fn service_routes() -> Router<ApiState> {
    Router::new()
        .route("/providers", get(providers::list))
        // No verb has one provider: 405 and not 404.
        .route("/providers/{name}", MethodRouter::new())
        .route(
            "/providers/{name}/flavor_capabilities",
            get(providers::flavor_capabilities),
        )
        .route(
            "/providers/{name}/availability_zone_capabilities",
            get(providers::availability_zone_capabilities),
        )
        .route("/quotas", get(quotas::list))
        .route(
            "/quotas/{project_id}",
            get(quotas::show).put(quotas::update).delete(quotas::delete),
        )
        .route("/quotas/{project_id}/default", get(quotas::defaults))
        .merge(flavor_routes())
        .merge(availability_zone_routes())
}

fn flavor_routes() -> Router<ApiState> {
    Router::new()
        .route("/flavors", get(flavors::list).post(flavors::create))
        .route(
            "/flavors/{id}",
            get(flavors::show)
                .put(flavors::update)
                .delete(flavors::delete),
        )
        .route(
            "/flavorprofiles",
            get(flavors::list_profiles).post(flavors::create_profile),
        )
        .route(
            "/flavorprofiles/{id}",
            get(flavors::show_profile)
                .put(flavors::update_profile)
                .delete(flavors::delete_profile),
        )
}

fn availability_zone_routes() -> Router<ApiState> {
    use availability_zones as zones;
    Router::new()
        .route("/availabilityzones", get(zones::list).post(zones::create))
        .route(
            "/availabilityzones/{name}",
            get(zones::show).put(zones::update).delete(zones::delete),
        )
        .route(
            "/availabilityzoneprofiles",
            get(zones::list_profiles).post(zones::create_profile),
        )
        .route(
            "/availabilityzoneprofiles/{id}",
            get(zones::show_profile)
                .put(zones::update_profile)
                .delete(zones::delete_profile),
        )
}

fn amphora_routes() -> Router<ApiState> {
    Router::new()
        .route("/amphorae", get(amphorae::list))
        .route(
            "/amphorae/{id}",
            get(amphorae::show).delete(amphorae::delete),
        )
        .route("/amphorae/{id}/failover", put(amphorae::failover))
        .route("/amphorae/{id}/config", put(amphorae::configure))
        .route("/amphorae/{id}/stats", get(amphorae::stats))
}

fn network_routes() -> Router<ApiState> {
    Router::new()
        .route("/networks", get(network::networks))
        .route("/networks/{id}", get(network::network))
        .route("/subnets", get(network::subnets))
        .route("/subnets/{id}", get(network::subnet))
        .route("/ports", get(ports::list).post(ports::create))
        .route("/ports/{id}", get(ports::show).delete(ports::delete))
        .route("/security-groups", get(network::security_groups))
        .route("/security-groups/{id}", get(network::security_group))
        .route("/qos/policies", get(network::qos_policies))
        .route("/qos/policies/{id}", get(network::qos_policy))
        .route("/extensions", get(network::extensions))
}

fn secret_routes() -> Router<ApiState> {
    use secret_containers as containers;

    fn acl<H, T>(handler: H) -> MethodRouter<ApiState>
    where
        H: Handler<T, ApiState> + Clone,
        T: 'static,
    {
        get(handler.clone())
            .put(handler.clone())
            .patch(handler.clone())
            .delete(handler)
    }

    Router::new()
        .route("/key-manager", get(key_manager_discovery::versions))
        .route("/v1", get(key_manager_discovery::v1))
        .route("/v1/secrets", post(secrets::create).get(secrets::list))
        .route(
            "/v1/secrets/{id}",
            get(secrets::show)
                .put(secrets::fill)
                .delete(secrets::delete),
        )
        .route("/v1/secrets/{id}/payload", get(secrets::payload))
        .route("/v1/secrets/{id}/acl", acl(secret_acls::of_secret))
        .route(
            "/v1/secrets/{id}/consumers",
            get(secret_consumers::list)
                .post(secret_consumers::create)
                .delete(secret_consumers::delete),
        )
        .route(
            "/v1/containers",
            post(containers::create).get(containers::list),
        )
        .route(
            "/v1/containers/{id}",
            get(containers::show).delete(containers::delete),
        )
        .route(
            "/v1/containers/{id}/secrets",
            post(containers::add).delete(containers::remove),
        )
        .route("/v1/containers/{id}/acl", acl(secret_acls::of_container))
        .route(
            "/v1/containers/{id}/consumers",
            get(secret_consumers::list_of_container)
                .post(secret_consumers::create_of_container)
                .delete(secret_consumers::delete_of_container),
        )
        .route_layer(map_response(with_title))
}
