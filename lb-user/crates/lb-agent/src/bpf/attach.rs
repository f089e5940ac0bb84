//! Programs on interfaces, by pinned links.
//!
//! A pin is named by program, interface and index: an interface that was made anew under the same
//! name gets a link of its own.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp,
    links::{FdLink, LinkError, PinnedLink},
    tc::TcAttachOptions,
};
use lb_common::maps::{MAP_ABI, names};

use super::{Datapath, Doing as _, Error, aya, pins};

/// Where in the driver an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Driver,
    /// In the stack, for drivers without XDP: correct, but slow.
    Generic,
    /// As whoever attached the adopted link chose.
    Adopted,
}

/// A program that goes on interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attachment {
    /// XDP on an uplink.
    Uplink,
    /// TCX ingress on the edge end of an amphora's veth.
    Answer,
    /// XDP that passes everything, on the far end of a veth to which the other end sends by XDP_TX.
    Pass,
}

impl Attachment {
    const fn program(self) -> &'static str {
        match self {
            Self::Uplink => names::PROGRAM_XDP,
            Self::Answer => names::PROGRAM_ANSWER,
            Self::Pass => names::PROGRAM_PASS,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Answer => "answer",
            Self::Pass => "pass",
        }
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// Where the link of an uplink's program is pinned below `bpf_dir`.
#[must_use]
pub fn uplink_pin(bpf_dir: &Path, interface: &str, ifindex: u32) -> PathBuf {
    let dir = bpf_dir.join(format!("v{MAP_ABI}"));
    pin(&dir, Attachment::Uplink, interface, ifindex)
}

fn pin(dir: &Path, what: Attachment, interface: &str, ifindex: u32) -> PathBuf {
    // A BPF file system allows no dot in a name; an interface's name may have one, and no '%'.
    let interface = interface.replace('%', "%25").replace('.', "%2e");
    let prefix = what.prefix();
    dir.join(format!("{prefix}-{ifindex}-{interface}"))
}

impl Datapath {
    /// Puts XDP on an uplink, or this binary's program into the link that is there.
    ///
    /// # Errors
    /// When there is no such interface, or another XDP program is on it.
    pub fn attach_uplink(&self, interface: &str) -> Result<XdpMode, Error> {
        self.attach(Attachment::Uplink, interface)
    }

    /// Puts the answer program on the edge end of an amphora's veth, or updates it.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn attach_answer(&self, interface: &str) -> Result<(), Error> {
        self.attach(Attachment::Answer, interface).map(drop)
    }

