//! Processes of `lbaas` on real databases, with a simulated agent that speaks the real protocol.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod burst;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod process;
