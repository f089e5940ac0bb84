//! The data path in the kernel: loading, adoption, refusal, links, words, heartbeat pages.
//!
//! Needs root and the object of `cargo xtask build-ebpf`. Every test has a directory of pins and
//! namespaces of its own, removed also when it fails.

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use anyhow::{Context as _, ensure};
    use lb_agent::bpf::{Attachment, Datapath, Error, XdpMode};
    use lb_common::{
        heartbeat,
        maps::{
            Addr, AddressRecord, AmphoraRecord, AnswerRecord, Be16, ListenerRecord, MAP_ABI,
            MemberRecord, SteerWord, address_kind, algorithm, listener_kind, live::LbShare,
            member_flags, names, port_word, segment_word,
        },
    };
    use lb_plan::datapath::{
        Cidr, DesiredMaps, Freed, MaglevMember, MaglevTable, MapWrite, clear_freed, diff,
    };
    use lb_sys::{
        bpf::{Map, Shape, map_type},
        heartbeat::HeartbeatWriter,
    };
    use lb_testkit::{
        command::run,
        require_root,
        topology::{ClientSide, Topology, UPLINK_CLIENT},
        unique,
    };

    /// A directory of pins that goes with the value.
    struct Pins(PathBuf);

    impl Pins {
        fn new() -> Self {
            Self(PathBuf::from("/run").join(unique("lbaas-test-bpf")))
        }

        fn layout(&self) -> PathBuf {
            self.0.join(format!("v{MAP_ABI}"))
        }
    }

    impl Drop for Pins {
        fn drop(&mut self) {
            let removed = Datapath::remove(&self.0);
            let gone = fs::remove_dir_all(&self.0);
            if removed.is_err() || gone.is_err() {
                eprintln!("{} is left behind: {removed:?} {gone:?}", self.0.display());
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one whole state of the maps")]
    fn some_maps() -> DesiredMaps {
        let vip = Addr::v4([192, 0, 2, 7]);
        let member = MemberRecord {
            segment: 2,
            ifindex: 9,
            addr: Addr::v4([198, 51, 100, 1]),
            snat: Addr::v4([198, 51, 100, 9]),
            port: Be16::new(8080),
            src_mac: [2, 0, 0, 0, 0, 9],
            lb: 1,
            weight: 1,
            mtu: 0,
            flags: 0,
            _pad: 0,
        };
        let entry = MaglevMember {
            addr: member.addr,
            port: member.port,
            weight: 1,
            index: 65_535,
        };
        let table = MaglevTable::new(algorithm::ROUND_ROBIN, vec![entry]);
        let cidr = |text: &str| Cidr::new(5, &text.parse().expect("a network"));
        let share = LbShare {
            flows: 7,
            ..LbShare::default()
        };
        DesiredMaps {
            shares: [(1, share)].into(),
            segments: [(9, segment_word(2))].into(),
            devs: [1].into(), // The loopback interface exists everywhere.
            denied: [Cidr::new(0, &"127.0.0.0/8".parse().expect("a network"))].into(),
            addresses: [((8_000, 7), 0x1234_5678_0000_0003)].into(),
            address_records: [(
                3,
                AddressRecord {
                    segment: 1,
                    kind: address_kind::VIP,
                    addr: vip,
                    owner: 1,
                    ports_base: 64,
                    ports_mask: 3,
                    flags: 1,
                },
            )]
            .into(),
            ports: [(65, port_word(6, 80, 5))].into(),
            listeners: [(
                5,
                ListenerRecord {
                    kind: listener_kind::NAT,
                    flags: 1,
                    lb: 1,
                    maglev: 8_191,
                    ..ListenerRecord::default()
                },
            )]
            .into(),
            maglev: [(8_191, table)].into(),
            members: [(65_535, member)].into(),
            cidrs: [cidr("203.0.113.0/24"), cidr("2001:db8::/32")].into(),
            amphorae: [(
                16_383,
                AmphoraRecord {
                    ifindex: 12,
                    lb: 1,
                    dst_mac: [2, 0, 0, 0, 0, 1],
                    src_mac: [2, 0, 0, 0, 0, 2],
                },
            )]
            .into(),
            answers: [(
                12,
                AnswerRecord {
                    egress_ifindex: 9,
                    amphora: 16_383,
                    lb: 1,
                    segment: 1,
                },
            )]
            .into(),
        }
    }

    /// A member's record after the member was removed.
    fn left(member: &MemberRecord) -> MemberRecord {
        MemberRecord {
            flags: member_flags::NO_NEW_FLOWS,
            ..*member
        }
    }

    /// Tables read back have no members, only fingerprints.
    fn same(found: &DesiredMaps, wanted: &DesiredMaps) -> bool {
        diff(found, wanted).is_empty() && diff(wanted, found).is_empty()
    }

    #[test]
    fn what_was_written_is_found_by_the_next_agent() -> anyhow::Result<()> {
        if !require_root("what_was_written_is_found_by_the_next_agent")? {
            return Ok(());
        }
        let pins = Pins::new();
        let wanted = some_maps();
        let first = Datapath::open(&pins.0)?;
        ensure!(!first.adopted());
        ensure!(first.hash_seed()?.is_none());
        first.configure(77)?;
        ensure!(first.read()? == DesiredMaps::default());
        first.apply(&diff(&DesiredMaps::default(), &wanted))?;
        let steer = SteerWord {
            active: 3,
            standby: 4,
            epoch: 9,
            draining: true,
        };
        first.write_steer(8_191, steer)?;
        drop(first);

        let second = Datapath::open(&pins.0)?;
        ensure!(second.adopted());
        ensure!(second.hash_seed()? == Some(77));
        ensure!(second.read_steer(8_191)? == steer);
        let found = second.read()?;
        ensure!(same(&found, &wanted), "{found:?}");
        second.apply(&diff(&found, &DesiredMaps::default()))?;
        let rest = second.read()?;
        let left = DesiredMaps {
            members: wanted
                .members
                .iter()
                .map(|(at, one)| (*at, left(one)))
                .collect(),
            address_records: wanted.address_records.clone(),
            ..DesiredMaps::default()
        };
        ensure!(rest == left, "flows may still name them: {rest:?}");
        second.apply(&clear_freed(&Freed {
            members: [65_535].into(),
            address_records: [3].into(),
        }))?;
        let rest = second.read()?;
        ensure!(rest == DesiredMaps::default(), "{rest:?}");
        Ok(())
    }

    #[test]
    fn maps_of_an_agent_with_another_state_are_emptied() -> anyhow::Result<()> {
        if !require_root("maps_of_an_agent_with_another_state_are_emptied")? {
            return Ok(());
        }
        let pins = Pins::new();
        let datapath = Datapath::open(&pins.0)?;
        datapath.configure(1)?;
        datapath.apply(&diff(&DesiredMaps::default(), &some_maps()))?;
        let steer = SteerWord {
            active: 3,
            ..SteerWord::default()
        };
        datapath.write_steer(7, steer)?;
        datapath.heartbeat_map(3)?;
        datapath.configure(1)?;
        ensure!(
            same(&datapath.read()?, &some_maps()),
            "the same state is kept"
        );
        datapath.configure(2)?;
        ensure!(datapath.hash_seed()? == Some(2));
        ensure!(datapath.read()? == DesiredMaps::default());
        ensure!(datapath.read_steer(7)? == SteerWord::default());
        ensure!(datapath.heartbeat(3)?.is_none());
        Ok(())
    }

    #[test]
    fn an_interface_that_went_away_does_not_keep_the_rest_from_being_written() -> anyhow::Result<()>
    {
        let name = "an_interface_that_went_away_does_not_keep_the_rest_from_being_written";
        if !require_root(name)? {
            return Ok(());
        }
        let pins = Pins::new();
        let datapath = Datapath::open(&pins.0)?;
        let mut wanted = some_maps();
        wanted.devs.insert(2_000_000_000);
        datapath.apply(&diff(&DesiredMaps::default(), &wanted))?;
        ensure!(same(&datapath.read()?, &some_maps()));
        Ok(())
    }

    #[test]
    fn one_word_of_a_bucket_changes_alone() -> anyhow::Result<()> {
        if !require_root("one_word_of_a_bucket_changes_alone")? {
            return Ok(());
        }
        let pins = Pins::new();
        let datapath = Datapath::open(&pins.0)?;
        let at = |slot, word| MapWrite::Address {
            bucket: 32_767,
            slot,
            word,
        };
        datapath.apply(&[at(0, 1), at(7, 2), at(3, 3), at(0, 0)])?;
        let expected = [((32_767, 3), 3), ((32_767, 7), 2)];
        ensure!(datapath.read()?.addresses == expected.into());
        let beyond = MapWrite::Address {
            bucket: 32_768,
            slot: 0,
            word: 1,
        };
        ensure!(datapath.apply(&[beyond]).is_err());
        Ok(())
    }

    #[test]
    fn a_pinned_map_of_another_shape_is_refused() -> anyhow::Result<()> {
        if !require_root("a_pinned_map_of_another_shape_is_refused")? {
            return Ok(());
        }
        let pins = Pins::new();
        drop(Datapath::open(&pins.0)?);
        let path = pins.layout().join(names::LISTENERS);
        fs::remove_file(&path)?;
        let wrong = Map::create(
            Shape {
                map_type: map_type::ARRAY,
                key_size: 4,
                value_size: 16,
                max_entries: 7,
                flags: 0,
            },
            "wrong",
        )?;
        wrong.pin(&path)?;
        match Datapath::open(&pins.0) {
            Err(Error::Shape { name, .. }) => ensure!(name == names::LISTENERS),
            other => anyhow::bail!("{other:?}"),
        }
        Ok(())
    }

    #[test]
    fn pins_of_another_layout_are_refused() -> anyhow::Result<()> {
        if !require_root("pins_of_another_layout_are_refused")? {
            return Ok(());
        }
        let pins = Pins::new();
        let datapath = Datapath::open(&pins.0)?;
        let other = pins.0.join("v4294967295");
        fs::create_dir(&other)?;
        drop(datapath);
        drop(Datapath::open(&pins.0).context("an empty directory is no data path")?);
        let map = Map::open(&pins.layout().join(names::STEER))?;
        map.pin(&other.join("STEER"))?;
        let refused = Datapath::open(&pins.0);
        let told = matches!(refused, Err(Error::OtherLayout { .. }));
        fs::remove_dir_all(&other)?;
        ensure!(told, "{refused:?}");
        Ok(())
    }

    #[test]
    fn links_stay_without_an_agent_and_are_updated_by_the_next() -> anyhow::Result<()> {
        if !require_root("links_stay_without_an_agent_and_are_updated_by_the_next")? {
            return Ok(());
        }
        let pins = Pins::new();
        let topology = Topology::new("lbtbpf", ClientSide::Namespace)?;
        let edge = topology.edge();
        let program = || -> anyhow::Result<String> {
            let told = run(Some(edge), "ip", &["-d", "link", "show", UPLINK_CLIENT])?;
            let id = told.split("prog/xdp id ").nth(1);
            let id = id.and_then(|rest| rest.split_whitespace().next());
            Ok(id.unwrap_or("none").to_owned())
        };
        let in_edge = |what: &(dyn Fn() -> anyhow::Result<()> + Sync)| -> anyhow::Result<()> {
            lb_sys::netns::run_in(edge, what)?
        };
        let first = Datapath::open(&pins.0)?;
        in_edge(&|| {
            ensure!(first.attach_uplink(UPLINK_CLIENT)? == XdpMode::Driver);
            first.attach_answer("lo")?;
            Ok(())
        })?;
        drop(first);
        let before = program()?;
        ensure!(before != "none", "the program went with its agent");

        let second = Datapath::open(&pins.0)?;
        in_edge(&|| {
            ensure!(second.attach_uplink(UPLINK_CLIENT)? == XdpMode::Adopted);
            ensure!(second.attach(Attachment::Answer, "lo")? == XdpMode::Adopted);
            Ok(())
        })?;
        let after = program()?;
        ensure!(after != "none" && after != before, "{before} {after}");

        // Another interface by the same name and number is another interface.
        run(Some(edge), "ip", &["link", "del", UPLINK_CLIENT])?;
        run(
            Some(edge),
            "ip",
            &[
                "link",
                "add",
                UPLINK_CLIENT,
                "index",
                "1001",
                "type",
                "veth",
            ],
        )?;
        in_edge(&|| {
            ensure!(second.attach_uplink(UPLINK_CLIENT)? == XdpMode::Driver);
            Ok(())
        })?;
        ensure!(program()? != "none");

        second.retain(Attachment::Uplink, |ifindex| ifindex == 1001)?;
        ensure!(program()? != "none");
        second.detach(Attachment::Uplink, UPLINK_CLIENT)?;
        ensure!(program()? == "none");
        in_edge(&|| {
            second.attach_uplink(UPLINK_CLIENT)?;
            Ok(())
        })?;
        second.detach_all()?;
        ensure!(program()? == "none");
        Ok(())
    }

    #[test]
    fn a_stamp_in_mapped_memory_is_seen_by_xdp_and_agent() -> anyhow::Result<()> {
        if !require_root("a_stamp_in_mapped_memory_is_seen_by_xdp_and_agent")? {
            return Ok(());
        }
        let pins = Pins::new();
        let datapath = Datapath::open(&pins.0)?;
        ensure!(datapath.heartbeat(3)?.is_none());
        let fd = datapath.heartbeat_map(3)?;
        let fresh = datapath.heartbeat(3)?.context("a page")?;
        ensure!(heartbeat::is_dead(fresh.deadline_ns, 1));
        let writer = HeartbeatWriter::map(&fd)?;
        drop(fd);
        let now = lb_sys::clock::monotonic_ns();
        writer.stamp(now, true);
        drop(datapath);
        // XDP reaches the page through the same map, and so does the next agent.
        let datapath = Datapath::open(&pins.0)?;
        let page = datapath.heartbeat(3)?.context("the page")?;
        ensure!(page.deadline_ns == heartbeat::deadline_word(now, true));
        writer.stamp(now + 1_000_000, true);
        let page = datapath.heartbeat(3)?.context("the page")?;
        ensure!(page.deadline_ns == heartbeat::deadline_word(now + 1_000_000, true));
        datapath.heartbeat_map(3)?;
        let other = datapath.heartbeat(3)?.context("a page")?;
        ensure!(other.deadline_ns == 0, "a restarted amphora starts dead");
        datapath.forget_heartbeat(3)?;
        ensure!(datapath.heartbeat(3)?.is_none());
        Ok(())
    }

    #[test]
    fn counters_and_flows_of_an_idle_data_path_are_empty() -> anyhow::Result<()> {
        if !require_root("counters_and_flows_of_an_idle_data_path_are_empty")? {
            return Ok(());
        }
        let pins = Pins::new();
        let datapath = Datapath::open(&pins.0)?;
        let view = datapath.view();
        ensure!(view.counters()?.iter().all(|count| count.packets == 0));
        ensure!(view.listener_counters(32_767)?.packets_in == 0);
        ensure!(view.member_counters(65_535)?.packets_in == 0);
        ensure!(view.flows(false).chain(view.flows(true)).count() == 0);
        ensure!(view.in_use() == lb_plan::datapath::InUse::default());
        ensure!(datapath.clear_drains(&[1])? == 0);
        Ok(())
    }
}
