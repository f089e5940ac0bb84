//! lb-plan

pub mod datapath;
pub mod fold;
pub mod spec;

#[cfg(test)]
mod fixture;
