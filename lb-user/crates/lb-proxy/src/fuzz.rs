//! What `tests/fuzz` aims bytes at: each function takes anything and says what of what must hold
//! does not. Of no use to anyone else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderValue, header::COOKIE};
use lb_model::{
    amphora::AmphoraConfig,
    enums::{
        L7RuleCompareType, L7RuleType, ListenerProtocol, OperatingStatus, ProvisioningStatus,
        Topology,
    },
    id::{AmphoraId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, SubnetId},
    resource::{Common, L7Policy, L7Rule},
    spec::{ListenerPath, ListenerSpec, LoadBalancerSpec, VipSpec},
    time::Timestamp,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    config::{self, ListenerConfig},
    gate::{
        HEADERS_MAX,
        chunked::Chunked,
        head::{self, Framing},
    },
    h1,
    headers::Ends,
    http2,
    l7::{self, RequestFields, Scratch},
    persistence,
    upstream::proxy_header,
};

/// `Err`: what was found.
pub type Found = Result<(), String>;

fn hold(holds: bool, what: &str) -> Found {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// The first byte says where the rest is torn in two.
fn torn(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (first, whole) = bytes.split_first().unwrap_or((&0, &[]));
    let at = usize::from(*first) * (whole.len() + 1) / 256;
    let (one, other) = whole.split_at_checked(at).unwrap_or((whole, &[]));
    (whole, one, other)
}

/// A request head: the gate says the same however it arrives, what it lets pass the parser behind it
/// reads alike, and what we make of it for a member passes the gate again.
pub fn request_head(bytes: &[u8]) -> Found {
    let (whole, part, _) = torn(bytes);
    let end = head::end(whole, 0);
    if let Ok(None) = head::end(part, 0) {
        hold(
            head::end(whole, part.len()) == end,
            "a torn head ends elsewhere",
        )?;
    }
    let Ok(Some(length)) = end else {
        return Ok(());
    };
    let head = whole.get(..length).unwrap_or_default();
    let Ok(framing) = head::inspect(head) else {
        return Ok(());
    };
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(read)) => hold(read == length, "the parser ends elsewhere")?,
        other => {
            return Err(format!(
                "the gate passes what the parser does not: {other:?}"
            ));
        }
    }
    let named = |name: &'static str| {
        let lines = parsed.headers.iter();
        lines.filter(move |line| line.name.eq_ignore_ascii_case(name))
    };
    let chunked = named("transfer-encoding").count();
    let lengths: Vec<_> = named("content-length").map(|line| line.value).collect();
    let said = match framing {
        Framing::Chunked => chunked == 1 && lengths.is_empty(),
        Framing::Length(0) => {
            chunked == 0 && lengths.iter().all(|it| it.iter().all(|b| *b == b'0'))
        }
        Framing::Length(length) => {
            let is_same = |it: &&[u8]| {
                let text = std::str::from_utf8(it).unwrap_or_default();
                text.parse() == Ok(length)
            };
            chunked == 0 && !lengths.is_empty() && lengths.iter().all(is_same)
        }
    };
    hold(said, "the parser sees another framing")?;
    rewritten(head)
}

/// What a member gets is one head without a body.
fn rewritten(head: &[u8]) -> Found {
    let Some(config) = listener() else {
        return Err("the listener cannot be compiled".to_owned());
    };
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1);
    let ends = Ends {
        client: any,
        local: any,
        tls: false,
    };
    let mut out = Vec::new();
    if h1::rewrite(head, &config, ends, &mut out) {
        hold(
            head::end(&out, 0) == Ok(Some(out.len())),
            "a member gets more than a head",
        )?;
        let framing = head::inspect(&out);
        hold(
            framing == Ok(Framing::Length(0)),
            "a member gets a head with a body",
        )?;
    }
    Ok(())
}

