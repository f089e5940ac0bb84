//! Verbs of L7 policies (contract 2.6).

use super::{Tree, begin, new_common, touch};
use crate::{
    capability,
    ctx::Ctx,
    defaults,
    enums::{L7PolicyAction, ListenerProtocol, OperatingStatus},
    fault::{Fault, ResourceKind},
    id::{L7PolicyId, ListenerId},
    limits, protocol,
    quota::QuotaClass,
    request::{Given, L7PolicyCreate, L7PolicyUpdate},
    resource::{L7Policy, Listener},
    status::Event,
};

impl Tree {
    /// POST a policy.
    pub fn create_l7policy(
        &mut self,
        request: L7PolicyCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<L7PolicyId, Fault> {
        self.atomically(|tree| tree.add_l7policy(request.listener_id, request.fields, ctx))
    }

    /// PUT a policy; `position` moves it.
    pub fn update_l7policy(
        &mut self,
        id: L7PolicyId,
        request: L7PolicyUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let (listener, policy) = tree.l7policy(id)?;
            let listener_id = listener.id;
            let mut policy = policy.clone();
            tree.check_redirect_pool(listener, &request)?;
            let position = request.position.clone();
            apply(&mut policy, request)?;
            tree.lock(ctx.now)?;
            begin(&mut policy.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            let listener = tree.listener_mut(listener_id)?;
            touch(&mut listener.common, ctx.now);
            let at = listener.l7policies.iter().position(|other| other.id == id);
            let at = at.ok_or_else(|| id.not_found())?;
            listener.l7policies.remove(at);
            let to = match position {
                Given::Absent => at,
                Given::Null => usize::MAX,
                Given::Value(position) => index(position),
            };
            insert(listener, policy, to);
            Ok(())
        })
    }

    /// DELETE a policy with its rules.
    pub fn delete_l7policy(&mut self, id: L7PolicyId, ctx: &mut Ctx<'_>) -> Result<(), Fault> {
        self.atomically(|tree| {
            let listener_id = tree.l7policy(id)?.0.id;
            tree.lock(ctx.now)?;
            touch(&mut tree.listener_mut(listener_id)?.common, ctx.now);
            begin(&mut tree.l7policy_mut(id)?.common, Event::Delete, ctx.now)
                .map_err(|_state| id.immutable())
        })
    }

