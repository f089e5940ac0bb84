//! What the maps must hold for one load balancer, and for the host itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    hash,
    maps::{
        Addr, AddressRecord, AmphoraRecord, AnswerRecord, Be16, ListenerRecord, MemberRecord,
        address_kind, listener_flags, listener_kind, maglev_slots, port_word, segment_word,
        vip_flags,
    },
};
use lb_model::{
    enums::LbAlgorithm,
    id::{PoolId, SubnetId},
    spec::{
        AmphoraSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec, SubnetSpec,
    },
};

use super::{
    Allocations, Cidr, DesiredMaps, Error, Facts, Health, MaglevMember, MaglevTable, Uplink,
    alloc::Turn, fingerprint::fingerprint,
};

/// Entries that belong to no load balancer: the interfaces of the edge and what no amphora may reach.
#[must_use]
pub fn host(facts: &Facts) -> DesiredMaps {
    DesiredMaps {
        segments: facts
            .uplinks
            .values()
            .map(|uplink| (uplink.ifindex, segment_word(uplink.segment)))
            .collect(),
        devs: facts
            .uplinks
            .values()
            .map(|uplink| uplink.ifindex)
            .collect(),
        denied: facts.denied.iter().map(|net| Cidr::new(0, net)).collect(),
        ..DesiredMaps::default()
    }
}

/// Entries of one load balancer. `allocations` changes only when this succeeds.
///
/// An amphora without a veth in `facts` has its index, but no entry. A load balancer that is gone
/// is `Allocations::remove` and an empty [`DesiredMaps`].
///
/// # Errors
/// When it does not fit into this host's data path, or does not hang together; each names the load
/// balancer.
pub fn load_balancer(
    spec: &LoadBalancerSpec,
    allocations: &mut Allocations,
    facts: &Facts,
    health: &Health,
) -> Result<DesiredMaps, Error> {
    let mut next = allocations.clone();
    let mut plan = Plan {
        turn: Turn::begin(&mut next, spec.id)?,
        spec,
        facts,
        health,
        maps: DesiredMaps::default(),
        addresses: BTreeSet::new(),
    };
    plan.amphorae()?;
    plan.snat()?;
    let ports = plan.listeners()?;
    plan.vips(&ports)?;
    let keep = std::mem::take(&mut plan.addresses);
    plan.turn.keep_addresses(&keep);
    let maps = std::mem::take(&mut plan.maps);
    plan.turn.end();
    *allocations = next;
    Ok(maps)
}

/// An address in the form of the maps.
pub(super) const fn addr(address: IpAddr) -> Addr {
    match address {
        IpAddr::V4(v4) => Addr::v4(v4.octets()),
        IpAddr::V6(v6) => Addr::v6(v6.octets()),
    }
}

struct Plan<'a> {
    turn: Turn<'a>,
    spec: &'a LoadBalancerSpec,
    facts: &'a Facts,
    health: &'a Health,
    maps: DesiredMaps,
    /// Addresses that stay.
    addresses: BTreeSet<(u32, IpAddr)>,
}

