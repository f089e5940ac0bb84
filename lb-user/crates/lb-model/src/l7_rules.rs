//! Which L7 rules make sense (contract 2.7).
//!
//! A value in double quotes is quoting, not data: it may hold spaces and tabs, and it is matched
//! without the quotes ([`unquoted`]). The proxy uses the same function.

mod pcre;

use self::pcre::Trouble;
use crate::{
    enums::{L7RuleCompareType as Compare, L7RuleType as Kind},
    fault::Fault,
    resource::L7Rule,
};

/// Bytes of one compiled regular expression. The proxy allows more, so it takes what passes here.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

/// What the value is compared as: without the outer double quotes.
#[must_use]
pub fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

/// Whether a type can be compared this way.
#[must_use]
pub const fn comparable(kind: Kind, compare: Compare) -> bool {
    match kind {
        Kind::HostName | Kind::Path | Kind::Header | Kind::Cookie | Kind::SslDnField => true,
        Kind::FileType => matches!(compare, Compare::EqualTo | Compare::Regex),
        Kind::SslConnHasCert | Kind::SslVerifyResult => matches!(compare, Compare::EqualTo),
    }
}

/// Judges a whole rule.
pub fn check(rule: &L7Rule) -> Result<(), Fault> {
    if !comparable(rule.kind, rule.compare_type) {
        let only = matches!(rule.kind, Kind::SslConnHasCert | Kind::SslVerifyResult);
        return Err(if only {
            error(format!(
                "L7rule type {} only supports the EQUAL_TO compare type.",
                rule.kind
            ))
        } else {
            error("invalid comparison type for rule type")
        });
    }
    check_key(rule)?;
    check_value(rule)
}

fn check_key(rule: &L7Rule) -> Result<(), Fault> {
    let key = rule.key.as_deref();
    if key.is_some_and(|key| key.contains(['\r', '\n'])) {
        return Err(error("the key must not hold line breaks"));
    }
    let legal: fn(&str) -> bool = match rule.kind {
        Kind::HostName | Kind::Path | Kind::FileType => return Ok(()),
        Kind::SslConnHasCert | Kind::SslVerifyResult => {
            return match key {
                None => Ok(()),
                Some(_) => Err(error(format!(
                    "L7rule type {} does not use the \"key\" field.",
                    rule.kind
                ))),
            };
        }
        Kind::Header | Kind::Cookie => is_token,
        Kind::SslDnField => is_dn_field,
    };
    match key {
        None if rule.kind == Kind::SslDnField => Err(error(format!(
            "L7rule type {} needs to specify a key and a value.",
            rule.kind
        ))),
        None => Err(error("L7 rule type requires a key")),
        Some(key) if legal(key) => Ok(()),
        Some(_) => Err(error("Invalid characters in key")),
    }
}

fn check_value(rule: &L7Rule) -> Result<(), Fault> {
    let value = rule.value.as_str();
    if value.is_empty() || value.contains(['\r', '\n']) {
        return Err(error(
            "Invalid characters in value: it is empty or holds line breaks",
        ));
    }
    if rule.compare_type == Compare::Regex {
        return check_regex(value, rule.kind == Kind::HostName);
    }
    let legal = match rule.kind {
        Kind::HostName | Kind::Path | Kind::FileType | Kind::Header => is_value(value),
        Kind::Cookie => value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\";\\".contains(&byte)),
        Kind::SslConnHasCert => value.eq_ignore_ascii_case("true"),
        Kind::SslVerifyResult => value.bytes().all(|byte| byte.is_ascii_digit()),
        Kind::SslDnField => true,
    };
    if legal {
        Ok(())
    } else {
        Err(error(match rule.kind {
            Kind::SslConnHasCert => {
                format!("L7rule value {value} is not a boolean True string.")
            }
            Kind::SslVerifyResult => {
                format!("L7rule type {} needs a int value, which is >= 0", rule.kind)
            }
            _ => "Invalid characters in value".to_owned(),
        }))
    }
}

/// A regular expression that we can match in linear time. What only a backtracking engine can do is
/// a legal request that we cannot serve (501), the rest is an error of the client (400).
fn check_regex(value: &str, ignore_case: bool) -> Result<(), Fault> {
    let pattern = unquoted(value);
    if let Err(Trouble { legal, at, reason }) = pcre::check(pattern) {
        let told = format!("the regular expression, at character {at}: {reason}");
        return Err(if legal {
            Fault::not_implemented("value", value, told)
        } else {
            error(told)
        });
    }
    // As the proxy does: on bytes, with Unicode classes only where the pattern needs them.
    let build = |unicode| {
        regex::bytes::RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .unicode(unicode)
            .size_limit(REGEX_BYTES_MAX)
            .build()
    };
    let Err(failure) = build(false).or_else(|_bytes_only| build(true)) else {
        return Ok(());
    };
    if let regex::Error::CompiledTooBig(limit) = failure {
        let told = format!("the regular expression takes more than {limit} bytes compiled");
        return Err(Fault::not_implemented("value", value, told));
    }
    let text = failure.to_string();
    let reason = text.lines().last().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    Err(error(format!(
        "the regular expression is invalid: {reason}"
    )))
}

/// Printable ASCII without space, or anything printable in double quotes.
fn is_value(value: &str) -> bool {
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || (quoted && (byte == b' ' || byte == b'\t')))
}

/// HTTP token characters, and the comma that Octavia lets through.
fn is_token(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~,".contains(&byte))
}

fn is_dn_field(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn error(text: impl std::fmt::Display) -> Fault {
    Fault::invalid(format!("Error parsing L7Rule: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_quotes_are_quoting() {
        assert_eq!(unquoted("\"a b\""), "a b");
        assert_eq!(unquoted("a\"b"), "a\"b");
        assert_eq!(unquoted("\""), "\"");
        assert_eq!(unquoted("\"\""), "");
    }
}
