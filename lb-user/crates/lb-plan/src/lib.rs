//! lb-plan

pub mod datapath;