fn listener() -> Option<std::sync::Arc<ListenerConfig>> {
    let listener = ListenerSpec {
        path: ListenerPath::Amphora,
        insert_headers: ["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"]
            .map(str::to_owned)
            .to_vec(),
        ..ListenerSpec::new(ListenerId(Uuid::nil()), ListenerProtocol::Http, 80)
    };
    let spec = LoadBalancerSpec {
        vips: vec![VipSpec {
            address: Ipv4Addr::LOCALHOST.into(),
            subnet_id: SubnetId(Uuid::nil()),
        }],
        listeners: vec![listener],
        ..LoadBalancerSpec::new(LoadBalancerId(Uuid::nil()), Topology::Single)
    };
    let config = AmphoraConfig {
        amphora_id: AmphoraId(Uuid::nil()),
        load_balancer: spec,
        ticket_seed: None,
        flow_log: None,
        log_to_agent: false,
    };
    let prober = lb_probe::schedule::Prober::new();
    let compiled = config::compile(&config, &prober, &config::TlsCache::new());
    compiled.snapshot.listeners.into_iter().next()
}

/// A chunked body: the same end and the same refusal however it arrives.
pub fn chunked(bytes: &[u8]) -> Found {
    let (whole, one, other) = torn(bytes);
    let mut at_once = Chunked::default();
    let expected = at_once.advance(whole);
    let mut in_two = Chunked::default();
    let got = match in_two.advance(one) {
        Ok((taken, false)) if taken == one.len() => in_two
            .advance(other)
            .map(|(more, ended)| (taken + more, ended))
            .map_err(|(more, refusal)| (taken + more, refusal)),
        ended => ended,
    };
    hold(got == expected, "a torn body is read differently")?;
    let (Ok((taken, _)) | Err((taken, _))) = expected;
    hold(taken <= whole.len(), "more is taken than there is")?;
    if let Ok((taken, true)) = expected {
        let body = whole.get(..taken).unwrap_or_default();
        hold(
            body.ends_with(b"\r\n\r\n"),
            "a body ends without its last line",
        )?;
    }
    Ok(())
}

/// A connection's frames: floods are seen at the same frame however they arrive.
pub fn frames(bytes: &[u8]) -> Found {
    let (whole, one, other) = torn(bytes);
    let now = Instant::now();
    let at_once = http2::is_flood(&[whole], now);
    hold(
        at_once == http2::is_flood(&[one, other], now),
        "torn frames are counted differently",
    )?;
    let single: Vec<&[u8]> = whole.chunks(1).collect();
    hold(
        at_once == http2::is_flood(&single, now),
        "bytes are counted differently",
    )
}

/// A rule as the API takes it, against a request: what the model passes compiles, and a rule and its
/// inversion never agree.
pub fn rule(bytes: &[u8]) -> Found {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (kinds, key, value, asked) = (text(), text(), text(), text());
    let mut kinds = kinds.bytes().map(usize::from);
    let mut pick = |of: usize| kinds.next().unwrap_or_default() % of;
    let (Some(&kind), Some(&compare_type)) = (
        L7RuleType::ALL.get(pick(L7RuleType::ALL.len())),
        L7RuleCompareType::ALL.get(pick(L7RuleCompareType::ALL.len())),
    ) else {
        return Err("no such kind".to_owned());
    };
    let rule = |invert| L7Rule {
        id: L7RuleId(Uuid::nil()),
        common: common(),
        kind,
        compare_type,
        key: (!key.is_empty()).then(|| key.clone()),
        value: value.clone(),
        invert,
    };
    if lb_model::l7_rules::check(&rule(false)).is_err() {
        return Ok(());
    }
    let mut headers = HeaderMap::new();
    for line in asked.lines().take(HEADERS_MAX) {
        let (name, value) = line.split_once(':').unwrap_or(("host", line));
        if let (Ok(name), Ok(value)) = (
            http::HeaderName::try_from(name),
            HeaderValue::try_from(value.trim()),
        ) {
            headers.append(name, value);
        }
    }
    let request = RequestFields {
        path: asked.lines().next().unwrap_or_default(),
        headers: &headers,
        session: None,
    };
    let matches = |invert| {
        let policy = policy(rule(invert));
        let engine = l7::compile(&[&policy]).map_err(|error| format!("not compiled: {error}"))?;
        Ok::<_, String>(engine.decide(request, &mut Scratch::default()).is_some())
    };
    hold(
        matches(false)? != matches(true)?,
        "a rule and its inversion agree",
    )
}

fn common() -> Common {
    Common {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        provisioning_status: ProvisioningStatus::Active,
        operating_status: OperatingStatus::Online,
        created_at: Timestamp(0),
        updated_at: None,
        tags: Vec::new(),
    }
}