    /// An interface with an answer program has another name now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn answer_renamed(&self, ifindex: u32, from: &str, to: &str) -> Result<(), Error> {
        let pin = |name| self.pin(Attachment::Answer, name, ifindex);
        fs::rename(pin(from), pin(to)).doing(|| format!("cannot rename the pin of {from} to {to}"))
    }

    /// Puts a program on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// When there is no such interface, or another program has the place.
    pub fn attach(&self, what: Attachment, interface: &str) -> Result<XdpMode, Error> {
        let ifindex = ifindex(interface)?;
        let pin = self.pin(what, interface, ifindex);
        if self.update(what, interface, &pin)? {
            return Ok(XdpMode::Adopted);
        }
        let (link, mode) = self.link(what, interface)?;
        link.pin(&pin).map_err(aya(|| {
            format!("cannot pin the link of {what} on {interface}")
        }))?;
        tracing::info!(interface, program = %what, ?mode, "attached");
        Ok(mode)
    }

    fn pin(&self, what: Attachment, interface: &str, ifindex: u32) -> PathBuf {
        pin(&self.dir, what, interface, ifindex)
    }

    /// Puts this binary's program into a pinned link; `false` when there is none that works.
    fn update(&self, what: Attachment, interface: &str, pin: &Path) -> Result<bool, Error> {
        let doing = || format!("cannot open the link of {what} on {interface}");
        let link = match PinnedLink::from_pin(pin) {
            Ok(link) => FdLink::from(link),
            Err(LinkError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(false);
            }
            Err(error) => return Err(aya(doing)(error)),
        };
        let mut programs = self.programs();
        let program = programs
            .program_mut(what.program())
            .ok_or(Error::Missing(what.program()))?;
        let updated = match what {
            Attachment::Uplink | Attachment::Pass => {
                let xdp: &mut Xdp = program.try_into().map_err(aya(doing))?;
                let link = link.try_into().map_err(aya::<LinkError>(doing))?;
                xdp.attach_to_link(link)
                    .and_then(|id| xdp.take_link(id).map(drop))
            }
            Attachment::Answer => {
                let tc: &mut SchedClassifier = program.try_into().map_err(aya(doing))?;
                let link = link.try_into().map_err(aya::<LinkError>(doing))?;
                tc.attach_to_link(link)
                    .and_then(|id| tc.take_link(id).map(drop))
            }
        };
        match updated {
            Ok(()) => {
                tracing::debug!(interface, program = %what, "link updated");
                Ok(true)
            }
            Err(error) => {
                // A link whose interface went away for a while cannot be used again.
                tracing::debug!(interface, program = %what, %error, "dead link removed");
                fs::remove_file(pin).doing(|| format!("cannot remove {}", pin.display()))?;
                Ok(false)
            }
        }
    }

    fn link(&self, what: Attachment, interface: &str) -> Result<(FdLink, XdpMode), Error> {
        let doing = || format!("cannot attach {what} to {interface}");
        let mut programs = self.programs();
        let program = programs
            .program_mut(what.program())
            .ok_or(Error::Missing(what.program()))?;
        if what == Attachment::Answer {
            let tc: &mut SchedClassifier = program.try_into().map_err(aya(doing))?;
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            let link = tc
                .attach_with_options(interface, TcAttachType::Ingress, order)
                .and_then(|id| tc.take_link(id))
                .map_err(aya(doing))?;
            let link = link.try_into().map_err(aya::<LinkError>(doing))?;
            return Ok((link, XdpMode::Driver));
        }
        let xdp: &mut Xdp = program.try_into().map_err(aya(doing))?;
        any_mode(xdp, interface, what.program(), false)
    }

    /// Takes a program off an interface, wherever it was attached. Nothing there is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn detach(&self, what: Attachment, interface: &str) -> Result<(), Error> {
        let name = interface.replace('%', "%25").replace('.', "%2e");
        self.detach_unless(what, |_, pinned| pinned != name)
    }

    /// Takes `what` off every interface (by index) that is not `kept`: links of interfaces that are
    /// gone, or no longer ours.
    ///
    /// # Errors
    /// The kernel's.
    pub fn retain(&self, what: Attachment, kept: impl Fn(u32) -> bool) -> Result<(), Error> {
        self.detach_unless(what, |ifindex, _| kept(ifindex))
    }

    /// Takes all programs off all interfaces.
    ///
    /// # Errors
    /// The kernel's.
    pub fn detach_all(&self) -> Result<(), Error> {
        for what in [Attachment::Uplink, Attachment::Answer, Attachment::Pass] {
            self.detach_unless(what, |_, _| false)?;
        }
        Ok(())
    }

    fn detach_unless(
        &self,
        what: Attachment,
        kept: impl Fn(u32, &str) -> bool,
    ) -> Result<(), Error> {
        let doing = || format!("cannot detach {what}");
        for entry in fs::read_dir(&self.dir).doing(doing)? {
            let entry = entry.doing(doing)?;
            let name = entry.file_name();
            let mut parts = name.to_str().unwrap_or_default().splitn(3, '-');
            let (Some(prefix), Some(ifindex), Some(interface)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let ifindex = ifindex.parse().unwrap_or(0);
            if prefix == what.prefix() && !kept(ifindex, interface) {
                pins::remove_link(&entry.path()).doing(doing)?;
                tracing::info!(interface, program = %what, "detached");
            }
        }
        Ok(())
    }
}

fn ifindex(interface: &str) -> Result<u32, Error> {
    lb_sys::iface::index(interface).map_err(|error| Error::Io {
        doing: error.doing,
        source: error.source,
    })
}

/// Puts an XDP program on an interface: in its driver if that can, and unless `generic` is wanted.
pub(super) fn any_mode(
    xdp: &mut Xdp,
    interface: &str,
    program: &str,
    generic: bool,
) -> Result<(FdLink, XdpMode), Error> {
    use aya::programs::XdpMode as Flags;
    let doing = || format!("cannot attach {program} to {interface}");
    let ifindex = ifindex(interface)?;
    let driver = if generic {
        None
    } else {
        match attach_xdp(xdp, ifindex, Flags::Driver) {
            Err(error) if unsupported(&error) => {
                tracing::warn!(
                    interface,
                    %error,
                    "the driver has no native XDP: packets take the slow generic path"
                );
                None
            }
            result => Some(result),
        }
    };
    let (attached, mode) = match driver {
        Some(attached) => (attached, XdpMode::Driver),
        None => (attach_xdp(xdp, ifindex, Flags::Skb), XdpMode::Generic),
    };
    let link = attached.map_err(aya(doing))?;
    let link = link.try_into().map_err(aya::<LinkError>(doing))?;
    Ok((link, mode))
}

fn attach_xdp(
    xdp: &mut Xdp,
    ifindex: u32,
    mode: aya::programs::XdpMode,
) -> Result<aya::programs::xdp::XdpLink, ProgramError> {
    xdp.attach_to_if_index(ifindex, mode)
        .and_then(|id| xdp.take_link(id))
}

/// Whether a driver refused because it has no native XDP.
fn unsupported(error: &ProgramError) -> bool {
    /// `EOPNOTSUPP`
    const NOT_SUPPORTED: i32 = 95;
    matches!(
        error,
        ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(NOT_SUPPORTED)
    )
}