    pub(crate) fn add_l7policy(
        &mut self,
        listener_id: ListenerId,
        fields: L7PolicyUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<L7PolicyId, Fault> {
        let listener = self.listener(listener_id)?;
        if listener.protocol == ListenerProtocol::Prometheus {
            return Err(Fault::invalid(
                "A PROMETHEUS listener cannot have L7 policies.",
            ));
        }
        self.check_redirect_pool(listener, &fields)?;
        ctx.quota.take(QuotaClass::L7Policy, 1)?;
        limits::room(
            listener.l7policies.len(),
            limits::L7POLICIES_MAX,
            ResourceKind::L7Policy,
        )?;
        let to = fields
            .position
            .value()
            .map_or(usize::MAX, |position| index(*position));
        let mut policy = L7Policy {
            id: ctx.id(),
            common: new_common(fields.common.clone(), OperatingStatus::Offline, ctx.now),
            action: L7PolicyAction::Reject,
            redirect_pool_id: None,
            redirect_url: None,
            redirect_prefix: None,
            redirect_http_code: None,
            rules: Vec::new(),
        };
        apply(&mut policy, fields)?;
        self.lock(ctx.now)?;
        capability::l7policy(self.listener(listener_id)?)?;
        let id = policy.id;
        let listener = self.listener_mut(listener_id)?;
        touch(&mut listener.common, ctx.now);
        insert(listener, policy, to);
        Ok(id)
    }

    /// The pool a request redirects to must be ours and fit the listener.
    fn check_redirect_pool(
        &self,
        listener: &Listener,
        request: &L7PolicyUpdate,
    ) -> Result<(), Fault> {
        match request.redirect_pool_id.value() {
            None => Ok(()),
            Some(id) => protocol::check_pair(listener.protocol, self.pool(*id)?.protocol),
        }
    }
}

/// 1-based position to index.
fn index(position: i64) -> usize {
    usize::try_from(position.saturating_sub(1)).unwrap_or(0)
}

/// Positions are dense: beyond the end means at the end.
fn insert(listener: &mut Listener, policy: L7Policy, at: usize) {
    let at = at.min(listener.l7policies.len());
    listener.l7policies.insert(at, policy);
}

/// Puts a request's arguments into a policy under Octavia's normalisation: an action that is given
/// needs its argument in the same request; an argument forces the action it belongs to and clears
/// the others'.
fn apply(policy: &mut L7Policy, request: L7PolicyUpdate) -> Result<(), Fault> {
    request.common.clone().apply(&mut policy.common);
    let given = |argument: bool, field: &str, action: L7PolicyAction| {
        argument.then_some(()).ok_or_else(|| needed(field, action))
    };
    let pool = request.redirect_pool_id.value().is_some();
    let url = request.redirect_url.value().is_some();
    let prefix = request.redirect_prefix.value().is_some();
    let action = request.action.value().copied();
    match action {
        Some(L7PolicyAction::Reject) => {
            policy.action = L7PolicyAction::Reject;
            clear(policy);
            return Ok(());
        }
        Some(action @ L7PolicyAction::RedirectToUrl) => {
            given(url, "redirect_url", action)?;
        }
        Some(action @ L7PolicyAction::RedirectToPool) => {
            given(pool, "redirect_pool_id", action)?;
        }
        Some(action @ L7PolicyAction::RedirectPrefix) => {
            given(prefix, "redirect_prefix", action)?;
        }
        None => {}
    }
    if pool && (url || prefix) {
        return Err(Fault::invalid(
            "Invalid L7 Policy arguments: Cannot specify redirect_pool_id and redirect_url or \
             redirect_prefix at the same time",
        ));
    }
    policy.action = match (pool, url, prefix) {
        (true, _, _) => L7PolicyAction::RedirectToPool,
        (false, true, _) => L7PolicyAction::RedirectToUrl,
        (false, false, true) => L7PolicyAction::RedirectPrefix,
        (false, false, false) => policy.action,
    };
    // Octavia forgets a stored code when the target is given anew.
    let anew = url || prefix;
    request
        .redirect_pool_id
        .apply_option(&mut policy.redirect_pool_id, None);
    request
        .redirect_url
        .apply_option(&mut policy.redirect_url, None);
    request
        .redirect_prefix
        .apply_option(&mut policy.redirect_prefix, None);
    // One that is taken back stays away; the redirect then goes by the default.
    let nulled = request.redirect_http_code == Given::Null;
    match request.redirect_http_code {
        Given::Value(code) => policy.redirect_http_code = Some(code),
        Given::Null => policy.redirect_http_code = None,
        Given::Absent if anew => policy.redirect_http_code = None,
        Given::Absent => {}
    }
    let cleared = policy.redirect_http_code.is_none() && nulled && !anew;
    complete(policy)?;
    if cleared {
        policy.redirect_http_code = None;
    }
    Ok(())
}

/// Clears what the action does not use and demands what it needs.
fn complete(policy: &mut L7Policy) -> Result<(), Fault> {
    let (pool, url, prefix) = (
        policy.redirect_pool_id.take(),
        policy.redirect_url.take(),
        policy.redirect_prefix.take(),
    );
    let code = policy.redirect_http_code.take();
    let redirect_code = Some(code.unwrap_or(defaults::REDIRECT_HTTP_CODE));
    let missing = match policy.action {
        L7PolicyAction::Reject => None,
        L7PolicyAction::RedirectToPool => {
            policy.redirect_pool_id = pool;
            pool.is_none().then_some("redirect_pool_id")
        }
        L7PolicyAction::RedirectToUrl => {
            policy.redirect_url = url;
            policy.redirect_http_code = redirect_code;
            policy.redirect_url.is_none().then_some("redirect_url")
        }
        L7PolicyAction::RedirectPrefix => {
            policy.redirect_prefix = prefix;
            policy.redirect_http_code = redirect_code;
            policy
                .redirect_prefix
                .is_none()
                .then_some("redirect_prefix")
        }
    };
    match missing {
        None => Ok(()),
        Some(field) => Err(needed(field, policy.action)),
    }
}

fn needed(field: &str, action: L7PolicyAction) -> Fault {
    Fault::invalid(format!(
        "Invalid L7 Policy arguments: {field} must not be None for {action}"
    ))
}

fn clear(policy: &mut L7Policy) {
    policy.redirect_pool_id = None;
    policy.redirect_url = None;
    policy.redirect_prefix = None;
    policy.redirect_http_code = None;
}
