//! Lists: the query string understood, the page's links, field selection (contract section 5).
//! Filtering, sorting and paging are lb-store's, in SQL.
//!
//! Better than Octavia on purpose: links keep filters and fields, `page_reverse` gives the page next
//! to the marker, and there is a `next` link only when something follows. A link always names a number
//! as its limit, so that it can be followed.

use std::fmt::Write as _;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use lb_model::render::LoadBalancerDocument;
use lb_store::{
    Direction, ListError, ListQuery, Page, Resource, Rows, ShownLoadBalancer, ShownPage, TagFilter,
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{call::Call, error::ApiError, state::ApiState};

/// Keys that are no filters.
pub(crate) const ARGUMENTS: &[&str] = &[
    "limit",
    "marker",
    "page_reverse",
    "sort",
    "sort_key",
    "sort_dir",
    "fields",
    "tags",
    "tags-any",
    "not-tags",
    "not-tags-any",
];

/// Most tags in one argument, and most keys to sort by: each becomes a part of the statement.
const TAGS_MAX: usize = 100;
const SORT_KEYS_MAX: usize = 16;

/// A list as the store answered it.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) page: Page,
    frame: Frame,
}

/// Bytes of a load balancer in a list, roughly.
const SHOWN_BYTES: usize = 1_280;

/// Load balancers as the store answered them.
#[derive(Debug)]
pub(crate) struct LoadBalancerListing {
    page: ShownPage,
    frame: Frame,
}

/// Where a page stands, which is what its links are made of.
#[derive(Debug)]
pub(crate) struct Frame {
    limit: u32,
    has_marker: bool,
    reverse: bool,
    base: Option<String>,
    paged: bool,
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(error) => error.into(),
            request => Self::invalid(format!("{request}.")),
        }
    }
}

impl ApiState {
    /// Runs the list that a call asks for, of `project` alone when there is one (see
    /// [`ApiState::authorize_list`]).
    pub(crate) async fn list(
        &self,
        call: &Call,
        resource: Resource,
        project: Option<String>,
    ) -> Result<Listing, ApiError> {
        let (query, frame) = self.rows_query(call, resource, project)?;
        let page = self.store().list(&query).await?;
        Ok(Listing { page, frame })
    }

    /// The same of load balancers.
    pub(crate) async fn list_load_balancers(
        &self,
        call: &Call,
        project: Option<String>,
    ) -> Result<LoadBalancerListing, ApiError> {
        let (query, frame) = self.rows_query(call, Resource::LoadBalancer, project)?;
        let page = self.store().shown_load_balancers(&query).await?;
        Ok(LoadBalancerListing { page, frame })
    }

    /// The list that a call asks for, for whoever runs it.
    pub(crate) fn rows_query(
        &self,
        call: &Call,
        resource: Resource,
        project: Option<String>,
    ) -> Result<(ListQuery, Frame), ApiError> {
        let (limit, mut query) = self.list_query(call, resource)?;
        query.project_id = project;
        let frame = Frame {
            base: self.config().front.api_base_uri.clone(),
            paged: self.config().front.listing.pagination,
            limit,
            has_marker: query.marker.is_some(),
            reverse: query.page_reverse,
        };
        Ok((query, frame))
    }

    /// The arguments understood. Those that the operator switched off are not looked at.
    fn list_query(&self, call: &Call, resource: Resource) -> Result<(u32, ListQuery), ApiError> {
        let on = self.config().front.listing;
        let mut query = ListQuery::all(resource);
        let mut items = self.config().page_items_max;
        if on.pagination {
            items = limit(call, items)?;
            query.marker = marker(call, resource)?;
            query.page_reverse = call.argument("page_reverse") == Some("True");
            query.limit = Some(items);
        }
        if on.filtering {
            query.filters = filters(call)?;
            query.tags = tags(call)?;
        }
        if on.sorting {
            query.sort = sort(call)?;
        }
        Ok((items, query))
    }
}

impl Listing {
    /// The answer: the rendered objects under `plural`, and the links beside them.
    pub(crate) fn answer(
        &self,
        call: &Call,
        plural: &str,
        views: impl Iterator<Item = impl Serialize>,
    ) -> Response {
        let ids = &self.page.ids;
        let ends = (
            ids.first().map(ToString::to_string),
            ids.last().map(ToString::to_string),
        );
        let keys = [plural, &format!("{plural}_links")];
        self.frame.answer(call, keys, views, ends, self.page.more)
    }
}

