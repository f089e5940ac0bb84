//! Choosing members and keeping clients on them.

use std::{net::SocketAddr, time::Duration};

use lb_model::{
    amphora::{FromAmphora, TieTable, ToAmphora},
    enums::{LbAlgorithm, PoolProtocol, SessionPersistenceType},
    resource::SessionPersistence,
};
use tokio::{io::AsyncReadExt as _, net::TcpSocket};

use crate::{
    client::{Answer, Client},
    member::{Behaviour, Member},
    rig::{PORT, Rig},
};

fn keeping(kind: SessionPersistenceType, cookie: Option<&str>) -> SessionPersistence {
    SessionPersistence {
        kind,
        cookie_name: cookie.map(str::to_owned),
        persistence_timeout: None,
        persistence_granularity: None,
    }
}

async fn three() -> anyhow::Result<(Rig, [Member; 3])> {
    let members = [
        Member::named("one").await?,
        Member::named("two").await?,
        Member::named("three").await?,
    ];
    let addresses = members.each_ref().map(|member| member.address);
    Ok((Rig::serving(&addresses).await?, members))
}

/// A GET on a connection of its own.
async fn get(rig: &Rig, cookie: &str) -> anyhow::Result<Answer> {
    let mut client = rig.client().await?;
    client
        .send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"))
        .await?;
    client.answer().await
}

async fn from(rig: &Rig, source: &str) -> anyhow::Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source.parse()?, 0))?;
    let mut client = Client::over(socket.connect(rig.at(PORT)).await?);
    Ok(client.get("/").await?.body)
}

#[tokio::test]
async fn http_cookie_is_inserted_kept_and_hidden_from_members() -> anyhow::Result<()> {
    let (mut rig, members) = three().await?;
    rig.spec.pools[0].session_persistence = Some(keeping(SessionPersistenceType::HttpCookie, None));
    rig.apply().await?;
    let first = get(&rig, "").await?;
    let id = rig.spec.pools[0].members[0].id;
    assert_eq!(
        first.header("set-cookie"),
        Some(&*format!("SRV={id}; path=/"))
    );
    assert_eq!(first.header("cache-control"), None);
    let cookie = format!("Cookie: a=b; SRV={id}; c=d\r\n");
    for _ in 0..5 {
        let answer = get(&rig, &cookie).await?;
        assert_eq!(
            (answer.body.as_str(), answer.header("set-cookie")),
            ("one", None)
        );
    }
    let seen = members[0].requests().join("");
    assert!(
        seen.contains("cookie: a=b; c=d\r\n") && !seen.contains("SRV"),
        "{seen}"
    );
    // Drained: who is tied stays, nobody comes.
    rig.spec.pools[0].members[0].weight = 0;
    rig.apply().await?;
    for _ in 0..4 {
        assert_eq!(get(&rig, &cookie).await?.body, "one");
        assert_ne!(get(&rig, "").await?.body, "one");
    }
    // Gone: tied anew.
    rig.spec.pools[0].members.remove(0);
    rig.apply().await?;
    let anew = get(&rig, &cookie).await?;
    let index = usize::from(anew.body == "three");
    let id = rig.spec.pools[0].members[index].id;
    assert_eq!(
        anew.header("set-cookie"),
        Some(&*format!("SRV={id}; path=/"))
    );
    Ok(())
}

#[tokio::test]
async fn a_cookie_is_not_handed_out_by_caches() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Raw(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ))
    .await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.spec.pools[0].session_persistence = Some(keeping(SessionPersistenceType::HttpCookie, None));
    rig.apply().await?;
    let answer = get(&rig, "").await?;
    assert!(
        answer.head.contains("cache-control: private\r\n"),
        "{}",
        answer.head
    );
    Ok(())
}

#[tokio::test]
async fn a_tied_member_that_refuses_is_left_and_the_tie_made_anew() -> anyhow::Result<()> {
    let (mut rig, [one, two, three]) = three().await?;
    rig.spec.pools[0].session_persistence = Some(keeping(SessionPersistenceType::HttpCookie, None));
    rig.apply().await?;
    let id = rig.spec.pools[0].members[0].id;
    drop(one);
    let answer = get(&rig, &format!("Cookie: SRV={id}\r\n")).await?;
    assert_eq!(answer.code, 200);
    let set = answer.header("set-cookie").unwrap_or_default();
    assert!(
        set.starts_with("SRV=") && !set.contains(&id.to_string()),
        "{set}"
    );
    drop((two, three));
    Ok(())
}

