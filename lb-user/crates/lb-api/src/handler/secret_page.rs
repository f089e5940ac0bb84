//! Pages of the Key Manager API's lists: `offset` and `limit`, `total`, links to the neighbours.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::call::Call;

/// Items on a page when the client does not say (the Key Manager API's default).
const PAGE_ITEMS: usize = 10;
/// The same when the client says more.
const PAGE_ITEMS_MAX: usize = 100;

/// One page of `items` under `key`.
pub(super) fn page(call: &Call, key: &str, items: Vec<Value>) -> Response {
    let number = |name| {
        call.argument(name)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let offset = number("offset").unwrap_or(0);
    let limit = number("limit").unwrap_or(PAGE_ITEMS).min(PAGE_ITEMS_MAX);
    let total = items.len();
    let link = |offset: usize| {
        let mut link = format!("{}?limit={limit}&offset={offset}", call.url());
        for (name, value) in call.query() {
            if name != "limit" && name != "offset" && is_plain(name) && is_plain(value) {
                link.push_str(&format!("&{name}={value}"));
            }
        }
        link
    };
    let mut body = json!({"total": total});
    if let Value::Object(map) = &mut body {
        if offset.saturating_add(limit) < total && limit > 0 {
            map.insert("next".to_owned(), json!(link(offset + limit)));
        }
        if offset > 0 {
            map.insert(
                "previous".to_owned(),
                json!(link(offset.saturating_sub(limit))),
            );
        }
        let page: Vec<Value> = items.into_iter().skip(offset).take(limit).collect();
        map.insert(key.to_owned(), Value::Array(page));
    }
    Json(body).into_response()
}

/// What stands in a link as it is.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte))
}
