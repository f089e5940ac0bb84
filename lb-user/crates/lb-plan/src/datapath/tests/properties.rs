//! What must hold for any change, at every step of it.

use proptest::prelude::*;

use super::*;

fn shapes() -> impl Strategy<Value = Shape> {
    let listeners = prop::collection::btree_map(
        prop_oneof![80u16..90, 8000u16..8200],
        (any::<bool>(), any::<bool>(), any::<bool>()),
        0..12,
    );
    let members = prop::collection::btree_map(1u8..20, (0u16..4, any::<bool>()), 0..6);
    (any::<bool>(), any::<bool>(), 0u8..3, listeners, members).prop_map(
        |(enabled, second_vip, amphorae, listeners, members)| Shape {
            enabled,
            second_vip,
            amphorae,
            listeners: listeners
                .into_iter()
                .map(|(port, of)| (port, of.0, of.1, of.2))
                .collect(),
            members: members.into_iter().map(|(n, of)| (of.0, of.1, n)).collect(),
        },
    )
}

/// Carries a write out on plain tables.
fn write(maps: &mut DesiredMaps, write: &MapWrite) {
    fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
    fn flag<K: Ord>(set: &mut std::collections::BTreeSet<K>, key: K, present: bool) {
        if present {
            set.insert(key);
        } else {
            set.remove(&key);
        }
    }
    let word = |word: u64| (word != 0).then_some(word);
    match write.clone() {
        MapWrite::Segment { ifindex, word: w } => set(&mut maps.segments, ifindex, word(w)),
        MapWrite::Dev { ifindex, present } => flag(&mut maps.devs, ifindex, present),
        MapWrite::Denied { cidr, present } => flag(&mut maps.denied, cidr, present),
        MapWrite::Cidr { cidr, present } => flag(&mut maps.cidrs, cidr, present),
        MapWrite::Address {
            bucket,
            slot,
            word: w,
        } => set(&mut maps.addresses, (bucket, slot), word(w)),
        MapWrite::AddressRecord { index, record } => set(&mut maps.address_records, index, record),
        MapWrite::Port { index, word: w } => set(&mut maps.ports, index, word(w)),
        MapWrite::Listener { index, record } => set(&mut maps.listeners, index, record),
        MapWrite::Maglev { slot, table } => set(&mut maps.maglev, slot, table),
        MapWrite::Member { index, record } => set(&mut maps.members, index, record),
        MapWrite::Share { index, share } => set(&mut maps.shares, index, share),
        MapWrite::Amphora { index, record } => set(&mut maps.amphorae, index, record),
        MapWrite::Answer { ifindex, record } => set(&mut maps.answers, ifindex, record),
    }
}

