//! Each kind of check against a member that passes and one that does not.

use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

use anyhow::Context as _;
use lb_probe::{
    check::{Attempt, CheckError, run},
    codes::ExpectedCodes,
    monitor::Check,
    sctp::SctpSockets,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

const TIMEOUT: Duration = Duration::from_millis(400);

fn attempt(target: SocketAddr) -> Attempt {
    Attempt {
        target,
        source: None,
        timeout: TIMEOUT,
        sctp: None,
    }
}

async fn checked(check: &Check, attempt: &Attempt) -> Result<(), CheckError> {
    match tokio::time::timeout(TIMEOUT, run(check, attempt)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(CheckError::Timeout),
    }
}

#[tokio::test]
async fn a_datagram_passes_unless_it_is_refused() -> anyhow::Result<()> {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let member = UdpSocket::bind(address).await?;
        let at = attempt(member.local_addr()?);
        checked(&Check::UdpConnect, &at)
            .await
            .context("silence is no refusal")?;
        drop(member);
        let begun = tokio::time::Instant::now();
        let refused = checked(&Check::UdpConnect, &at).await;
        assert!(matches!(refused, Err(CheckError::Io(_))), "{refused:?}");
        assert!(begun.elapsed() < TIMEOUT / 2, "a refusal is not waited out");
    }
    Ok(())
}

/// A server that reads something and answers with `answer`.
async fn answers(answer: &'static [u8]) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    lb_telemetry::task::spawn("test server", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 4096];
            if stream.read(&mut hello).await.is_ok() {
                let _sent = stream.write_all(answer).await;
            }
        }
    });
    Ok(at)
}

#[tokio::test]
async fn a_tls_record_is_an_answer_to_hello_and_nothing_else_is() -> anyhow::Result<()> {
    for (answer, passes) in [
        (&b"\x16\x03\x03\x00\x02\x02\x00"[..], true),
        (b"\x15\x03\x01\x00\x02\x02\x28", true),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
        (b"", false),
    ] {
        let at = attempt(answers(answer).await?);
        let result = checked(&Check::TlsHello, &at).await;
        assert_eq!(result.is_ok(), passes, "{answer:?}: {result:?}");
    }
    Ok(())
}

#[tokio::test]
async fn https_asks_within_tls_whoever_the_member_is() -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["else.test".to_owned()])?;
    let certificate = certificate.self_signed(&key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = attempt(listener.local_addr()?);
    lb_telemetry::task::spawn("test server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 4096];
            if stream.read(&mut head).await.is_ok() {
                let _sent = stream.write_all(b"HTTP/1.0 204 yes\r\n\r\n").await;
            }
        }
    });
    for (codes, passes) in [("200-204", true), ("200", false)] {
        let check = Check::Https {
            request: b"GET / HTTP/1.0\r\n\r\n".to_vec(),
            expected: ExpectedCodes::parse(codes),
            name: Some("health.test".to_owned()),
        };
        let result = checked(&check, &at).await;
        assert_eq!(result.is_ok(), passes, "{codes}: {result:?}");
    }
    Ok(())
}

/// Runs `test` in a namespace of its own, where raw and ICMP sockets may be opened; without root
/// there is none.
fn in_namespace(
    name: &str,
    test: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    if !std::fs::read_to_string("/proc/self/status")?.contains("\nUid:\t0\t0\t0\t0\n") {
        assert!(std::env::var_os("LBAAS_TEST_REQUIRE_ROOT").is_none());
        #[expect(
            clippy::print_stderr,
            reason = "who runs the tests must see what was not tried"
        )]
        {
            eprintln!("SKIPPED: needs root");
        }
        return Ok(());
    }
    let name = format!("lbprobe-{}-{name}", std::process::id());
    lb_sys::netns::create(&name)?;
    let result = lb_sys::netns::run_in(&name, || {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()?;
        anyhow::ensure!(up.success(), "lo stays down");
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        test()
    });
    lb_sys::netns::delete(&name)?;
    result?
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

#[test]
fn a_host_that_answers_echo_passes() -> anyhow::Result<()> {
    in_namespace("ping", || {
        runtime()?.block_on(async {
            for here in ["127.0.0.1:1", "[::1]:1"] {
                checked(&Check::Ping, &attempt(here.parse()?))
                    .await
                    .context(here)?;
            }
            let from = Attempt {
                source: Some("127.0.0.9".parse()?),
                ..attempt("127.0.0.1:1".parse()?)
            };
            checked(&Check::Ping, &from)
                .await
                .context("from 127.0.0.9")?;
            let nowhere = checked(&Check::Ping, &attempt("192.0.2.1:1".parse()?)).await;
            assert!(nowhere.is_err(), "no route, no answer");
            Ok(())
        })
    })
}

/// A member's SCTP as far as a probe goes: answers each INIT with a chunk of `kind`.
fn sctp_member(is_v6: bool, kind: u8) -> anyhow::Result<()> {
    let socket = socket2::Socket::from(lb_sys::raw::open_sctp(is_v6)?);
    let socket = UdpSocket::from_std(socket.into())?;
    lb_telemetry::task::spawn("test member", async move {
        let mut packet = [0; 256];
        while let Ok((bytes, from)) = socket.recv_from(&mut packet).await {
            let skip = if is_v6 { 0 } else { 20 };
            let Some(init) = packet
                .get(skip..bytes)
                .filter(|sctp| sctp.get(12) == Some(&1))
            else {
                continue;
            };
            let (Some([from_port @ .., _, _]), Some([_, _, to_port @ ..]), Some(tag)) = (
                init.first_chunk::<4>(),
                init.first_chunk::<4>(),
                init.get(16..20),
            ) else {
                continue;
            };
            let mut answer = [to_port, from_port, tag].concat();
            answer.extend([0; 4]);
            answer.extend([kind, 0, 0, 4]);
            let _sent = socket.send_to(&answer, from).await;
        }
    });
    Ok(())
}

#[test]
fn an_acknowledged_init_passes_and_an_abort_does_not() -> anyhow::Result<()> {
    for (name, kind, passes) in [("sctp-ack", 2, true), ("sctp-abort", 6, false)] {
        in_namespace(name, move || {
            runtime()?.block_on(async {
                let sockets = vec![
                    lb_sys::raw::open_sctp(false)?,
                    lb_sys::raw::open_sctp(true)?,
                ];
                let sctp = SctpSockets::new(sockets)?;
                for (member, source) in [("127.0.0.1:80", "127.0.0.9"), ("[::1]:80", "::1")] {
                    let at = Attempt {
                        source: Some(source.parse()?),
                        sctp: Some(Arc::clone(&sctp)),
                        ..attempt(member.parse()?)
                    };
                    let silent = checked(&Check::Sctp, &at).await;
                    assert!(matches!(silent, Err(CheckError::Timeout)), "{silent:?}");
                    sctp_member(at.target.is_ipv6(), kind)?;
                    let result = checked(&Check::Sctp, &at).await;
                    assert_eq!(result.is_ok(), passes, "{member}: {result:?}");
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}
