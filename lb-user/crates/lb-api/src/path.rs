//! The many spellings of one path, reduced to the one that the route table knows.
//!
//! Octavia answers the same under `/v2` and `/v2.0`, with and without `/lbaas`, under the mount
//! point (by default `/load-balancer`), with a trailing slash and with `.json` (contract 1.2 to 1.4). All of it
//! is undone here, so that the table in [`crate::routes`] holds every route once.
//!
//! Invariant: pure text in, text out; a path that is nobody's spelling comes back as it is.

/// Mount point of the Key Manager API, as service catalogues have it.
pub(crate) const KEY_MANAGER_MOUNT: &str = "/key-manager";

/// Collections that `/v2/X` and `/v2/lbaas/X` both reach.
const LBAAS_COLLECTIONS: &[&str] = &[
    "loadbalancers",
    "listeners",
    "pools",
    "healthmonitors",
    "l7policies",
    "quotas",
    "providers",
    "flavors",
    "flavorprofiles",
    "availabilityzones",
    "availabilityzoneprofiles",
    "events",
];

/// The spelling under which a path stands in the route table. `mount` is the second place of every
/// path; empty: there is none.
pub(crate) fn canonical(path: &str, mount: &str) -> String {
    let path = match path.strip_prefix(mount) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        Some(_) | None => path,
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_suffix(".json").unwrap_or(path);
    if let Some(path) = key_manager(path) {
        return path;
    }
    let (version, rest) = match path.strip_prefix("/v2.0").or(path.strip_prefix("/v2")) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => ("/v2", rest),
        Some(_) | None => ("", path),
    };
    let first = rest.split('/').nth(1).unwrap_or("");
    match (version, first) {
        ("", _) if rest.is_empty() => "/".to_owned(),
        ("/v2", first) if LBAAS_COLLECTIONS.contains(&first) => format!("/v2/lbaas{rest}"),
        _ => format!("{version}{rest}"),
    }
}

/// The Key Manager API's paths, with and without its mount and its version: some clients take the
/// endpoint they are given for that of the version.
fn key_manager(path: &str) -> Option<String> {
    let mounted = path.strip_prefix(KEY_MANAGER_MOUNT);
    let rest = match mounted {
        Some("") => return Some(KEY_MANAGER_MOUNT.to_owned()),
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return None,
        None => path,
    };
    match rest.split('/').nth(1) {
        Some("secrets" | "containers") => Some(format!("/v1{rest}")),
        _other => mounted.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    const MOUNT: &str = "/load-balancer";

    fn canonical(path: &str) -> String {
        super::canonical(path, MOUNT)
    }

    #[test]
    fn every_spelling_leads_to_one_path() {
        for mount in ["", "/load-balancer"] {
            for version in ["/v2", "/v2.0"] {
                for group in ["", "/lbaas"] {
                    for end in ["", "/", ".json"] {
                        let path = format!("{mount}{version}{group}/pools/1/members{end}");
                        assert_eq!(canonical(&path), "/v2/lbaas/pools/1/members", "{path}");
                    }
                }
            }
        }
    }

    #[test]
    fn root_has_its_spellings_too() {
        for path in ["/", "", "/load-balancer", "/load-balancer/"] {
            assert_eq!(canonical(path), "/", "{path:?}");
        }
        for path in ["/v2", "/v2/", "/v2.0", "/load-balancer/v2.0/"] {
            assert_eq!(canonical(path), "/v2", "{path:?}");
        }
    }

    #[test]
    fn the_mount_is_the_operators() {
        assert_eq!(
            super::canonical("/a/b/v2.0/pools", "/a/b"),
            "/v2/lbaas/pools"
        );
        assert_eq!(
            super::canonical("/a/bc/v2.0/pools", "/a/b"),
            "/a/bc/v2.0/pools"
        );
        assert_eq!(
            super::canonical("/load-balancer/v2", ""),
            "/load-balancer/v2"
        );
        assert_eq!(super::canonical("/v2.0/pools/", ""), "/v2/lbaas/pools");
    }

    #[test]
    fn what_is_not_ours_stays() {
        for path in [
            "/v1",
            "/v2.5/pools",
            "/load-balancers/v2",
            "/v2/lbaas/amphorae",
            "/v3",
        ] {
            assert_eq!(canonical(path), path);
        }
        assert_eq!(canonical("/v2.0/subnets"), "/v2/subnets");
        assert_eq!(canonical("/v2.0/octavia/amphorae/"), "/v2/octavia/amphorae");
    }
}
