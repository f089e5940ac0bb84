//! `lbaas explain request METHOD URL`: judged by the very code that serves, from what the agent of
//! this host carries, or from a standalone amphora's file. Nothing is sent.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use lb_agent::desired::Disk;
use lb_model::{
    enums::ListenerProtocol,
    id::LoadBalancerId,
    spec::{ListenerSpec, LoadBalancerSpec, PoolSpec},
};
use lb_proxy::{Asked, Explained, PolicyVerdict};

use crate::{
    cli::print,
    config::{Config, ConfigError},
    failure::Failure,
    role::standalone,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// As it would be sent.
    method: String,
    /// http:// or https://, with the port that is not 80 or 443.
    url: String,
    /// A header; repeatable. Host is taken from the URL when it is not given.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Only this load balancer.
    #[arg(long, value_name = "ID")]
    load_balancer: Option<LoadBalancerId>,
    /// What a standalone amphora serves, in place of this host's load balancers.
    #[arg(long, value_name = "FILE")]
    standalone: Option<PathBuf>,
}

/// A URL, taken apart.
struct Url<'a> {
    tls: bool,
    authority: &'a str,
    host: &'a str,
    port: u16,
    target: String,
}

pub(crate) fn run(
    options: &Options,
    load: impl FnOnce() -> Result<Config, ConfigError>,
) -> Result<(), Failure> {
    let url = take_apart(&options.url).ok_or_else(|| {
        Failure::Usage(format!(
            "{}: not an http or https URL with a host",
            options.url
        ))
    })?;
    let asked = asked(options, &url)?;
    let specs = match &options.standalone {
        Some(file) => vec![standalone::read(file)?],
        None => carried(&load()?)?,
    };
    let (load_balancer, listener) = find(&specs, options, &url)?;
    let explained = lb_proxy::explain(load_balancer, listener, &asked).map_err(Failure::Failed)?;
    print(&told(load_balancer, listener, &explained))
}

fn take_apart(url: &str) -> Option<Url<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let bare = if target.starts_with('/') { "" } else { "/" };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    (!host.is_empty()).then(|| Url {
        tls,
        authority,
        host: host.trim_start_matches('[').trim_end_matches(']'),
        port,
        target: format!("{bare}{target}"),
    })
}

fn asked(options: &Options, url: &Url<'_>) -> Result<Asked, Failure> {
    let mut headers = Vec::new();
    for header in &options.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Failure::Usage(format!("{header}: a header is NAME: VALUE")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        headers.insert(0, ("Host".to_owned(), url.authority.to_owned()));
    }
    Ok(Asked {
        method: options.method.clone(),
        target: url.target.clone(),
        headers,
    })
}

/// What the agent of this host has on disk.
fn carried(config: &Config) -> Result<Vec<LoadBalancerSpec>, Failure> {
    let dir = config.state_dir.join("agent");
    if !dir.exists() {
        return Err(Failure::Failed(format!(
            "{}: no agent has carried anything here (or this needs root)",
            dir.display()
        )));
    }
    let disk = Disk::open(dir).map_err(Failure::failed)?;
    let specs = disk.specs().map_err(Failure::failed)?;
    Ok(specs.into_values().collect())
}

/// The one listener a request to `url` comes to.
fn find<'a>(
    specs: &'a [LoadBalancerSpec],
    options: &Options,
    url: &Url<'_>,
) -> Result<(&'a LoadBalancerSpec, &'a ListenerSpec), Failure> {
    let wanted = if url.tls {
        ListenerProtocol::TerminatedHttps
    } else {
        ListenerProtocol::Http
    };
    let mut found: Vec<_> = specs
        .iter()
        .filter(|spec| options.load_balancer.is_none_or(|id| spec.id == id))
        .flat_map(|spec| spec.listeners.iter().map(move |listener| (spec, listener)))
        .filter(|(_, listener)| listener.port == url.port && listener.protocol == wanted)
        .collect();
    // A name does not tell a load balancer, an address does.
    if let Ok(address) = url.host.parse::<std::net::IpAddr>() {
        let at = |spec: &LoadBalancerSpec| spec.vips.iter().any(|vip| vip.address == address);
        if found.iter().any(|(spec, _)| at(spec)) {
            found.retain(|(spec, _)| at(spec));
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::Failed(format!(
            "no {wanted} listener on port {} is carried here",
            url.port
        ))),
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|(spec, _)| spec.id.to_string())
                .collect();
            Err(Failure::Usage(format!(
                "several load balancers listen there: name one with --load-balancer: {}",
                ids.join(", ")
            )))
        }
    }
}

fn told(
    load_balancer: &LoadBalancerSpec,
    listener: &ListenerSpec,
    explained: &Explained,
) -> String {
    let mut text = format!(
        "load balancer {}\nlistener      {} ({} {})\nverdict       {}\n",
        load_balancer.id, listener.id, listener.protocol, listener.port, explained.verdict
    );
    let pool = explained
        .pool
        .and_then(|id| load_balancer.pools.iter().find(|it| it.id == id));
    if let Some(pool) = pool {
        text.push_str(&told_pool(pool));
    }
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _never = text.write_fmt(line);
    };
    for policy in &explained.policies {
        let verdict = match policy.verdict {
            PolicyVerdict::Decides => "decides",
            PolicyVerdict::TooLate => "matches, but another comes first",
            PolicyVerdict::No => "does not match",
        };
        let (position, name, action) = (policy.position, &policy.name, &policy.action);
        add(format_args!(
            "\npolicy {position} {name} ({action}): {verdict}\n"
        ));
        for rule in &policy.rules {
            let holds = if rule.holds { "holds" } else { "does not hold" };
            let seen = match rule.seen.as_slice() {
                [] => "nothing".to_owned(),
                seen => seen.join(", "),
            };
            add(format_args!(
                "  {holds}: {} (the request has: {seen})\n",
                rule.text
            ));
        }
    }
    text
}

fn told_pool(pool: &PoolSpec) -> String {
    let mut text = format!("pool          {} ({})\n", pool.id, pool.lb_algorithm);
    for member in &pool.members {
        let backup = if member.backup { ", backup" } else { "" };
        let line = format!(
            "  member      {} {}:{} weight {}{backup}\n",
            member.id, member.address, member.port, member.weight
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = take_apart("https://[2001:db8::1]:8443?x").unwrap();
        assert_eq!((url.tls, url.host, url.port), (true, "2001:db8::1", 8443));
        assert_eq!(
            (url.authority, url.target.as_str()),
            ("[2001:db8::1]:8443", "/?x")
        );
        let url = take_apart("http://a.example/b").unwrap();
        assert_eq!((url.tls, url.host, url.port), (false, "a.example", 80));
        assert_eq!(url.target, "/b");
        for bad in ["a.example", "ftp://a/", "http:///x", "http://a:x/"] {
            assert!(take_apart(bad).is_none(), "{bad}");
        }
    }
}
