//! Tables of packets through the real programs by `BPF_PROG_TEST_RUN`: packet in; verdict, reason
//! and bytes out. Needs root and `target/bpf/lbaas.bpf.o` (`cargo xtask build-ebpf`), no interface.

#[cfg(test)]
mod answer;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod hammer;
#[cfg(test)]
mod icmp;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod nat;
#[cfg(test)]
mod nat_errors;
#[cfg(test)]
mod program;
#[cfg(test)]
mod random;
#[cfg(test)]
mod sctp;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod states;
#[cfg(test)]
mod vip;
#[cfg(test)]
mod world;
