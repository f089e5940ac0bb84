//! `lbaas check`: what this host lacks to carry load balancers. Each line is measured, none assumed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{cli::print, config::Config, failure::Failure, role::process::effective_capabilities};

/// First kernel with TCX, which the answers' program needs.
const KERNEL_MIN: (u32, u32) = (6, 6);
/// Capabilities by bit (linux/capability.h) and what for.
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (12, "CAP_NET_ADMIN", "interfaces, routes, XDP"),
    (21, "CAP_SYS_ADMIN", "namespaces and mounts of amphorae"),
    (39, "CAP_BPF", "programs and maps"),
];

/// One finding.
struct Finding {
    what: String,
    /// `Err`: what is wrong and what to do.
    outcome: Result<String, String>,
    /// It works, but worse than it could.
    is_poor: bool,
}

impl Finding {
    fn new(what: &str, outcome: Result<String, String>) -> Self {
        Self {
            what: what.to_owned(),
            outcome,
            is_poor: false,
        }
    }
}

pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let mut findings = vec![kernel(), btf(), bpffs(&config.agent.bpf_dir)];
    findings.extend(capabilities());
    findings.push(state_dir(&config.state_dir));
    findings.push(interfaces(config));
    findings.extend(xdp_modes(config));
    let mut text = String::new();
    for Finding {
        what,
        outcome,
        is_poor,
    } in &findings
    {
        let line = match outcome {
            Ok(found) if *is_poor => format!("POOR  {what}: {found}\n"),
            Ok(found) => format!("ok    {what}: {found}\n"),
            Err(lack) => format!("LACK  {what}: {lack}\n"),
        };
        text.push_str(&line);
    }
    print(&text)?;
    let lacking = findings
        .iter()
        .filter(|finding| finding.outcome.is_err())
        .count();
    if lacking == 0 {
        Ok(())
    } else {
        Err(Failure::Failed(format!(
            "{lacking} of {} are lacking",
            findings.len()
        )))
    }
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let (major, minor) = KERNEL_MIN;
    let outcome = match version(release) {
        Some(found) if found >= KERNEL_MIN => Ok(release.to_owned()),
        _ => Err(format!(
            "{release}: {major}.{minor} or newer is needed (TCX)"
        )),
    };
    Finding::new("kernel", outcome)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    let outcome = if Path::new(path).exists() {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "{path} is missing: a kernel with CONFIG_DEBUG_INFO_BTF is needed"
        ))
    };
    Finding::new("BTF", outcome)
}

fn bpffs(dir: &Path) -> Finding {
    let supported = fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.split_whitespace().any(|word| word == "bpf"));
    let mounted = fs::read_to_string("/proc/self/mounts").is_ok_and(|text| {
        text.lines().any(|line| {
            let mut words = line.split(' ').skip(1);
            words.next().map(Path::new) == Some(dir) && words.next() == Some("bpf")
        })
    });
    let outcome = match (supported, mounted) {
        (_, true) => Ok(format!("mounted at {}", dir.display())),
        (true, false) => Ok(format!("the agent will mount it at {}", dir.display())),
        (false, false) => Err("the kernel has no bpf file system (CONFIG_BPF_SYSCALL)".to_owned()),
    };
    Finding::new("bpffs", outcome)
}

fn capabilities() -> Vec<Finding> {
    let effective = effective_capabilities();
    CAPABILITIES
        .iter()
        .map(|&(bit, name, purpose)| {
            let outcome = if effective & (1 << bit) != 0 {
                Ok(purpose.to_owned())
            } else {
                Err(format!("needed for {purpose}: run as root"))
            };
            Finding::new(name, outcome)
        })
        .collect()
}

fn state_dir(dir: &Path) -> Finding {
    let nearest = dir.ancestors().find(|path| path.exists());
    let writable = nearest.is_some_and(|path| {
        fs::metadata(path).is_ok_and(|found| found.is_dir() && !found.permissions().readonly())
    });
    let outcome = if writable {
        Ok(dir.display().to_string())
    } else {
        Err(format!("{} cannot be made or written", dir.display()))
    };
    Finding::new("state_dir", outcome)
}

fn interfaces(config: &Config) -> Finding {
    let named: Vec<&str> = config
        .agent
        .interfaces
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    if named.is_empty() {
        let outcome = Err("none configured: name them in [[agent.interfaces]]".to_owned());
        return Finding::new("interfaces", outcome);
    }
    let present = in_edge(config, links);
    let outcome = present.and_then(|present| {
        let missing: Vec<&str> = named
            .iter()
            .copied()
            .filter(|name| !present.iter().any(|link| link == name))
            .collect();
        if missing.is_empty() {
            Ok(named.join(", "))
        } else {
            Err(format!("not there: {}", missing.join(", ")))
        }
    });
    Finding::new("interfaces", outcome)
}

/// Runs `body` in the network namespace where the agent attaches XDP.
fn in_edge<T: Send>(
    config: &Config,
    body: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    match &config.agent.edge_netns {
        None => body(),
        Some(name) => lb_sys::netns::run_in(name, body)
            .map_err(|error| format!("edge_netns {name}: {error}"))
            .and_then(|done| done),
    }
}

/// Whether XDP would run in the driver of each interface that is there.
fn xdp_modes(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in &config.agent.interfaces {
        let name = &interface.name;
        let features = in_edge(config, || {
            let index = lb_sys::iface::index(name).map_err(|error| error.to_string())?;
            lb_sys::xdp::features(index).map_err(|error| error.to_string())
        });
        // One that is not there has been told.
        let Ok(features) = features else { continue };
        let (is_poor, found) = mode(features);
        findings.push(Finding {
            is_poor,
            ..Finding::new(&format!("XDP on {name}"), Ok(found.to_owned()))
        });
    }
    findings
}

/// Whether that is poor, and what it means.
const fn mode(features: lb_sys::xdp::Features) -> (bool, &'static str) {
    if !features.is_native {
        return (
            true,
            "generic mode: the driver has no XDP, so each packet costs what it costs the kernel's stack",
        );
    }
    if !features.redirects {
        return (
            true,
            "native mode, but the driver redirects no packets: only what goes back where it came from \
             is forwarded",
        );
    }
    (false, "native mode")
}

/// Names of the interfaces in the calling thread's network namespace. Not from /sys, which shows the
/// namespace it was mounted in.
fn links() -> Result<Vec<String>, String> {
    let path = PathBuf::from("/proc/thread-self/net/dev");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-generic"), Some((6, 18)));
        assert!(version("6.10.0").unwrap() > KERNEL_MIN);
        assert!(version("5.15.0-1-amd64").unwrap() < KERNEL_MIN);
        assert_eq!(version("weird"), None);
    }

    #[test]
    fn a_driver_without_xdp_is_told_as_generic_mode() {
        let index = lb_sys::iface::index("lo").unwrap();
        let (is_poor, told) = mode(lb_sys::xdp::features(index).unwrap());
        assert!(is_poor && told.starts_with("generic"), "{told}");
        let all = lb_sys::xdp::Features {
            is_native: true,
            redirects: true,
        };
        assert_eq!(mode(all), (false, "native mode"));
    }

    #[test]
    fn the_loopback_interface_is_always_found() {
        assert!(links().unwrap().contains(&"lo".to_owned()));
    }
}