impl Plan<'_> {
    fn subnet(&self, id: SubnetId) -> Result<&SubnetSpec, Error> {
        let found = self.spec.subnets.iter().find(|subnet| subnet.id == id);
        found.ok_or(Error::UnknownSubnet {
            load_balancer: self.spec.id,
            subnet: id,
        })
    }

    fn uplink(&self, subnet: SubnetId) -> Result<Uplink, Error> {
        let network = self.subnet(subnet)?.network_id;
        let uplink = self.facts.uplinks.get(&network).copied();
        uplink.ok_or(Error::NoUplink {
            load_balancer: self.spec.id,
            network,
        })
    }

    /// Publishes an address. `record` has everything but its key.
    fn address(
        &mut self,
        address: IpAddr,
        subnet: SubnetId,
        record: AddressRecord,
    ) -> Result<(), Error> {
        let segment = self.subnet(subnet)?.segment;
        let record = AddressRecord {
            segment,
            addr: addr(address),
            ..record
        };
        let (bucket, tag) = hash::address_slot(self.turn.hash_seed(), segment, &record.addr);
        let place = self
            .turn
            .address(segment, address, (bucket, tag), fingerprint(&record))?;
        let word = hash::address_word(tag, place.record);
        self.maps.address_records.insert(place.record, record);
        self.maps.addresses.insert((bucket, place.word), word);
        self.addresses.insert((segment, address));
        Ok(())
    }

    fn amphorae(&mut self) -> Result<(), Error> {
        let spec = self.spec;
        let mut keep = BTreeSet::new();
        for amphora in &spec.amphorae {
            for port in &amphora.ports {
                keep.insert((amphora.id, self.subnet(port.subnet_id)?.network_id));
            }
        }
        self.turn.keep_amphorae(&keep);
        for amphora in &spec.amphorae {
            self.amphora(amphora)?;
        }
        Ok(())
    }

    fn amphora(&mut self, amphora: &AmphoraSpec) -> Result<(), Error> {
        let lb = self.turn.places.index;
        let mut home = None;
        for port in &amphora.ports {
            let network = self.subnet(port.subnet_id)?.network_id;
            let index = self.turn.amphora(amphora.id, network)?;
            let home = *home.get_or_insert(index);
            let uplink = self.uplink(port.subnet_id)?;
            let Some(veth) = self.facts.veths.get(&(amphora.id, network)).copied() else {
                continue;
            };
            self.maps.amphorae.insert(
                index,
                AmphoraRecord {
                    ifindex: veth.ifindex,
                    lb,
                    dst_mac: veth.inner_mac,
                    src_mac: veth.edge_mac,
                },
            );
            self.maps.devs.insert(veth.ifindex);
            self.maps.answers.insert(
                veth.ifindex,
                AnswerRecord {
                    egress_ifindex: uplink.ifindex,
                    amphora: home,
                    lb,
                    segment: uplink.segment,
                },
            );
            let record = owned(address_kind::AMPHORA, index);
            self.address(port.address, port.subnet_id, record)?;
        }
        Ok(())
    }

    fn snat(&mut self) -> Result<(), Error> {
        let spec = self.spec;
        let lb = self.turn.places.index;
        for port in &spec.snat {
            let record = owned(address_kind::SNAT, lb);
            self.address(port.address, port.subnet_id, record)?;
        }
        Ok(())
    }

    /// Fills listeners, pools and members; answers with who listens where. A load balancer that is
    /// off keeps the places of its listeners but publishes none.
    fn listeners(&mut self) -> Result<BTreeMap<(u8, u16), u32>, Error> {
        let spec = self.spec;
        let keep = spec.listeners.iter().map(|listener| listener.id).collect();
        self.turn.keep_listeners(&keep);
        let hashed: BTreeMap<_, _> = spec
            .listeners
            .iter()
            .filter(|listener| listener.path == ListenerPath::Xdp)
            .filter_map(|listener| listener.default_pool_id)
            .filter_map(|id| spec.pools.iter().find(|pool| pool.id == id))
            .map(|pool| (pool.id, pool))
            .collect();
        let keep = hashed
            .iter()
            .map(|(id, pool)| (*id, pool.members.iter().map(|member| member.id).collect()))
            .collect();
        self.turn.keep_pools(&keep);
        let mut tables = BTreeMap::new();
        for (id, pool) in hashed {
            tables.insert(id, (self.pool(pool)?, pool.lb_algorithm));
        }
        let mut ports = BTreeMap::new();
        for listener in &spec.listeners {
            let index = self.turn.listener(listener.id)?;
            if spec.enabled {
                self.listener(listener, index, &tables);
                ports.insert((listener.l4().number(), listener.port), index);
            }
        }
        Ok(ports)
    }

    fn listener(
        &mut self,
        listener: &ListenerSpec,
        index: u32,
        tables: &BTreeMap<PoolId, (u32, LbAlgorithm)>,
    ) {
        let mut record = ListenerRecord {
            kind: listener_kind::STEER,
            flags: 0,
            lb: self.turn.places.index,
            maglev: maglev_slots(None, None),
            protocol: listener.l4().number(),
            port: Be16::new(listener.port),
            ..ListenerRecord::default()
        };
        if listener.path == ListenerPath::Xdp {
            record.kind = listener_kind::NAT;
            let table = listener.default_pool_id.and_then(|id| tables.get(&id));
            if let Some((slots, algorithm)) = table {
                record.maglev = *slots;
                if *algorithm == LbAlgorithm::SourceIp {
                    record.flags |= listener_flags::HASH_ADDR_ONLY;
                }
            }
        }
        if !listener.allowed_cidrs.is_empty() {
            record.flags |= listener_flags::CIDRS;
            let cidrs = listener.allowed_cidrs.iter();
            self.maps
                .cidrs
                .extend(cidrs.map(|net| Cidr::new(index, net)));
        }
        self.maps.listeners.insert(index, record);
    }

    /// Fills a pool's members and a table a family; the listeners' [`maglev_slots`].
    fn pool(&mut self, pool: &PoolSpec) -> Result<u32, Error> {
        let mut usable = [Usable::default(), Usable::default()];
        for member in &pool.members {
            let entry = self.member(pool, member)?;
            let [v4, v6] = &mut usable;
            let family = if member.address.is_ipv6() { v6 } else { v4 };
            if member.weight == 0 || !self.is_up(pool, member) {
                continue;
            }
            if member.backup {
                family.backups.push(entry);
            } else {
                family.primaries.push(entry);
            }
        }
        let [v4, v6] = usable;
        let v4 = self.table(pool.id, false, v4)?;
        let v6 = self.table(pool.id, true, v6)?;
        Ok(maglev_slots(v4, v6))
    }

    /// The slot of the table of the members to be used; `None` when there are none.
    fn table(&mut self, pool: PoolId, is_v6: bool, usable: Usable) -> Result<Option<u32>, Error> {
        let members = if usable.primaries.is_empty() {
            usable.backups
        } else {
            usable.primaries
        };
        if members.is_empty() || !self.spec.enabled {
            return Ok(None);
        }
        let slot = self.turn.table(pool, is_v6)?;
        self.maps.maglev.insert(slot, MaglevTable::new(members));
        Ok(Some(slot))
    }

    /// Not known counts as up. Without a monitor nothing is known.
    fn is_up(&self, pool: &PoolSpec, member: &MemberSpec) -> bool {
        if pool.health_monitor.is_none() {
            return true;
        }
        let probed = self.health.get(&(pool.id, member.id)).copied();
        probed.or(member.last_known_up).unwrap_or(true)
    }

    fn member(&mut self, pool: &PoolSpec, member: &MemberSpec) -> Result<MaglevMember, Error> {
        let segment = self.subnet(member.subnet_id)?.segment;
        let uplink = self.uplink(member.subnet_id)?;
        let snat = self.spec.snat.iter().find(|port| {
            port.subnet_id == member.subnet_id && port.address.is_ipv4() == member.address.is_ipv4()
        });
        let snat = snat.ok_or(Error::NoSnat {
            load_balancer: self.spec.id,
            subnet: member.subnet_id,
            member: member.address,
        })?;
        let record = MemberRecord {
            segment,
            ifindex: uplink.ifindex,
            addr: addr(member.address),
            snat: addr(snat.address),
            port: Be16::new(member.port),
            src_mac: uplink.mac,
            lb: self.turn.places.index,
            weight: member.weight,
            mtu: 0,
            flags: 0,
            _pad: 0,
        };
        let index = self.turn.member(pool.id, member.id, fingerprint(&record))?;
        self.maps.members.insert(u32::from(index), record);
        Ok(MaglevMember {
            addr: record.addr,
            port: record.port,
            weight: member.weight,
            index,
        })
    }

    fn vips(&mut self, ports: &BTreeMap<(u8, u16), u32>) -> Result<(), Error> {
        let spec = self.spec;
        let wanted = ports.keys().copied().collect();
        let block = self.turn.ports(&wanted)?;
        let record = AddressRecord {
            ports_base: block.block.base,
            ports_mask: block.block.size - 1,
            flags: if spec.enabled { vip_flags::ENABLED } else { 0 },
            ..owned(address_kind::VIP, 0)
        };
        for (word, (protocol, port)) in &block.words {
            if let Some(listener) = ports.get(&(*protocol, *port)) {
                let word = block.block.base + word;
                let content = port_word(*protocol, *port, *listener);
                self.maps.ports.insert(word, content);
            }
        }
        let owner = self.turn.places.index;
        for vip in &spec.vips {
            let record = AddressRecord { owner, ..record };
            self.address(vip.address, vip.subnet_id, record)?;
        }
        Ok(())
    }
}

/// Usable members of one family.
#[derive(Default)]
struct Usable {
    primaries: Vec<MaglevMember>,
    backups: Vec<MaglevMember>,
}

/// A record with kind and owner alone.
const fn owned(kind: u32, owner: u32) -> AddressRecord {
    AddressRecord {
        segment: 0,
        kind,
        addr: Addr([0; 16]),
        owner,
        ports_base: 0,
        ports_mask: 0,
        flags: 0,
    }
}