#[tokio::test]
async fn app_cookie_is_learned_from_answers() -> anyhow::Result<()> {
    let (mut rig, members) = three().await?;
    rig.spec.pools[0].session_persistence = Some(keeping(
        SessionPersistenceType::AppCookie,
        Some("JSESSIONID"),
    ));
    rig.apply().await?;
    for (index, member) in members.iter().enumerate() {
        member.behave(Behaviour::Raw(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: JSESSIONID=s{index}; Path=/\r\nContent-Length: 1\r\n\r\n{index}"
        )));
    }
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(get(&rig, "").await?.body);
    }
    sessions.sort_unstable();
    assert_eq!(sessions, ["0", "1", "2"]);
    for (index, member) in members.iter().enumerate() {
        member.behave(Behaviour::Says(index.to_string()));
    }
    for _ in 0..3 {
        for index in 0..3 {
            let answer = get(&rig, &format!("Cookie: x=y; JSESSIONID=s{index}\r\n")).await?;
            assert_eq!(answer.body, index.to_string());
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    assert!(members[1].requests().join("").contains("JSESSIONID=s1"));
    Ok(())
}

#[tokio::test]
async fn source_ip_persistence_outlives_changes_and_moves_with_a_failover() -> anyhow::Result<()> {
    let (mut rig, members) = three().await?;
    rig.spec.pools[0].session_persistence = Some(keeping(SessionPersistenceType::SourceIp, None));
    rig.apply().await?;
    let sources = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"];
    let mut at = Vec::new();
    for source in sources {
        at.push(from(&rig, source).await?);
    }
    for (source, member) in sources.iter().zip(&at) {
        for _ in 0..3 {
            assert_eq!(from(&rig, source).await?, *member);
        }
    }
    rig.spec.pools[0].members[0].weight = 7;
    rig.apply().await?;
    assert_eq!(from(&rig, sources[1]).await?, at[1]);

    // Another amphora that is told what this one knows.
    rig.agent.say(&ToAmphora::TellTies).await?;
    let tables = loop {
        if let FromAmphora::Ties { tables } = rig.agent.hear().await?
            && tables.iter().map(|table| table.ties.len()).sum::<usize>() == sources.len()
        {
            break tables;
        }
    };
    let mut other = Rig::start().await?;
    other.spec.pools = rig.spec.pools.clone();
    other.spec.listeners = rig.spec.listeners.clone();
    other.apply().await?;
    other.agent.say(&ToAmphora::Ties { tables }).await?;
    other.apply().await?;
    for (source, member) in sources.iter().zip(&at).rev() {
        assert_eq!(from(&other, source).await?, *member);
    }
    drop(members);
    Ok(())
}

#[tokio::test]
async fn every_worker_knows_every_tie() -> anyhow::Result<()> {
    let members = [Member::named("one").await?, Member::named("two").await?];
    let mut rig = Rig::start_with(4, None).await?;
    rig.serve(&members.each_ref().map(|member| member.address))
        .await?;
    rig.spec.pools[0].session_persistence = Some(keeping(SessionPersistenceType::SourceIp, None));
    rig.apply().await?;
    let first = from(&rig, "127.0.0.21").await?;
    // Told to the agent after every worker was told; their inboxes are in order with what follows.
    let told = |message: &FromAmphora| matches!(message, FromAmphora::Ties { tables } if !tables.is_empty());
    while !told(&rig.agent.hear().await?) {}
    rig.apply().await?;
    for _ in 0..20 {
        assert_eq!(from(&rig, "127.0.0.21").await?, first);
    }
    Ok(())
}

#[tokio::test]
async fn nonsense_about_ties_is_passed_over() -> anyhow::Result<()> {
    let (mut rig, _members) = three().await?;
    let table = TieTable {
        listener_id: rig.spec.listeners[0].id,
        pool_id: rig.spec.pools[0].id,
        ties: vec![("zz".to_owned(), rig.spec.pools[0].members[0].id)],
    };
    let tables = vec![table];
    rig.agent.say(&ToAmphora::Ties { tables }).await?;
    rig.apply().await?;
    assert_eq!(get(&rig, "").await?.code, 200);
    Ok(())
}

#[tokio::test]
async fn least_connections_goes_where_least_is_open() -> anyhow::Result<()> {
    let (mut rig, members) = three().await?;
    rig.spec.pools[0].lb_algorithm = LbAlgorithm::LeastConnections;
    rig.apply().await?;
    members[0].behave(Behaviour::Late(Duration::from_secs(60)));
    members[1].behave(Behaviour::Late(Duration::from_secs(60)));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = rig.client().await?;
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        waiting.push(client);
    }
    assert_eq!(waiting[2].answer().await?.body, "three");
    for _ in 0..6 {
        assert_eq!(get(&rig, "").await?.body, "three");
    }
    Ok(())
}

