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
}

pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let mut findings = vec![kernel(), btf(), bpffs(&config.agent.bpf_dir)];
    findings.extend(capabilities());
    findings.push(state_dir(&config.state_dir));
    findings.push(interfaces(config));
    let mut text = String::new();
    for Finding { what, outcome } in &findings {
        let line = match outcome {
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
    Finding {
        what: "kernel".to_owned(),
        outcome: match version(release) {
            Some(found) if found >= KERNEL_MIN => Ok(release.to_owned()),
            _ => Err(format!(
                "{release}: {major}.{minor} or newer is needed (TCX)"
            )),
        },
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    Finding {
        what: "BTF".to_owned(),
        outcome: if Path::new(path).exists() {
            Ok(path.to_owned())
        } else {
            Err(format!(
                "{path} is missing: a kernel with CONFIG_DEBUG_INFO_BTF is needed"
            ))
        },
    }
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
    Finding {
        what: "bpffs".to_owned(),
        outcome: match (supported, mounted) {
            (_, true) => Ok(format!("mounted at {}", dir.display())),
            (true, false) => Ok(format!("the agent will mount it at {}", dir.display())),
            (false, false) => {
                Err("the kernel has no bpf file system (CONFIG_BPF_SYSCALL)".to_owned())
            }
        },
    }
}

fn capabilities() -> Vec<Finding> {
    let effective = effective_capabilities();
    CAPABILITIES
        .iter()
        .map(|&(bit, name, purpose)| Finding {
            what: name.to_owned(),
            outcome: if effective & (1 << bit) != 0 {
                Ok(purpose.to_owned())
            } else {
                Err(format!("needed for {purpose}: run as root"))
            },
        })
        .collect()
}

fn state_dir(dir: &Path) -> Finding {
    let nearest = dir.ancestors().find(|path| path.exists());
    let writable = nearest.is_some_and(|path| {
        fs::metadata(path).is_ok_and(|found| found.is_dir() && !found.permissions().readonly())
    });
    Finding {
        what: "state_dir".to_owned(),
        outcome: if writable {
            Ok(dir.display().to_string())
        } else {
            Err(format!("{} cannot be made or written", dir.display()))
        },
    }
}

fn interfaces(config: &Config) -> Finding {
    let what = "interfaces".to_owned();
    let named: Vec<&str> = config
        .agent
        .interfaces
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    if named.is_empty() {
        let outcome = Err("none configured: name them in [[agent.interfaces]]".to_owned());
        return Finding { what, outcome };
    }
    let present = match &config.agent.edge_netns {
        None => links(),
        Some(name) => lb_sys::netns::run_in(name, links)
            .map_err(|error| format!("edge_netns {name}: {error}"))
            .and_then(|links| links),
    };
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
    Finding { what, outcome }
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
    fn the_loopback_interface_is_always_found() {
        assert!(links().unwrap().contains(&"lo".to_owned()));
    }
}
