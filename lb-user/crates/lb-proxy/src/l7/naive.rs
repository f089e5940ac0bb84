//! The reference: contract 10.2 read aloud, one rule after the other. Only tests use it.

use http::{HeaderName, header};
use lb_model::{
    enums::{L7RuleCompareType, L7RuleType},
    resource::{L7Policy, L7Rule},
};
use regex::bytes::RegexBuilder;

use super::RequestFields;

/// The first of `policies` that matches.
pub(super) fn decide(policies: &[&L7Policy], request: RequestFields<'_>) -> Option<usize> {
    policies.iter().position(|policy| {
        let rules: Vec<_> = policy
            .rules
            .iter()
            .filter(|rule| rule.common.admin_state_up)
            .collect();
        !rules.is_empty() && rules.iter().all(|rule| holds(rule, request) != rule.invert)
    })
}

fn holds(rule: &L7Rule, request: RequestFields<'_>) -> bool {
    let values = values(rule, request);
    let ignore_case = rule.kind == L7RuleType::HostName;
    let mut wanted = rule.value.clone();
    if wanted.len() >= 2 && wanted.starts_with('"') && wanted.ends_with('"') {
        wanted = wanted[1..wanted.len() - 1].to_owned();
    }
    values.iter().any(|value| {
        let (have, want) = if ignore_case {
            (value.to_ascii_lowercase(), wanted.to_ascii_lowercase())
        } else {
            (value.clone(), wanted.clone())
        };
        match (rule.kind, rule.compare_type) {
            (_, L7RuleCompareType::Regex) => RegexBuilder::new(&wanted)
                .case_insensitive(ignore_case)
                .unicode(false)
                .build()
                .expect("tests give expressions that compile")
                .is_match(value.as_bytes()),
            (L7RuleType::FileType, _) | (_, L7RuleCompareType::EndsWith) => have.ends_with(&want),
            (_, L7RuleCompareType::EqualTo) => have == want,
            (_, L7RuleCompareType::StartsWith) => have.starts_with(&want),
            (_, L7RuleCompareType::Contains) => have.contains(&want),
        }
    })
}

fn values(rule: &L7Rule, request: RequestFields<'_>) -> Vec<String> {
    let key = rule.key.clone().unwrap_or_default();
    let lines = |name: &str| -> Vec<String> {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let mut lines = Vec::new();
        request.headers.for_each(&name, &mut |line| {
            let line = String::from_utf8(line.to_vec());
            lines.push(line.expect("tests send text"));
        });
        lines
    };
    let split = |lines: Vec<String>| -> Vec<String> {
        lines
            .iter()
            .flat_map(|line| line.split(','))
            .map(|value| value.trim().to_owned())
            .collect()
    };
    match rule.kind {
        L7RuleType::HostName => split(lines(header::HOST.as_str())),
        L7RuleType::Header => split(lines(&key)),
        L7RuleType::Cookie => lines("cookie")
            .iter()
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
            .collect(),
        _ => vec![request.path.to_owned()],
    }
}
