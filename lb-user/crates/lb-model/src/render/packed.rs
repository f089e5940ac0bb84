//! A load balancer's document without its keys: the values as JSON, between U+001F, which JSON text
//! never holds unescaped.
//!
//! It is what the store keeps of a load balancer for lists, so that a page of a thousand is neither
//! read value by value nor understood before it is written. Packed ones of another version of this
//! module are not understood, which whoever keeps them must be ready for.

use serde::Serialize;

use super::load_balancer::{LoadBalancerDocument, Put};
use crate::tree::Tree;

/// Which values there are, in which order. To be raised when that changes.
const VERSION: &str = "1";
const SEPARATOR: char = '\u{1f}';
/// Keys as they are written, in the order of the values.
const KEYS: [&str; 24] = [
    "{\"additional_vips\":",
    ",\"admin_state_up\":",
    ",\"availability_zone\":",
    ",\"created_at\":",
    ",\"description\":",
    ",\"flavor_id\":",
    ",\"id\":",
    ",\"listeners\":",
    ",\"name\":",
    ",\"operating_status\":",
    ",\"pools\":",
    ",\"project_id\":",
    ",\"provider\":",
    ",\"provisioning_status\":",
    ",\"tags\":",
    ",\"tenant_id\":",
    ",\"updated_at\":",
    ",\"vip_address\":",
    ",\"vip_network_id\":",
    ",\"vip_port_id\":",
    ",\"vip_qos_policy_id\":",
    ",\"vip_sg_ids\":",
    ",\"vip_subnet_id\":",
    ",\"vip_vnic_type\":",
];
/// Where its id and its project stand among the values.
const ID: usize = 6;
const PROJECT: usize = 11;
/// Bytes of a document, roughly.
const BYTES: usize = 1_200;

/// A load balancer's values; `None` when one of them cannot be written as JSON.
#[must_use]
pub fn pack(tree: &Tree) -> Option<String> {
    let mut values = Values(Vec::with_capacity(BYTES));
    values.0.extend_from_slice(VERSION.as_bytes());
    LoadBalancerDocument::from(tree).each(&mut values).ok()?;
    String::from_utf8(values.0).ok()
}

struct Values(Vec<u8>);

impl Put for Values {
    type Error = serde_json::Error;

    fn put<V: Serialize + ?Sized>(&mut self, _key: &str, value: &V) -> serde_json::Result<()> {
        // One byte of UTF-8.
        self.0.extend(SEPARATOR.to_string().as_bytes());
        serde_json::to_writer(&mut self.0, value)
    }
}

/// A packed load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedLoadBalancer<'p>(&'p str);

impl<'p> PackedLoadBalancer<'p> {
    /// `None`: packed by another version of this module.
    #[must_use]
    pub fn new(text: &'p str) -> Option<Self> {
        let values = text.strip_prefix(VERSION)?.strip_prefix(SEPARATOR)?;
        let separators = values.bytes().filter(|byte| *byte == 0x1f).count();
        (separators + 1 == KEYS.len()).then_some(Self(values))
    }

    /// Its id as text.
    #[must_use]
    pub fn id(self) -> Option<&'p str> {
        let value = self.0.split(SEPARATOR).nth(ID)?;
        Some(value.trim_matches('"'))
    }

    /// Whose it is.
    #[must_use]
    pub fn project_id(self) -> Option<String> {
        let value = self.0.split(SEPARATOR).nth(PROJECT)?;
        serde_json::from_str(value).ok()
    }

    /// Appends the document.
    pub fn write(self, out: &mut Vec<u8>) {
        for (key, value) in KEYS.iter().zip(self.0.split(SEPARATOR)) {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_packed_load_balancer_is_written_as_its_document() {
        let mut tree = testing::world().tree;
        tree.load_balancer.project_id = "p\"1".to_owned();
        tree.load_balancer.common.name = "a \u{1f}\"\u{1e}\\ ü\n".to_owned();
        tree.load_balancer.common.tags = vec!["\u{1f}".to_owned(), "b".to_owned()];
        let packed = pack(&tree).unwrap();
        let packed = PackedLoadBalancer::new(&packed).unwrap();
        let mut written = Vec::new();
        packed.write(&mut written);
        let whole = serde_json::to_vec(&LoadBalancerDocument::from(&tree)).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            String::from_utf8(whole).unwrap()
        );
        assert_eq!(packed.id().unwrap(), tree.id().to_string());
        assert_eq!(packed.project_id().unwrap(), tree.project_id());
    }

    #[test]
    fn what_another_version_packed_is_not_understood() {
        let packed = pack(&testing::world().tree).unwrap();
        for other in [
            packed.replacen(VERSION, "2", 1),
            format!("{packed}{SEPARATOR}1"),
            String::new(),
            "5b000000-0000-4000-8000-000000000004".to_owned(),
        ] {
            assert_eq!(PackedLoadBalancer::new(&other), None, "{other}");
        }
    }
}