#[tokio::test]
async fn source_ip_hashing_is_the_same_in_every_amphora() -> anyhow::Result<()> {
    let (mut rig, members) = three().await?;
    rig.spec.pools[0].lb_algorithm = LbAlgorithm::SourceIp;
    rig.apply().await?;
    let mut other = Rig::start().await?;
    other.spec.pools = rig.spec.pools.clone();
    other.spec.listeners = rig.spec.listeners.clone();
    other.apply().await?;
    let mut seen = std::collections::BTreeSet::new();
    for last in 1..30 {
        let source = format!("127.0.3.{last}");
        let member = from(&rig, &source).await?;
        assert_eq!(from(&other, &source).await?, member);
        seen.insert(member);
    }
    assert_eq!(seen.len(), 3);
    drop(members);
    Ok(())
}

#[tokio::test]
async fn backups_serve_when_no_primary_can() -> anyhow::Result<()> {
    let (mut rig, _members) = three().await?;
    rig.spec.pools[0].members[1].backup = true;
    rig.spec.pools[0].members[2].backup = true;
    rig.apply().await?;
    for _ in 0..3 {
        assert_eq!(get(&rig, "").await?.body, "one");
    }
    rig.spec.pools[0].members[0].weight = 0;
    rig.apply().await?;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(get(&rig, "").await?.body);
    }
    bodies.sort_unstable();
    assert_eq!(bodies, ["three", "three", "two", "two"]);
    Ok(())
}

#[tokio::test]
async fn proxy_pools_tell_the_client_and_share_nothing() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.spec.pools[0].protocol = PoolProtocol::Proxy;
    rig.apply().await?;
    for _ in 0..2 {
        let mut client = rig.client().await?;
        for path in ["/a", "/b"] {
            assert_eq!(client.get(path).await?.body, "one");
        }
    }
    let requests = member.requests();
    assert_eq!(member.connections(), 2, "one a client");
    let marked = requests
        .iter()
        .map(|request| request.starts_with("PROXY TCP4 127.0.0.1 "));
    assert!(marked.eq([true, false, true, false]), "{requests:?}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    rig.spec.pools[0].protocol = PoolProtocol::ProxyV2;
    rig.spec.pools[0].members[0].port = listener.local_addr()?.port();
    rig.apply().await?;
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let mut stream = listener.accept().await?.0;
    let mut header = [0; 31];
    stream.read_exact(&mut header).await?;
    assert_eq!(&header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let port = client.stream.local_addr()?.port().to_be_bytes();
    assert_eq!(
        (&header[16..20], &header[24..26]),
        (&[127, 0, 0, 1][..], &port[..])
    );
    assert_eq!(&header[28..], b"GET");
    Ok(())
}

#[tokio::test]
async fn an_authenticated_connection_stays_with_its_client() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Raw(
        "HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ))
    .await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut one = rig.client().await?;
    assert_eq!(one.get("/").await?.code, 401);
    member.behave(Behaviour::Says("in".to_owned()));
    assert_eq!(one.get("/").await?.body, "in");
    assert_eq!(rig.client().await?.get("/").await?.body, "in");
    assert_eq!(one.get("/").await?.body, "in");
    assert_eq!(member.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.spec.listeners[0].connection_limit = Some(2);
    rig.apply().await?;
    let mut first = rig.client().await?;
    let mut second = rig.client().await?;
    assert_eq!(first.get("/").await?.code, 200);
    assert_eq!(second.get("/").await?.code, 200);
    let mut third = rig.client().await?;
    third.send("GET /third HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let early = tokio::time::timeout(Duration::from_millis(200), third.answer()).await;
    assert!(early.is_err(), "it was served");
    drop(first);
    assert_eq!(third.answer().await?.code, 200);
    let mut fourth = rig.client().await?;
    fourth
        .send("GET /fourth HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    rig.spec.listeners[0].connection_limit = None;
    rig.apply().await?;
    assert_eq!(fourth.answer().await?.code, 200);
    Ok(())
}
