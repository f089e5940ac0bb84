//! From a listener's policies to an [`Engine`].

use std::collections::HashMap;

use http::HeaderName;
use lb_model::{
    enums::{L7RuleCompareType, L7RuleType},
    l7_rules::unquoted,
    resource::{L7Policy, L7Rule},
};

use super::{
    engine::{Condition, Engine, PredicateId},
    field::{Comparison, CompileError, Entry, Field},
    request::{RequestFields, Source},
};

/// Compiles `policies`, which stand in order of effect. One without rules never matches.
///
/// # Errors
///
/// The rule that cannot be compiled.
pub(crate) fn compile(policies: &[&L7Policy]) -> Result<Engine, CompileError> {
    let mut predicates = Predicates::default();
    let mut conditions = Vec::with_capacity(policies.len());
    for policy in policies {
        let mut condition = Condition::default();
        for rule in policy
            .rules
            .iter()
            .filter(|rule| rule.common.admin_state_up)
        {
            let id = predicates.intern(rule)?;
            if rule.invert {
                condition.forbid.push(id);
            } else {
                condition.need.push(id);
            }
        }
        conditions.push(condition);
    }
    let (watchers, unconditional) = watch(&conditions, predicates.ids.len());
    let fields = predicates.into_fields()?;
    Ok(Engine {
        fields,
        conditions,
        watchers,
        unconditional,
    })
}

/// Each policy is looked at when the rarest predicate it needs has matched.
fn watch(conditions: &[Condition], predicates: usize) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut uses = vec![0_usize; predicates];
    for id in conditions.iter().flat_map(|condition| &condition.need) {
        if let Some(count) = uses.get_mut(id.0 as usize) {
            *count += 1;
        }
    }
    let mut watchers = vec![Vec::new(); predicates];
    let mut unconditional = Vec::new();
    for (index, condition) in (0_u32..).zip(conditions) {
        let rarest = condition
            .need
            .iter()
            .min_by_key(|id| uses.get(id.0 as usize).copied());
        match rarest.and_then(|id| watchers.get_mut(id.0 as usize)) {
            Some(watcher) => watcher.push(index),
            None if condition.forbid.is_empty() => {}
            None => unconditional.push(index),
        }
    }
    (watchers, unconditional)
}

#[derive(Default)]
struct Predicates {
    ids: HashMap<(Source, Comparison, String), PredicateId>,
}

impl Predicates {
    fn intern(&mut self, rule: &L7Rule) -> Result<PredicateId, CompileError> {
        let key = predicate(rule)?;
        let next = PredicateId(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        Ok(*self.ids.entry(key).or_insert(next))
    }

    fn into_fields(self) -> Result<Vec<Field>, CompileError> {
        let mut by_source = HashMap::<Source, Vec<Entry>>::new();
        for ((source, comparison, value), id) in self.ids {
            by_source.entry(source).or_default().push(Entry {
                comparison,
                value,
                id,
            });
        }
        by_source
            .into_iter()
            .map(|(source, entries)| Field::new(source, entries))
            .collect()
    }
}

/// What a rule compares: field, comparison and value.
fn predicate(rule: &L7Rule) -> Result<(Source, Comparison, String), CompileError> {
    let source = source(rule)?;
    let comparison = match (rule.kind, rule.compare_type) {
        // FILE_TYPE `jpg` is the end of the path, without a dot check (contract 10.2).
        (L7RuleType::FileType, L7RuleCompareType::EqualTo) => Comparison::Suffix,
        (_, L7RuleCompareType::EqualTo) => Comparison::Equal,
        (_, L7RuleCompareType::StartsWith) => Comparison::Prefix,
        (_, L7RuleCompareType::EndsWith) => Comparison::Suffix,
        (_, L7RuleCompareType::Contains) => Comparison::Contains,
        (_, L7RuleCompareType::Regex) => Comparison::Regex,
    };
    let mut value = unquoted(&rule.value).to_owned();
    if rule.kind == L7RuleType::SslVerifyResult {
        // 00 is 0.
        let number = value.trim_start_matches('0');
        value = if number.is_empty() { "0" } else { number }.to_owned();
    }
    if source.ignores_case() && comparison != Comparison::Regex {
        value.make_ascii_lowercase();
    }
    Ok((source, comparison, value))
}

/// What a request has where a rule looks.
pub(crate) fn seen(rule: &L7Rule, request: RequestFields<'_>) -> Result<Vec<String>, CompileError> {
    let mut seen = Vec::new();
    source(rule)?.for_each(request, |value| {
        seen.push(String::from_utf8_lossy(value).into_owned());
    });
    Ok(seen)
}

pub(super) fn source(rule: &L7Rule) -> Result<Source, CompileError> {
    let key = rule.key.as_deref().unwrap_or_default();
    match rule.kind {
        L7RuleType::HostName => Ok(Source::Host),
        L7RuleType::Path | L7RuleType::FileType => Ok(Source::Path),
        L7RuleType::Header => HeaderName::from_bytes(key.as_bytes())
            .map(Source::Header)
            .map_err(|_not_a_token| CompileError::HeaderName(key.to_owned())),
        L7RuleType::Cookie => Ok(Source::Cookie(key.to_owned())),
        L7RuleType::SslConnHasCert => Ok(Source::ClientHasCert),
        L7RuleType::SslVerifyResult => Ok(Source::ClientVerify),
        L7RuleType::SslDnField => Ok(Source::ClientDn(key.to_owned())),
    }
}
