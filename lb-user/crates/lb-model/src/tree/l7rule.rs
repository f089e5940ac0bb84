//! Verbs of L7 rules (contract 2.7).

use super::{Tree, begin, new_common, touch};
use crate::{
    capability,
    ctx::Ctx,
    defaults,
    enums::{L7RuleType, OperatingStatus},
    fault::Fault,
    id::{L7PolicyId, L7RuleId},
    l7_rules,
    quota::QuotaClass,
    request::{Given, L7RuleCreate, L7RuleUpdate},
    resource::L7Rule,
    status::Event,
    time::Timestamp,
};

impl Tree {
    /// The rule with this id in this policy, or its 404.
    pub fn l7rule(&self, policy_id: L7PolicyId, id: L7RuleId) -> Result<&L7Rule, Fault> {
        let (_, policy) = self.l7policy(policy_id)?;
        policy
            .rules
            .iter()
            .find(|rule| rule.id == id)
            .ok_or_else(|| id.not_found())
    }

    /// POST a rule.
    pub fn create_l7rule(
        &mut self,
        policy_id: L7PolicyId,
        request: L7RuleCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<L7RuleId, Fault> {
        self.atomically(|tree| tree.add_l7rule(policy_id, request, ctx))
    }

    /// PUT a rule; the merged rule is judged.
    pub fn update_l7rule(
        &mut self,
        policy_id: L7PolicyId,
        id: L7RuleId,
        request: L7RuleUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let mut rule = tree.l7rule(policy_id, id)?.clone();
            apply(&mut rule, request);
            l7_rules::check(&rule)?;
            tree.lock_policy(policy_id, ctx.now)?;
            begin(&mut rule.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            capability::l7rule(&rule, ctx.facts)?;
            *tree.l7rule_mut(policy_id, id)? = rule;
            Ok(())
        })
    }

    /// DELETE a rule.
    pub fn delete_l7rule(
        &mut self,
        policy_id: L7PolicyId,
        id: L7RuleId,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            tree.l7rule(policy_id, id)?;
            tree.lock_policy(policy_id, ctx.now)?;
            begin(
                &mut tree.l7rule_mut(policy_id, id)?.common,
                Event::Delete,
                ctx.now,
            )
            .map_err(|_state| id.immutable())
        })
    }

    pub(crate) fn add_l7rule(
        &mut self,
        policy_id: L7PolicyId,
        request: L7RuleCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<L7RuleId, Fault> {
        let count = self.l7policy(policy_id)?.1.rules.len();
        let rule = L7Rule {
            id: ctx.id(),
            common: new_common(request.common, OperatingStatus::Offline, ctx.now),
            kind: request.kind,
            compare_type: request.compare_type,
            key: request.key,
            value: request.value,
            invert: request.invert,
        };
        l7_rules::check(&rule)?;
        if count >= defaults::L7RULES_MAX {
            return Err(Fault::Conflict(format!(
                "L7 policy {policy_id} has too many rules: at most {}.",
                defaults::L7RULES_MAX
            )));
        }
        ctx.quota.take(QuotaClass::L7Rule, 1)?;
        self.lock_policy(policy_id, ctx.now)?;
        capability::l7rule(&rule, ctx.facts)?;
        let id = rule.id;
        self.l7policy_mut(policy_id)?.rules.push(rule);
        Ok(id)
    }

    /// Takes the lock for a change below a policy. The policy is asked first.
    fn lock_policy(&mut self, policy_id: L7PolicyId, now: Timestamp) -> Result<(), Fault> {
        let listener_id = self.l7policy(policy_id)?.0.id;
        begin(
            &mut self.l7policy_mut(policy_id)?.common,
            Event::Change,
            now,
        )
        .map_err(|_state| policy_id.immutable())?;
        self.lock(now)?;
        touch(&mut self.listener_mut(listener_id)?.common, now);
        Ok(())
    }

    fn l7rule_mut(&mut self, policy_id: L7PolicyId, id: L7RuleId) -> Result<&mut L7Rule, Fault> {
        self.l7policy_mut(policy_id)?
            .rules
            .iter_mut()
            .find(|rule| rule.id == id)
            .ok_or_else(|| id.not_found())
    }
}

fn apply(rule: &mut L7Rule, request: L7RuleUpdate) {
    request.common.apply(&mut rule.common);
    // Null was refused for these three when the body was read.
    if let Given::Value(kind) = request.kind {
        rule.kind = kind;
    }
    if let Given::Value(compare_type) = request.compare_type {
        rule.compare_type = compare_type;
    }
    if let Given::Value(value) = request.value {
        rule.value = value;
    }
    request.key.apply_option(&mut rule.key, None);
    request.invert.apply(&mut rule.invert, false);
    // Types without a key keep one from POST, but lose it at PUT.
    if matches!(
        rule.kind,
        L7RuleType::HostName | L7RuleType::Path | L7RuleType::FileType
    ) {
        rule.key = None;
    }
}
