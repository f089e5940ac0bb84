//! The tables that a load balancer is in, for reading all of it at once ([`crate::sql::union`]).

use std::sync::LazyLock;

use crate::{
    db::Row,
    encode::{HEALTH_MONITORS, L7POLICIES, L7RULES, LISTENERS, LOAD_BALANCERS, MEMBERS, POOLS},
    error::StoreError,
    sql::{
        Builder, Reader,
        union::{Part, Places, statement},
    },
};

/// Columns that every object has, and every child.
macro_rules! texts {
    (child, $($own:literal),*) => {
        &["id", "name", "description", "provisioning_status", "operating_status",
            "load_balancer_id", $($own),*]
    };
    (root, $($own:literal),*) => {
        &["id", "name", "description", "provisioning_status", "operating_status", $($own),*]
    };
}

macro_rules! ints {
    (child, $($own:literal),*) => { &["created_at", "updated_at", "ordinal", $($own),*] };
    (root, $($own:literal),*) => { &["created_at", "updated_at", $($own),*] };
}

/// In the order in which [`crate::decode`] wants them.
static PARTS: [Part; 11] = [
    Part {
        table: TAGS,
        by: "load_balancer_id",
        texts: &["resource_id", "tag"],
        ints: &["ordinal"],
        bools: &[],
    },
    Part {
        table: L7RULES,
        by: "load_balancer_id",
        texts: texts!(
            child,
            "l7policy_id",
            "type",
            "compare_type",
            "rule_key",
            "value"
        ),
        ints: ints!(child,),
        bools: &["admin_state_up", "invert"],
    },
    Part {
        table: L7POLICIES,
        by: "load_balancer_id",
        texts: texts!(
            child,
            "listener_id",
            "action",
            "redirect_pool_id",
            "redirect_url",
            "redirect_prefix"
        ),
        ints: ints!(child, "redirect_http_code"),
        bools: &["admin_state_up"],
    },
    Part {
        table: LISTENERS,
        by: "load_balancer_id",
        texts: texts!(
            child,
            "protocol",
            "default_pool_id",
            "default_tls_container_ref",
            "sni_container_refs",
            "insert_headers",
            "client_ca_tls_container_ref",
            "client_authentication",
            "client_crl_container_ref",
            "allowed_cidrs",
            "tls_ciphers",
            "tls_versions",
            "alpn_protocols"
        ),
        ints: ints!(
            child,
            "protocol_port",
            "connection_limit",
            "timeout_client_data",
            "timeout_member_connect",
            "timeout_member_data",
            "timeout_tcp_inspect",
            "hsts_max_age"
        ),
        bools: &["admin_state_up", "hsts_include_subdomains", "hsts_preload"],
    },
    Part {
        table: MEMBERS,
        by: "load_balancer_id",
        texts: texts!(
            child,
            "pool_id",
            "address",
            "subnet_id",
            "monitor_address",
            "address_written",
            "monitor_address_written",
            "vnic_type"
        ),
        ints: ints!(child, "protocol_port", "weight", "monitor_port"),
        bools: &["admin_state_up", "backup"],
    },
    Part {
        table: HEALTH_MONITORS,
        by: "load_balancer_id",
        texts: texts!(
            child,
            "pool_id",
            "type",
            "http_method",
            "url_path",
            "expected_codes",
            "http_version",
            "domain_name"
        ),
        ints: ints!(child, "delay", "timeout", "max_retries", "max_retries_down"),
        bools: &["admin_state_up"],
    },
    Part {
        table: POOLS,
        by: "load_balancer_id",
        texts: texts!(
            child,
            "protocol",
            "lb_algorithm",
            "session_persistence",
            "tls_container_ref",
            "ca_tls_container_ref",
            "crl_container_ref",
            "tls_ciphers",
            "tls_versions",
            "alpn_protocols"
        ),
        ints: ints!(child,),
        bools: &["admin_state_up", "tls_enabled"],
    },
    Part {
        table: LOAD_BALANCERS,
        by: "id",
        texts: texts!(
            root,
            "project_id",
            "vip_address",
            "vip_port_id",
            "vip_subnet_id",
            "vip_network_id",
            "additional_vips",
            "provider",
            "topology",
            "flavor_id",
            "availability_zone",
            "vip_vnic_type",
            "forwarding_mode",
            "l4_path",
            "vip_qos_policy_id",
            "vip_sg_ids"
        ),
        ints: ints!(root, "generation", "failover_count"),
        bools: &["admin_state_up", "member_sriov"],
    },
    Part {
        table: AMPHORAE,
        by: "load_balancer_id",
        texts: &[
            "id",
            "shown_id",
            "load_balancer_id",
            "host",
            "role",
            "status",
        ],
        ints: &["created_at", "updated_at", "slot"],
        bools: &[],
    },
    Part {
        table: PORTS,
        by: "load_balancer_id",
        texts: &[
            "id",
            "load_balancer_id",
            "project_id",
            "purpose",
            "amphora_id",
            "network_id",
            "subnet_id",
            "address",
        ],
        ints: &["created_at"],
        bools: &[],
    },
    Part {
        table: MEMBER_HEALTH,
        by: "load_balancer_id",
        texts: &["member_id"],
        ints: &[],
        bools: &["up"],
    },
];

pub(crate) const TAGS: &str = "tags";
pub(crate) const AMPHORAE: &str = "amphorae";
pub(crate) const PORTS: &str = "ports";
pub(crate) const MEMBER_HEALTH: &str = "member_health";

/// The first so many tables are the tree's.
const TREE: usize = 8;

/// Which tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What tenants made.
    Tree,
    /// And amphorae, addresses and health.
    Everything,
}

impl Extent {
    fn parts(self) -> &'static [Part] {
        match self {
            Self::Tree => PARTS.get(..TREE).unwrap_or(&PARTS),
            Self::Everything => &PARTS,
        }
    }

    fn places(self) -> Places {
        static TREE: LazyLock<Places> = LazyLock::new(|| Places::of(Extent::Tree.parts()));
        static ALL: LazyLock<Places> = LazyLock::new(|| Places::of(Extent::Everything.parts()));
        match self {
            Self::Tree => *TREE,
            Self::Everything => *ALL,
        }
    }

    pub(crate) fn statement(self, ids: &[String]) -> Builder {
        statement(self.parts(), ids)
    }
}

/// Rows as they came, of every table.
pub(crate) struct Rows {
    extent: Extent,
    rows: Vec<(usize, Row)>,
}

impl Rows {
    pub(crate) fn sort(extent: Extent, rows: Vec<Row>) -> Result<Self, StoreError> {
        let numbered = rows.into_iter().map(|row| {
            let number: i64 = row.try_get(0)?;
            Ok((usize::try_from(number).unwrap_or(usize::MAX), row))
        });
        Ok(Self {
            extent,
            rows: numbered.collect::<Result<_, StoreError>>()?,
        })
    }

    /// Those of one table, each read by the names of its columns.
    pub(crate) fn of(&self, table: &'static str) -> impl Iterator<Item = Reader<'_>> {
        let places = self.extent.places();
        let parts = self.extent.parts().iter().enumerate();
        let part = parts.into_iter().find(|(_, part)| part.table == table);
        self.rows.iter().filter_map(move |(number, row)| {
            let (wanted, part) = part?;
            (*number == wanted).then(|| Reader::of_part(part, places, row))
        })
    }
}
