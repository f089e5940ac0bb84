//! A load balancer's row for lists, in few columns.
//!
//! Why: with SQLite every value of every row is an allocation that is made on one thread and freed on
//! another, which was most of what a list cost; and every column is looked up by its name. So whatever
//! holds no free text is put into one text by the database (`format`, which both engines have), between
//! U+001F, which neither an id nor a number nor JSON holds. NULL is the empty text there: nothing that
//! may be NULL may be empty.

use std::str::FromStr;

use lb_model::{
    resource::{Common, LoadBalancer, Placement, Vip, VipOptions},
    time::Timestamp,
};
use serde::de::DeserializeOwned;

use crate::{encode::LOAD_BALANCERS, error::StoreError, sql::Reader, summary::Summary};

/// Their places are those in [`load_balancer`].
const COLUMNS: [&str; 21] = [
    "provisioning_status",
    "operating_status",
    "admin_state_up",
    "created_at",
    "updated_at",
    "vip_address",
    "vip_port_id",
    "vip_subnet_id",
    "vip_network_id",
    "additional_vips",
    "topology",
    "flavor_id",
    "vip_vnic_type",
    "member_sriov",
    "forwarding_mode",
    "l4_path",
    "vip_qos_policy_id",
    "vip_sg_ids",
    "generation",
    "failover_count",
    "summary",
];

/// What a list reads of each row.
pub(super) fn columns() -> String {
    let places = vec!["%s"; COLUMNS.len()].join("\u{1f}");
    let columns = COLUMNS.map(|column| format!("t.{column}")).join(", ");
    format!(
        "t.id AS id, t.project_id, t.name, t.description, t.provider, t.availability_zone, \
         format('{places}', {columns}) AS packed"
    )
}

/// The row, and its summary when it has one.
pub(super) fn load_balancer(
    read: &Reader<'_>,
) -> Result<(LoadBalancer, Option<Summary>), StoreError> {
    let text = read.text("packed")?;
    let mut fields = Fields {
        values: text.split('\u{1f}'),
        columns: COLUMNS.iter(),
    };
    let common = Common {
        name: read.text("name")?,
        description: read.text("description")?,
        provisioning_status: fields.parse()?,
        operating_status: fields.parse()?,
        // As one engine writes it, or the other.
        admin_state_up: matches!(fields.next()?, "1" | "t"),
        created_at: Timestamp(fields.parse()?),
        updated_at: fields.opt_parse()?.map(Timestamp),
        tags: Vec::new(),
    };
    let vip = Vip {
        address: fields.parse()?,
        port_id: fields.parse()?,
        subnet_id: fields.parse()?,
        network_id: fields.parse()?,
    };
    let additional_vips = fields.json()?;
    let topology = fields.parse()?;
    let placement = Placement {
        flavor_id: fields.opt_parse()?,
        availability_zone: read.opt_text("availability_zone")?,
        vip_vnic_type: fields.parse()?,
        member_sriov: matches!(fields.next()?, "1" | "t"),
        forwarding_mode: fields.parse()?,
        l4_path: fields.parse()?,
    };
    let vip_options = VipOptions {
        qos_policy_id: fields.opt_parse()?,
        sg_ids: fields.json()?,
    };
    let load_balancer = LoadBalancer {
        id: read.parse("id")?,
        common,
        vip,
        additional_vips,
        provider: read.text("provider")?,
        topology,
        placement,
        vip_options,
        generation: fields.parse()?,
        failover_count: fields.parse()?,
        project_id: read.text("project_id")?,
    };
    Ok((load_balancer, fields.opt_json()?))
}

struct Fields<'t> {
    values: std::str::Split<'t, char>,
    columns: std::slice::Iter<'static, &'static str>,
}

impl<'t> Fields<'t> {
    fn next(&mut self) -> Result<&'t str, StoreError> {
        self.columns.next();
        let missing = || StoreError::Corrupt(format!("{LOAD_BALANCERS}: a row too short"));
        self.values.next().ok_or_else(missing)
    }

    fn corrupt(&self, what: &str) -> StoreError {
        // The column is the one before those that are left.
        let place = COLUMNS.len() - self.columns.len();
        let column = COLUMNS.get(place.saturating_sub(1)).unwrap_or(&"");
        StoreError::Corrupt(format!("{LOAD_BALANCERS}.{column}: {what}"))
    }

    fn parse<T: FromStr>(&mut self) -> Result<T, StoreError> {
        let text = self.next()?;
        text.parse().map_err(|_unknown| self.corrupt(text))
    }

    fn opt_parse<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        let text = self.next()?;
        if text.is_empty() {
            return Ok(None);
        }
        let value = text.parse().map_err(|_unknown| self.corrupt(text))?;
        Ok(Some(value))
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        let text = self.next()?;
        serde_json::from_str(text).map_err(|_unknown| self.corrupt(text))
    }

    fn opt_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        let text = self.next()?;
        if text.is_empty() {
            return Ok(None);
        }
        let value = serde_json::from_str(text).map_err(|_unknown| self.corrupt(text))?;
        Ok(Some(value))
    }
}
