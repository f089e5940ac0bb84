//! lb-probe
