//! What the operator decides about the API's front door: where it is mounted, who may call it from a
//! browser, which proxy is believed, how large a request may be, which list arguments are served.
//!
//! Defaults are Octavia's, with three exceptions that clients cannot suffer from: both mounts are
//! served, larger bodies are taken, and `/healthcheck` answers.

pub(crate) mod base;
pub(crate) mod cors;
pub(crate) mod healthcheck;
pub(crate) mod json;
pub(crate) mod unread;

use crate::config::BODY_BYTES_MAX;

/// Objects and lists inside each other in a request body. A whole tree needs eight.
pub const JSON_DEPTH_MAX: usize = 32;

/// Items of one list in a request body.
pub const JSON_ITEMS_MAX: usize = 10_000;

/// Where devstack and most service catalogues have the API.
pub const MOUNT_PREFIX: &str = "/load-balancer";

/// Settings of the front door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoor {
    /// A second place of every path; empty: none. Begins with a slash and ends without one.
    pub mount_prefix: String,
    /// Scheme and host of pagination links, when the client's own are not right.
    pub api_base_uri: Option<String>,
    /// Believe `X-Forwarded-*` and `Forwarded`: only behind a proxy that sets them.
    pub trusts_proxy_headers: bool,
    /// Answer `/healthcheck`.
    pub healthcheck: bool,
    /// Origins whose pages may call the API; `*` is any. Empty: no CORS header is ever sent.
    pub allowed_origins: Vec<String>,
    /// See [`JSON_DEPTH_MAX`].
    pub json_depth_max: usize,
    /// See [`JSON_ITEMS_MAX`].
    pub json_items_max: usize,
    /// Which arguments of lists are served.
    pub listing: ListSwitches,
}

/// Octavia's `allow_pagination`, `allow_sorting`, `allow_filtering` and `allow_field_selection`: what is
/// switched off is ignored, not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four switches of the operator, each independent of the others"
)]
pub struct ListSwitches {
    /// `limit`, `marker`, `page_reverse`.
    pub pagination: bool,
    /// `sort`, `sort_key`, `sort_dir`.
    pub sorting: bool,
    /// Attributes and tags.
    pub filtering: bool,
    /// `fields`.
    pub field_selection: bool,
}

impl Default for ListSwitches {
    fn default() -> Self {
        Self {
            pagination: true,
            sorting: true,
            filtering: true,
            field_selection: true,
        }
    }
}

impl Default for FrontDoor {
    fn default() -> Self {
        Self {
            mount_prefix: MOUNT_PREFIX.to_owned(),
            api_base_uri: None,
            trusts_proxy_headers: false,
            healthcheck: true,
            allowed_origins: Vec::new(),
            json_depth_max: JSON_DEPTH_MAX,
            json_items_max: JSON_ITEMS_MAX,
            listing: ListSwitches::default(),
        }
    }
}

// A body that is as large as allowed must not hold a list longer than it has bytes for.
const _: () = assert!(JSON_ITEMS_MAX * 2 < BODY_BYTES_MAX);
