//! The choice of a VIP's subnet and address.

use crate::{
    enums::Topology,
    request::load_balancer::{AdditionalVipRequest, VipRequest},
    testing::{NETWORK, SUBNET_V4, SUBNET_V6, code, facts, outcome, uuid},
    vip::{PortInfo, choose},
};

fn subnet(id: u128) -> VipRequest {
    VipRequest {
        subnet_id: Some(uuid(id).into()),
        ..VipRequest::default()
    }
}

fn network() -> VipRequest {
    VipRequest {
        network_id: Some(uuid(NETWORK).into()),
        ..VipRequest::default()
    }
}

fn chosen(request: &VipRequest) -> Result<u128, u16> {
    choose(request, Topology::Single, &facts().subnets, None)
        .map(|(vip, _)| vip.subnet_id.0.as_u128())
        .map_err(|fault| code(&fault))
}

#[test]
fn a_subnet_is_taken_as_named() {
    assert_eq!(chosen(&subnet(SUBNET_V6)), Ok(SUBNET_V6));
    assert_eq!(chosen(&subnet(0x77)), Err(400));
    let inside = VipRequest {
        address: "192.0.2.77".parse().ok(),
        ..subnet(SUBNET_V4)
    };
    assert_eq!(chosen(&inside), Ok(SUBNET_V4));
    let outside = VipRequest {
        address: "198.51.100.1".parse().ok(),
        ..subnet(SUBNET_V4)
    };
    assert_eq!(chosen(&outside), Err(400));
}

#[test]
fn a_network_prefers_ipv4_with_room() {
    assert_eq!(chosen(&network()), Ok(SUBNET_V4));
    let mut subnets = facts().subnets;
    subnets[0].free_addresses = 2;
    let pick = |topology| {
        choose(&network(), topology, &subnets, None)
            .unwrap()
            .0
            .subnet_id
            .0
            .as_u128()
    };
    assert_eq!(pick(Topology::Single), SUBNET_V4);
    assert_eq!(
        pick(Topology::ActiveStandby),
        SUBNET_V6,
        "a pair needs three addresses"
    );
    subnets
        .iter_mut()
        .for_each(|subnet| subnet.free_addresses = 1);
    let full = choose(&network(), Topology::Single, &subnets, None);
    assert_eq!(outcome(&full), 400);
}

#[test]
fn a_network_with_an_address_or_a_subnet_narrows_it_down() {
    let by_address = VipRequest {
        address: "2001:db8::9".parse().ok(),
        ..network()
    };
    assert_eq!(chosen(&by_address), Ok(SUBNET_V6));
    let nowhere = VipRequest {
        address: "198.51.100.1".parse().ok(),
        ..network()
    };
    assert_eq!(chosen(&nowhere), Err(400));
    let both = VipRequest {
        subnet_id: Some(uuid(SUBNET_V6).into()),
        ..network()
    };
    assert_eq!(chosen(&both), Ok(SUBNET_V6));
    let unknown = VipRequest {
        network_id: Some(uuid(0x77).into()),
        ..VipRequest::default()
    };
    assert_eq!(chosen(&unknown), Err(400));
    assert_eq!(chosen(&VipRequest::default()), Err(400));
}

#[test]
fn further_vips_share_the_network_and_repeat_no_subnet() {
    let further = |id: u128| AdditionalVipRequest {
        subnet_id: uuid(id).into(),
        address: None,
    };
    let with = |id| VipRequest {
        additional: vec![further(id)],
        ..subnet(SUBNET_V4)
    };
    let mut subnets = facts().subnets;
    let (_, additional) = choose(&with(SUBNET_V6), Topology::Single, &subnets, None).unwrap();
    assert_eq!(additional.len(), 1);
    assert_eq!(chosen(&with(SUBNET_V4)), Err(400));
    subnets[1].network_id = uuid(0x11).into();
    let apart = choose(&with(SUBNET_V6), Topology::Single, &subnets, None);
    assert_eq!(outcome(&apart), 400);
}

#[test]
fn a_port_must_be_free_and_have_the_address_meant() {
    let mut port = PortInfo {
        id: uuid(5).into(),
        network_id: uuid(NETWORK).into(),
        device_id: String::new(),
        fixed_ips: vec![
            (uuid(SUBNET_V4).into(), "192.0.2.5".parse().unwrap()),
            (uuid(SUBNET_V6).into(), "2001:db8::5".parse().unwrap()),
        ],
    };
    let request = VipRequest {
        port_id: Some(uuid(5).into()),
        ..VipRequest::default()
    };
    let pick = |request: &VipRequest, port: Option<&PortInfo>| {
        choose(request, Topology::Single, &[], port)
            .map(|(vip, _)| vip.address.unwrap().to_string())
            .map_err(|fault| code(&fault))
    };
    assert_eq!(pick(&request, None), Err(400), "no such port");
    assert_eq!(pick(&request, Some(&port)), Err(400), "which of the two?");
    let narrowed = VipRequest {
        subnet_id: Some(uuid(SUBNET_V6).into()),
        ..request.clone()
    };
    assert_eq!(pick(&narrowed, Some(&port)).as_deref(), Ok("2001:db8::5"));
    let narrowed = VipRequest {
        address: "192.0.2.5".parse().ok(),
        ..request.clone()
    };
    assert_eq!(pick(&narrowed, Some(&port)).as_deref(), Ok("192.0.2.5"));
    port.fixed_ips.truncate(1);
    assert_eq!(pick(&request, Some(&port)).as_deref(), Ok("192.0.2.5"));
    port.device_id = "vm".to_owned();
    assert_eq!(pick(&request, Some(&port)), Err(400));
}
