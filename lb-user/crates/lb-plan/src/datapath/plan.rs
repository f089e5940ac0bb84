//! What the maps must hold for one load balancer, and for the host itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    hash,
    maps::{
        Addr, AddressRecord, AmphoraRecord, AnswerRecord, Be16, ListenerRecord, MemberRecord,
        SEGMENT_TX, address_kind, listener_flags, listener_kind, live::LbShare, maglev_slots,
        member_flags, port_word, segment_word, vip_flags,
    },
};
use lb_model::{
    enums::ForwardingMode,
    id::{PoolId, SubnetId},
    spec::{
        AmphoraSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec, SubnetSpec,
    },
};

use super::{
    Allocations, Cidr, DesiredMaps, Error, Facts, Health, MaglevMember, MaglevTable, Uplink,
    alloc::Turn, balance, fingerprint::fingerprint,
};

/// Entries that belong to no load balancer: the interfaces of the edge and what no amphora may reach.
#[must_use]
pub fn host(facts: &Facts) -> DesiredMaps {
    DesiredMaps {
        segments: facts
            .uplinks
            .values()
            .map(|uplink| {
                let returns = if uplink.returns { SEGMENT_TX } else { 0 };
                (uplink.ifindex, segment_word(uplink.segment) | returns)
            })
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
    plan.maps.shares = BTreeMap::from([(plan.turn.places.index, facts.share)]);
    plan.maps
        .shares
        .retain(|_, share| *share != LbShare::default());
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
            tables.insert(id, self.pool(pool)?);
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

    fn listener(&mut self, listener: &ListenerSpec, index: u32, tables: &BTreeMap<PoolId, u32>) {
        let mut record = ListenerRecord {
            kind: listener_kind::STEER,
            lb: self.turn.places.index,
            maglev: maglev_slots(None, None),
            syn_per_second: self.facts.syn_per_second,
            protocol: listener.l4().number(),
            port: Be16::new(listener.port),
            ..ListenerRecord::default()
        };
        if listener.path == ListenerPath::Xdp {
            let id = listener.default_pool_id;
            let pool = self.spec.pools.iter().find(|pool| Some(pool.id) == id);
            let slots = id.and_then(|id| tables.get(&id)).copied();
            record.kind = kind(self.spec.forwarding_mode);
            record.maglev = slots.unwrap_or(record.maglev);
            balance::fill(&mut record, listener, pool);
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
        // An outer header may be of another family than what is in it: there one table does.
        let crosses = self.spec.forwarding_mode == ForwardingMode::DsrIpip;
        let mut usable = [Usable::default(), Usable::default()];
        for member in &pool.members {
            let entry = self.member(pool, member)?;
            let [v4, v6] = &mut usable;
            let is_v6 = member.address.is_ipv6() && !crosses;
            let family = if is_v6 { v6 } else { v4 };
            if member.weight == 0 || !self.is_up(pool, member) || !self.is_reached(pool, member) {
                continue;
            }
            if member.backup {
                family.backups.push(entry);
            } else {
                family.primaries.push(entry);
            }
        }
        let [v4, v6] = usable;
        let v4 = self.table(pool, false, v4)?;
        let v6 = if crosses {
            v4
        } else {
            self.table(pool, true, v6)?
        };
        Ok(maglev_slots(v4, v6))
    }

    /// The slot of the table of the members to be used; `None` when there are none.
    fn table(
        &mut self,
        pool: &PoolSpec,
        is_v6: bool,
        usable: Usable,
    ) -> Result<Option<u32>, Error> {
        let members = if usable.primaries.is_empty() {
            usable.backups
        } else {
            usable.primaries
        };
        if members.is_empty() || !self.spec.enabled {
            return Ok(None);
        }
        for member in &members {
            if let Some(record) = self.maps.members.get_mut(&u32::from(member.index)) {
                record.flags &= !member_flags::NO_NEW_FLOWS;
            }
        }
        let slot = self.turn.table(pool.id, is_v6)?;
        let table = MaglevTable::new(balance::algorithm(pool), members);
        self.maps.maglev.insert(slot, table);
        Ok(Some(slot))
    }

    /// Whether packets of every listener of the pool can reach a member as the flavor wants it: DSR
    /// changes no port, and by the link alone only members on it are reached.
    fn is_reached(&self, pool: &PoolSpec, member: &MemberSpec) -> bool {
        let mode = self.spec.forwarding_mode;
        let own_port = || {
            let mut listeners = self.spec.listeners.iter();
            listeners.all(|listener| {
                listener.path != ListenerPath::Xdp
                    || listener.default_pool_id != Some(pool.id)
                    || listener.port == member.port
            })
        };
        let on_link = || {
            let subnet = self.subnet(member.subnet_id);
            subnet.is_ok_and(|subnet| subnet.cidr.contains(&member.address))
        };
        match mode {
            ForwardingMode::Nat => true,
            ForwardingMode::DsrL2 => own_port() && on_link(),
            ForwardingMode::DsrIpip => own_port(),
        }
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
        let snat = match self.spec.forwarding_mode {
            ForwardingMode::Nat => self.snat_towards(member)?,
            ForwardingMode::DsrL2 | ForwardingMode::DsrIpip => Addr::default(),
        };
        let record = MemberRecord {
            segment,
            ifindex: uplink.ifindex,
            addr: addr(member.address),
            snat,
            port: Be16::new(member.port),
            src_mac: uplink.mac,
            lb: self.turn.places.index,
            weight: 0,
            mtu: 0,
            flags: 0,
            _pad: 0,
        };
        // What changes in place makes no other member of it.
        let index = self.turn.member(pool.id, member.id, fingerprint(&record))?;
        let record = MemberRecord {
            weight: member.weight,
            mtu: uplink.mtu,
            flags: member_flags::NO_NEW_FLOWS,
            ..record
        };
        self.maps.members.insert(u32::from(index), record);
        Ok(MaglevMember {
            addr: record.addr,
            port: record.port,
            weight: member.weight,
            index,
        })
    }

    fn snat_towards(&self, member: &MemberSpec) -> Result<Addr, Error> {
        let snat = self.spec.snat.iter().find(|port| {
            port.subnet_id == member.subnet_id && port.address.is_ipv4() == member.address.is_ipv4()
        });
        let snat = snat.ok_or(Error::NoSnat {
            load_balancer: self.spec.id,
            subnet: member.subnet_id,
            member: member.address,
        })?;
        Ok(addr(snat.address))
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

const fn kind(mode: ForwardingMode) -> u32 {
    match mode {
        ForwardingMode::Nat => listener_kind::NAT,
        ForwardingMode::DsrL2 => listener_kind::DSR_L2,
        ForwardingMode::DsrIpip => listener_kind::DSR_IPIP,
    }
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
