//! Lists of the Network API: Neutron's filters, `fields`, `limit` and `marker`.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{
    call::{Call, loose_bool},
    error::ApiError,
    listing::{ARGUMENTS, select},
};

/// One page in the making: items are offered in their order until it is full.
#[derive(Debug)]
pub(super) struct Offer<'c> {
    call: &'c Call,
    limit: usize,
    /// Nothing is taken until the item with this id has gone by.
    marker: Option<&'c str>,
    page: Vec<Value>,
    has_more: bool,
}

impl<'c> Offer<'c> {
    /// An empty page of at most `most` items.
    pub(super) fn new(call: &'c Call, most: u32) -> Result<Self, ApiError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let limit = match call.argument("limit") {
            None | Some("infinite") => most,
            Some(text) => match text.parse::<i64>() {
                Ok(limit) if limit > 0 => usize::try_from(limit).unwrap_or(most).min(most),
                Ok(_) => most,
                Err(_no_number) => {
                    return Err(ApiError::invalid(format!(
                        "Invalid input for limit: '{text}' is no number."
                    )));
                }
            },
        };
        Ok(Self {
            call,
            limit,
            marker: call.argument("marker"),
            page: Vec::new(),
            has_more: false,
        })
    }

    /// Takes an item that the filters let through; `false`: the page is full.
    pub(super) fn take(&mut self, view: Value) -> bool {
        if let Some(marker) = self.marker {
            if view.get("id").and_then(Value::as_str) == Some(marker) {
                self.marker = None;
            }
            return true;
        }
        if !passes(self.call, &view) {
            return true;
        }
        if self.page.len() >= self.limit {
            self.has_more = true;
            return false;
        }
        self.page.push(view);
        true
    }

    /// The answer, with a link to the next page when there is one.
    pub(super) fn answer(self, plural: &str) -> Result<Response, ApiError> {
        if let Some(marker) = self.marker {
            return Err(ApiError::invalid(format!("Marker {marker} was not found.")));
        }
        let last = self.page.last().and_then(|view| view.get("id")).cloned();
        let next = last.filter(|_| self.has_more);
        let call = self.call;
        let items: Vec<Value> = self
            .page
            .into_iter()
            .map(|view| select(call, view))
            .collect();
        let mut answer = json!({plural: items});
        if let (Some(next), Some(object)) = (next, answer.as_object_mut()) {
            let href = next_link(call, next.as_str().unwrap_or_default(), self.limit);
            object.insert(
                format!("{plural}_links"),
                json!([{"rel": "next", "href": href}]),
            );
        }
        Ok(Json(answer).into_response())
    }
}

fn next_link(call: &Call, marker: &str, limit: usize) -> String {
    let kept = call
        .query()
        .iter()
        .filter(|(key, _)| key != "marker" && key != "limit");
    let kept = kept.map(|(key, value)| (key.as_str(), value.as_str()));
    let limit = limit.to_string();
    let all = kept.chain([("limit", limit.as_str()), ("marker", marker)]);
    let query: Vec<String> = all
        .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
        .collect();
    format!("{}?{}", call.url(), query.join("&"))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Whether the call's filters let an object through. As in Neutron, a key given twice means either
/// value.
fn passes(call: &Call, view: &Value) -> bool {
    let is_filter = |key: &str| !ARGUMENTS.contains(&key);
    let filters = call.query().iter().filter(|(key, _)| is_filter(key));
    let filters: Vec<_> = filters.collect();
    filters.iter().all(|(key, _)| {
        filters
            .iter()
            .any(|(other, value)| other == key && matches(view.get(key), value))
    })
}

/// Whether a field is as a filter wants it; lists match by any element, `k=v` by its keys.
fn matches(field: Option<&Value>, wanted: &str) -> bool {
    match field {
        Some(Value::String(text)) => text.eq_ignore_ascii_case(wanted),
        Some(Value::Bool(value)) => loose_bool(wanted) == Some(*value),
        Some(Value::Number(number)) => number.to_string() == wanted,
        Some(Value::Array(items)) => items.iter().any(|item| matches(Some(item), wanted)),
        Some(Value::Object(map)) => wanted
            .split_once('=')
            .is_some_and(|(key, value)| matches(map.get(key), value)),
        Some(Value::Null) | None => false,
    }
}
