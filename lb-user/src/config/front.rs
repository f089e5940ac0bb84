//! The API's front door: keys of `[api]` with Octavia's names where it has them, and section `[cors]`.

use std::{fmt, time::Duration};

use lb_api::{
    BODY_BYTES_MAX, FrontDoor, JSON_DEPTH_MAX, JSON_ITEMS_MAX, ListSwitches, MOUNT_PREFIX,
    PAGE_ITEMS_MAX, SETTLE_WAIT,
};

use super::{ConfigError, reader::Section};

/// Smallest body that every request of one object fits in.
const BODY_BYTES_MIN: u64 = 16 << 10;
const BODY_BYTES_CEILING: u64 = 64 << 20;
const PAGE_ITEMS_CEILING: u64 = 10_000;
/// serde_json stops at 128 levels by itself.
const JSON_DEPTH_CEILING: u64 = 100;
const JSON_DEPTH_MIN: u64 = 12;
const SETTLE_WAIT_CEILING_MS: u64 = 60_000;

/// Everything about requests as such.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) door: FrontDoor,
    pub(crate) body_bytes_max: usize,
    pub(crate) page_items_max: u32,
    pub(crate) settle_wait: Duration,
}

impl Front {
    /// Reads its keys of `[api]`, which others read further.
    pub(super) fn read(api: &mut Section) -> Result<Self, ConfigError> {
        let mount_prefix = mount_prefix(api)?;
        let api_base_uri = api_base_uri(api)?;
        let switch = |api: &mut Section, key, default| -> Result<bool, ConfigError> {
            Ok(api.boolean(key)?.unwrap_or(default))
        };
        let listing = ListSwitches {
            pagination: switch(api, "allow_pagination", true)?,
            sorting: switch(api, "allow_sorting", true)?,
            filtering: switch(api, "allow_filtering", true)?,
            field_selection: switch(api, "allow_field_selection", true)?,
        };
        let door = FrontDoor {
            mount_prefix,
            api_base_uri,
            trusts_proxy_headers: switch(api, "enable_proxy_headers_parsing", false)?,
            healthcheck: switch(api, "healthcheck_enabled", true)?,
            allowed_origins: Vec::new(),
            json_depth_max: size(
                api,
                "json_depth_max",
                JSON_DEPTH_MIN..=JSON_DEPTH_CEILING,
                JSON_DEPTH_MAX,
            )?,
            json_items_max: size(api, "json_items_max", 1..=1_000_000, JSON_ITEMS_MAX)?,
            listing,
        };
        let body_bytes_max = size(
            api,
            "max_request_body_size",
            BODY_BYTES_MIN..=BODY_BYTES_CEILING,
            BODY_BYTES_MAX,
        )?;
        let page_items = api.integer("pagination_max_limit", 1..=PAGE_ITEMS_CEILING)?;
        let settle_wait = api.integer("settle_wait_ms", 0..=SETTLE_WAIT_CEILING_MS)?;
        Ok(Self {
            door,
            body_bytes_max,
            page_items_max: page_items
                .and_then(|items| u32::try_from(items).ok())
                .unwrap_or(PAGE_ITEMS_MAX),
            settle_wait: settle_wait.map_or(SETTLE_WAIT, Duration::from_millis),
        })
    }

    /// Section `[cors]`.
    pub(super) fn read_cors(&mut self, mut cors: Section) -> Result<(), ConfigError> {
        let expected = "origins such as \"https://horizon.example\", or \"*\"";
        let origins: Vec<String> = cors.list("allowed_origin", expected)?;
        if let Some(bad) = origins.iter().find(|origin| !is_origin(origin)) {
            let fix = format!("must be a list of {expected}");
            return Err(cors.wrong("allowed_origin", Some(format!("{bad:?}")), fix));
        }
        self.door.allowed_origins = origins;
        cors.finish()
    }

    /// Its keys of `[api]`, as a file would have them.
    pub(super) fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let door = &self.door;
        writeln!(
            out,
            "mount_prefix = {:?}  # a second place of every path; \"\": none",
            door.mount_prefix
        )?;
        match &door.api_base_uri {
            Some(uri) => writeln!(out, "api_base_uri = {uri:?}  # in pagination links")?,
            None => writeln!(
                out,
                "# api_base_uri = \"https://…\"  # in pagination links; default: the request's"
            )?,
        }
        writeln!(
            out,
            "enable_proxy_headers_parsing = {}  # only behind a proxy that sets X-Forwarded-*",
            door.trusts_proxy_headers
        )?;
        writeln!(out, "healthcheck_enabled = {}", door.healthcheck)?;
        writeln!(
            out,
            "max_request_body_size = {}  # bytes",
            self.body_bytes_max
        )?;
        writeln!(out, "json_depth_max = {}", door.json_depth_max)?;
        writeln!(out, "json_items_max = {}", door.json_items_max)?;
        writeln!(out, "pagination_max_limit = {}", self.page_items_max)?;
        writeln!(
            out,
            "settle_wait_ms = {}  # how long a request waits for PENDING_* before 409",
            self.settle_wait.as_millis()
        )?;
        let listing = &door.listing;
        writeln!(out, "allow_pagination = {}", listing.pagination)?;
        writeln!(out, "allow_sorting = {}", listing.sorting)?;
        writeln!(out, "allow_filtering = {}", listing.filtering)?;
        writeln!(out, "allow_field_selection = {}", listing.field_selection)
    }

    /// Section `[cors]`, as a file would have it.
    pub(super) fn write_cors(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let origins = &self.door.allowed_origins;
        writeln!(
            out,
            "\n[cors]\nallowed_origin = {origins:?}  # pages that may call the API"
        )
    }
}

fn mount_prefix(api: &mut Section) -> Result<String, ConfigError> {
    let prefix: Option<String> = api.parsed("mount_prefix", "a path such as \"/load-balancer\"")?;
    let prefix = prefix.unwrap_or_else(|| MOUNT_PREFIX.to_owned());
    let prefix = prefix.trim_end_matches('/').to_owned();
    let is_path = prefix.is_empty()
        || (prefix.starts_with('/')
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte)));
    let is_ours = ["/v1", "/v2", "/v2.0"]
        .iter()
        .any(|ours| prefix == *ours || prefix.starts_with(&format!("{ours}/")));
    if is_path && !is_ours {
        return Ok(prefix);
    }
    Err(api.wrong(
        "mount_prefix",
        Some(format!("{prefix:?}")),
        "must be a path such as \"/load-balancer\" that does not begin with a version, or empty",
    ))
}

fn api_base_uri(api: &mut Section) -> Result<Option<String>, ConfigError> {
    let expected = "a URL such as \"https://cloud.example:9876\"";
    let uri: Option<String> = api.parsed("api_base_uri", expected)?;
    match uri {
        Some(uri) if !is_origin(uri.trim_end_matches('/')) => Err(api.wrong(
            "api_base_uri",
            Some(format!("{uri:?}")),
            format!("must be {expected}"),
        )),
        other => Ok(other.filter(|uri| uri != "*")),
    }
}

/// Scheme, host and perhaps a port and path; or any.
fn is_origin(text: &str) -> bool {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let is_url = rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\?#@".contains(&byte))
    });
    text == "*" || is_url
}

fn size(
    api: &mut Section,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    default: usize,
) -> Result<usize, ConfigError> {
    let given = api.integer(key, range)?;
    Ok(given
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(default))
}
