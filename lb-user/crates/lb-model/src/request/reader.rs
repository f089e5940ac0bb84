//! Reads one JSON object field by field and refuses what is left over.
//!
//! Invariants: never panics, whatever the JSON; every refusal is a 400 that names the field.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    ops::RangeInclusive,
    str::FromStr,
};

use ipnet::IpNet;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Given,
    outline::{Kind, note},
};
use crate::{
    defaults::TEXT_MAX,
    enums::UnknownValue,
    fault::{Fault, unknown_value},
};

/// Longest part of a bad value that a fault repeats, in characters.
const ECHO_MAX: usize = 80;

/// One JSON object under reading.
#[derive(Debug)]
pub struct Reader<'a> {
    what: &'static str,
    fields: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// The object under the root key `what`; nothing else may be beside it.
    pub fn envelope(body: &'a Value, what: &'static str) -> Result<Self, Fault> {
        let root = body.as_object().ok_or_else(|| {
            Fault::invalid(format!(
                "The request body must be a JSON object with the key '{what}'."
            ))
        })?;
        let inner = root.get(what).ok_or_else(|| missing(what))?;
        if let Some(other) = root.keys().find(|key| *key != what) {
            return Err(unknown_attribute("the request body", other));
        }
        Self::object(inner, what)
    }

    /// The fields of `value`, which is called `what` in faults.
    pub fn object(value: &'a Value, what: &'static str) -> Result<Self, Fault> {
        let fields = value
            .as_object()
            .ok_or_else(|| wrong(what, value, "Value should be an object."))?;
        Ok(Self {
            what,
            fields,
            taken: Vec::new(),
        })
    }

    /// Names of the keys that are in the object.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.fields.keys().map(String::as_str)
    }

    /// The raw value.
    pub fn raw(&mut self, key: &'static str) -> Given<&'a Value> {
        note(self.what, key, || Kind::Any);
        self.taken.push(key);
        match self.fields.get(key) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(value) => Given::Value(value),
        }
    }

    /// A string of at most `max` characters.
    pub fn string(&mut self, key: &'static str, max: usize) -> Result<Given<String>, Fault> {
        note(self.what, key, || Kind::Text { chars_max: max });
        self.raw(key)
            .try_map(|value| string(key, value, max).map(str::to_owned))
    }

    /// A string of at most 255 characters.
    pub fn text(&mut self, key: &'static str) -> Result<Given<String>, Fault> {
        self.string(key, TEXT_MAX)
    }

    /// An integer in a range; a numeric string will do.
    pub fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Given<i64>, Fault> {
        note(self.what, key, || Kind::Integer {
            min: *range.start(),
            max: *range.end(),
        });
        self.raw(key).try_map(|value| {
            let number = match value {
                Value::Number(number) => number.as_i64(),
                Value::String(text) => text.trim().parse().ok(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            let number = number.ok_or_else(|| wrong(key, value, "Value should be an integer."))?;
            let reason = if number < *range.start() {
                format!("Value should be greater or equal to {}", range.start())
            } else if number > *range.end() {
                format!("Value should be lower or equal to {}", range.end())
            } else {
                return Ok(number);
            };
            Err(wrong(key, value, reason))
        })
    }

    /// An integer in a range that fits `T`.
    pub fn number<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Given<T>, Fault> {
        self.integer(key, range)?.try_map(|number| {
            T::try_from(number)
                .map_err(|_too_large| Fault::option(key, number, "Value is out of range."))
        })
    }

    /// A boolean in JSON, or one of the words that Octavia takes for one.
    pub fn boolean(&mut self, key: &'static str) -> Result<Given<bool>, Fault> {
        note(self.what, key, || Kind::Boolean);
        self.raw(key).try_map(|value| {
            loose_boolean(value).ok_or_else(|| wrong(key, value, "Value should be a boolean."))
        })
    }

    /// A value of an enumeration, in its exact spelling.
    pub fn choice<T: FromStr<Err = UnknownValue>>(
        &mut self,
        key: &'static str,
    ) -> Result<Given<T>, Fault> {
        note(self.what, key, || Kind::Choice(choices::<T>()));
        self.raw(key).try_map(|value| {
            string(key, value, TEXT_MAX)?
                .parse()
                .map_err(|error| unknown_value(key, &error))
        })
    }

    /// A UUID, with dashes or without.
    pub fn uuid<T: From<Uuid>>(&mut self, key: &'static str) -> Result<Given<T>, Fault> {
        note(self.what, key, || Kind::Uuid);
        self.raw(key).try_map(|value| uuid(key, value))
    }

    /// An IPv4 or IPv6 address, or [`crate::written::WrittenAddr`].
    pub fn address<T: FromStr>(&mut self, key: &'static str) -> Result<Given<T>, Fault> {
        note(self.what, key, || Kind::Address);
        self.raw(key).try_map(|value| {
            string(key, value, TEXT_MAX)?
                .parse()
                .map_err(|_not_an_address| wrong(key, value, "Value should be IPv4 or IPv6 format"))
        })
    }

    /// A list.
    pub fn list(&mut self, key: &'static str) -> Result<Given<&'a [Value]>, Fault> {
        note(self.what, key, || Kind::List);
        self.raw(key).try_map(|value| {
            value
                .as_array()
                .map(Vec::as_slice)
                .ok_or_else(|| wrong(key, value, "Value should be a list."))
        })
    }

    /// A list of strings of at most 255 characters.
    pub fn texts(&mut self, key: &'static str) -> Result<Given<Vec<String>>, Fault> {
        note(self.what, key, || Kind::Texts);
        self.list(key)?.try_map(|items| {
            items
                .iter()
                .map(|item| string(key, item, TEXT_MAX).map(str::to_owned))
                .collect()
        })
    }

    /// `tags`, without duplicates.
    pub fn tags(&mut self) -> Result<Given<Vec<String>>, Fault> {
        Ok(self.texts("tags")?.map(|tags| {
            let mut seen = HashSet::with_capacity(tags.len());
            tags.into_iter()
                .filter(|tag| seen.insert(tag.clone()))
                .collect()
        }))
    }

    /// A list of CIDRs: host bits are masked off, duplicates collapse.
    pub fn cidrs(&mut self, key: &'static str) -> Result<Given<Vec<IpNet>>, Fault> {
        note(self.what, key, || Kind::Cidrs);
        self.list(key)?.try_map(|items| {
            let mut seen = HashSet::with_capacity(items.len());
            let nets: Vec<IpNet> = items
                .iter()
                .map(|item| cidr(key, item))
                .collect::<Result<_, _>>()?;
            Ok(nets.into_iter().filter(|net| seen.insert(*net)).collect())
        })
    }

    /// A map from strings to strings.
    pub fn text_map(
        &mut self,
        key: &'static str,
    ) -> Result<Given<BTreeMap<String, String>>, Fault> {
        note(self.what, key, || Kind::TextMap);
        self.raw(key).try_map(|value| {
            let map = value
                .as_object()
                .ok_or_else(|| wrong(key, value, "Value should be an object."))?;
            map.iter()
                .map(|(name, item)| Ok((name.clone(), string(key, item, TEXT_MAX)?.to_owned())))
                .collect()
        })
    }

    /// Refuses a field that may only stand inside a single-call create.
    pub fn only_in_tree(&mut self, key: &'static str) -> Result<(), Fault> {
        match self.raw(key) {
            Given::Absent | Given::Null => Ok(()),
            Given::Value(value) if value.as_array().is_some_and(Vec::is_empty) => Ok(()),
            Given::Value(_) => Err(Fault::invalid(format!(
                "{key} of a {} can only be given when the load balancer is created in one call.",
                self.what
            ))),
        }
    }

    /// Refuses the first key nobody asked for.
    pub fn finish(self) -> Result<(), Fault> {
        match self
            .fields
            .keys()
            .find(|key| !self.taken.contains(&key.as_str()))
        {
            Some(key) => Err(unknown_attribute(self.what, key)),
            None => Ok(()),
        }
    }
}

/// The values that an enumeration names when it refuses one.
fn choices<T: FromStr<Err = UnknownValue>>() -> Vec<String> {
    match T::from_str("") {
        Ok(_never_empty) => Vec::new(),
        Err(unknown) => unknown.allowed.split(", ").map(str::to_owned).collect(),
    }
}

/// The value of a mandatory field.
pub fn required<T>(key: &'static str, given: Given<T>) -> Result<T, Fault> {
    given.into_value().ok_or_else(|| missing(key))
}

/// Refuses null where a field has no "cleared" state.
pub fn not_null<T>(key: &'static str, given: &Given<T>) -> Result<(), Fault> {
    match given {
        Given::Null => Err(Fault::not_an_option("None", key)),
        Given::Absent | Given::Value(_) => Ok(()),
    }
}

fn missing(key: &str) -> Fault {
    Fault::option(key, "None", "Mandatory field missing.")
}

fn unknown_attribute(what: &str, key: &str) -> Fault {
    Fault::invalid(format!(
        "Unknown attribute for argument {what}: {}",
        shorten(key)
    ))
}

fn wrong(key: &str, value: &Value, reason: impl Into<String>) -> Fault {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Fault::option(key, shorten(&text), reason)
}

pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(ECHO_MAX).collect()
}

fn string<'a>(key: &str, value: &'a Value, max: usize) -> Result<&'a str, Fault> {
    let text = value
        .as_str()
        .ok_or_else(|| wrong(key, value, "Value should be string"))?;
    if text.chars().count() > max {
        let reason = format!("Value should have a maximum character requirement of {max}");
        return Err(wrong(key, value, reason));
    }
    Ok(text)
}

fn uuid<T: From<Uuid>>(key: &str, value: &Value) -> Result<T, Fault> {
    let text = string(key, value, TEXT_MAX)?;
    // The parser also takes braces and `urn:uuid:`, which the contract does not know.
    let parsed = match text.len() {
        32 | 36 => Uuid::try_parse(text).ok(),
        _ => None,
    };
    parsed
        .map(T::from)
        .ok_or_else(|| wrong(key, value, "Value should be UUID format"))
}

fn cidr(key: &str, value: &Value) -> Result<IpNet, Fault> {
    let text = string(key, value, TEXT_MAX)?;
    let net = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| net.trunc())
        .ok_or_else(|| wrong(key, value, "Value should be IPv4 or IPv6 CIDR format"))
}

/// A boolean, or a word that Octavia takes for one.
fn loose_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => boolean_word(text),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The truth of a word in a body or a query string; `None`: it is no boolean.
#[must_use]
pub fn boolean_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}