/// What a packet could meet: every word must lead to a whole record of the right owner.
fn check(maps: &DesiredMaps) -> Result<(), String> {
    for (&(bucket, _), &word) in &maps.addresses {
        let record = u32::try_from(word & 0xffff_ffff).expect("low half");
        let record = maps
            .address_records
            .get(&record)
            .ok_or("address without record")?;
        let (home, tag) = hash::address_slot(SEED, record.segment, &record.addr);
        if (home, u64::from(tag)) != (bucket, word >> 32) {
            return Err(format!("another address's record behind {word:x}"));
        }
        match record.kind {
            address_kind::AMPHORA => {
                let amphora = maps.amphorae.get(&record.owner).ok_or("no amphora")?;
                if !maps.devs.contains(&amphora.ifindex) {
                    return Err("an amphora's device is not one of ours".to_owned());
                }
            }
            address_kind::VIP if record.flags & vip_flags::ENABLED != 0 => {
                for (_, word) in maps
                    .ports
                    .range(record.ports_base..=record.ports_base + record.ports_mask)
                {
                    let listener = u32::try_from(word & 0xffff_ffff).expect("low half");
                    let listener = maps
                        .listeners
                        .get(&listener)
                        .ok_or("port without listener")?;
                    if listener.lb != record.owner {
                        return Err("another load balancer's listener".to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    for (index, listener) in &maps.listeners {
        check_listener(maps, *index, listener)?;
    }
    Ok(())
}

fn check_listener(maps: &DesiredMaps, index: u32, listener: &ListenerRecord) -> Result<(), String> {
    if listener.flags & listener_flags::CIDRS != 0
        && !maps.cidrs.iter().any(|cidr| cidr.listener == index)
    {
        return Err("a listener's prefixes are not there".to_owned());
    }
    for is_v6 in [false, true] {
        let slot = maglev_slot_of(listener.maglev, is_v6);
        if listener.kind != listener_kind::NAT || slot >= limits::MAGLEV_TABLES {
            continue;
        }
        let table = maps.maglev.get(&slot).ok_or("no table")?;
        for member in table.members() {
            let member = maps.members.get(&u32::from(member.index));
            let member = member.ok_or("no member")?;
            if member.lb != listener.lb {
                return Err("another load balancer's member".to_owned());
            }
            if member.addr.is_v4() == is_v6 {
                return Err("a member of the other family".to_owned());
            }
        }
    }
    Ok(())
}

/// `kernel` without what flows may still name of objects that are gone.
fn without_left(kernel: &DesiredMaps, wanted: &DesiredMaps) -> Result<DesiredMaps, TestCaseError> {
    let mut kernel = kernel.clone();
    for (index, member) in &kernel.members {
        let left = !wanted.members.contains_key(index);
        prop_assert!(!left || member.flags & member_flags::NO_NEW_FLOWS != 0);
    }
    kernel
        .members
        .retain(|index, _| wanted.members.contains_key(index));
    kernel.address_records.retain(|index, record| {
        wanted.address_records.contains_key(index) || record.kind != address_kind::VIP
    });
    Ok(kernel)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_packet_ever_meets_a_word_without_its_record(
        changes in prop::collection::vec((0u8..4, prop::option::weighted(0.9, shapes()), any::<bool>()), 1..12)
    ) {
        let facts = facts();
        let mut allocations = Allocations::new(SEED);
        let mut now: BTreeMap<u8, DesiredMaps> = BTreeMap::new();
        let mut kernel = DesiredMaps::default();
        for (lb, shape, reclaim) in changes {
            let old = now.remove(&lb).unwrap_or_default();
            let new = match &shape {
                Some(shape) => load_balancer(&spec(lb, shape), &mut allocations, &facts, &Health::new()).expect("room"),
                None => {
                    allocations.remove(LoadBalancerId(id(13, lb, 0)));
                    DesiredMaps::default()
                }
            };
            let others: Vec<_> = now.values().cloned().collect();
            for step in diff(&old, &new) {
                write(&mut kernel, &step);
                check(&kernel).map_err(|why| TestCaseError::fail(format!("{why} after {step:?}")))?;
                for other in &others {
                    let mut with = kernel.clone();
                    with.merge(other);
                    prop_assert_eq!(&with, &kernel, "{:?} touched another's entry", step);
                }
            }
            now.insert(lb, new);
            let mut wanted = DesiredMaps::default();
            now.values().for_each(|maps| wanted.merge(maps));
            prop_assert_eq!(&without_left(&kernel, &wanted)?, &wanted);
            for (lb, maps) in &now {
                let id = LoadBalancerId(id(13, *lb, 0));
                let index = allocations.load_balancer(id);
                let own = index.map(|index| kernel.of_load_balancer(index)).unwrap_or_default();
                prop_assert_eq!(&without_left(&own, maps)?, maps, "told apart by owner");
            }
            if reclaim {
                let freed = allocations.reclaim(&InUse::default());
                for step in clear_freed(&freed) {
                    write(&mut kernel, &step);
                }
                prop_assert_eq!(&kernel, &wanted, "no flow names what is gone");
            }
        }
        let text = serde_json::to_string(&allocations).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Allocations>(&text).expect("JSON"), allocations);
    }

    #[test]
    fn the_same_again_changes_nothing(shape in shapes()) {
        let facts = facts();
        let mut allocations = Allocations::new(SEED);
        let spec = spec(1, &shape);
        let first = load_balancer(&spec, &mut allocations, &facts, &Health::new()).expect("room");
        let known = allocations.clone();
        let second = load_balancer(&spec, &mut allocations, &facts, &Health::new()).expect("room");
        prop_assert_eq!(&known, &allocations);
        prop_assert!(diff(&first, &second).is_empty());
    }
}
