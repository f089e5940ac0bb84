//! An operator's own rules: YAML (of which JSON is a part), names to rules.

use std::collections::BTreeMap;

use serde_norway::Value;

use crate::{
    check::Check,
    error::PolicyError,
    parse::{self, Wrong},
};

/// Largest policy file.
pub const FILE_BYTES_MAX: usize = 256 << 10;
/// Most rules in it.
const RULES_MAX: usize = 1024;

/// The rules of a file, each parsed.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Check<String>>, PolicyError> {
    let too_large = |what: &str, max, unit| PolicyError::TooLarge {
        what: what.to_owned(),
        max,
        unit,
    };
    if text.len() > FILE_BYTES_MAX {
        return Err(too_large("the policy file", FILE_BYTES_MAX, "bytes"));
    }
    let form = |error: serde_norway::Error| PolicyError::Form(error.to_string());
    let document: Value = serde_norway::from_str(text).map_err(form)?;
    let rules: BTreeMap<String, Value> = match document {
        Value::Null => BTreeMap::new(),
        other => serde_norway::from_value(other).map_err(form)?,
    };
    if rules.len() > RULES_MAX {
        return Err(too_large("the policy file", RULES_MAX, "rules"));
    }
    rules
        .into_iter()
        .map(|(name, rule)| {
            let check = value(&rule).map_err(|wrong| named(&name, wrong))?;
            Ok((name, check))
        })
        .collect()
}

/// What is wrong, with the rule's name.
pub(crate) fn named(rule: &str, wrong: Wrong) -> PolicyError {
    let rule = rule.to_owned();
    match wrong {
        Wrong::Syntax(why) => PolicyError::Syntax { rule, why },
        Wrong::Kind(kind) => PolicyError::UnknownKind { rule, kind },
    }
}

fn value(rule: &Value) -> Result<Check<String>, Wrong> {
    let form =
        || Wrong::Syntax("must be a text, or a list of texts and of lists of texts".to_owned());
    let single = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(form);
    match rule {
        Value::String(text) => parse::text(text),
        Value::Sequence(items) => {
            let items = items
                .iter()
                .map(|item| match item {
                    Value::Sequence(inner) => inner.iter().map(single).collect(),
                    other => Ok(vec![single(other)?]),
                })
                .collect::<Result<Vec<Vec<String>>, Wrong>>()?;
            parse::list(&items)
        }
        _ => Err(form()),
    }
}