impl LoadBalancerListing {
    /// The answer, as [`Listing::answer`].
    pub(crate) fn answer(&self, call: &Call) -> Response {
        const KEYS: [&str; 2] = ["loadbalancers", "loadbalancers_links"];
        let shown = || self.page.load_balancers();
        let ends = (
            shown().next().map(|one| one.id()),
            shown().next_back().map(|one| one.id()),
        );
        if !Fields::of(call).is_everything() {
            let views = shown().map(Shown);
            return self.frame.answer(call, KEYS, views, ends, self.page.more);
        }
        let links = self.frame.links(call, ends, self.page.more);
        let mut body = Vec::with_capacity(SHOWN_BYTES * (self.page.len() + 1));
        body.extend_from_slice(b"{\"loadbalancers\":[");
        for (number, one) in shown().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            Shown(one).write(&mut body);
        }
        body.extend_from_slice(b"],\"loadbalancers_links\":");
        body.extend_from_slice(Value::Array(links).to_string().as_bytes());
        body.push(b'}');
        json_body(body)
    }
}

/// An answer of JSON text.
pub(crate) fn json_body(body: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// A load balancer as it is shown, written without being understood where it can be.
pub(crate) struct Shown<'p>(pub(crate) ShownLoadBalancer<'p>);

impl Shown<'_> {
    /// Appends it to a body.
    pub(crate) fn write(&self, body: &mut Vec<u8>) {
        match self.0 {
            ShownLoadBalancer::Packed(packed) => packed.write(body),
            ShownLoadBalancer::View(view) => {
                // Nothing in it can fail to be written: no maps with odd keys, no numbers that JSON
                // has not.
                let document = LoadBalancerDocument::from(view);
                let text = serde_json::to_vec(&document).unwrap_or_default();
                body.extend_from_slice(&text);
            }
        }
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::new();
        self.write(&mut text);
        let value: Value = serde_json::from_slice(&text).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl Frame {
    /// The answer of a list of rows; `keys` are those of the list and of its links.
    pub(crate) fn rows<T>(
        &self,
        call: &Call,
        rows: &Rows<T>,
        keys: [&str; 2],
        views: impl Iterator<Item = Value>,
    ) -> Response {
        let key = |item: Option<&(String, T)>| item.map(|(key, _)| key.clone());
        let ends = (key(rows.items.first()), key(rows.items.last()));
        self.answer(call, keys, views, ends, rows.more)
    }

    fn answer(
        &self,
        call: &Call,
        [list, links]: [&str; 2],
        views: impl Iterator<Item = impl Serialize>,
        ends: (Option<String>, Option<String>),
        more: bool,
    ) -> Response {
        let fields = Fields::of(call);
        let body = ListBody {
            list: (list, views.map(|view| fields.select(view)).collect()),
            links: (links, self.links(call, ends, more)),
        };
        Json(body).into_response()
    }

    fn links(
        &self,
        call: &Call,
        (first, last): (Option<String>, Option<String>),
        more: bool,
    ) -> Vec<Value> {
        if !self.paged {
            return Vec::new();
        }
        let (next, previous) = if self.reverse {
            (self.has_marker, more)
        } else {
            (more, self.has_marker)
        };
        let mut links = Vec::new();
        if let Some(last) = last.filter(|_| next) {
            links.push(json!({"rel": "next", "href": self.href(call, &last, false)}));
        }
        if let Some(first) = first.filter(|_| previous) {
            links.push(json!({"rel": "previous", "href": self.href(call, &first, true)}));
        }
        links
    }

    /// The client's own URL with another marker: everything else it asked for stays.
    fn href(&self, call: &Call, marker: &str, reverse: bool) -> String {
        let origin = self.base.as_deref().map(|base| base.trim_end_matches('/'));
        let origin = origin.unwrap_or(call.origin());
        let mut href = format!("{origin}{}?limit={}", call.path(), self.limit);
        for (key, value) in call.query() {
            if !matches!(key.as_str(), "limit" | "marker" | "page_reverse") {
                href.push('&');
                encode(&mut href, key);
                href.push('=');
                encode(&mut href, value);
            }
        }
        href.push_str("&marker=");
        encode(&mut href, marker);
        if reverse {
            href.push_str("&page_reverse=True");
        }
        href
    }
}

/// The answer of a list.
struct ListBody<'k, V> {
    list: (&'k str, Vec<Selected<V>>),
    links: (&'k str, Vec<Value>),
}

impl<V: Serialize> Serialize for ListBody<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.list.0, &self.list.1)?;
        map.serialize_entry(self.links.0, &self.links.1)?;
        map.end()
    }
}

/// What `?fields=` asks for; nothing: everything.
#[derive(Debug)]
pub(crate) struct Fields(Vec<String>);

/// An object, whole or as far as it was asked for.
#[derive(Debug)]
pub(crate) enum Selected<V> {
    Whole(V),
    Part(Value),
}

impl<V: Serialize> Serialize for Selected<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(view) => view.serialize(serializer),
            Self::Part(view) => view.serialize(serializer),
        }
    }
}

impl Fields {
    /// Whether everything is shown.
    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn of(call: &Call) -> Self {
        Self(if call.selects() {
            values(call, "fields")
        } else {
            Vec::new()
        })
    }

