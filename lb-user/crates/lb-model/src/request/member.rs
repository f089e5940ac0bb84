//! `member` and `members` bodies (contract 2.4).

use std::net::IpAddr;

use serde_json::Value;

use super::{
    CommonFields, Given,
    load_balancer::ignore_project,
    reader::{Reader, required},
};
use crate::{fault::Fault, id::SubnetId, written::WrittenAddr};

/// POST, an item of a batch, and a member in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCreate {
    /// Where it listens.
    pub address: WrittenAddr,
    /// 1..=65535.
    pub protocol_port: u16,
    /// Subnet through which it is reached.
    pub subnet_id: Given<SubnetId>,
    /// Wants an SR-IOV port.
    pub request_sriov: bool,
    /// What can be changed later.
    pub mutable: MemberUpdate,
}

/// PUT: every field that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberUpdate {
    /// Shared part.
    pub common: CommonFields,
    /// 0..=256.
    pub weight: Given<u16>,
    /// Used only when no primary is usable.
    pub backup: Given<bool>,
    /// Probed instead of the address.
    pub monitor_address: Given<WrittenAddr>,
    /// Probed instead of the port.
    pub monitor_port: Given<u16>,
}

/// PUT on the collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberBatch {
    /// What the pool is to hold.
    pub members: Vec<MemberCreate>,
}

impl MemberCreate {
    /// The addresses that will be asked about ([`crate::ctx::Facts::forbidden`]).
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        std::iter::once(self.address.ip()).chain(self.mutable.addresses())
    }

    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        Self::read(Reader::envelope(body, "member")?)
    }

    /// Reads an item of a list.
    pub(crate) fn parse_item(item: &Value) -> Result<Self, Fault> {
        Self::read(Reader::object(item, "member")?)
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, Fault> {
        ignore_project(&mut reader)?;
        let create = Self {
            address: required("address", reader.address("address")?)?,
            protocol_port: required("protocol_port", reader.number("protocol_port", 1..=65_535)?)?,
            subnet_id: reader.uuid("subnet_id")?,
            request_sriov: reader.boolean("request_sriov")?.resolve(false, false),
            mutable: MemberUpdate::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(create)
    }
}

impl MemberUpdate {
    /// The addresses that will be asked about.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.monitor_address
            .value()
            .map(WrittenAddr::ip)
            .into_iter()
    }

    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "member")?;
        let update = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(update)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            common: CommonFields::read_without_description(reader)?,
            weight: reader.number("weight", 0..=256)?,
            backup: reader.boolean("backup")?,
            monitor_address: reader.address("monitor_address")?,
            monitor_port: reader.number("monitor_port", 1..=65_535)?,
        })
    }
}

impl MemberBatch {
    /// The addresses that will be asked about.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.members.iter().flat_map(MemberCreate::addresses)
    }

    /// Reads a request body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::object(body, "the request body")?;
        let items = required("members", reader.list("members")?)?;
        reader.finish()?;
        Ok(Self {
            members: items
                .iter()
                .map(MemberCreate::parse_item)
                .collect::<Result<_, _>>()?,
        })
    }
}
