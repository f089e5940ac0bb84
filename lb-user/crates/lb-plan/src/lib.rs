//! lb-plan

pub mod datapath;
pub mod spec;