    /// The object with the fields that were asked for. Unknown names are ignored.
    pub(crate) fn select<V: Serialize>(&self, view: V) -> Selected<V> {
        if self.0.is_empty() {
            return Selected::Whole(view);
        }
        // What is no object stays as it is; a view that cannot be written cannot be shown either.
        match serde_json::to_value(&view) {
            Ok(Value::Object(map)) => Selected::Part(Value::Object(
                map.into_iter()
                    .filter(|(key, _)| self.0.contains(key))
                    .collect(),
            )),
            _other => Selected::Whole(view),
        }
    }
}

/// The object with the fields that `?fields=` asks for.
pub(crate) fn select(call: &Call, view: Value) -> Value {
    match Fields::of(call).select(view) {
        Selected::Whole(view) | Selected::Part(view) => view,
    }
}

/// `key=a,b` and `key=a&key=b` alike.
fn values(call: &Call, key: &str) -> Vec<String> {
    call.query()
        .iter()
        .filter(|(name, _)| name == key)
        .flat_map(|(_, value)| value.split(','))
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn filters(call: &Call) -> Result<Vec<(String, String)>, ApiError> {
    let mut filters: Vec<(String, String)> = Vec::new();
    for (key, value) in call.query() {
        if ARGUMENTS.contains(&key.as_str()) {
            continue;
        }
        if filters.iter().any(|(known, _)| known == key) {
            return Err(ApiError::invalid(format!(
                "Filter '{key}' is given more than once."
            )));
        }
        filters.push((key.clone(), value.clone()));
    }
    Ok(filters)
}

fn tags(call: &Call) -> Result<Vec<TagFilter>, ApiError> {
    for key in ["tags", "tags-any", "not-tags", "not-tags-any"] {
        if values(call, key).len() > TAGS_MAX {
            return Err(ApiError::invalid(format!(
                "More than {TAGS_MAX} values for '{key}'."
            )));
        }
    }
    let given = |key: &str| Some(values(call, key)).filter(|tags| !tags.is_empty());
    let filters = [
        given("tags").map(TagFilter::All),
        given("tags-any").map(TagFilter::Any),
        given("not-tags").map(TagFilter::NotAll),
        given("not-tags-any").map(TagFilter::NotAny),
    ];
    Ok(filters.into_iter().flatten().collect())
}

/// `sort=key:dir,…`, else `sort_key=…&sort_dir=…`.
fn sort(call: &Call) -> Result<Vec<(String, Direction)>, ApiError> {
    let keys: Vec<(String, Option<String>)> = if call.argument("sort").is_some() {
        let parts = values(call, "sort").into_iter();
        parts
            .map(|part| match part.split_once(':') {
                Some((key, direction)) => (key.to_owned(), Some(direction.to_owned())),
                None => (part, None),
            })
            .collect()
    } else {
        let mut directions = values(call, "sort_dir").into_iter();
        let keys = values(call, "sort_key").into_iter();
        keys.map(|key| (key, directions.next())).collect()
    };
    if keys.len() > SORT_KEYS_MAX {
        return Err(ApiError::invalid(format!(
            "More than {SORT_KEYS_MAX} keys to sort by."
        )));
    }
    keys.into_iter()
        .map(|(key, direction)| match direction.as_deref() {
            None | Some("asc") => Ok((key, Direction::Asc)),
            Some("desc") => Ok((key, Direction::Desc)),
            Some(other) => Err(ApiError::router(
                StatusCode::BAD_REQUEST,
                format!("Sort direction '{other}' is neither asc nor desc."),
            )),
        })
        .collect()
}

fn limit(call: &Call, items_max: u32) -> Result<u32, ApiError> {
    match call.argument("limit") {
        None | Some("infinite") => Ok(items_max),
        Some(text) => match text.parse::<i64>() {
            Ok(limit) if limit < 1 => Ok(items_max),
            Ok(limit) => Ok(u32::try_from(limit).unwrap_or(items_max).min(items_max)),
            Err(_not_a_number) => Err(ApiError::router(
                StatusCode::BAD_REQUEST,
                format!("limit '{text}' is not an integer."),
            )),
        },
    }
}

/// A marker is an id, but where objects are known by a name.
fn marker(call: &Call, resource: Resource) -> Result<Option<String>, ApiError> {
    let text = call.argument("marker");
    if matches!(resource, Resource::Quota | Resource::AvailabilityZone) {
        return Ok(text.map(str::to_owned));
    }
    let id = text.map(str::parse::<Uuid>).transpose();
    id.map(|id| id.map(|id| id.to_string()))
        .map_err(|_not_a_uuid| ApiError::invalid("The marker is not the id of an object."))
}

/// Percent-encoding of everything outside RFC 3986's unreserved characters, `,` and `:`.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
}
