//! The rules in force.

use std::collections::BTreeMap;

use crate::{
    action::Action,
    check::Check,
    credentials::{Credentials, Target},
    defaults::{CONTEXT_IS_ADMIN, PolicySet},
    error::PolicyError,
    file,
    parse::text,
};

/// Most checks that one question may come to, all rules it leads to counted as often as they are
/// asked: rules that refer to each other twice each would double with every step.
const CHECKS_MAX: u64 = 10_000;

/// A whole set of rules, sound.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Check<usize>>,
    /// Where the rule of each action stands, in the order of [`Action::ALL`].
    actions: Vec<usize>,
    context_is_admin: usize,
    system_admin: bool,
}

impl Policy {
    /// A set of defaults with an operator's rules (a YAML file's text) laid over it.
    ///
    /// # Errors
    /// What is wrong with the operator's rules, by name.
    pub fn new(set: PolicySet, own: Option<&str>) -> Result<Self, PolicyError> {
        let mut rules = BTreeMap::new();
        for (name, rule) in set.rules() {
            let check = text(rule).map_err(|wrong| file::named(name, wrong))?;
            rules.insert(name.to_owned(), check);
        }
        let own = own.map(file::read).transpose()?.unwrap_or_default();
        let new: Vec<String> = own
            .keys()
            .filter(|name| !rules.contains_key(*name))
            .cloned()
            .collect();
        rules.extend(own);
        require_used(&rules, &new)?;
        link(rules, set)
    }

    /// A set of defaults as it is.
    #[must_use]
    pub fn defaults(set: PolicySet) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the texts are constants; a test makes a policy of every set"
        )]
        Self::new(set, None).expect("the defaults are sound")
    }

    /// Whether a caller may do `action` to an object of `project`.
    #[must_use]
    pub fn allows(&self, action: Action, caller: &Credentials<'_>, project: Option<&str>) -> bool {
        let rule = self.actions.get(action as usize);
        let target = Target {
            project_id: project,
        };
        rule.is_some_and(|rule| self.holds(*rule, caller, &target))
    }

    /// Whether a caller is admin, whatever it does: what `is_admin:True` in other rules means.
    #[must_use]
    pub fn is_admin(&self, caller: &Credentials<'_>) -> bool {
        let in_scope = match (caller.system_scope, caller.domain_id) {
            (Some(_), _) => self.system_admin,
            (None, Some(_)) => false,
            (None, None) => true,
        };
        in_scope && self.holds(self.context_is_admin, caller, caller)
    }

    fn holds(
        &self,
        rule: usize,
        caller: &Credentials<'_>,
        target: &dyn crate::template::Attributes,
    ) -> bool {
        let rule = self.rules.get(rule);
        rule.is_some_and(|rule| rule.holds(&self.rules, caller, target))
    }
}

/// An operator's name that is none of ours must at least be used by another rule; else it is a
/// mistyped one, and what it was meant to change would go on as it was.
fn require_used(
    rules: &BTreeMap<String, Check<String>>,
    new: &[String],
) -> Result<(), PolicyError> {
    let mut used = Vec::new();
    rules.values().for_each(|check| check.references(&mut used));
    match new.iter().find(|name| !used.contains(name)) {
        // What oslo.policy takes for a rule that does not exist; here that cannot be.
        Some(name) if name == "default" => Ok(()),
        Some(name) => Err(PolicyError::UnknownRule(name.clone())),
        None => Ok(()),
    }
}

fn link(rules: BTreeMap<String, Check<String>>, set: PolicySet) -> Result<Policy, PolicyError> {
    let places: BTreeMap<String, usize> = rules.keys().cloned().zip(0..).collect();
    let mut linked = Vec::with_capacity(rules.len());
    for (name, check) in rules {
        let place = |wanted: String| match places.get(&wanted) {
            Some(place) => Ok(*place),
            None => Err(PolicyError::UnknownReference {
                rule: name.clone(),
                wanted,
            }),
        };
        linked.push(check.link(&mut { place })?);
    }
    let names: Vec<&str> = places.keys().map(String::as_str).collect();
    let mut costs = vec![Cost::Unknown; linked.len()];
    for place in 0..linked.len() {
        cost(place, &linked, &names, &mut costs)?;
    }
    let place = |name: &str| {
        let found = places.get(name).copied();
        found.ok_or_else(|| PolicyError::UnknownRule(name.to_owned()))
    };
    Ok(Policy {
        actions: Action::ALL
            .iter()
            .map(|action| place(action.name()))
            .collect::<Result<_, _>>()?,
        context_is_admin: place(CONTEXT_IS_ADMIN)?,
        system_admin: set.system_admin(),
        rules: linked,
    })
}

#[derive(Clone, Copy, Debug)]
enum Cost {
    Unknown,
    /// Being counted: to come here again is to go round.
    Open,
    Known(u64),
}

/// How many checks a rule comes to; refuses what goes round and what grows without measure.
fn cost(
    place: usize,
    rules: &[Check<usize>],
    names: &[&str],
    costs: &mut [Cost],
) -> Result<u64, PolicyError> {
    let name = || names.get(place).copied().unwrap_or_default().to_owned();
    match costs.get(place).copied() {
        Some(Cost::Known(cost)) => return Ok(cost),
        Some(Cost::Open) | None => return Err(PolicyError::Cycle(name())),
        Some(Cost::Unknown) => {}
    }
    set(costs, place, Cost::Open);
    let Some(rule) = rules.get(place) else {
        return Err(PolicyError::UnknownRule(name()));
    };
    let mut references = Vec::new();
    rule.references(&mut references);
    let mut total = rule.size();
    for reference in references {
        total = total.saturating_add(cost(*reference, rules, names, costs)?);
    }
    if total > CHECKS_MAX {
        return Err(PolicyError::TooLarge {
            what: format!("rule \"{}\" with all it refers to", name()),
            max: usize::try_from(CHECKS_MAX).unwrap_or(usize::MAX),
            unit: "checks",
        });
    }
    set(costs, place, Cost::Known(total));
    Ok(total)
}

fn set(costs: &mut [Cost], place: usize, cost: Cost) {
    if let Some(slot) = costs.get_mut(place) {
        *slot = cost;
    }
}
