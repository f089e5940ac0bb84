//! `/v2/lbaas/loadbalancers` (contract 2.1, 6.1, 6.2).

use axum::{Json, extract::State, response::Response};
use lb_model::{
    ctx::Ctx,
    id::{LoadBalancerId, NetworkId},
    quota::{Allowance, QuotaClass},
    render,
    request::{LoadBalancerCreate, LoadBalancerUpdate, reader::boolean_word},
    tls::LeftOut,
    tree::{NewLoadBalancer, Tree},
};
use lb_policy::Action;
use lb_store::{Stats, Vips};
use serde_json::{Value, json};

use crate::{
    answer::{accepted, counters, created, deleted, shown_load_balancer, updated},
    call::Call,
    error::ApiError,
    state::{ApiState, Needs, new_id},
};

const KEY: &str = "loadbalancer";

/// `GET /loadbalancers`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = api.authorize_list(
        &call,
        Action::LoadBalancerGetAllGlobal,
        Action::LoadBalancerGetAll,
    )?;
    let list = api.list_load_balancers(&call, project).await?;
    Ok(list.answer(&call))
}

/// `GET /loadbalancers/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    let page = api.store().shown_load_balancer(id).await?;
    let one = page.load_balancers().next();
    let one = one.ok_or_else(|| id.not_found())?;
    api.authorize(&call, Action::LoadBalancerGetOne, &one.project_id())?;
    Ok(shown_load_balancer(&call, KEY, one))
}

/// `GET /loadbalancers/{id}/status` and `/statuses`
pub(crate) async fn statuses(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    let tree = find(&api, &call, Action::LoadBalancerGetStatus).await?;
    Ok(Json(json!({"statuses": render::status_tree(&tree)})))
}

/// `GET /loadbalancers/{id}/stats`: the sum over its listeners.
pub(crate) async fn stats(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    let tree = find(&api, &call, Action::LoadBalancerGetStats).await?;
    let stats = api.store().listener_stats(tree.id()).await?;
    let total = stats.values().copied().fold(Stats::default(), Stats::plus);
    Ok(Json(counters(total)))
}

/// `POST /loadbalancers`, with or without a tree.
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let request = LoadBalancerCreate::parse(&call.document()?)?;
    let project = api.project_of_new(&call, request.project_id.as_deref())?;
    api.authorize(&call, Action::LoadBalancerPost, &project)?;
    if request.vip_options.sg_ids.is_given() {
        api.authorize(&call, Action::LoadBalancerPostVipSgIds, &project)?;
    }
    let rules = &api.config().vip_rules;
    rules.check_request(&request.vip)?;
    let made = api.placement(&request).await?;
    let zone_networks = made.vip_networks.as_deref().map(network_ids);
    let id = LoadBalancerId(new_id());
    let secrets = api
        .judge_new(&call, id, &project, &request.secret_refs())
        .await?;
    let facts = api
        .facts(&Needs::everything(secrets, request.addresses()))
        .await?;
    let vips = request.vip.clone();
    let limits = api.limits();
    let now = api.now();
    let dry_run = dry_run(&call)?;
    let topology = made.topology;
    let build = |vips: Vips, quota: Allowance| {
        // A met quota is told before a network that is not allowed.
        Allowance::clone(&quota).take(QuotaClass::LoadBalancer, 1)?;
        rules.check_network(vips.vip.network_id, zone_networks.as_deref())?;
        let new = NewLoadBalancer {
            id,
            project_id: project.clone(),
            provider: made.provider.clone(),
            placement: made.placement.clone(),
            topology,
            vip: vips.vip,
            additional_vips: vips.additional,
        };
        Tree::create(
            request.clone(),
            new,
            &mut Ctx {
                now,
                new_id: &mut new_id,
                facts: &facts,
                quota,
            },
        )
    };
    let store = api.store();
    if dry_run {
        let tree = store
            .rehearse_tree(id, &project, &vips, topology, limits, build)
            .await?;
        return Ok(updated(KEY, &render::load_balancer_expanded(&tree)));
    }
    let tree = store
        .create_tree_within(id, &project, &vips, topology, limits, build)
        .await?;
    tracing::info!(%id, project, vip = %tree.load_balancer.vip.address, "load balancer created");
    api.tell_left_out(&LeftOut::new(), &tree).await;
    Ok(created(KEY, &render::load_balancer_expanded(&tree)))
}

/// `?dry_run=`: everything is judged and reserved as it would be, and taken back; 200 with what would
/// be made. Whoever misspells it must not be surprised by a load balancer.
fn dry_run(call: &Call) -> Result<bool, ApiError> {
    let text = call.argument("dry_run").unwrap_or("false");
    boolean_word(text)
        .ok_or_else(|| ApiError::invalid(format!("dry_run '{text}' is neither true nor false.")))
}

/// `PUT /loadbalancers/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    let request = LoadBalancerUpdate::parse(&call.document()?)?;
    authorize(&api, &call, Action::LoadBalancerPut, id).await?;
    if request.vip_options.sg_ids.is_given() {
        authorize(&api, &call, Action::LoadBalancerPutVipSgIds, id).await?;
    }
    let change =
        |tree: &mut Tree, ctx: &mut Ctx<'_>| tree.update_load_balancer(request.clone(), ctx);
    let (tree, ()) = api.change(id, &Needs::nothing(), change).await?;
    Ok(updated(KEY, &render::load_balancer(&tree)))
}

/// `PUT /loadbalancers/{id}/failover`
pub(crate) async fn failover(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    authorize(&api, &call, Action::LoadBalancerPutFailover, id).await?;
    api.change(id, &Needs::nothing(), Tree::failover_load_balancer)
        .await?;
    tracing::info!(%id, "failover asked for");
    Ok(accepted())
}

/// `DELETE /loadbalancers/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    authorize(&api, &call, Action::LoadBalancerDelete, id).await?;
    let cascade = call.flag("cascade");
    api.change(id, &Needs::nothing(), |tree, ctx| {
        tree.delete_load_balancer(cascade, ctx)
    })
    .await?;
    tracing::info!(%id, cascade, "load balancer deleted");
    Ok(deleted())
}

/// The networks of an availability zone's list; what is no id names no network.
fn network_ids(texts: &[String]) -> Vec<NetworkId> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

async fn find(api: &ApiState, call: &Call, action: Action) -> Result<Tree, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    let tree = api.tree_of(Some(id), id.not_found()).await?;
    api.authorize(call, action, tree.project_id())?;
    Ok(tree)
}

async fn authorize(
    api: &ApiState,
    call: &Call,
    action: Action,
    id: LoadBalancerId,
) -> Result<(), ApiError> {
    api.authorize_part(call, action, id, id.not_found()).await
}
