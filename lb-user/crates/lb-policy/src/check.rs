//! A rule, understood.

use crate::{
    credentials::Credentials,
    template::{Attributes, Template},
};

/// What must hold. `R` is how another rule is meant: by name as parsed, by place once linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check<R> {
    /// `@`
    Always,
    /// `!`
    Never,
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    /// `rule:NAME`
    Rule(R),
    /// `role:NAME`
    Role(Template),
    /// `is_admin:True`
    IsAdmin(bool),
    /// `project_id:%(project_id)s`
    Credential(String, Template),
    /// `'literal':%(attribute)s`
    Literal(String, Template),
}

impl<R> Check<R> {
    /// The same with other rules meant in another way.
    pub(crate) fn link<S, E>(self, to: &mut impl FnMut(R) -> Result<S, E>) -> Result<Check<S>, E> {
        let mut all = |checks: Vec<Self>| -> Result<Vec<Check<S>>, E> {
            checks.into_iter().map(|check| check.link(to)).collect()
        };
        Ok(match self {
            Self::Always => Check::Always,
            Self::Never => Check::Never,
            Self::Not(check) => Check::Not(Box::new(check.link(to)?)),
            Self::And(checks) => Check::And(all(checks)?),
            Self::Or(checks) => Check::Or(all(checks)?),
            Self::Rule(rule) => Check::Rule(to(rule)?),
            Self::Role(role) => Check::Role(role),
            Self::IsAdmin(wanted) => Check::IsAdmin(wanted),
            Self::Credential(name, wanted) => Check::Credential(name, wanted),
            Self::Literal(literal, wanted) => Check::Literal(literal, wanted),
        })
    }

    /// Every rule that is meant somewhere in it.
    pub(crate) fn references<'a>(&'a self, into: &mut Vec<&'a R>) {
        match self {
            Self::Not(check) => check.references(into),
            Self::And(checks) | Self::Or(checks) => {
                checks.iter().for_each(|check| check.references(into));
            }
            Self::Rule(rule) => into.push(rule),
            Self::Always
            | Self::Never
            | Self::Role(_)
            | Self::IsAdmin(_)
            | Self::Credential(..)
            | Self::Literal(..) => {}
        }
    }

    /// Number of checks.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Not(check) => 1 + check.size(),
            Self::And(checks) | Self::Or(checks) => 1 + checks.iter().map(Self::size).sum::<u64>(),
            _single => 1,
        }
    }
}

impl Check<usize> {
    /// Whether it holds. A rule that is not there holds for nobody.
    pub(crate) fn holds(
        &self,
        rules: &[Self],
        caller: &Credentials<'_>,
        target: &dyn Attributes,
    ) -> bool {
        let holds = |check: &Self| check.holds(rules, caller, target);
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Not(check) => !holds(check),
            Self::And(checks) => checks.iter().all(holds),
            Self::Or(checks) => checks.iter().any(holds),
            Self::Rule(rule) => rules.get(*rule).is_some_and(holds),
            Self::Role(role) => role
                .render(target)
                .is_some_and(|role| caller.has_role(&role)),
            Self::IsAdmin(wanted) => caller.is_admin == *wanted,
            Self::Credential(name, wanted) => wanted
                .render(target)
                .is_some_and(|wanted| caller.has(name, &wanted)),
            Self::Literal(literal, wanted) => wanted.render(target).as_ref() == Some(literal),
        }
    }
}