fn policy(rule: L7Rule) -> L7Policy {
    L7Policy {
        id: L7PolicyId(Uuid::nil()),
        common: common(),
        action: lb_model::enums::L7PolicyAction::Reject,
        redirect_pool_id: None,
        redirect_url: None,
        redirect_prefix: None,
        redirect_http_code: None,
        rules: vec![rule],
    }
}

/// Cookie headers: ours is gone when it is taken out, and every other one is still there.
pub fn cookies(bytes: &[u8]) -> Found {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(HEADERS_MAX) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, value);
        }
    }
    let others = |headers: &HeaderMap| {
        let lines = headers.get_all(COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let pairs = pairs.map(<[u8]>::trim_ascii).filter(|pair| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii() != persistence::COOKIE.as_bytes() || !pair.contains(&b'=')
        });
        let pairs = pairs.filter(|pair| !pair.is_empty());
        pairs.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let before = others(&headers);
    persistence::strip(&mut headers, persistence::COOKIE);
    let left = persistence::named(&headers, persistence::COOKIE);
    hold(left.is_none(), "ours is still there")?;
    hold(
        others(&headers) == before,
        "another cookie is not as it was",
    )
}

/// PROXY headers of any two addresses and any name: read back, they say the same.
pub fn proxy_headers(bytes: &[u8]) -> Found {
    let (fixed, name) = bytes.split_at_checked(37).unwrap_or((bytes, &[]));
    let mut fixed = fixed.iter().copied().chain(std::iter::repeat(0));
    let mut take = || fixed.next().unwrap_or_default();
    let flags = take();
    let mut address = || {
        let octets: [u8; 16] = std::array::from_fn(|_| take());
        let [a, b, c, d, ..] = octets;
        let ip: IpAddr = if flags & 1 == 0 {
            Ipv4Addr::new(a, b, c, d).into()
        } else {
            Ipv6Addr::from(octets).into()
        };
        SocketAddr::new(ip, u16::from_be_bytes([take(), take()]))
    };
    let (client, local) = (address(), address());
    let v1 = proxy_header::v1(client, local);
    let fields: Vec<_> = v1.trim_end().split(' ').collect();
    let [_, _, from, _, port, _] = fields.as_slice() else {
        return Err(format!("not six words: {v1}"));
    };
    hold(
        v1.len() <= 107 && v1.ends_with("\r\n"),
        "longer than allowed",
    )?;
    hold(
        from.parse() == Ok(client.ip().to_canonical()) && port.parse() == Ok(client.port()),
        "another client",
    )?;
    let name = (flags & 2 != 0).then(|| String::from_utf8_lossy(name).into_owned());
    let tls = (flags & 4 != 0).then(|| proxy_header::Tls {
        common_name: name.clone(),
    });
    let v2 = proxy_header::v2(client, local, tls.clone());
    let length = v2.get(14..16).and_then(|it| <[u8; 2]>::try_from(it).ok());
    let length = length.map(u16::from_be_bytes).map(usize::from);
    hold(
        length.map(|it| it + 16) == Some(v2.len()),
        "the length is wrong",
    )?;
    let fixed = if v2.get(13) == Some(&0x11) { 12 } else { 36 };
    let mut rest = v2.get(16 + fixed..).unwrap_or_default();
    hold(
        rest.is_empty() == tls.is_none(),
        "a TLV too many or too few",
    )?;
    if tls.is_some() {
        rest = value(rest, 0x20)?;
        let told = match rest.get(5..) {
            Some([]) | None => None,
            Some(inner) => Some(value(inner, 0x22)?),
        };
        let cut = name.as_deref().map(proxy_header::told);
        hold(told == cut.map(str::as_bytes), "another name")?;
    }
    Ok(())
}

/// The value of a TLV that is all there is.
fn value(bytes: &[u8], kind: u8) -> Result<&[u8], String> {
    match bytes {
        [found, high, low, value @ ..]
            if *found == kind && usize::from(u16::from_be_bytes([*high, *low])) == value.len() =>
        {
            Ok(value)
        }
        other => Err(format!("no TLV {kind:#x} alone: {other:02x?}")),
    }
}
